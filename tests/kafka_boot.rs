//! A real broker starts over what is restored, and its consumers get what they got from the original.
//!
//! Needs Java, Maven and, the first time, a Maven repository; skipped without them unless `COWLOG_NO_SKIP=1`. Takes one
//! to two minutes; brokers run one after the other.

mod fixtures;
mod kafka;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use cowlog::LogReader;
use cowlog::snapshot::{RestoreOptions, SnapshotConfig, SnapshotManager};
use kafka::{Node, kit, kit_works};
use serde_json::{Value, json};

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
        kit(&["start", node.path()]);
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

/// The broker that was stopped keeps its other partitions; one goes back in time.
#[test]
fn a_broker_serves_a_partition_that_was_cut_at_an_offset() {
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
        let target = restored(fixture, temp.path(), &root);
        fs::remove_dir_all(target.join(&name)).unwrap();
        // The scope's own snapshot: the partition alone.
        let single = manager(&root.join(&name));
        let options = RestoreOptions::to(target.join(&name)).until_offset(until);
        let end = single.restore_id("latest", options).unwrap().end_offset.unwrap();
        assert!(end > until - 100 && end <= until, "{end}");
        let (count, sha256) = fixtures::sum(&LogReader::open(target.join(&name)).unwrap());

        let node = Node::adopt(temp.path().join("node"), &target);
        kit(&["start", node.path()]);
        let like = temp.path().join("like");
        let mut expected = fixtures::oracle(&format!("{fixture}.sum.jsonl"));
        let cut = expected.iter_mut().find(|l| l["topic"] == topic && l["partition"] == partition).unwrap();
        cut["end"] = end.into();
        let lines: Vec<String> = expected.iter().map(Value::to_string).collect();
        fs::write(&like, lines.join("\n")).unwrap();
        let served = node.client(&["sum", &format!("like={}", like.display())]);
        for (served, expected) in served.iter().zip(&expected) {
            if served["topic"] == topic && served["partition"] == partition {
                let got = json!([served["start"], served["end"], served["count"], served["sha256"]]);
                assert_eq!(got, json!([0, end, count, sha256]), "{fixture} {name}");
            } else {
                assert_eq!(served, expected, "{fixture}");
            }
        }
        assert_eq!(served.len(), expected.len());
        kit(&["stop", node.path()]);
        assert!(fixtures::partitions(&target).contains(&target.join(&name)), "it was not set aside as stray");
    }
}
