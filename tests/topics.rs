//! Snapshots by topic and partition, of logs of cowlog's own and of directories that a broker wrote.

#[path = "fixtures/mod.rs"]
mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::error::{ConcurrencyError, Error, ValidationError};
use cowlog::kafka::datadir;
use cowlog::store::Scope;
use cowlog::topics::Topic;
use cowlog::{BatchBuilder, Level, Log, LogConfig, LogReader, RestoreOptions, SnapshotConfig, TopicManager};

fn config() -> SnapshotConfig {
    SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() }
}

fn append(log: &Path, count: i64) {
    let mut log = Log::open_with(log, LogConfig { segment_bytes: 300, ..LogConfig::default() }).unwrap();
    for _ in 0..count {
        let value = format!("{} {}", log.dir().path().display(), log.log_end_offset());
        log.append(BatchBuilder::new().record(log.log_end_offset(), None, Some(value.as_bytes())).build().unwrap())
            .unwrap();
    }
    log.close().unwrap();
}

/// Native logs whose topics have the names that mislead.
const LOGS: [&str; 5] = ["orders-0", "orders-1", "orders-1-0", "a.b_c-d-12", "orders.1-0"];

fn native() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    for name in LOGS {
        append(&data.join(name), 20);
    }
    (temp, data)
}

fn partition(topic: &str, partition: i32) -> Scope {
    Scope::Partition { topic: topic.into(), partition }
}

/// Which logs a snapshot has.
fn logs(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_dir())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn content(log: &Path) -> Vec<u8> {
    let reader = LogReader::open(log).unwrap();
    reader.read_from(0).flat_map(|batch| batch.unwrap().as_bytes().to_vec()).collect()
}

#[test]
fn the_last_dash_separates_the_partition() {
    let (_temp, data) = native();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    let topic = |name: &str, partitions: &[i32]| Topic { name: name.into(), partitions: partitions.into() };
    let expected =
        [topic("a.b_c-d", &[12]), topic("orders", &[0, 1]), topic("orders-1", &[0]), topic("orders.1", &[0])];
    assert_eq!(topics.topics().unwrap(), expected);
    assert!(TopicManager::open(data.join("orders-0")).is_err(), "a log has no topics");
    assert_eq!(TopicManager::open(data.join("gone")).unwrap().topics().unwrap(), []);
}

#[test]
fn a_partition_a_topic_and_everything_count_apart() {
    let (_temp, data) = native();
    let topics = TopicManager::open_with(&data, SnapshotConfig::default()).unwrap();
    let one = topics.create_topic_snapshot("orders", 0).unwrap().snapshot;
    let topic = topics.topic("orders").unwrap().create().run().unwrap().snapshot;
    let all = topics.everything().create().run().unwrap().snapshot;
    let other = topics.create_topic_snapshot("orders-1", 0).unwrap().snapshot;
    assert_eq!(logs(&one.path), ["orders-0"]);
    assert_eq!(logs(&topic.path), ["orders-0", "orders-1"]);
    assert_eq!(logs(&all.path).len(), LOGS.len());
    assert_eq!([&one.scope, &topic.scope, &all.scope], ["orders-0", "orders", "all"]);

    // An hour has not passed for any of them.
    for too_soon in [
        topics.create_topic_snapshot("orders", 0).unwrap_err(),
        topics.topic("orders").unwrap().create().run().unwrap_err(),
        topics.everything().create().run().unwrap_err(),
    ] {
        assert!(matches!(too_soon, Error::Concurrency(ConcurrencyError::TooSoon { .. })), "{too_soon}");
    }

    let ids = |snapshots: Vec<cowlog::SnapshotInfo>| snapshots.into_iter().map(|s| s.id).collect::<Vec<_>>();
    let (one, topic, all, other) = (one.id, topic.id, all.id, other.id);
    assert_eq!(ids(topics.partition("orders", 0).unwrap().list().unwrap()), [one.as_str()]);
    assert_eq!(ids(topics.topic("orders").unwrap().list().unwrap()), [topic.as_str()]);
    assert_eq!(topics.topic("orders").unwrap().get("latest").unwrap().id, topic);
    assert_eq!(topics.everything().get("latest").unwrap().id, all);
    assert_eq!(ids(topics.everything().list().unwrap()), [one.as_str(), &topic, &all, &other]);
    assert_eq!(ids(topics.snapshots_of("orders", None).unwrap()), [one.as_str(), &topic, &all]);
    assert_eq!(ids(topics.snapshots_of("orders", Some(1)).unwrap()), [topic.as_str(), &all]);
    assert_eq!(ids(topics.snapshots_of("orders-1", Some(0)).unwrap()), [all.as_str(), &other]);
    assert_eq!(ids(topics.snapshots_of("nothing", None).unwrap()), [""; 0]);

    // Pruning one leaves the others alone.
    let orders = topics.topic("orders").unwrap();
    let plan = orders.plan_prune(&cowlog::Policy { max_snapshots: 0, ..cowlog::Policy::default() }).unwrap();
    assert!(plan.steps().iter().all(|step| step.id.to_string() == topic), "{plan:?}");
    for snapshot in topics.everything().list().unwrap() {
        assert!(topics.everything().verify(&snapshot.id, Level::Deep).unwrap().ok);
    }
}

#[test]
fn what_is_unchanged_is_inherited_from_a_wider_snapshot() {
    let (_temp, data) = native();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    topics.everything().create().run().unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    topics.everything().create().run().unwrap();
    for scope in [Scope::Topic("orders".into()), partition("orders", 1), partition("a.b_c-d", 12)] {
        let made = topics.everything().part(scope).unwrap().create().run().unwrap();
        assert_eq!(made.bytes_hashed, 0, "{:?}", made.snapshot);
        let methods: Vec<_> = made.snapshot.methods.keys().map(ToString::to_string).collect();
        assert!(methods.contains(&"inherit".to_owned()), "{methods:?}");
    }
}

#[test]
fn a_topic_that_is_deleted_leaves_its_snapshots() {
    let (temp, data) = native();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    let before = content(&data.join("orders-1"));
    topics.create_topic_snapshot("orders", 1).unwrap();
    topics.topic("orders").unwrap().create().run().unwrap();
    fs::remove_dir_all(data.join("orders-0")).unwrap();
    fs::remove_dir_all(data.join("orders-1")).unwrap();
    let gone = topics.create_topic_snapshot("orders", 1).unwrap_err();
    assert!(matches!(gone, Error::Validation(ValidationError::NoSuchSource { .. })), "{gone}");
    assert!(topics.topic("orders").unwrap().create().run().is_err());

    assert_eq!(topics.snapshots_of("orders", Some(1)).unwrap().len(), 2);
    for (n, id) in topics.snapshots_of("orders", Some(1)).unwrap().iter().map(|s| s.id.clone()).enumerate() {
        let target = temp.path().join(format!("back-{n}"));
        topics.restore(&id, "orders", Some(1), RestoreOptions::to(&target)).unwrap();
        assert_eq!(content(&target), before);
    }
    // Right back where it was, under its name.
    topics.restore("latest", "orders", Some(1), RestoreOptions::to(data.join("orders-1"))).unwrap();
    append(&data.join("orders-1"), 3);
    assert!(content(&data.join("orders-1")).starts_with(&before));

    // The whole data directory goes.
    fs::remove_dir_all(&data).unwrap();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    assert_eq!(topics.topics().unwrap(), []);
    let target = temp.path().join("all-of-it");
    let restored = topics.restore("latest", "orders", None, RestoreOptions::to(&target)).unwrap();
    assert_eq!((logs(&target), restored.logs.len()), (vec!["orders-0".into(), "orders-1".into()], 2));
    assert_eq!(content(&target.join("orders-1")), before);
}

#[test]
fn a_part_comes_out_of_a_snapshot_of_everything() {
    let (temp, data) = native();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    let all = topics.everything().create().run().unwrap().snapshot;
    let to = |name: &str| RestoreOptions::to(temp.path().join(name));
    for (n, name) in LOGS.iter().enumerate() {
        let found = datadir::parse_partition_name(name).unwrap();
        let target = format!("one-{n}");
        topics.restore("latest", &found.topic, Some(found.partition), to(&target)).unwrap();
        assert_eq!(content(&temp.path().join(&target)), content(&data.join(name)));
    }
    let cut = topics.restore(&all.id, "orders", Some(1), to("cut").until_offset(7)).unwrap();
    assert_eq!((cut.end_offset, LogReader::open(temp.path().join("cut")).unwrap().log_end()), (Some(7), 7));
    for id in [all.id.as_str(), "latest"] {
        let nothing = topics.restore(id, "orders", Some(7), to("nothing")).unwrap_err();
        assert!(nothing.to_string().contains("holds orders-7"), "{nothing}");
        assert!(matches!(nothing, Error::Validation(ValidationError::NoSuchPart { .. })), "{nothing:?}");
    }
    assert!(!temp.path().join("nothing").exists());

    // Damage elsewhere does not matter to it, damage in it does.
    let victim = all.path.join("orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&victim).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&victim).unwrap();
    fs::write(&victim, bytes).unwrap();
    topics.restore("latest", "orders", Some(1), to("still-good")).unwrap();
    assert!(matches!(topics.restore("latest", "orders", Some(0), to("bad")), Err(Error::Integrity(_))));
    assert!(matches!(topics.restore("latest", "orders", None, to("bad")), Err(Error::Integrity(_))));
    assert!(!temp.path().join("bad").exists());
}

#[test]
fn names_that_are_no_topics_are_refused() {
    let (_temp, data) = native();
    let topics = TopicManager::open_with(&data, config()).unwrap();
    for name in ["", ".", "..", "a/b", "../data", "a\nb", "ü", &"x".repeat(250)] {
        assert!(matches!(topics.topic(name), Err(Error::Validation(_))), "{name:?}");
        assert!(topics.partition(name, 0).is_err(), "{name:?}");
    }
    assert!(topics.partition("orders", -1).is_err());
}

/// Topics of a broker: what is restored of one reads as it did, and another broker's files stand beside it.
#[test]
fn topics_of_a_broker() {
    for name in fixtures::NAMES {
        let (temp, root) = fixtures::unpack(name);
        // Beside the data directory, not in the temporary directory's own place.
        let data = temp.path().join("deeper").join("data");
        fs::create_dir_all(data.parent().unwrap()).unwrap();
        fs::rename(&root, &data).or_else(|_| copy(&root, &data)).unwrap();
        let topics = TopicManager::open_with(&data, config()).unwrap();
        let found = topics.topics().unwrap();
        assert!(!found.is_empty());
        topics.everything().create().run().unwrap();
        for topic in found {
            let made = topics.topic(&topic.name).unwrap().create().run().unwrap().snapshot;
            assert_eq!(made.logs.len(), topic.partitions.len(), "{name}, {topic:?}");
            assert!(topics.everything().verify(&made.id, Level::Deep).unwrap().ok, "{name}, {topic:?}");
            for id in [made.id.as_str(), "latest"] {
                let target = temp.path().join(format!("{}-{id}", topic.name));
                topics.restore(id, &topic.name, None, RestoreOptions::to(&target)).unwrap();
                let partitions: Vec<String> = topic.partitions.iter().map(|n| format!("{}-{n}", topic.name)).collect();
                let mut expected = partitions.clone();
                expected.sort();
                assert_eq!(logs(&target), expected);
                for partition in partitions {
                    let (was, is) = (data.join(&partition), target.join(&partition));
                    let sum = |log: &Path| fixtures::sum(&LogReader::open(log).unwrap());
                    assert_eq!(sum(&was), sum(&is), "{name}, {partition}");
                }
                assert!(target.join("meta.properties").exists() == data.join("meta.properties").exists());
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    assert!(done.success());
    Ok(())
}
