//! Whatever is done to a log and its snapshots, in whatever order: each snapshot restores to exactly the records that
//! it was cut from. `PROPTEST_CASES` says how many sequences are tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cowlog::fs::mem::{Abilities, MemFs};
use cowlog::fs::{Dir, Fs, OsFs};
use cowlog::log::{Log, LogConfig, LogReader};
use cowlog::snapshot::{
    Bound, ForkOptions, HealOptions, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager,
};
use cowlog::{BatchBuilder, Result};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Append {
        records: u8,
        size: u8,
    },
    Flush,
    Roll,
    /// To a place in the log, in 256ths.
    Truncate(u8),
    SetStart(u8),
    Retain(u16),
    Reopen,
    /// At a cut that the writer names, or one that is found.
    Create {
        named: bool,
    },
    Delete(u8),
    Prune(u8),
    Restore {
        which: u8,
        until: Option<u8>,
        since: Option<u8>,
    },
    /// So many, of which one is written to.
    Fork {
        which: u8,
        count: u8,
    },
    /// After a file of one was removed, or replaced by one with a bit flipped.
    Heal {
        which: u8,
        file: u8,
        flip: bool,
    },
    Verify(u8),
    Repair,
    /// In milliseconds.
    Clock(i32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (1..6u8, any::<u8>()).prop_map(|(records, size)| Op::Append { records, size }),
        1 => Just(Op::Flush),
        2 => Just(Op::Roll),
        2 => any::<u8>().prop_map(Op::Truncate),
        1 => any::<u8>().prop_map(Op::SetStart),
        1 => (0..6000u16).prop_map(Op::Retain),
        1 => Just(Op::Reopen),
        5 => any::<bool>().prop_map(|named| Op::Create { named }),
        1 => any::<u8>().prop_map(Op::Delete),
        1 => (1..4u8).prop_map(Op::Prune),
        3 => (any::<u8>(), prop::option::of(any::<u8>()), prop::option::of(any::<u8>()))
            .prop_map(|(which, until, since)| Op::Restore { which, until, since }),
        1 => (any::<u8>(), 1..4u8).prop_map(|(which, count)| Op::Fork { which, count }),
        1 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(which, file, flip)| Op::Heal { which, file, flip }),
        1 => any::<u8>().prop_map(Op::Verify),
        1 => Just(Op::Repair),
        1 => (-5_000_000..5_000_000i32).prop_map(Op::Clock),
    ]
}

/// A log as a list: the first and the last record of each batch, and what they say.
#[derive(Debug, Clone, Default, PartialEq)]
struct Records {
    start: i64,
    end: i64,
    batches: Vec<(i64, i64, String)>,
}

impl Records {
    fn cut(&self, to: i64) -> Records {
        let mut cut = self.clone();
        cut.batches.retain(|(_, last, _)| *last < to);
        let end = cut.batches.last().map(|(_, last, _)| last + 1);
        cut.end = end.unwrap_or(self.batches.first().map_or(self.end, |(first, ..)| *first)).min(self.end);
        // Where the first batch reaches beyond the log start offset and goes.
        cut.start = cut.start.min(cut.end);
        cut
    }

    fn forget(&mut self, start: i64) {
        self.start = start;
        self.batches.retain(|(_, last, _)| *last >= start);
    }

    fn read(dir: Dir) -> Result<Records> {
        let reader = LogReader::open_on(dir)?;
        let mut batches = Vec::new();
        for batch in reader.read_from(reader.log_start()) {
            let batch = batch?;
            let says = batch
                .records()
                .unwrap()
                .iter()
                .map(|r| r.value.clone().unwrap_or_default())
                .collect::<Vec<_>>()
                .concat();
            let says = String::from_utf8_lossy(&says).into_owned();
            batches.push((batch.header().base_offset, batch.header().last_offset(), says));
        }
        Ok(Records { start: reader.log_start(), end: reader.log_end(), batches })
    }
}

struct World {
    fs: Arc<dyn Fs>,
    root: Dir,
    log: Option<Log>,
    now: Arc<std::sync::atomic::AtomicI64>,
    live: Records,
    snapshots: BTreeMap<String, Records>,
    serial: u64,
    restored: u64,
}

fn log_config(retention: Option<u64>) -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        index_interval: 300,
        retention_bytes: retention,
        lock_timeout: Duration::from_millis(200),
        ..LogConfig::default()
    }
}

impl World {
    fn new(fs: Arc<dyn Fs>, root: Dir) -> World {
        let dir = root.make_dir("log", 0o755).unwrap();
        let log = Some(Log::open_on(dir, log_config(None)).unwrap());
        let now = Arc::new(std::sync::atomic::AtomicI64::new(1_700_000_000_000));
        let (live, snapshots) = Default::default();
        World { fs, root, log, now, live, snapshots, serial: 0, restored: 0 }
    }

    fn manager(&self) -> SnapshotManager {
        let now = self.now.clone();
        let config = SnapshotConfig {
            min_interval: Duration::ZERO,
            lock_timeout: Duration::from_millis(200),
            clock: cowlog::fs::Clock::new(move || now.load(std::sync::atomic::Ordering::SeqCst)),
            ..SnapshotConfig::default()
        };
        SnapshotManager::open_on(self.fs.clone(), self.root.path().join("log"), config).unwrap()
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    /// A place in the log, the end included.
    fn place(&self, at: u8) -> i64 {
        self.live.start + (self.live.end - self.live.start) * i64::from(at) / 255
    }

    fn which(&self, at: u8) -> Option<String> {
        let all: Vec<&String> = self.snapshots.keys().collect();
        all.get(usize::from(at) % all.len().max(1)).map(|id| (*id).clone())
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { records, size } => {
                let mut batch = BatchBuilder::new();
                let mut says = String::new();
                for _ in 0..*records {
                    self.serial += 1;
                    let value = format!("{}{}", self.serial, "-".repeat(usize::from(*size)));
                    batch.record(1_700_000_000_000 + self.serial as i64, None, Some(value.as_bytes()));
                    says.push_str(&value);
                }
                let first = self.log().append(batch.build().unwrap()).unwrap();
                assert_eq!(first, self.live.end);
                self.live.end += i64::from(*records);
                self.live.batches.push((first, self.live.end - 1, says));
            }
            Op::Flush => self.log().flush().unwrap(),
            Op::Roll => self.log().roll().unwrap(),
            Op::Truncate(at) => {
                let to = self.place(*at);
                self.live = self.live.cut(to);
                self.log().truncate_to(to).unwrap();
                self.live.end = self.log().log_end_offset();
            }
            Op::SetStart(at) => {
                // No further than what is committed.
                self.log().flush().unwrap();
                let to = self.place(*at);
                self.log().set_log_start_offset(to).unwrap();
                self.live.forget(to);
            }
            Op::Retain(bytes) => {
                self.reopen(Some(u64::from(*bytes)));
                self.log().flush().unwrap();
                self.log().apply_retention(0).unwrap();
                let start = self.log().log_start_offset();
                assert!(start >= self.live.start);
                self.live.forget(start);
            }
            Op::Reopen => self.reopen(None),
            Op::Create { named } => {
                let manager = self.manager();
                let mut create = manager.create();
                if *named {
                    create = create.at(self.log().cut().unwrap());
                }
                let id = create.run().unwrap().snapshot.id;
                assert!(self.snapshots.insert(id, self.live.clone()).is_none());
            }
            Op::Delete(at) => {
                if let Some(id) = self.which(*at) {
                    self.manager().delete(&id).unwrap();
                    self.snapshots.remove(&id);
                }
            }
            Op::Prune(keep) => {
                if self.snapshots.is_empty() {
                    return;
                }
                let policy =
                    Policy { max_snapshots: usize::from(*keep), retention_time: Duration::MAX, ..Policy::default() };
                let manager = self.manager();
                let gone = manager.prune(&manager.plan_prune(&policy).unwrap()).unwrap();
                for deleted in gone {
                    self.snapshots.remove(&deleted.id).unwrap();
                }
                // One more than asked for, where another is the newest that was verified.
                assert!(self.snapshots.len() <= usize::from(*keep) + 1);
            }
            Op::Restore { which, until, since } => {
                if let Some(id) = self.which(*which) {
                    let expected = self.snapshots[&id].clone();
                    let within = |end: i64, at: u8| expected.start + (end - expected.start) * i64::from(at) / 255;
                    let until = until.map(|at| within(expected.end, at));
                    let since = since.map(|at| within(until.unwrap_or(expected.end), at));
                    self.check_restore(&id, until, since);
                }
            }
            Op::Fork { which, count } => {
                if let Some(id) = self.which(*which) {
                    self.check_forks(&id, *count);
                }
            }
            Op::Heal { which, file, flip } => {
                if let Some(id) = self.which(*which) {
                    self.check_heal(&id, *file, *flip);
                }
            }
            Op::Verify(at) => {
                if let Some(id) = self.which(*at) {
                    let report = self.manager().verify(&id, Level::Deep).unwrap();
                    assert!(report.ok && report.extra.is_empty(), "{report:#?}");
                }
            }
            Op::Repair => {
                if !self.snapshots.is_empty() {
                    self.manager().repair(None).unwrap();
                }
            }
            Op::Clock(by) => {
                self.now.fetch_add(i64::from(*by), std::sync::atomic::Ordering::SeqCst);
            }
        }
    }

    fn reopen(&mut self, retention: Option<u64>) {
        self.log.take().unwrap().close().unwrap();
        let dir = self.root.open_dir("log").unwrap();
        self.log = Some(Log::open_on(dir, log_config(retention)).unwrap());
    }

    fn check_restore(&mut self, id: &str, until: Option<i64>, since: Option<i64>) {
        self.restored += 1;
        let name = format!("restored-{}", self.restored);
        let mut options = RestoreOptions::to(self.root.path().join(&name));
        let mut expected = self.snapshots[id].clone();
        if let Some(until) = until {
            options = options.until_offset(until);
            let start = expected.start;
            expected = expected.cut(until);
            // What lay below its start stays deleted.
            (expected.start, expected.end) = (start, expected.end.max(start));
        }
        if let Some(since) = since {
            options = options.since(Bound::Offset(since));
            let all = expected.batches.len();
            expected.batches.retain(|(_, last, _)| *last >= since);
            if expected.batches.len() < all {
                expected.start = expected.batches.first().map_or(expected.end, |(first, ..)| *first);
            }
        }
        let restored = self.manager().restore_id(id, options).unwrap();
        let found = Records::read(self.root.open_dir(&name).unwrap()).unwrap();
        assert_eq!(found, expected, "{id} until {until:?} since {since:?}");
        assert_eq!(restored.end_offset, Some(expected.end));
        // It is a log like any other.
        let mut log = Log::open_on(self.root.open_dir(&name).unwrap(), log_config(None)).unwrap();
        assert_eq!(log.recovery().cut_bytes, 0);
        let more = BatchBuilder::new().record(1, None, Some(b"more")).build().unwrap();
        assert_eq!(log.append(more).unwrap(), expected.end);
        drop(log);
        self.root.remove_tree(&name).unwrap();
    }

    fn check_forks(&mut self, id: &str, count: u8) {
        let options = ForkOptions::to(self.root.path().join("fork")).count(count.into());
        let forks = self.manager().fork(id, &options).unwrap();
        assert_eq!(forks.len(), usize::from(count));
        let expected = &self.snapshots[id];
        let first = self.root.open_dir("fork-1").unwrap();
        let mut log = Log::open_on(first, log_config(None)).unwrap();
        let more = BatchBuilder::new().record(1, None, Some(b"more")).build().unwrap();
        assert_eq!(log.append(more).unwrap(), expected.end);
        log.close().unwrap();
        // What is written to one reaches neither the others nor the snapshot.
        for n in 2..=count {
            let other = Records::read(self.root.open_dir(format!("fork-{n}")).unwrap()).unwrap();
            assert_eq!(other, *expected, "{id}, fork {n}");
        }
        drop(forks);
        assert!(self.root.try_stat("fork-1").unwrap().is_none());
        assert!(self.manager().verify(id, Level::Full).unwrap().ok);
    }

    fn check_heal(&mut self, id: &str, at: u8, flip: bool) {
        let store = self.root.open_dir("log").unwrap().open_dir(".snapshots").unwrap();
        let snapshot = store.open_dir(id).unwrap();
        let files = self.manager().manifest(id).unwrap().manifest.files;
        let file = &files[usize::from(at) % files.len()];
        let mut bytes = snapshot.read(&file.path, 1 << 20).unwrap();
        let spare = self.root.make_dir("spare", 0o755).unwrap();
        write(&spare, &file.path, &bytes);
        snapshot.unlink(&file.path).unwrap();
        if let (true, Some(byte)) = (flip, bytes.get_mut(usize::from(at) * 7)) {
            *byte ^= 1;
            write(&snapshot, &file.path, &bytes);
        }
        let healed = self.manager().heal(&HealOptions::one(id).from(self.root.path().join("spare"))).unwrap();
        let mended: Vec<_> = healed.mended.iter().map(|m| (m.id.as_str(), m.path.as_str())).collect();
        assert!(mended == [(id, file.path.as_str())] && healed.not_mended.is_empty(), "{healed:?}");
        let report = self.manager().verify(id, Level::Deep).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{report:#?}");
        self.root.remove_tree("spare").unwrap();
    }

    fn check(&mut self) {
        assert_eq!(self.log().log_end_offset(), self.live.end);
        assert_eq!(self.log().log_start_offset(), self.live.start);
        let listed: Vec<String> = self.manager().list().unwrap().into_iter().map(|s| s.id).collect();
        assert_eq!(listed, self.snapshots.keys().cloned().collect::<Vec<_>>());
    }
}

fn write(dir: &Dir, name: &str, bytes: &[u8]) {
    dir.open_file(name, cowlog::fs::Open::CreateNew(0o644)).unwrap().write_all_at(bytes, 0).unwrap();
}

fn run(fs: Arc<dyn Fs>, root: Dir, ops: &[Op]) {
    let mut world = World::new(fs, root);
    for op in ops {
        world.apply(op);
        world.check();
    }
    for id in world.snapshots.keys().cloned().collect::<Vec<_>>() {
        world.check_restore(&id, None, None);
    }
    world.log.take().unwrap().close().unwrap();
    let live = Records::read(world.root.open_dir("log").unwrap()).unwrap();
    assert_eq!(live, world.live);
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn snapshots_restore_to_what_they_were_cut_from(
        ops in prop::collection::vec(op(), 1..60),
        reflink in any::<bool>(),
        max_links in prop_oneof![Just(65_000u64), Just(3)],
    ) {
        let fs: Arc<dyn Fs> = Arc::new(MemFs::with(Abilities { reflink, max_links, ..Abilities::default() }));
        let root = Dir::open_on(fs.clone(), "/").unwrap();
        run(fs, root, &ops);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn so_they_do_on_a_disk(ops in prop::collection::vec(op(), 1..40)) {
        let temp = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let root = Dir::open_on(fs.clone(), temp.path()).unwrap();
        run(fs, root, &ops);
    }
}
