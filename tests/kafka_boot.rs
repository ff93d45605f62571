//! A real broker starts over what is restored, and its consumers get what they got from the original.
//!
//! Needs Java, Maven and, the first time, a Maven repository; skipped without them unless `COWLOG_NO_SKIP=1`. Takes one
//! to two minutes; brokers run one after the other.

mod fixtures;
mod kafka;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use cowlog::LogReader;
use cowlog::snapshot::{Bound, RestoreOptions, SnapshotConfig, SnapshotManager};
use kafka::{Node, kit, kit_works};
use serde_json::Value;

/// Two JVMs at a time are too many for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn manager(source: &Path) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(source, config).unwrap()
}

/// Snapshots the fixture, throws it away, and restores it.
fn restored(fixture: &str, temp: &Path, root: &Path) -> std::path::PathBuf {
    let manager = manager(root);
    manager.create().run().unwrap();
    fs::remove_dir_all(root).unwrap();
    let target = temp.join("restored");
    let restored = manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert!(restored.files > 30, "{fixture}: {restored:?}");
    target
}

/// With a coordinator that does not end an open transaction some seconds later, which adds a record to its log.
fn start(node: &Node) {
    let mut settings = fs::OpenOptions::new().append(true).open(node.0.join("server.properties")).unwrap();
    settings.write_all(b"transaction.abort.timed.out.transaction.cleanup.interval.ms=3600000\n").unwrap();
    kit(&["start", node.path()]);
}

/// What a consumer gets, up to the ends of the original: a broker appends markers to transactions that time out.
fn sum_like(node: &Node, fixture: &str) -> Vec<Value> {
    let like = fixtures::data().join(format!("oracle/{fixture}.sum.jsonl"));
    node.client(&["sum", &format!("like={}", like.display())])
}

#[test]
fn a_broker_serves_every_restored_directory() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    for fixture in fixtures::NAMES {
        let (temp, root) = fixtures::unpack(fixture);
        let target = restored(fixture, temp.path(), &root);
        let partitions = fixtures::partitions(&target).len();
        let node = Node::adopt(temp.path().join("node"), &target);
        start(&node);
        assert_eq!(sum_like(&node, fixture), fixtures::oracle(&format!("{fixture}.sum.jsonl")), "{fixture}");
        assert_eq!(node.client(&["groups"]), fixtures::oracle(&format!("{fixture}.groups.jsonl")), "{fixture}");
        // It goes on where it was.
        let topic = if fixture == "plain-clean" { "orders" } else { continue_topic(fixture) };
        let before = end_of(&node, topic);
        kit(&["client", node.path(), "produce", topic, "20", "partition=0", "size=50"]);
        assert_eq!(end_of(&node, topic), before + 20, "{fixture} {topic}");
        kit(&["stop", node.path()]);
        let after = fixtures::partitions(&target);
        assert_eq!(after.len(), partitions, "{fixture}: nothing was set aside as stray: {after:?}");
    }
}

fn continue_topic(fixture: &str) -> &'static str {
    match fixture {
        "codecs-live" => "events-zstd",
        "txn-killed" => "clicks",
        _ => "rolling",
    }
}

fn end_of(node: &Node, topic: &str) -> i64 {
    node.client(&["sum", topic]).iter().find(|l| l["partition"] == 0).unwrap()["end"].as_i64().unwrap()
}

fn is_internal(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("__"))
}

/// The times of a fixture's records between which a third of its batches lies behind, and some before.
fn times(root: &Path) -> (i64, i64) {
    let mut times: Vec<i64> = Vec::new();
    for dir in fixtures::partitions(root).iter().filter(|dir| !is_internal(dir)) {
        let reader = LogReader::open(dir).unwrap();
        times.extend(reader.read_from(0).map(|batch| batch.unwrap().header().max_timestamp));
    }
    times.sort_unstable();
    (times[times.len() / 10], times[times.len() * 2 / 3])
}

/// All of a broker's partitions go back to a time, each by itself, and begin later; one goes back to an offset.
#[test]
fn a_broker_serves_partitions_that_were_cut_at_times_and_at_an_offset() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    // Behind a clean stop, where a broker looks at nothing below the end; and behind a kill, inside of a transaction.
    for (fixture, topic, partition, until) in [("plain-clean", "orders", 1, 7000), ("txn-killed", "payments", 0, 1030)]
    {
        let (temp, root) = fixtures::unpack(fixture);
        let name = format!("{topic}-{partition}");
        manager(&root.join(&name)).create().run().unwrap();
        let (from, to) = times(&root);
        let all = manager(&root);
        all.create().run().unwrap();
        fs::remove_dir_all(&root).unwrap();
        let target = temp.path().join("restored");
        let options = RestoreOptions::to(&target).since(Bound::Time(from)).until(Bound::Time(to));
        let cuts = all.restore_id("latest", options).unwrap().cuts;
        assert!(cuts.iter().any(|cut| cut.before.is_some() && cut.behind.is_some() && cut.last.is_some()), "{cuts:?}");
        fs::remove_dir_all(target.join(&name)).unwrap();
        // The scope's own snapshot: the partition alone.
        let single = manager(&root.join(&name));
        let options = RestoreOptions::to(target.join(&name)).until_offset(until);
        let end = single.restore_id("latest", options).unwrap().end_offset.unwrap();
        assert!(end > until - 100 && end <= until, "{end}");

        let mut expected = fixtures::oracle(&format!("{fixture}.sum.jsonl"));
        for line in &mut expected {
            let name = format!("{}-{}", line["topic"].as_str().unwrap(), line["partition"]);
            let reader = LogReader::open(target.join(&name)).unwrap();
            let (count, sha256) = fixtures::sum(&reader);
            assert!(count < line["count"].as_u64().unwrap(), "{fixture} {name}");
            (line["start"], line["end"]) = (reader.log_start().into(), reader.log_end().into());
            (line["count"], line["sha256"]) = (count.into(), sha256.into());
        }
        let node = Node::adopt(temp.path().join("node"), &target);
        start(&node);
        let like = temp.path().join("like");
        let lines: Vec<String> = expected.iter().map(Value::to_string).collect();
        fs::write(&like, lines.join("\n")).unwrap();
        let served = node.client(&["sum", &format!("like={}", like.display())]);
        for (served, expected) in served.iter().zip(&expected) {
            for field in ["topic", "partition", "start", "end", "count", "sha256"] {
                assert_eq!(served[field], expected[field], "{fixture}: {field} of {served} is not that of {expected}");
            }
        }
        assert_eq!(served.len(), expected.len());
        // It goes on there.
        let before = end_of(&node, topic);
        kit(&["client", node.path(), "produce", topic, "20", "partition=0", "size=50"]);
        assert_eq!(end_of(&node, topic), before + 20, "{fixture}");
        kit(&["stop", node.path()]);
        assert!(fixtures::partitions(&target).contains(&target.join(&name)), "it was not set aside as stray");
    }
}
