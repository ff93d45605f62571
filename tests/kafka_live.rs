//! A running broker under load is snapshotted without its help, and another broker starts from what is restored: no record
//! that was acknowledged before is lost, none is changed, committed offsets and transactions are as they were.
//!
//! Kafka's own consumers judge: two of them write down every record while the load goes on (`tests/kafka/Load.java`).
//! Needs Java, Maven, a Maven repository the first time, and loop-mounted filesystems; skipped without unless
//! `COWLOG_NO_SKIP=1`. `COWLOG_KAFKA_ROUNDS` is how many restored brokers are started, 3 unless told otherwise,
//! each from a snapshot that was taken live; `tests/long kafka` starts 100.

mod kafka;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use cowlog::SnapshotManager;
use cowlog::error::{ConcurrencyError, Error};
use cowlog::snapshot::{Created, Level, RestoreOptions, SnapshotConfig};
use kafka::history::{Compared, History};
use kafka::load::{Load, Mark};
use kafka::{Node, kit_works};
use support::mounts::{Kind, Mount};

/// Two JVMs at a time are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Each filesystem with another version of Kafka, each pair in turn.
const VERSIONS: [&str; 3] = ["4.1.2", "4.2.2", "4.3.0"];

fn manager(source: &Path) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(source, config).unwrap()
}

/// As an operator does: who is told that it is busy asks again. A machine with much else to do is slower than the log's cleaner.
fn create(snapshots: &SnapshotManager) -> Created {
    let asked = (0..5).map(|_| snapshots.create().run());
    let mut answers = asked.skip_while(|answer| {
        answer.as_ref().is_err_and(|e| matches!(e, Error::Concurrency(ConcurrencyError::Busy { .. })))
    });
    answers.next().expect("busy five times").unwrap()
}

/// A snapshot and what the load had done before and after it.
struct Taken {
    created: Created,
    before: Mark,
    after: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

#[test]
fn brokers_start_from_what_was_taken_under_load() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let rounds: usize = std::env::var("COWLOG_KAFKA_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    // The last snapshot of a load is that of a broker that no longer runs.
    let per_load = (rounds.div_ceil(3) + 1).min(5);
    let started = if rounds <= 3 { 1 } else { per_load };
    let (mut done, mut all) = (0, Compared::default());
    for turn in 0.. {
        if done >= rounds {
            break;
        }
        let kind = Kind::ALL[turn % 3];
        let version = VERSIONS[(turn + turn / 3) % 3];
        let Some(mount) = Mount::sized(kind, 3000) else { return };
        let end = if turn % 2 == 0 { End::Killed } else { End::Stopped };
        all += one_load(&mount, version, (per_load, started), end, turn);
        done += started;
        println!("{done} brokers started from snapshots, all well so far: {all:?}");
    }
}

/// Snapshots under load, one more after its end, and a broker from each.
fn one_load(
    mount: &Mount,
    version: &'static str,
    (snapshots, started): (usize, usize),
    end: End,
    seed: usize,
) -> Compared {
    let began = Instant::now();
    let settings = [
        "log.retention.check.interval.ms=1000",
        "log.initial.task.delay.ms=1000",
        "log.cleaner.backoff.ms=500",
        "log.flush.offset.checkpoint.interval.ms=3000",
        "log.flush.start.offset.checkpoint.interval.ms=3000",
        "log.segment.delete.delay.ms=1000",
        "metadata.log.max.record.bytes.between.snapshots=4000",
    ];
    let node = Node::new(mount.path().join("node"), Some(version), &settings);
    node.run("start", &[]);
    let mut load = Load::begin(&node, mount.path(), 250, 1);
    thread::sleep(Duration::from_secs(6));
    let snapshots_of = manager(&node.data());
    let mut taken: Vec<Taken> = Vec::new();
    for n in 1..snapshots {
        // Not in step with whatever the broker does every second.
        thread::sleep(Duration::from_millis(1100 + (seed * 37 + n * 411) as u64 % 900));
        let before = load.mark();
        let created = create(&snapshots_of);
        let after = load.mark();
        taken.push(Taken { created, before, after });
    }
    let (last, history) = load.end();
    node.run(if end == End::Killed { "kill" } else { "stop" }, &[]);
    let created = snapshots_of.create().run().unwrap();
    taken.push(Taken { created, before: last.clone(), after: last });
    let history = History::read(&history);
    let data = node.data();
    drop(node);
    fs::remove_dir_all(&data).unwrap();

    let mut compared = Compared::default();
    let context = format!("{} with Kafka {version}, {end:?}", mount.kind());
    for (n, Taken { created, before, after }) in taken.iter().enumerate() {
        let id = &created.snapshot.id;
        println!("{context}: {id} in {:.0} ms, {:?}", created.elapsed_ms, created.snapshot.methods);
        assert_eq!(snapshots_of.verify(id, Level::Deep).unwrap().damage, [], "{context}");
        if n >= started {
            continue;
        }
        let target = mount.path().join("restored");
        let restored = snapshots_of.restore_id(id, RestoreOptions::to(&target)).unwrap();
        assert!(!target.join(".lock").exists() && restored.files > 50, "{context}: {restored:?}");
        let node = Node::adopt_as(mount.path().join("again"), &target, Some(version));
        node.run("start", &[]);
        compared += history.judge(&node, before, after, &mount.path().join("served"));
        goes_on(&node, &context);
        node.run("kill", &[]);
        for gone in [&target, &node.0] {
            fs::remove_dir_all(gone).unwrap();
        }
    }
    println!("{context}: {} snapshots in {:.0} s, {compared:?}", taken.len(), began.elapsed().as_secs_f64());
    compared
}

/// What stands on the page is what works: its commands and its configuration, on a broker that runs.
#[test]
fn the_page_for_operators_works() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let Some(mount) = Mount::sized(Kind::Xfs, 2000) else { return };
    let home = mount.path().join("kafka");
    fs::create_dir(&home).unwrap();
    let data = format!("log.dirs={}", home.join("data").display());
    let node = Node::new(mount.path().join("node"), None, &[&data]);
    node.run("start", &[]);
    let load = Load::begin(&node, mount.path(), 50, 1);
    thread::sleep(Duration::from_secs(4));

    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kafka.md")).unwrap();
    let config = mount.path().join("cowlog.toml");
    let here = |text: &str| {
        let text = text.replace("/etc/cowlog/cowlog.toml", config.to_str().unwrap());
        text.replace("/var/lib/kafka", home.to_str().unwrap())
    };
    let blocks = |kind: &str| {
        let begin = format!("```{kind}\n");
        page.split(&begin).skip(1).map(|rest| here(rest.split("```").next().unwrap())).collect::<Vec<_>>()
    };
    fs::write(&config, blocks("toml").concat()).unwrap();
    let commands = blocks("sh").concat();
    assert!(commands.lines().count() >= 7, "{commands}");
    for line in commands.lines() {
        let command = line.strip_prefix("cowlog ").unwrap_or_else(|| panic!("{line}"));
        let done = Command::new(env!("CARGO_BIN_EXE_cowlog")).args(command.split(' ')).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    }
    drop(load);
    node.run("kill", &[]);
    let again = Node::adopt(mount.path().join("again"), &home.join("restored"));
    again.run("start", &[]);
    goes_on(&again, "the page");
    again.run("kill", &[]);
}

/// A broker over several disks: what is on one of them knows of the other.
#[test]
fn the_directories_of_one_broker_are_one_snapshot() {
    if !kit_works() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let Some(mount) = Mount::sized(Kind::Xfs, 2000) else { return };
    let dirs = ["one", "two"].map(|name| mount.path().join(name));
    let log_dirs = format!("log.dirs={},{}", dirs[0].display(), dirs[1].display());
    let node = Node::new(mount.path().join("node"), None, &[&log_dirs]);
    node.run("start", &[]);
    let mut load = Load::begin(&node, mount.path(), 150, 1);
    thread::sleep(Duration::from_secs(6));
    let managers = dirs.each_ref().map(|dir| manager(dir));
    let before = load.mark();
    let created = managers[0].create().with(&managers[1]).run_all().unwrap();
    let after = load.mark();
    let (_, history) = load.end();
    node.run("kill", &[]);

    let [one, two] = created.as_slice() else { panic!("two parts: {created:?}") };
    let id = &one.snapshot.id;
    assert_eq!(*id, two.snapshot.id);
    for (part, other) in [(0, 1), (1, 0)] {
        let info = managers[part].get(id).unwrap();
        assert!(!info.logs.is_empty() && info.set[0].source == dirs[other].to_str().unwrap(), "{info:?}");
        assert_eq!(info.incomplete, None);
        fs::remove_dir_all(&dirs[part]).unwrap();
        managers[part].restore_id(id, RestoreOptions::to(&dirs[part])).unwrap();
    }
    node.run("start", &[]);
    let compared = History::read(&history).judge(&node, &before, &after, &mount.path().join("served"));
    println!("two directories: {compared:?}");
    node.run("kill", &[]);

    managers[1].delete(id).unwrap();
    let listed = managers[0].list().unwrap();
    assert!(listed[0].incomplete.as_ref().unwrap().contains("two.snapshots"), "{listed:?}");
}

/// The restored broker takes records and serves them.
fn goes_on(node: &Node, context: &str) {
    let end = |topic: &str| {
        let served = node.client(&["sum", topic]);
        served
            .iter()
            .map(|l| (l["end"].as_i64().unwrap(), l["count"].as_i64().unwrap()))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let before = end("plain");
    node.run("client", &["produce", "plain", "50", "size=60"]);
    let after = end("plain");
    assert_eq!((after.0 - before.0, after.1 - before.1), (50, 50), "{context}");
}
