//! Three brokers that keep three replicas of everything: one loses its disk and gets it back from a snapshot; and the worst
//! case, all three from snapshots of slightly different moments.
//!
//! Needs what `kafka_live` needs but the filesystems.

mod kafka;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cowlog::snapshot::{RestoreOptions, SnapshotConfig};
use cowlog::{LogReader, SnapshotInfo, SnapshotManager};
use kafka::history::History;
use kafka::load::{Load, Offsets};
use kafka::{Node, kit_works};

fn manager(source: &Path) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, max_copy: Some(1 << 30), ..SnapshotConfig::default() };
    SnapshotManager::open_with(source, config).unwrap()
}

/// A cluster starts once most of its controllers are there.
fn start_all(nodes: &[Node]) {
    thread::scope(|scope| nodes.iter().for_each(|node| drop(scope.spawn(|| node.run("start", &[])))));
}

fn lose_and_restore(node: &Node, snapshot: &SnapshotInfo) {
    fs::remove_dir_all(node.data()).unwrap();
    manager(&node.data()).restore_id(&snapshot.id, RestoreOptions::to(node.data())).unwrap();
}

fn name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

#[test]
fn three_brokers() {
    if !kit_works() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let settings = [
        "offsets.topic.replication.factor=3",
        "transaction.state.log.replication.factor=3",
        "transaction.state.log.min.isr=2",
        "min.insync.replicas=2",
        "log.cleaner.enable=false",
        "replica.high.watermark.checkpoint.interval.ms=500",
    ];
    let nodes = Node::cluster(temp.path(), &settings);
    start_all(&nodes);
    let [one, two, _] = nodes.as_slice() else { panic!("three") };

    // One broker is snapshotted live; later its disk is lost.
    let mut load = Load::begin(one, temp.path(), 100, 3);
    thread::sleep(Duration::from_secs(5));
    load.mark();
    let taken = manager(&two.data()).create().run().unwrap().snapshot;
    thread::sleep(Duration::from_secs(4));
    let (last, history) = load.end();
    two.run("kill", &[]);
    lose_and_restore(two, &taken);
    two.run("start", &[]);
    one.client(&["whole"]);
    let written = History::read(&history);
    let served = temp.path().join("served");
    let records = written.judge_below(&last.acked, one, &served);
    println!("one broker restored: {records} records of the cluster are as they were");

    // All three, one after the other, while the load goes on.
    fs::remove_file(&history).unwrap();
    let mut load = Load::begin(one, temp.path(), 100, 3);
    thread::sleep(Duration::from_secs(3));
    load.mark();
    let taken: Vec<SnapshotInfo> =
        nodes.iter().map(|node| manager(&node.data()).create().run().unwrap().snapshot).collect();
    thread::sleep(Duration::from_secs(2));
    let (_, history) = load.end();
    thread::sleep(Duration::from_secs(1));
    // All at once: without a majority none stops cleanly. The replica that was restored caught up with what the others have.
    thread::scope(|scope| nodes.iter().for_each(|node| drop(scope.spawn(|| node.run("kill", &[])))));
    same_replicas(one, two);

    nodes.iter().zip(&taken).for_each(|(node, snapshot)| lose_and_restore(node, snapshot));
    nodes.iter().zip(&taken).for_each(|(node, snapshot)| whole(node, snapshot));
    start_all(&nodes);
    one.client(&["whole"]);
    let mut common = Offsets::new();
    for log in taken.iter().flat_map(|snapshot| &snapshot.logs) {
        let at = common.entry(name(&log.topic, log.partition)).or_insert(i64::MAX);
        *at = log.high_watermark.min(*at);
    }
    // What the first load left is in each snapshot, and more of the second.
    assert!(common["mixed-0"] > last.acked["mixed-0"], "{common:?}");
    for (partition, acked) in &last.acked {
        assert!(common[partition] >= *acked, "{partition}: {common:?}, {last:?}");
    }
    let records = History::read(&history).judge_below(&common, one, &served);
    assert!(records > 1000);
    println!("all three restored: {records} records below the lowest common high watermarks are as they were");
    // It goes on.
    one.client(&["produce", "mixed", "30", "size=60"]);
    nodes.iter().for_each(|node| drop(node.run("kill", &[])));
}

const PARTITIONS: [&str; 8] = ["mixed-0", "mixed-1", "mixed-2", "paid-0", "paid-1", "plain-0", "latest-0", "latest-1"];

/// Nothing is compacted here: whichever replica leads, each batch begins where the one before it ended, from the log's begin,
/// which only retention by size may move, to the end that the snapshot states.
fn whole(node: &Node, snapshot: &SnapshotInfo) {
    for dir in PARTITIONS.into_iter().chain(["short-0", "short-1"]) {
        let reader = LogReader::open(node.data().join(dir)).unwrap();
        let mut next = reader.segments()[0].base();
        assert!(next == 0 || dir.starts_with("short-"), "{dir} begins at {next}");
        for batch in reader.read_from(next) {
            let batch = batch.unwrap();
            assert_eq!(batch.header().base_offset, next, "{dir} of {}", node.data().display());
            next = batch.header().next_offset();
        }
        let log = snapshot.logs.iter().find(|log| name(&log.topic, log.partition) == dir).unwrap();
        assert_eq!(next, log.log_end_offset, "{dir} of {}", node.data().display());
    }
}

/// Batch by batch, as far as both have it: a follower has the leader's bytes.
fn same_replicas(one: &Node, two: &Node) {
    let mut compared = 0;
    for dir in PARTITIONS {
        let [mut a, mut b] = [one, two].map(|node| {
            let reader = LogReader::open(node.data().join(dir)).unwrap();
            reader.read_from(0).map(|batch| batch.unwrap().as_bytes().to_vec()).collect::<Vec<_>>().into_iter()
        });
        assert_eq!(a.len(), b.len(), "{dir}");
        while let (Some(a), Some(b)) = (a.next(), b.next()) {
            assert!(a == b, "{dir}: a batch differs");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}
