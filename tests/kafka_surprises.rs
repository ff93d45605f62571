//! What a broker will do to restored logs is said before the target appears.

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cowlog::fs::Clock;
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{RestoreOptions, SnapshotConfig};
use cowlog::store::Scope;
use cowlog::{LogReader, SnapshotManager};
use fixtures::unpack;

const DAY: i64 = 24 * 60 * 60 * 1000;
/// The directories were made on November 23rd, 2026.
const MADE: i64 = 1_795_444_200_000;

/// What is warned of.
fn listening() -> (Observer, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = said.clone();
    let observer = Observer::new(move |event| {
        if let Event::Warning(text) = event {
            into.lock().unwrap().push(text.to_owned());
        }
    });
    (observer, said)
}

/// Restores a part of a snapshot at this time, and gives the warnings that came before the target appeared.
fn warnings(data: &Path, part: Scope, now: i64) -> Vec<String> {
    let target = data.with_file_name("restored");
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (into, watched): (_, PathBuf) = (said.clone(), target.clone());
    let observer = Observer::new(move |event| {
        if let Event::Warning(text) = event {
            assert!(!watched.exists(), "too late: {text}");
            into.lock().unwrap().push(text.to_owned());
        }
    });
    let config = SnapshotConfig { observer, clock: Clock::new(move || now), ..SnapshotConfig::default() };
    let manager = SnapshotManager::open_with(data, config).unwrap();
    let id = manager.create().run().unwrap().snapshot.id;
    said.lock().unwrap().clear();
    let options = RestoreOptions::to(&target).only(part.clone());
    manager.restore_id(&id, options).unwrap();
    let warnings = said.lock().unwrap().clone();
    if part == Scope::All {
        let asked = manager.surprises(&id).unwrap();
        assert!(asked.iter().all(|surprise| warnings.contains(surprise)), "{asked:?}: {warnings:?}");
    }
    fs::remove_dir_all(&target).unwrap();
    warnings
}

fn about<'a>(warnings: &'a [String], what: &str) -> Vec<&'a str> {
    warnings.iter().map(String::as_str).filter(|w| w.contains(what)).collect()
}

#[test]
fn nothing_is_said_where_nothing_goes() {
    for name in ["plain-clean", "compacted-clean"] {
        let (_temp, data) = unpack(name);
        let said = warnings(&data, Scope::All, MADE + DAY);
        assert_eq!(about(&said, "retention deletes"), [""; 0], "{name}: no topic of it loses data by age");
        assert_eq!(about(&said, "committed offsets"), [""; 0], "{name}");
    }
}

#[test]
fn settings_of_a_topic_are_known_when_it_is_restored_alone() {
    let (_temp, data) = unpack("plain-clean");
    assert_eq!(about(&warnings(&data, Scope::Topic("orders".into()), MADE), "retention"), [""; 0]);
}

#[test]
fn what_retention_deletes_is_counted_by_topic_and_the_default_is_called_an_assumption() {
    let (_temp, data) = unpack("plain-clean");
    fs::remove_dir_all(data.join("__cluster_metadata-0")).unwrap();
    // The first record that the third segment has, of orders-0 and of orders-1: its segment and those behind it are young enough.
    let logs = ["orders-0", "orders-1"].map(|name| data.join(name));
    let largest = |dir: &Path, at: usize| {
        let reader = LogReader::open(dir).unwrap();
        let bases: Vec<i64> = reader.segments().iter().map(|s| s.base()).collect();
        let below = reader.read_from(0).map(|b| *b.unwrap().header()).filter(|h| h.base_offset < bases[at]);
        (below.map(|h| h.max_timestamp).max().unwrap(), bases.len())
    };
    let (second, segments) = largest(&logs[0], 2);
    // Up to the largest timestamp of the second segment of orders-0, by the batches themselves.
    let now = second + 7 * DAY + 1;
    let gone = |dir: &Path| (1..segments).filter(|at| largest(dir, *at).0 < now - 7 * DAY).count();
    let expected = gone(&logs[0]) + gone(&logs[1]);
    assert!(expected >= 3, "{expected}");
    let said = warnings(&data, Scope::All, now);
    let about_orders = about(&said, "segments of orders ");
    assert_eq!(about_orders.len(), 1, "{said:?}");
    let told = about_orders[0];
    assert!(told.contains(&format!("deletes {expected} of {} segments", 2 * segments)), "{expected}: {told}");
    assert!(told.contains("assumed") && told.contains("7 days"), "{told}");
}

#[test]
fn offsets_beyond_the_end_and_offsets_that_expire() {
    let (_temp, data) = unpack("plain-clean");
    let dir = data.join("orders-1");
    let last = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .max();
    let file = fs::File::options().write(true).open(last.unwrap()).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        fs::write(data.join(name), "").unwrap();
    }
    let end = LogReader::open(&dir).unwrap().log_end();
    assert!(end < 10000);
    let said = warnings(&data, Scope::All, MADE + 8 * DAY);
    let beyond = about(&said, "beyond the end of the log");
    assert_eq!(beyond.len(), 1, "{said:?}");
    assert!(beyond[0].contains(&format!("audit-1 (10000, the log ends at {end})")), "{beyond:?}");
    let expire = about(&said, "older than 7 days");
    assert_eq!(expire.len(), 1, "{said:?}");
    assert!(expire[0].contains("2 groups") && expire[0].contains("audit, billing"), "{expire:?}");
}

/// A broker that was copied before the marker of a transaction was written to one of its partitions.
#[test]
fn transactions_that_nobody_will_end() {
    let (_temp, data) = unpack("txn-killed");
    assert_eq!(about(&warnings(&data, Scope::All, MADE), "nobody will end"), [""; 0], "each has its end");

    let reader = LogReader::open(data.join("payments-0")).unwrap();
    let markers = reader.read_from(0).map(|batch| *batch.unwrap().header());
    let marker = markers.filter(|h| h.is_control() && h.is_transactional()).last().unwrap();
    let reader = LogReader::open(data.join("payments-0")).unwrap();
    let of_it =
        |h: &cowlog::log::BatchHeader| h.producer_id == marker.producer_id && h.base_offset < marker.base_offset;
    let headers: Vec<_> = reader.read_from(0).map(|batch| *batch.unwrap().header()).filter(of_it).collect();
    let ended_before = headers.iter().rposition(|h| h.is_control()).map_or(0, |at| at + 1);
    let first = headers[ended_before].base_offset;

    let snaps = SnapshotManager::open(&data).unwrap();
    let id = snaps.create().force(true).run().unwrap().snapshot.id;
    let target = data.with_file_name("cut");
    let options = RestoreOptions::to(&target)
        .only(Scope::Partition { topic: "payments".into(), partition: 0 })
        .until_offset(marker.base_offset);
    let (observer, said) = listening();
    let config = SnapshotConfig { observer, clock: Clock::new(|| MADE), ..SnapshotConfig::default() };
    SnapshotManager::open_with(&data, config).unwrap().restore_id(&id, options).unwrap();
    let said = said.lock().unwrap();
    let told = about(&said, "nobody will end");
    assert_eq!(told.len(), 1, "{said:?}");
    assert!(told[0].contains(&format!("payments-0 ({first})")), "{first}: {told:?}");
    assert!(told[0].contains("own log is not restored") && told[0].contains("kafka-transactions.sh"), "{told:?}");
}

#[test]
fn a_part_that_ends_before_what_the_groups_of_its_target_have_committed() {
    let (_temp, data) = unpack("plain-clean");
    let (observer, said) = listening();
    let config = SnapshotConfig { observer, clock: Clock::new(|| MADE), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&data, config).unwrap();
    snaps.create().run().unwrap();
    let part = |partition| Scope::Partition { topic: "orders".into(), partition };
    snaps.restore_part("latest", &part(1), RestoreOptions::into_data_dir(&data)).unwrap();
    assert_eq!(about(&said.lock().unwrap(), "committed offsets lie beyond"), [""; 0], "it is whole");
    let short = RestoreOptions::into_data_dir(&data).until_offset(9000);
    let end = snaps.restore_part("latest", &part(1), short).unwrap().end_offset.unwrap();
    let said = said.lock().unwrap();
    let beyond = about(&said, "committed offsets lie beyond");
    assert_eq!(beyond.len(), 1, "{said:?}");
    assert!(beyond[0].contains(&format!("audit-1 (10000, the log ends at {end})")), "{beyond:?}");
}
