//! Two processes that meet at the worst moment, in memory, where that moment can be chosen.

use std::sync::Arc;
use std::time::Duration;

use cowlog::error::{Kind, ValidationError};
use cowlog::fs::mem::{MemFs, Op};
use cowlog::fs::{Dir, Fs, Handle, LockMode, Open};
use cowlog::log::{BatchBuilder, Log, LogConfig, LogReader};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::{Error, Result};

fn arc(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn manager(fs: &MemFs) -> SnapshotManager {
    waiting(fs, Duration::ZERO)
}

fn waiting(fs: &MemFs, lock_timeout: Duration) -> SnapshotManager {
    let config =
        SnapshotConfig { min_interval: Duration::ZERO, lock_timeout, clock: fs.clock(), ..SnapshotConfig::default() };
    SnapshotManager::open_on(arc(fs), "/log", config).unwrap()
}

/// A log with one snapshot.
fn stage() -> (MemFs, String) {
    let fs = MemFs::new();
    let dir = Dir::open_on(arc(&fs), "/").unwrap().make_dir("log", 0o755).unwrap();
    let mut log = Log::open_on(dir, LogConfig { segment_bytes: 400, ..LogConfig::default() }).unwrap();
    for offset in 0..20 {
        log.append(BatchBuilder::new().record(offset, None, Some(b"a record")).build().unwrap()).unwrap();
    }
    log.close().unwrap();
    let id = manager(&fs).create().run().unwrap().snapshot.id;
    (fs, id)
}

fn store(fs: &MemFs) -> Dir {
    Dir::open_on(arc(fs), "/log/.snapshots").unwrap()
}

/// How often an operation takes a lock.
fn locks(operation: impl Fn(&MemFs, &str)) -> u64 {
    let (fs, id) = stage();
    let before = fs.count(Op::Lock);
    operation(&fs, &id);
    fs.count(Op::Lock) - before
}

#[test]
fn a_snapshot_is_never_published_over_what_has_its_name() {
    let all = locks(|fs, _| drop(manager(fs).create().run().unwrap()));
    let mut met = 0;
    for nth in 1..=all {
        let (fs, first) = stage();
        let elsewhere = fs.clone();
        fs.before_lock(nth, move || {
            let store = store(&elsewhere);
            for entry in store.list().unwrap() {
                if let Some(id) = entry.name.to_str().unwrap().strip_prefix(".staging-") {
                    store.make_dir(format!("snapshot-{id}"), 0o755).unwrap();
                }
            }
        });
        let outcome = manager(&fs).create().run();
        let strangers: Vec<_> = store(&fs)
            .list()
            .unwrap()
            .into_iter()
            .map(|e| e.name.into_string().unwrap())
            .filter(|name| name.starts_with("snapshot-") && *name != first)
            .collect();
        match outcome {
            // The race came before the staging or after the end.
            Ok(made) => assert_eq!(strangers, [made.snapshot.id]),
            Err(e) => {
                met += 1;
                assert_eq!(e.kind(), Kind::Filesystem, "{e}");
                assert_eq!(strangers.len(), 1);
                let left = store(&fs).open_dir(&strangers[0]).unwrap().list().unwrap();
                assert!(left.is_empty(), "it was published over: {left:?}");
            }
        }
        assert!(manager(&fs).verify(&first, Level::Deep).unwrap().ok);
    }
    assert!(met > 0, "the moment was never met");
}

/// Appends so much that several segments are rolled.
fn roll_on(log: &mut Log) {
    for _ in 0..20 {
        log.append(BatchBuilder::new().record(0, None, Some(b"a record")).build().unwrap()).unwrap();
    }
}

/// Every record from the beginning to `at_least` or beyond, without a gap.
fn no_gap(reader: &LogReader, at_least: i64) {
    let mut next = 0;
    for batch in reader.read_from(0) {
        let batch = batch.unwrap();
        assert_eq!(batch.header().base_offset, next, "records are missing");
        next = batch.header().next_offset();
    }
    assert!(next >= at_least && next == reader.log_end(), "{next} of {at_least}, {}", reader.log_end());
}

#[test]
fn segments_that_are_made_while_the_log_is_listed_are_all_there_or_none() {
    let writer = |fs: &MemFs| {
        Log::open_on(Dir::open_on(arc(fs), "/log").unwrap(), LogConfig { segment_bytes: 400, ..LogConfig::default() })
            .unwrap()
    };
    let lists = |operation: &dyn Fn(&MemFs)| {
        let (fs, _) = stage();
        let before = fs.count(Op::List);
        operation(&fs);
        fs.count(Op::List) - before
    };
    let all = lists(&|fs| drop(manager(fs).create().run().unwrap()));
    let mut met = 0;
    for nth in 1..=all {
        let (fs, first) = stage();
        let mut log = writer(&fs);
        let end = log.log_end_offset();
        fs.during_list(nth, move || roll_on(&mut log));
        let made = manager(&fs).create().run().unwrap_or_else(|e| panic!("at listing {nth} of {all}: {e}")).snapshot;
        met += u32::from(made.log_end_offset > Some(end));
        assert!(manager(&fs).verify(&made.id, Level::Deep).unwrap().ok);
        assert!(manager(&fs).verify(&first, Level::Deep).unwrap().ok);
        no_gap(&LogReader::open_on(Dir::open_on(arc(&fs), &made.path).unwrap()).unwrap(), end);
    }
    assert!(met > 0, "the moment was never met");

    let (fs, _) = stage();
    let mut log = writer(&fs);
    let end = log.log_end_offset();
    fs.during_list(1, move || roll_on(&mut log));
    no_gap(&LogReader::open_on(Dir::open_on(arc(&fs), "/log").unwrap()).unwrap(), end);
}

/// What reads a snapshot either has it whole or is told that there is none.
fn deleted_meanwhile<T>(reads: impl Fn(&MemFs, &str) -> Result<T>) {
    let all = locks(|fs, id| drop(reads(fs, id).unwrap()));
    let mut gone = 0;
    for nth in 1..=all {
        let (fs, id) = stage();
        let (elsewhere, going) = (fs.clone(), id.clone());
        // Where a lock is in the way of the other one, it does without.
        fs.before_lock(nth, move || drop(manager(&elsewhere).delete(&going)));
        match reads(&fs, &id) {
            Ok(_) => {}
            Err(Error::Validation(ValidationError::NoSuchSnapshot { .. })) => gone += 1,
            Err(e) => panic!("before lock {nth} of {all}: {e:?}"),
        }
    }
    assert!(gone > 0, "the moment was never met");
}

#[test]
fn a_snapshot_deleted_while_it_is_opened_is_gone_not_damaged() {
    let patient = |fs: &MemFs| waiting(fs, Duration::from_secs(5));
    deleted_meanwhile(|fs, id| {
        let report = patient(fs).verify(id, Level::Full)?;
        assert!(report.ok, "{:?}", report.damage);
        Ok(())
    });
    deleted_meanwhile(|fs, id| patient(fs).restore_id(id, RestoreOptions::to("/back")));
    deleted_meanwhile(|fs, id| patient(fs).verified(id));
}

#[test]
fn of_two_restores_to_one_place_one_wins_and_is_whole() {
    let all = locks(|fs, id| drop(manager(fs).restore_id(id, RestoreOptions::to("/back")).unwrap()));
    let mut met = 0;
    for nth in 1..=all {
        let (fs, id) = stage();
        let (elsewhere, same) = (fs.clone(), id.clone());
        let other = Arc::new(std::sync::Mutex::new(None));
        let outcome = other.clone();
        fs.before_lock(nth, move || {
            let restored = manager(&elsewhere).restore_id(&same, RestoreOptions::to("/back")).map(drop);
            *outcome.lock().unwrap() = Some(restored);
        });
        let mine = manager(&fs).restore_id(&id, RestoreOptions::to("/back")).map(drop);
        let theirs = other.lock().unwrap().take().expect("the moment was met");
        match (&mine, &theirs) {
            (Ok(()), Err(lost)) | (Err(lost), Ok(())) => {
                met += 1;
                let expected =
                    matches!(lost, Error::Validation(ValidationError::TargetExists { .. }) | Error::Concurrency(_));
                assert!(expected, "before lock {nth} of {all}: {lost:?}");
            }
            both => panic!("before lock {nth} of {all}: {both:?}"),
        }
        let names = |path: &str| {
            let mut names: Vec<_> =
                Dir::open_on(arc(&fs), path).unwrap().list().unwrap().into_iter().map(|e| e.name).collect();
            names.retain(|n| !["manifest.json", "manifest.b3", "state.json"].iter().any(|m| n == m));
            names.sort();
            names
        };
        assert_eq!(names("/back"), names(&format!("/log/.snapshots/{id}")));
        assert_eq!(names("/"), ["back", "log"], "something was left beside the target");
    }
    assert!(met > 0);
}

/// Restores while something happens in the middle of it.
fn restore_meanwhile(fs: &MemFs, id: &str, meanwhile: impl Fn() + Send + Sync + 'static) -> Result<()> {
    let observer = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "restore", .. }) {
            meanwhile();
        }
    });
    let config = SnapshotConfig { observer, lock_timeout: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_on(arc(fs), "/log", config)?.restore_id(id, RestoreOptions::to("/back")).map(drop)
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let (fs, id) = stage();
    let elsewhere = fs.clone();
    let lost = restore_meanwhile(&fs, &id, move || {
        Dir::open_on(arc(&elsewhere), "/").unwrap().make_dir("back", 0o755).unwrap();
    });
    assert!(matches!(lost, Err(Error::Validation(ValidationError::TargetExists { .. }))), "{lost:?}");
    assert!(Dir::open_on(arc(&fs), "/back").unwrap().list().unwrap().is_empty());
}

#[test]
fn a_restore_in_progress_is_not_taken_for_a_dead_one() {
    let (fs, id) = stage();
    let (elsewhere, same) = (fs.clone(), id.clone());
    restore_meanwhile(&fs, &id, move || {
        let busy = manager(&elsewhere).restore_id(&same, RestoreOptions::to("/back")).unwrap_err();
        assert_eq!(busy.kind(), Kind::Concurrency, "{busy}");
    })
    .unwrap();
    assert!(!Dir::open_on(arc(&fs), "/back").unwrap().list().unwrap().is_empty());
}

/// Somebody replaces the store's lock file, and a third party locks the new one: whoever waits for the old one, or gets
/// it, has nothing.
#[test]
fn a_lock_whose_name_means_another_file_is_none() {
    type Held = Arc<std::sync::Mutex<Option<Handle>>>;
    let all = locks(|fs, _| drop(manager(fs).create().run().unwrap()));
    let mut refused = 0;
    for nth in 1..=all {
        let (fs, first) = stage();
        let held = Held::default();
        let (elsewhere, keep) = (fs.clone(), held.clone());
        fs.before_lock(nth, move || {
            let store = elsewhere.open_dir(None, "/log/.snapshots".as_ref()).unwrap();
            elsewhere.unlink(&store, ".lock".as_ref()).unwrap();
            let lock = elsewhere.open(&store, ".lock".as_ref(), Open::CreateNew(0o644)).unwrap();
            assert!(elsewhere.try_lock(&lock, LockMode::Exclusive).unwrap());
            *keep.lock().unwrap() = Some(lock);
        });
        let outcome = manager(&fs).create().run();
        assert!(held.lock().unwrap().is_some(), "the moment was never met");
        // Behind the last time that it takes the store's lock it needs it no more.
        if let Err(e) = outcome {
            assert_eq!(e.kind(), Kind::Concurrency, "before lock {nth} of {all}: {e}");
            let ids: Vec<_> = manager(&fs).list().unwrap().into_iter().map(|s| s.id).collect();
            assert_eq!(ids, [first], "before lock {nth} of {all}: it was published without the lock");
            refused += 1;
        }
    }
    // The last lock is the store's, for publication.
    assert_eq!(refused, all);
}
