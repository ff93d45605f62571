//! Snapshots of a log that is being appended to, rolled, truncated and cut short by retention, by another process and
//! at full speed: each holds exactly what the writer had at one moment.

mod support;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use cowlog::fs::MethodChoice;
use cowlog::log::{LogConfig, LogReader};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use support::chain::{self, ChainLog, Progress, Reached};
use support::mounts::{Kind, Mount, each_filesystem};
use support::process::{Running, contents, in_role, role};
use support::{Random, env_number};

#[test]
fn child_process() {
    let Some((role, args)) = role() else { return };
    assert_eq!(role, "writer");
    write_for_ever(Path::new(&args[0]), Path::new(&args[1]), args[2].parse().expect("a seed"));
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 10,
        retention_bytes: Some(2 << 20),
        lock_timeout: Duration::from_secs(60),
        ..LogConfig::default()
    }
}

/// Until it is killed.
fn write_for_ever(dir: &Path, progress: &Path, seed: u64) -> ! {
    let mut random = Random::seeded(seed);
    let progress = Progress::open(progress);
    let mut chain = ChainLog::open(dir, log_config(), 1).expect("the log opens");
    loop {
        match random.below(200) {
            0..2 => {
                let to = chain.point_to_truncate_to(&mut random);
                // From here on nothing is promised of the end.
                progress.publish(Reached { generation: chain.generation + 1, end: 0, ..reached(&mut chain) });
                chain.truncate(to).expect("a truncation");
            }
            2..6 => chain.log().roll().expect("a roll"),
            6..10 => drop(chain.log().apply_retention(0).expect("retention")),
            10..16 => chain.log().flush().expect("a flush"),
            _ => {
                let records = random.between(1, 6);
                chain.append(records, &mut random, 2000).expect("an append");
            }
        }
        progress.publish(reached(&mut chain));
    }
}

fn reached(chain: &mut ChainLog) -> Reached {
    let generation = chain.generation;
    let log = chain.log();
    Reached { generation, start: log.log_start_offset(), end: log.log_end_offset() }
}

fn manager(log: &Path, method: MethodChoice) -> SnapshotManager {
    let lock_timeout = Duration::from_secs(60);
    SnapshotManager::open_with(log, SnapshotConfig { method, lock_timeout, ..SnapshotConfig::default() })
        .expect("a manager")
}

fn snapshots_of_a_busy_log(dir: &Path, method: MethodChoice, what: &str) {
    let rounds = env_number("COWLOG_SNAPSHOTS", 100);
    let (log, elsewhere) = (dir.join("orders-0"), tempfile::tempdir().expect("a temporary directory"));
    let progress = elsewhere.path().join("progress");
    let seed = Random::new(what).next();
    let path = |p: &Path| p.to_str().expect("UTF-8").to_owned();
    let mut writer = Running::start(&mut in_role("writer", &[&path(&log), &path(&progress), &seed.to_string()]));
    let progress = Progress::open(&progress);
    progress.read();

    let snaps = manager(&log, method);
    let mut histories = std::collections::BTreeSet::new();
    for round in 0..rounds {
        let before = progress.read();
        let made = snaps.create().force(true).run().unwrap_or_else(|e| panic!("{what}, create {round}: {e}")).snapshot;
        let after = progress.read();
        assert!(writer.is_running(), "the writer failed");

        let report = snaps.verify(&made.id, Level::Deep).expect("a report");
        assert!(report.ok, "{what}, round {round}: {report:#?}");
        let reader = LogReader::open(&made.path).expect("a snapshot is a log");
        assert!(reader.active().stop.is_end(), "{what}: it ends on a batch boundary: {:?}", reader.active());
        let tail = chain::check(&reader).unwrap_or_else(|e| panic!("{what}, round {round}: {e}"));
        assert_eq!(Some(tail.end), made.log_end_offset);
        assert!(tail.start >= before.start, "{what}: removed records are back: {before:?}, {tail:?}");
        assert!(tail.start <= after.start, "{what}: records are missing at the front: {after:?}, {tail:?}");
        assert!(tail.generation <= after.generation, "{what}: {after:?}, {tail:?}");
        if before.generation == after.generation {
            assert!(tail.end >= before.end, "{what}: records are missing at the end: {before:?}, {tail:?}");
        }
        histories.insert(tail.generation);
        if round % 10 == 9 {
            snaps.prune(&snaps.plan_prune(&Default::default()).expect("a plan")).expect("prune");
        }
    }
    let last = progress.read();
    writer.kill();
    assert!(last.generation > 3 && histories.len() > 1, "{what}: too few truncations: {last:?}, {histories:?}");
    assert!(last.start > 0, "{what}: retention never removed anything: {last:?}");

    // Later writes have reached none of them, and the log of the killed writer opens with what it had.
    let kept = snaps.list().expect("a list");
    assert!(!kept.is_empty());
    for snapshot in &kept {
        let report = snaps.verify(&snapshot.id, Level::Deep).expect("a report");
        assert!(report.ok, "{what}, at the end: {report:#?}");
    }
    let mut chain = ChainLog::open(&log, log_config(), last.generation + 1).expect("the log of a killed writer");
    let end = chain.log().log_end_offset();
    assert!(end >= last.end, "{what}: a kill loses nothing that was written: {last:?}, {end}");
    drop(chain);

    let newest = kept.last().expect("one");
    let target = dir.join("restored");
    snaps.restore_id(&newest.id, RestoreOptions::to(&target)).expect("a restore");
    let of = |path: &Path| chain::check(&LogReader::open(path).expect("a log")).expect("a chain");
    assert_eq!(of(&target), of(&newest.path));
}

#[test]
fn in_the_temporary_directory() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    snapshots_of_a_busy_log(temp.path(), MethodChoice::Auto, "tmp");
}

#[test]
fn on_ext4_by_hard_links() {
    let Some(mount) = Mount::new(Kind::Ext4) else { return };
    snapshots_of_a_busy_log(mount.path(), MethodChoice::Auto, "ext4");
}

#[test]
fn on_xfs_by_reflinks() {
    let Some(mount) = Mount::new(Kind::Xfs) else { return };
    snapshots_of_a_busy_log(mount.path(), MethodChoice::Auto, "xfs");
}

#[test]
fn on_xfs_by_hard_links() {
    let Some(mount) = Mount::new(Kind::Xfs) else { return };
    snapshots_of_a_busy_log(mount.path(), MethodChoice::Hardlink, "xfs, hard links");
}

#[test]
fn on_btrfs_by_reflinks() {
    let Some(mount) = Mount::new(Kind::Btrfs) else { return };
    snapshots_of_a_busy_log(mount.path(), MethodChoice::Auto, "btrfs");
}

/// With a cut that the writer named the snapshot ends at that very record, whatever was appended meanwhile.
#[test]
fn a_cut_named_by_the_writer_is_exact() {
    each_filesystem(|what, dir| {
        let log = dir.join("orders-0");
        let mut random = Random::new(what);
        let mut chain = ChainLog::open(&log, log_config(), 1).expect("the log opens");
        chain.append(1, &mut random, 100).expect("an append");
        let snaps = manager(&log, MethodChoice::Auto);
        let (to_snapshot, cuts) = mpsc::channel();
        let (to_writer, done) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (cut, expected) in cuts {
                    let made = snaps.create().force(true).at(cut).run().expect("a snapshot").snapshot;
                    let tail = chain::check(&LogReader::open(&made.path).expect("a log")).expect("a chain");
                    assert_eq!(chain::Tail { generation: 0, ..tail }, expected, "{what}");
                    let report = snaps.verify(&made.id, Level::Deep).expect("a report");
                    assert!(report.ok, "{what}: {report:#?}");
                    to_writer.send(()).expect("the writer waits");
                }
            });
            for round in 0..20 {
                let cut = chain.log().cut().expect("a cut");
                to_snapshot.send((cut, chain.tail())).expect("the other thread waits");
                while done.try_recv().is_err() {
                    chain.append(3, &mut random, 2000).expect("an append");
                    if random.below(20) == 0 {
                        chain.log().roll().expect("a roll");
                    }
                }
                if round % 3 == 2 {
                    let to = chain.point_to_truncate_to(&mut random);
                    chain.truncate(to).expect("a truncation");
                    chain.log().apply_retention(0).expect("retention");
                }
            }
            drop(to_snapshot);
        });
    });
}

/// Threads and processes that create at the same time all succeed, each with an id of its own.
#[test]
fn concurrent_creates_all_succeed() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let log = temp.path().join("orders-0");
    let mut random = Random::new("creates");
    let mut chain = ChainLog::open(&log, log_config(), 1).expect("the log opens");
    for _ in 0..200 {
        chain.append(3, &mut random, 1000).expect("an append");
    }
    chain.log().flush().expect("a flush");
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let snaps = manager(&log, MethodChoice::Auto);
                scope.spawn(move || {
                    let create = |_| snaps.create().force(true).run().expect("a snapshot").snapshot.id;
                    (0..5).map(create).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    });
    assert_eq!(ids.len(), 40);
    let snaps = manager(&log, MethodChoice::Auto);
    let listed: std::collections::BTreeSet<String> = snaps.list().expect("a list").into_iter().map(|s| s.id).collect();
    assert_eq!(listed, ids);
    for id in &ids {
        assert!(snaps.verify(id, Level::Deep).expect("a report").ok);
    }
    let strays: Vec<_> = contents(&log.join(".snapshots")).into_keys().filter(|n| n.starts_with(".s")).collect();
    assert_eq!(strays, [""; 0]);
}
