//! A log that its writer goes on with while it is snapshotted, at every moment of it: whatever a broker may do to its files,
//! the snapshot is one moment of one history, or create says that the log did not come to rest.
//!
//! In memory, where each moment can be chosen. What a broker does is described in Kafka's `storage: LocalLog` and
//! `UnifiedLog`; `kafka_live` has a real one.

use std::sync::Arc;
use std::time::Duration;

use cowlog::error::{ConcurrencyError, Kind};
use cowlog::fs::mem::{Abilities, MemFs};
use cowlog::fs::{Dir, Fs, Open, Rename};
use cowlog::log::{BatchBuilder, LogReader};
use cowlog::snapshot::{Created, Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::{Error, Result};

const EPOCHS: &str = "leader-epoch-checkpoint";

fn open(fs: &MemFs, path: &str) -> Dir {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    Dir::open_on(fs, path).unwrap()
}

fn put(dir: &Dir, name: &str, bytes: &[u8]) {
    dir.open_file(name, Open::CreateNew(0o644)).unwrap().write_all_at(bytes, 0).unwrap();
}

/// As a broker replaces its checkpoints.
fn replace(dir: &Dir, name: &str, bytes: &[u8]) {
    let tmp = format!("{name}.tmp");
    put(dir, &tmp, bytes);
    dir.rename(tmp, dir, name, Rename::Replace).unwrap();
}

fn log_name(base: i64) -> String {
    format!("{base:020}.log")
}

/// A batch of one record as a broker writes it: offset and leader epoch are outside of the CRC.
fn batch(offset: i64, epoch: i32, text: &str) -> Vec<u8> {
    let built = BatchBuilder::new().record(1_700_000_000_000 + offset, None, Some(text.as_bytes())).build().unwrap();
    let mut bytes = built.as_bytes().to_vec();
    bytes[0..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

fn batches(offsets: std::ops::Range<i64>, epoch: i32, text: &str) -> Vec<u8> {
    offsets.flat_map(|offset| batch(offset, epoch, text)).collect()
}

/// A partition with the sealed segments 0, 10 and 20 and the active one 30, which ends at 37.
fn make_partition(data: &Dir, name: &str, text: &str) {
    let dir = data.make_dir(name, 0o755).unwrap();
    for (base, end) in [(0, 10), (10, 20), (20, 30), (30, 37)] {
        put(&dir, &log_name(base), &batches(base..end, 1, text));
        put(&dir, &format!("{base:020}.index"), b"");
        put(&dir, &format!("{base:020}.timeindex"), b"");
    }
    put(&dir, EPOCHS, b"0\n1\n1 0\n");
    put(&dir, "partition.metadata", b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n");
}

/// A data directory that a broker holds, with one partition that nothing happens to and one that it works on.
fn stage(reflink: bool) -> MemFs {
    let fs = MemFs::with(Abilities { reflink, ..Abilities::default() });
    let data = open(&fs, "/").make_dir("data", 0o755).unwrap();
    put(&data, "meta.properties", b"version=1\ncluster.id=abc\nnode.id=1\n");
    put(&data, ".lock", b"");
    put(&data, ".kafka_cleanshutdown", b"{}");
    for checkpoint in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        put(&data, checkpoint, b"0\n2\nidle 0 30\norders 0 10\n");
    }
    make_partition(&data, "idle-0", "idle");
    make_partition(&data, "orders-0", "old");
    fs.set_record_lock("/data/.lock", Some(4711)).unwrap();
    fs.advance(10_000);
    fs
}

fn manager(fs: &MemFs) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, clock: fs.clock(), ..SnapshotConfig::default() };
    SnapshotManager::open_on(Arc::new(fs.clone()), "/data", config).unwrap()
}

/// Offset and value of each record.
type Records = Vec<(i64, String)>;

fn records(log: &Dir) -> Records {
    let reader = LogReader::open_on(log.clone()).unwrap();
    let mut found = Vec::new();
    for batch in reader.read_from(0) {
        for record in batch.unwrap().records().unwrap() {
            found.push((record.offset, String::from_utf8(record.value.unwrap()).unwrap()));
        }
    }
    found
}

fn restored(fs: &MemFs, created: &Created, n: u64) -> Dir {
    let target = format!("/restored-{n}");
    let manager = manager(fs);
    let id = &created.snapshot.id;
    assert_eq!(manager.verify(id, Level::Full).unwrap().damage, []);
    manager.restore_id(id, RestoreOptions::to(&target)).unwrap();
    open(fs, &target)
}

/// Takes a snapshot with `meanwhile` coming before each look of it in turn, and shows what came of it to `judge`. Also
/// with an older snapshot to inherit from.
fn at_every_look(meanwhile: fn(&Dir), mut judge: impl FnMut(&MemFs, Result<Created>, u64)) {
    let stride = std::env::var("COWLOG_LIVE_STRIDE").map_or(11, |stride| stride.parse().unwrap());
    for (reflink, older) in [(true, false), (false, false), (true, true), (false, true)] {
        for nth in (1 + u64::from(reflink)..).step_by(stride) {
            let fs = stage(reflink);
            if older {
                manager(&fs).create().run().unwrap();
                fs.advance(10_000);
            }
            let elsewhere = fs.clone();
            fs.before_look(nth, move || meanwhile(&open(&elsewhere, "/data")));
            let manager = manager(&fs);
            let created = manager.create().run();
            if fs.looks_left() > 0 {
                assert!(nth > 100, "{nth} looks are too few");
                break;
            }
            // What remains afterwards: nothing but snapshots.
            if open(&fs, "/").try_stat("data.snapshots").unwrap().is_some() {
                let left: Vec<_> = open(&fs, "/data.snapshots").list().unwrap().into_iter().map(|e| e.name).collect();
                assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".staging")), "{left:?}");
            }
            judge(&fs, created, nth);
        }
    }
}

/// Takes one of these histories of `orders-0` and nothing else. What the writer does is not one step for other threads: the
/// moments within it count as well.
fn one_of(meanwhile: fn(&Dir), histories: &[Records]) {
    let mut seen = vec![false; histories.len()];
    at_every_look(meanwhile, |fs, created, nth| {
        let dir = restored(fs, &created.unwrap(), nth);
        let found = records(&dir.open_dir("orders-0").unwrap());
        let at = histories.iter().position(|history| *history == found);
        seen[at.unwrap_or_else(|| panic!("before look {nth}: {found:?}"))] = true;
        assert_eq!(records(&dir.open_dir("idle-0").unwrap()).len(), 37);
        for ours in [".lock", ".kafka_cleanshutdown"] {
            assert!(dir.try_stat(ours).unwrap().is_none());
        }
    });
    assert!(seen.first() == Some(&true) && seen.last() == Some(&true), "not every history came to pass: {seen:?}");
}

fn history(parts: &[(std::ops::Range<i64>, &str)]) -> Records {
    parts.iter().flat_map(|(offsets, text)| offsets.clone().map(|offset| (offset, (*text).to_owned()))).collect()
}

fn append(dir: &Dir, base: i64, bytes: &[u8]) {
    let file = dir.open_file(log_name(base), Open::Write).unwrap();
    file.write_all_at(bytes, file.len().unwrap()).unwrap();
}

fn delete(dir: &Dir, base: i64) {
    for ext in ["log", "index", "timeindex"] {
        let name = format!("{base:020}.{ext}");
        dir.rename(&name, dir, format!("{name}.deleted"), Rename::NoReplace).unwrap();
    }
}

fn roll(dir: &Dir, base: i64, bytes: &[u8]) {
    put(dir, &log_name(base), bytes);
    put(dir, &format!("{base:020}.index"), b"");
    put(dir, &format!("{base:020}.timeindex"), b"");
}

#[test]
fn appends_and_rolls_are_no_difference() {
    fn writer(data: &Dir) {
        let orders = data.open_dir("orders-0").unwrap();
        append(&orders, 30, &batches(37..40, 1, "old"));
        roll(&orders, 40, &batches(40..45, 1, "old"));
        append(&orders, 40, &batch(45, 1, "old")[..40]);
    }
    let ends: Vec<Records> = [37, 40, 45].into_iter().map(|end| history(&[(0..end, "old")])).collect();
    one_of(writer, &ends);
}

#[test]
fn a_truncation_of_the_active_segment_never_joins_two_histories() {
    fn writer(data: &Dir) {
        let orders = data.open_dir("orders-0").unwrap();
        let file = orders.open_file(log_name(30), Open::Write).unwrap();
        file.set_len(batches(30..33, 1, "old").len() as u64).unwrap();
        replace(&orders, EPOCHS, b"0\n2\n1 0\n2 33\n");
        append(&orders, 30, &batches(33..60, 2, "new"));
    }
    let (old, new) = (history(&[(0..37, "old")]), history(&[(0..33, "old"), (33..60, "new")]));
    one_of(writer, &[old, history(&[(0..33, "old")]), new]);
}

#[test]
fn a_truncation_into_a_sealed_segment_never_joins_two_histories() {
    fn writer(data: &Dir) {
        let orders = data.open_dir("orders-0").unwrap();
        delete(&orders, 20);
        delete(&orders, 30);
        let file = orders.open_file(log_name(10), Open::Write).unwrap();
        file.set_len(batches(10..15, 1, "old").len() as u64).unwrap();
        replace(&orders, EPOCHS, b"0\n2\n1 0\n2 15\n");
        append(&orders, 10, &batches(15..20, 2, "new"));
        roll(&orders, 20, &batches(20..30, 2, "new"));
        roll(&orders, 30, &batches(30..50, 2, "new"));
    }
    let new = [15, 20, 30, 50].map(|end| history(&[(0..15, "old"), (15..end, "new")]));
    let histories: Vec<Records> = std::iter::once(history(&[(0..37, "old")])).chain(new).collect();
    one_of(writer, &histories);
}

#[test]
fn what_retention_removes_at_the_front_is_no_difference() {
    fn writer(data: &Dir) {
        let orders = data.open_dir("orders-0").unwrap();
        delete(&orders, 0);
        delete(&orders, 10);
    }
    let starts: Vec<Records> = [0, 10, 20].into_iter().map(|start| history(&[(start..37, "old")])).collect();
    one_of(writer, &starts);
}

#[test]
fn a_cleaned_segment_is_taken_as_it_was_or_as_it_is() {
    fn writer(data: &Dir) {
        let orders = data.open_dir("orders-0").unwrap();
        let cleaned: Vec<u8> = [12, 17].into_iter().flat_map(|offset| batch(offset, 1, "old")).collect();
        for (ext, bytes) in [("log", cleaned.as_slice()), ("index", b""), ("timeindex", b"")] {
            put(&orders, &format!("{:020}.{ext}.swap", 10), bytes);
        }
        delete(&orders, 10);
        for ext in ["log", "index", "timeindex"] {
            let name = format!("{:020}.{ext}", 10);
            orders.rename(format!("{name}.swap"), &orders, name, Rename::NoReplace).unwrap();
        }
    }
    let whole = history(&[(0..37, "old")]);
    let cleaned = history(&[(0..10, "old"), (12..13, "old"), (17..18, "old"), (20..37, "old")]);
    // A broker completes the swap when it starts.
    let swapping = history(&[(0..10, "old"), (20..37, "old")]);
    one_of(writer, &[whole, swapping, cleaned]);
}

#[test]
fn a_topic_that_is_deleted_is_taken_whole_or_left_out() {
    fn writer(data: &Dir) {
        data.rename("orders-0", data, "orders-0.0123456789abcdef-delete", Rename::NoReplace).unwrap();
        delete(&data.open_dir("orders-0.0123456789abcdef-delete").unwrap(), 0);
    }
    let mut seen = [false; 2];
    at_every_look(writer, |fs, created, nth| {
        let created = created.unwrap();
        let dir = restored(fs, &created, nth);
        let there = dir.try_stat("orders-0").unwrap().is_some();
        seen[usize::from(there)] = true;
        if there {
            assert_eq!(records(&dir.open_dir("orders-0").unwrap()).len(), 37);
        }
        assert!(created.missing.is_empty());
    });
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_topic_that_is_made_anew_is_one_of_both() {
    fn writer(data: &Dir) {
        data.rename("orders-0", data, "orders-0.0123456789abcdef-delete", Rename::NoReplace).unwrap();
        make_partition(data, "orders-0", "new");
    }
    one_of(writer, &[history(&[(0..37, "old")]), history(&[(0..37, "new")])]);
}

#[test]
fn a_partition_that_is_being_made_is_taken_or_named() {
    fn writer(data: &Dir) {
        let dir = data.make_dir("young-0", 0o755).unwrap();
        put(&dir, &log_name(0), b"");
    }
    at_every_look(writer, |fs, created, nth| {
        let created = created.unwrap();
        let left_out =
            created.left_out.iter().any(|left| left.path == "young-0" && left.why.contains("partition.metadata"));
        let data = open(fs, "/data");
        put(
            &data.open_dir("young-0").unwrap(),
            "partition.metadata",
            b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw\n",
        );
        let again = manager(fs).create().run().unwrap();
        assert!(restored(fs, &again, nth).try_stat("young-0").unwrap().is_some());
        assert!(left_out || !created.snapshot.logs.iter().any(|log| log.topic == "young"), "{created:?}");
    });
}

/// One that changes each time it is looked at.
#[test]
fn a_restless_log_is_named_and_nothing_is_left() {
    fn restless(fs: &MemFs, n: u64) {
        replace(&open(fs, "/data/orders-0"), EPOCHS, format!("0\n1\n1 {n}\n").as_bytes());
        let elsewhere = fs.clone();
        fs.before_look(6, move || restless(&elsewhere, n + 1));
    }
    let fs = stage(true);
    let begin = |fs: &MemFs| {
        let elsewhere = fs.clone();
        fs.before_look(40, move || restless(&elsewhere, 0));
    };
    begin(&fs);
    let failed = manager(&fs).create().run().unwrap_err();
    assert_eq!(failed.kind(), Kind::Concurrency, "{failed}");
    let Error::Concurrency(ConcurrencyError::Busy { path, .. }) = &failed else { panic!("{failed}") };
    assert!(path.ends_with("orders-0"), "{failed}");
    assert!(manager(&fs).list().unwrap().is_empty());

    begin(&fs);
    let created = manager(&fs).create().allow_partial(true).run().unwrap();
    assert_eq!(created.missing.iter().map(|m| m.path.as_str()).collect::<Vec<_>>(), ["orders-0"]);
    let manifest = manager(&fs).manifest(&created.snapshot.id).unwrap().manifest;
    assert_eq!(manifest.missing, created.missing);
    fs.before_look(u64::MAX, || {});
    let dir = restored(&fs, &created, 0);
    assert!(dir.try_stat("orders-0").unwrap().is_none() && dir.try_stat("idle-0").unwrap().is_some());
}

/// A leader election that was not clean may truncate what was committed, and with it a segment that a snapshot has a link of.
#[test]
fn what_is_rewritten_below_the_marks_is_never_taken_for_whole() {
    fn writer(data: &Dir) {
        let idle = data.open_dir("idle-0").unwrap();
        let file = idle.open_file(log_name(10), Open::Write).unwrap();
        file.set_len(batches(10..15, 1, "idle").len() as u64).unwrap();
        delete(&idle, 20);
        delete(&idle, 30);
        replace(&idle, EPOCHS, b"0\n2\n1 0\n2 15\n");
        append(&idle, 10, &batches(15..18, 2, "other"));
    }
    let (old, new) = (history(&[(0..37, "idle")]), history(&[(0..15, "idle"), (15..18, "other")]));
    at_every_look(writer, |fs, created, nth| {
        let created = match created {
            Ok(created) => created,
            Err(e) => return assert_eq!(e.kind(), Kind::Concurrency, "{e}"),
        };
        let manager = manager(fs);
        if manager.verify(&created.snapshot.id, Level::Full).unwrap().ok {
            let found = records(&restored(fs, &created, nth).open_dir("idle-0").unwrap());
            assert!(found == old || found == new, "before look {nth}: {found:?}");
        }
    });
}

/// A power cut at every change while a snapshot of two directories is taken: both parts are there, or neither, or the one that
/// is says what it lacks.
#[test]
fn a_part_without_the_others_says_so() {
    let mut seen = [false; 3];
    for changes in 0.. {
        let fs = stage(true);
        let more = open(&fs, "/").make_dir("more", 0o755).unwrap();
        put(&more, "meta.properties", b"version=1\ncluster.id=abc\nnode.id=1\n");
        make_partition(&more, "other-0", "other");
        let managers = ["/data", "/more"].map(|source| {
            let config =
                SnapshotConfig { min_interval: Duration::ZERO, clock: fs.clock(), ..SnapshotConfig::default() };
            SnapshotManager::open_on(Arc::new(fs.clone()), source, config).unwrap()
        });
        fs.cut_power_after(changes);
        let taken = managers[0].create().with(&managers[1]).run_all();
        fs.power_on();
        let parts = managers.each_ref().map(|manager| manager.list().unwrap());
        let there = parts.iter().flatten().count();
        seen[there] = true;
        if there == 1 {
            let incomplete = parts.iter().flatten().all(|part| part.incomplete.is_some());
            assert!(incomplete && taken.is_err(), "after {changes} changes: {parts:?}");
        } else {
            assert!(parts.iter().flatten().all(|part| part.incomplete.is_none()), "{parts:?}");
        }
        if let Ok(taken) = taken {
            assert_eq!((there, taken.len()), (2, 2));
            break;
        }
    }
    assert_eq!(seen, [true; 3]);
}

/// Where the broker is not sure yet of what it wrote, a hard link would reach it.
#[test]
fn only_what_is_below_both_marks_is_linked_from_a_running_broker() {
    let fs = stage(false);
    let created = manager(&fs).create().run().unwrap();
    let manifest = manager(&fs).manifest(&created.snapshot.id).unwrap().manifest;
    let exposed: Vec<&str> = manifest.files.iter().filter(|f| f.exposed).map(|f| f.path.as_str()).collect();
    let expected: Vec<String> = [("idle-0", 0), ("idle-0", 10), ("idle-0", 20), ("orders-0", 0)]
        .iter()
        .map(|(dir, base)| format!("{dir}/{}", log_name(*base)))
        .collect();
    assert_eq!(exposed, expected);
}
