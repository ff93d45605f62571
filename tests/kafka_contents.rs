//! What a snapshot says that it holds of a broker, against what Kafka's own tools said of the same directory.

mod fixtures;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cowlog::SnapshotManager;
use cowlog::kafka::datadir::parse_partition_name;
use cowlog::snapshot::Contents;
use cowlog::store::Scope;
use fixtures::{NAMES, oracle, unpack};
use serde_json::Value;

fn contents(data: &Path, part: Scope) -> Contents {
    let manager = SnapshotManager::open(data).unwrap().part(part).unwrap();
    let created = manager.create().run().unwrap();
    manager.contents(&created.snapshot.id).unwrap()
}

#[test]
fn committed_offsets_are_those_that_kafka_tells() {
    for name in NAMES {
        let (_temp, data) = unpack(name);
        let found = contents(&data, Scope::All);
        assert_eq!(found.unread, [""; 0], "{name}");
        let mut told = BTreeSet::new();
        for line in oracle(&format!("{name}.groups.jsonl")) {
            let text = |field: &str| line[field].as_str().unwrap().to_owned();
            told.insert((text("group"), text("topic"), line["partition"].as_i64(), line["offset"].as_i64()));
        }
        assert!(!told.is_empty());
        let groups = found.groups.unwrap();
        let offsets = groups.iter().flat_map(|group| group.offsets.iter().map(move |o| (&group.group, o)));
        let ours: BTreeSet<_> = offsets
            .clone()
            .map(|(group, o)| (group.clone(), o.topic.clone(), Some(i64::from(o.partition)), Some(o.offset)))
            .collect();
        assert_eq!(ours, told, "{name}");
        let sums = oracle(&format!("{name}.sum.jsonl"));
        for (group, offset) in offsets {
            let of = |sum: &&Value| sum["topic"] == *offset.topic && sum["partition"] == offset.partition;
            let end = sums.iter().find(of).unwrap()["end"].as_i64().unwrap();
            assert_eq!(offset.lag, Some(end - offset.offset), "{name}: {group} {offset:?}");
            assert!(offset.committed_at.starts_with("202"), "{offset:?}");
        }
    }
}

#[test]
fn topic_ids_in_the_metadata_are_those_of_the_partitions() {
    for name in NAMES {
        let (_temp, data) = unpack(name);
        let found = contents(&data, Scope::All);
        let mut partitions = 0;
        for dir in fixtures::partitions(&data) {
            let Some(of) = parse_partition_name(dir.file_name().unwrap().to_str().unwrap()) else { continue };
            let text = std::fs::read_to_string(dir.join("partition.metadata")).unwrap();
            let id = text.lines().nth(1).unwrap().strip_prefix("topic_id: ").unwrap();
            let topic = found.topics.iter().find(|t| t.topic == of.topic).unwrap();
            assert_eq!(topic.topic_id.as_deref(), Some(id), "{name}: {of:?}");
            assert!(topic.partitions.contains(&of.partition));
            partitions += 1;
        }
        assert_eq!(found.topics.iter().map(|t| t.partitions.len()).sum::<usize>(), partitions, "{name}");
        for topic in found.topics.iter().filter(|t| !t.topic.starts_with("__")) {
            assert!(!topic.config.is_empty(), "{name}: {topic:?}");
            // As the directories were made: `tests/data/README.md`.
            let kept = topic.config.get("retention.ms").is_some_and(|ms| ms == "-1");
            let bounded = topic.config.get("retention.bytes").is_some_and(|bytes| bytes == "250000");
            let compacted = topic.config.get("cleanup.policy").is_some_and(|policy| policy == "compact");
            assert!(kept || compacted, "{name}: {topic:?}");
            assert_eq!(bounded, topic.topic == "rolling", "{name}: {topic:?}");
        }
    }
}

/// A batch, by DumpLogSegments.
struct Dumped {
    dir: String,
    segment: String,
    base: i64,
    position: u64,
    producer: i64,
    time: i64,
    transactional: bool,
    control: bool,
    codec: String,
}

fn batches(name: &str) -> Vec<Dumped> {
    let batch = |line: &Value| {
        let (dir, segment) = line["file"].as_str()?.split_once('/')?;
        segment.ends_with(".log").then_some(())?;
        Some(Dumped {
            dir: dir.to_owned(),
            segment: segment.to_owned(),
            base: line["base"].as_i64()?,
            position: line["position"].as_u64()?,
            producer: line["producer_id"].as_i64()?,
            time: line["max_timestamp"].as_i64()?,
            transactional: line["transactional"].as_bool()?,
            control: line["control"].as_bool()?,
            codec: line["codec"].as_str()?.to_owned(),
        })
    };
    oracle(&format!("{name}.jsonl.zst")).iter().filter_map(batch).collect()
}

/// By directory and producer: first offset and time of the transactions that these batches leave open.
fn open<'a>(batches: impl Iterator<Item = &'a Dumped>) -> BTreeMap<(String, i64), (i64, i64)> {
    let mut open = BTreeMap::new();
    for batch in batches.filter(|b| b.transactional) {
        let key = (batch.dir.clone(), batch.producer);
        if batch.control {
            open.remove(&key);
        } else {
            open.entry(key).or_insert((batch.base, batch.time));
        }
    }
    open
}

fn open_in(found: &Contents) -> BTreeMap<(String, i64), (i64, i64)> {
    let mut open = BTreeMap::new();
    for log in &found.logs {
        for o in &log.open_transactions {
            let since = o.since.as_deref().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
            open.insert((format!("{}-{}", log.topic, log.partition), o.producer_id), (o.first_offset, since));
        }
    }
    open
}

#[test]
fn open_transactions_and_codecs_are_those_of_the_batches_that_kafka_dumped() {
    for name in NAMES {
        let (_temp, data) = unpack(name);
        let found = contents(&data, Scope::All);
        let told = batches(name);
        assert_eq!(open_in(&found), open(told.iter()), "{name}");
        for log in &found.logs {
            let dir = format!("{}-{}", log.topic, log.partition);
            let codecs: BTreeSet<_> = told.iter().filter(|b| b.dir == dir).map(|b| b.codec.as_str()).collect();
            let seen: BTreeSet<_> = log.codecs.iter().map(String::as_str).collect();
            assert_eq!(seen, codecs, "{name}: {dir}");
        }
    }
}

/// The log of a broker that stopped just before a transaction's marker: once in the middle of a segment, so that the batches
/// tell, and once where the marker was to open a segment, so that only the producer snapshot does.
#[test]
fn a_transaction_whose_end_did_not_come_is_open() {
    let told = batches("txn-killed");
    let markers: Vec<_> = told.iter().filter(|b| b.dir == "payments-0" && b.transactional && b.control).collect();
    let within = markers.iter().rfind(|b| b.position > 0).unwrap();
    let opening = markers.iter().rfind(|b| b.position == 0).unwrap();
    for cut in [within, opening] {
        let (_temp, data) = unpack("txn-killed");
        let dir = data.join("payments-0");
        for entry in std::fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let digits = name.split('.').next().unwrap();
            if digits.parse::<i64>().is_ok() && digits > cut.segment.split('.').next().unwrap() {
                std::fs::remove_file(dir.join(name)).unwrap();
            }
        }
        let file = std::fs::File::options().write(true).open(dir.join(&cut.segment)).unwrap();
        file.set_len(cut.position).unwrap();
        std::fs::write(data.join("recovery-point-offset-checkpoint"), "").unwrap();
        let left = open(told.iter().filter(|b| b.dir != "payments-0" || b.base < cut.base));
        assert!(left.keys().any(|(dir, _)| dir == "payments-0"), "{left:?}");
        assert_eq!(open_in(&contents(&data, Scope::All)), left, "cut at {}", cut.base);
    }
}

#[test]
fn a_topic_alone_has_no_groups() {
    let (_temp, data) = unpack("plain-clean");
    let found = contents(&data, Scope::Topic("orders".into()));
    assert!(found.groups.is_none());
    assert_eq!(found.topics.len(), 1);
    let id = found.topics[0].topic_id.as_deref().unwrap();
    let text = std::fs::read_to_string(data.join("orders-0/partition.metadata")).unwrap();
    assert!(text.contains(id));
    assert_eq!(found.topics[0].partitions, [0, 1]);
}

#[test]
fn a_log_that_no_broker_wrote_has_none_of_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("orders");
    let mut log = cowlog::Log::open(&path).unwrap();
    log.append(cowlog::BatchBuilder::new().record(1, None, Some(b"x")).build().unwrap()).unwrap();
    let manager = SnapshotManager::open(&path).unwrap();
    manager.create().run().unwrap();
    let refused = manager.contents("latest").unwrap_err();
    assert!(refused.to_string().contains("not of a log that Kafka wrote"), "{refused}");
}
