//! A topic or a partition goes into a broker's data directory, in place of what is there: in the same cluster, and in another
//! one, where a real broker serves it.
//!
//! Those with a broker need Java, Maven and, the first time, a Maven repository; they are skipped without unless
//! `COWLOG_NO_SKIP=1`. They take about a minute.

mod fixtures;
mod kafka;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowlog::error::{ConcurrencyError, Error};
use cowlog::kafka::checkpoints::OffsetCheckpoint;
use cowlog::kafka::metadata::parse_partition_metadata;
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{AsTopicId, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::store::Scope;
use kafka::{Node, kit, kit_works};
use serde_json::Value;
use support::process::contents;

/// After a kill a broker is let in when its session is over; otherwise that takes nine seconds.
const SHORT_SESSION: [&str; 2] = ["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"];

/// Two JVMs at a time are too many for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn manager(source: &Path) -> SnapshotManager {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::from_millis(100),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_with(source, config).unwrap()
}

fn topic(name: &str) -> Scope {
    Scope::Topic(name.into())
}

fn partition(topic: &str, partition: i32) -> Scope {
    Scope::Partition { topic: topic.into(), partition }
}

/// The offset of a partition in one of the checkpoints beside the partitions.
fn line(data: &Path, file: &str, topic: &str, partition: i32) -> Option<i64> {
    OffsetCheckpoint::parse(&fs::read(data.join(file)).unwrap()).unwrap().get(topic, partition)
}

const STARTS: &str = "log-start-offset-checkpoint";
const RECOVERED: &str = "recovery-point-offset-checkpoint";
const COMMITTED: &str = "replication-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";

/// All files but those of some directories and of the checkpoints.
fn others(data: &Path, topic: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(data);
    files.retain(|name, _| !name.starts_with(&format!("{topic}-")) && !name.ends_with("-offset-checkpoint"));
    files
}

/// The snapshots of a source, and what is warned of.
fn heard(source: &Path) -> (SnapshotManager, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = said.clone();
    let observer = Observer::new(move |event| {
        if let Event::Warning(text) = event {
            to.lock().unwrap().push(text.to_owned());
        }
    });
    let config = SnapshotConfig { observer, ..SnapshotConfig::default() };
    (SnapshotManager::open_with(source, config).unwrap(), said)
}

#[test]
fn the_checkpoints_follow_the_partitions_there_and_back() {
    let (_temp, data) = fixtures::unpack("compacted-clean");
    let snaps = manager(&data);
    let made = snaps.create().run().unwrap().snapshot;
    let ends: BTreeMap<i32, i64> =
        made.logs.iter().filter(|l| l.topic == "ledger").map(|l| (l.partition, l.log_end_offset)).collect();
    assert_eq!(ends.len(), 2);
    // The log went on, and lost its beginning; another partition is gone; and there are partitions of other names.
    let text = "0\n4\nledger 0 999999\nledger 1 5\nledger-1 0 7\nrolling 0 3\n";
    for file in [STARTS, RECOVERED, COMMITTED, CLEANED] {
        fs::write(data.join(file), text).unwrap();
    }
    fs::remove_dir_all(data.join("ledger-1")).unwrap();
    fs::write(data.join("ledger-0/stranger"), "").unwrap();
    fs::write(data.join(".lock"), "").unwrap();
    let before = contents(&data);
    let rest = others(&data, "ledger");

    let restored = snaps.restore_part("latest", &topic("ledger"), RestoreOptions::into_data_dir(&data)).unwrap();
    assert_eq!(restored.logs.len(), 2);
    assert!(!data.join("ledger-0/stranger").exists() && data.join("ledger-1").is_dir());
    for (number, end) in &ends {
        let log = made.logs.iter().find(|l| l.topic == "ledger" && l.partition == *number).unwrap();
        assert_eq!(line(&data, STARTS, "ledger", *number), Some(log.log_start_offset));
        assert_eq!(line(&data, RECOVERED, "ledger", *number), Some(*end));
        assert_eq!(line(&data, COMMITTED, "ledger", *number), Some(log.high_watermark));
        assert_eq!(line(&data, CLEANED, "ledger", *number), None);
    }
    for file in [STARTS, RECOVERED, COMMITTED, CLEANED] {
        assert_eq!((line(&data, file, "ledger-1", 0), line(&data, file, "rolling", 0)), (Some(7), Some(3)), "{file}");
    }
    assert!(others(&data, "ledger") == rest, "nothing else has changed, and nothing was added");
    let kept = restored.replaced.unwrap().kept;
    assert!(!kept.starts_with(&data));

    snaps.undo().unwrap();
    let mut after = contents(&data);
    for file in [STARTS, RECOVERED, COMMITTED, CLEANED] {
        let lines = |bytes: &[u8]| {
            let mut lines: Vec<_> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        // No log starts or was flushed beyond its end, and none that is gone has a line.
        let expected = match file {
            STARTS | RECOVERED => format!("0\n3\nledger 0 {}\nledger-1 0 7\nrolling 0 3\n", ends[&0]),
            _ => text.to_owned(),
        };
        assert_eq!(lines(&after[file]), lines(expected.as_bytes()), "{file}");
        after.insert(file.into(), before[file].clone());
    }
    assert!(after == before, "all is as it was");
}

/// One that cannot be amended is left as it is, with everything else.
#[test]
fn a_broken_checkpoint_and_a_broker_are_refused_before_anything_moves() {
    let (temp, data) = fixtures::unpack("plain-clean");
    let snaps = manager(&data);
    snaps.create().run().unwrap();
    fs::write(data.join(COMMITTED), "0\n9\norders 0 1\n").unwrap();
    let before = contents(temp.path());
    let into = || RestoreOptions::into_data_dir(&data);
    let e = snaps.restore_part("latest", &topic("orders"), into()).unwrap_err();
    assert!(matches!(e, Error::Validation(_)) && e.to_string().contains(COMMITTED), "{e}");
    assert!(contents(temp.path()) == before);
    fs::write(data.join(COMMITTED), "").unwrap();
    let lock = support::broker_lock::hold_apart(&data);
    let before = contents(temp.path());
    for result in [
        snaps.restore_part("latest", &topic("orders"), into()),
        snaps.restore_part("latest", &partition("orders", 1), RestoreOptions::replace()),
        snaps.restore_id("latest", RestoreOptions::replace()),
    ] {
        let e = result.unwrap_err();
        assert!(matches!(e, Error::Concurrency(ConcurrencyError::Busy { .. })), "{e}");
        assert!(e.to_string().contains("broker"), "{e}");
    }
    assert!(contents(temp.path()) == before);
    drop(lock);
    snaps.restore_part("latest", &topic("orders"), into()).unwrap();
}

#[test]
fn a_partition_of_another_topic_is_refused_or_becomes_one_of_it() {
    let (temp, data) = fixtures::unpack("txn-killed");
    let snaps = manager(&data);
    snaps.create().run().unwrap();
    let other = temp.path().join("other");
    snaps.restore_id("latest", RestoreOptions::to(&other)).unwrap();
    let id = "7OYAWBg_Q-STgm_GXLBazA";
    for number in [0, 1] {
        let text = format!("version: 0\ntopic_id: {id}");
        fs::write(other.join(format!("payments-{number}/partition.metadata")), text).unwrap();
    }
    let before = contents(&other);
    let into = || RestoreOptions::into_data_dir(&other);
    let e = snaps.restore_part("latest", &topic("payments"), into()).unwrap_err();
    assert!(e.to_string().contains("stray") && e.hint().unwrap().contains("--as-topic-id"), "{e}");
    assert!(contents(&other) == before);

    snaps.restore_part("latest", &topic("payments"), into().as_topic_id(AsTopicId::FromTarget)).unwrap();
    for number in [0, 1] {
        let dir = other.join(format!("payments-{number}"));
        let metadata = fs::read(dir.join("partition.metadata")).unwrap();
        assert_eq!(parse_partition_metadata(&metadata).unwrap().as_str(), id);
        let end = line(&other, RECOVERED, "payments", number).unwrap();
        let snapshots: Vec<String> = contents(&dir).into_keys().filter(|name| name.ends_with(".snapshot")).collect();
        assert_eq!(snapshots, [format!("{end:020}.snapshot")]);
        assert_eq!(fs::metadata(dir.join(format!("{end:020}.log"))).unwrap().len(), 0);
        let reader = cowlog::LogReader::open(&dir).unwrap();
        let original = cowlog::LogReader::open(data.join(format!("payments-{number}"))).unwrap();
        assert_eq!((reader.log_end(), fixtures::sum(&reader)), (end, fixtures::sum(&original)));
    }
    // A topic that is not there has no id to take; one can be named.
    for number in [0, 1] {
        fs::remove_dir_all(other.join(format!("payments-{number}"))).unwrap();
    }
    let e = snaps.restore_part("latest", &topic("payments"), into().as_topic_id(AsTopicId::FromTarget)).unwrap_err();
    assert!(e.hint().unwrap().contains("--as-topic-id ID"), "{e}");
    let named = AsTopicId::Id(id.parse().unwrap());
    snaps.restore_part("latest", &partition("payments", 1), into().as_topic_id(named)).unwrap();
    assert!(fs::read_to_string(other.join("payments-1/partition.metadata")).unwrap().contains(id));
}

/// A broker sets aside what comes back of another topic than its metadata knows.
#[test]
fn a_topic_that_was_made_anew_is_not_undone() {
    let (_temp, data) = fixtures::unpack("txn-killed");
    let snaps = manager(&data);
    snaps.create().run().unwrap();
    snaps.restore_part("latest", &topic("payments"), RestoreOptions::into_data_dir(&data)).unwrap();
    let metadata = data.join("payments-0/partition.metadata");
    let was = fs::read(&metadata).unwrap();
    fs::write(&metadata, "version: 0\ntopic_id: 7OYAWBg_Q-STgm_GXLBazA").unwrap();
    let before = contents(&data);
    let e = snaps.undo().unwrap_err();
    assert!(matches!(e, Error::Validation(_)) && e.to_string().contains("made anew"), "{e}");
    assert!(e.hint().unwrap().contains("--as-topic-id"), "{e}");
    assert!(contents(&data) == before);
    fs::write(&metadata, was).unwrap();
    snaps.undo().unwrap();
}

/// The transaction is told of once, whichever way it is.
#[test]
fn an_open_transaction_is_told_of_once() {
    let (temp, data) = fixtures::unpack("txn-killed");
    manager(&data).create().run().unwrap();
    let other = temp.path().join("other");
    manager(&data).restore_id("latest", RestoreOptions::to(&other)).unwrap();
    let reader = cowlog::LogReader::open(data.join("payments-0")).unwrap();
    let headers = reader.read_from(0).map(|batch| *batch.unwrap().header());
    let marker = headers.filter(|h| h.is_control() && h.is_transactional()).last().unwrap();
    let (snaps, said) = heard(&data);
    let own = parse_partition_metadata(&fs::read(data.join("payments-0/partition.metadata")).unwrap()).unwrap();
    let another = "7OYAWBg_Q-STgm_GXLBazA".parse().unwrap();
    for (id, expected) in
        [(Some(another), "in another cluster nobody"), (Some(own), "nobody will end"), (None, "nobody will end")]
    {
        let mut options = RestoreOptions::into_data_dir(&other).until_offset(marker.base_offset);
        if let Some(id) = id {
            options = options.as_topic_id(AsTopicId::Id(id));
        }
        said.lock().unwrap().clear();
        snaps.restore_part("latest", &partition("payments", 0), options).unwrap();
        let told: Vec<String> = said.lock().unwrap().iter().filter(|w| w.contains("nobody")).cloned().collect();
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:?}");
        manager(&other).undo().unwrap();
    }
}

/// What a consumer gets of a topic.
fn sum(node: &Node, topic: &str) -> Vec<Value> {
    node.client(&["sum", topic])
}

/// A topic goes back in time under its own id; then all of it is undone.
#[test]
fn a_broker_serves_a_topic_that_was_put_back_and_the_one_that_undo_brought_back() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let (temp, data) = fixtures::unpack("plain-clean");
    let snaps = manager(&data);
    snaps.create().run().unwrap();
    let node = Node::adopt(temp.path().join("node"), &data);
    kit(&["start", node.path()]);
    let original = sum(&node, "orders");
    kit(&["client", node.path(), "produce", "orders", "40", "size=50"]);
    kit(&["client", node.path(), "trim", "orders", "0", "100"]);
    let grown = sum(&node, "orders");
    assert_ne!(original, grown);
    let e = snaps.restore_part("latest", &topic("orders"), RestoreOptions::into_data_dir(&data)).unwrap_err();
    assert!(matches!(e, Error::Concurrency(ConcurrencyError::Busy { .. })), "{e}");
    kit(&["stop", node.path()]);
    let partitions = fixtures::partitions(&data);

    let restored = snaps.restore_part("latest", &topic("orders"), RestoreOptions::into_data_dir(&data)).unwrap();
    assert_eq!(restored.replaced.unwrap().offsets, 40);
    kit(&["start", node.path()]);
    assert_eq!(sum(&node, "orders"), original);
    kit(&["stop", node.path()]);
    assert_eq!(fixtures::partitions(&data), partitions, "nothing was set aside as stray");

    snaps.undo().unwrap();
    kit(&["start", node.path()]);
    assert_eq!(sum(&node, "orders"), grown, "the log start too");
    kit(&["stop", node.path()]);
    assert_eq!(fixtures::partitions(&data), partitions);
}

/// The trap: a new cluster hands out the same producer ids, and would take the records of new producers for old ones. Also
/// after an unclean stop, which makes a broker read its logs.
#[test]
fn another_cluster_serves_a_topic_and_loses_no_new_record() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    // Written now: a broker forgets producers after a day. The first producer's only batches are those that the first one of
    // the other cluster will send: ten records each, with the same id and sequence numbers.
    let first = ["produce", "orders", "20", "linger=1000"];
    let temp = tempfile::tempdir().unwrap();
    let source = Node::new(temp.path().join("source"), None, &[]);
    kit(&["start", source.path()]);
    kit(&["client", source.path(), "topic", "orders", "2", "retention.ms=-1"]);
    source.client(&first);
    kit(&["client", source.path(), "produce", "orders", "2000", "size=50"]);
    let expected = sum(&source, "orders");
    assert_eq!(expected.len(), 2);
    kit(&["stop", source.path()]);
    let snaps = manager(&source.0.join("data"));
    snaps.create().run().unwrap();
    for unclean in [false, true] {
        let node = Node::new(temp.path().join(format!("node-{unclean}")), None, &SHORT_SESSION);
        kit(&["start", node.path()]);
        kit(&["client", node.path(), "topic", "orders", "2", "retention.ms=-1"]);
        kit(&[if unclean { "kill" } else { "stop" }, node.path()]);
        let there = node.0.join("data");
        let into = RestoreOptions::into_data_dir(&there).as_topic_id(AsTopicId::FromTarget);
        snaps.restore_part("latest", &topic("orders"), into).unwrap();
        kit(&["start", node.path()]);
        // Ten to each partition, by the first producer of this cluster.
        let acked = node.client(&first);
        assert_eq!(acked[0]["acked"], 20, "{acked:?}");
        let served = sum(&node, "orders");
        assert_eq!(served.len(), 2);
        for (served, expected) in served.iter().zip(&expected) {
            let number = |l: &Value, field: &str| l[field].as_i64().unwrap();
            assert_eq!(number(served, "start"), number(expected, "start"));
            assert_eq!(number(served, "end"), number(expected, "end") + 10, "unclean: {unclean}");
            assert_eq!(number(served, "count"), number(expected, "count") + 10, "unclean: {unclean}");
        }
        let like = temp.path().join("like");
        fs::write(&like, expected.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")).unwrap();
        if unclean {
            // Again, when the log is read anew.
            kit(&["kill", node.path()]);
            kit(&["start", node.path()]);
            assert_eq!(sum(&node, "orders"), served);
        }
        let original = node.client(&["sum", "orders", &format!("like={}", like.display())]);
        assert_eq!(original, expected, "the records from the other cluster, unclean: {unclean}");
        kit(&["kill", node.path()]);
        assert_eq!(fixtures::partitions(&there).iter().filter(|p| p.to_string_lossy().contains("stray")).count(), 0);
    }
}

/// A transaction that began after the coordinators' logs were taken: what restore says is true, and the way out that it names
/// is one.
#[test]
fn a_transaction_that_no_coordinator_knows_is_ended_the_way_that_restore_tells() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let temp = tempfile::tempdir().unwrap();
    let source = Node::new(temp.path().join("source"), None, &["transaction.state.log.num.partitions=1"]);
    kit(&["start", source.path()]);
    kit(&["client", source.path(), "topic", "payments", "1", "retention.ms=-1"]);
    source.client(&["produce", "payments", "20", "txn=first", "per=10"]);
    let coordinators = source.data().join("__transaction_state-0");
    let earlier = contents(&coordinators);
    let mut open = source.command();
    open.args(["client", source.path(), "produce", "payments", "5", "txn=second", "open=true"]);
    let mut open = open.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(open.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"open\":true"), "{line}");
    kit(&["kill", source.path()]);
    open.kill().unwrap();
    open.wait().unwrap();
    // As they were before it began.
    fs::remove_dir_all(&coordinators).unwrap();
    fs::create_dir(&coordinators).unwrap();
    for (name, bytes) in earlier {
        fs::write(coordinators.join(name), bytes).unwrap();
    }
    let (snaps, said) = heard(&source.data());
    snaps.create().run().unwrap();
    let restored = temp.path().join("restored");
    snaps.restore_id("latest", RestoreOptions::to(&restored)).unwrap();
    let said = said.lock().unwrap();
    let told = said.iter().find(|text| text.contains("nobody will end")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(told.contains("coordinator does not know"), "{told}");
    let offset = told.split("payments-0 (").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let command = told.split('`').find(|part| part.contains("abort")).unwrap();
    let words = command.replace("TOPIC", "payments").replace("OFFSET", offset).replace(" N", " 0");
    let (_, arguments) = words.split_once("… ").unwrap();

    let node = Node::adopt(temp.path().join("node"), &restored);
    kit(&["start", node.path()]);
    kit(&["client", node.path(), "produce", "payments", "10"]);
    let committed = |node: &Node| node.client(&["sum", "payments"])[0]["committed_count"].as_i64().unwrap();
    assert_eq!(committed(&node), 20, "readers of committed records get no further");
    let settings = fs::read_to_string(node.0.join("server.properties")).unwrap();
    let server = settings.split("PLAINTEXT://").nth(1).unwrap().split(',').next().unwrap();
    let mut abort = vec!["tool", "org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", server];
    abort.extend(arguments.split_whitespace());
    kit(&abort);
    assert_eq!(committed(&node), 30, "and now they do");
    kit(&["kill", node.path()]);
}
