//! Cuts the power after every change of an exchange of several partitions of a broker, of its undoing, of a discard, and of
//! the completion of any of them; and lets a writer come at every moment of a replacement. In memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowlog::error::{Error, Result};
use cowlog::fs::mem::{Abilities, MemFs, Op};
use cowlog::fs::{Dir, Fs, Handle, LockMode, Open, Rename};
use cowlog::kafka::checkpoints::OffsetCheckpoint;
use cowlog::kafka::datadir;
use cowlog::log::{BatchBuilder, Log, LogConfig, LogReader};
use cowlog::snapshot::{RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::store::{Scope, UndoState};

const FILES: [&str; 3] =
    ["log-start-offset-checkpoint", "recovery-point-offset-checkpoint", "replication-offset-checkpoint"];
const PARTS: [&str; 3] = ["a-0", "a-1", "b-0"];
const EIO: i32 = 5;

fn arc(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn open(fs: &MemFs, path: &str) -> Dir {
    Dir::open_on(arc(fs), path).unwrap()
}

fn put(dir: &Dir, name: &str, bytes: &[u8]) {
    let file = dir.open_file(name, Open::CreateNew(0o644)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn batches(offsets: std::ops::Range<i64>) -> Vec<u8> {
    let one = |offset: i64| {
        let built = BatchBuilder::new().record(1_700_000_000_000 + offset, None, Some(b"text")).build().unwrap();
        let mut bytes = built.as_bytes().to_vec();
        bytes[0..8].copy_from_slice(&offset.to_be_bytes());
        bytes
    };
    offsets.flat_map(one).collect()
}

/// A broker's partition of one segment.
fn make_partition(data: &Dir, name: &str, offsets: std::ops::Range<i64>) {
    let dir = data.make_dir(name, 0o755).unwrap();
    let base = offsets.start;
    put(&dir, &format!("{base:020}.log"), &batches(offsets));
    put(&dir, &format!("{base:020}.index"), b"");
    put(&dir, &format!("{base:020}.timeindex"), b"");
    put(&dir, "leader-epoch-checkpoint", b"0\n1\n0 0\n");
    put(&dir, "partition.metadata", b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n");
}

fn checkpoints(data: &Dir, lines: [[i64; 3]; 3]) {
    for (file, offsets) in FILES.iter().zip(lines) {
        let [a0, a1, b0] = offsets;
        let text = format!("0\n3\na 0 {a0}\na 1 {a1}\nb 0 {b0}\n");
        put(data, &format!("{file}.new"), text.as_bytes());
        data.rename(format!("{file}.new"), data, file, Rename::Replace).unwrap();
    }
}

fn manager(fs: &MemFs) -> Result<SnapshotManager> {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::ZERO,
        clock: fs.clock(),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_on(arc(fs), "/data", config)
}

fn sync_all(fs: &MemFs) {
    let root = fs.open_dir(None, "/".as_ref()).unwrap();
    fs.sync(&root, cowlog::fs::Sync::Filesystem).unwrap();
}

/// A data directory with a snapshot. Since then the logs went on, and start beyond the ends that they had.
fn stage() -> MemFs {
    let fs = MemFs::with(Abilities::default());
    let data = open(&fs, "/").make_dir("data", 0o755).unwrap();
    put(&data, "meta.properties", b"version=1\ncluster.id=abc\nnode.id=1\n");
    put(&data, ".lock", b"");
    for part in PARTS {
        make_partition(&data, part, 0..20);
    }
    checkpoints(&data, [[0, 3, 0], [20; 3], [20; 3]]);
    fs.advance(10_000);
    manager(&fs).unwrap().create().run().unwrap();
    fs.advance(10_000);
    for part in PARTS {
        data.remove_tree(part).unwrap();
        make_partition(&data, part, 30..45);
    }
    checkpoints(&data, [[33, 35, 30], [45; 3], [45; 3]]);
    sync_all(&fs);
    fs
}

/// The partitions and their lines.
fn view(fs: &MemFs) -> BTreeMap<String, String> {
    let data = open(fs, "/data");
    let mut view = BTreeMap::new();
    for part in PARTS {
        view.insert(part.to_owned(), ends(&data, part));
    }
    for file in FILES {
        let read = OffsetCheckpoint::parse(&data.read(file, 1 << 20).unwrap()).unwrap();
        view.insert(file.to_owned(), format!("{:?}", [("a", 0), ("a", 1), ("b", 0)].map(|(t, p)| read.get(t, p))));
    }
    view
}

fn ends(data: &Dir, part: &str) -> String {
    let log = LogReader::open_on(data.open_dir(part).unwrap()).unwrap();
    let count = log.read_from(0).map(|batch| batch.unwrap().as_bytes().len()).sum::<usize>();
    format!("{}..{}: {count} bytes", log.log_start(), log.log_end())
}

/// A broker that starts right now loses nothing: no log starts, or is said to be flushed, beyond its end.
fn check_lines(fs: &MemFs, case: &str) {
    let data = open(fs, "/data");
    for file in &FILES[..2] {
        let read = OffsetCheckpoint::parse(&data.read(file, 1 << 20).unwrap()).unwrap();
        for (part, topic, number) in [("a-0", "a", 0), ("a-1", "a", 1), ("b-0", "b", 0)] {
            let end = LogReader::open_on(data.open_dir(part).unwrap()).unwrap().log_end();
            let line = read.get(topic, number).unwrap_or(0);
            assert!(line <= end, "{case}: {file} says {line} of {part}, which ends at {end}");
        }
    }
}

fn topic() -> Scope {
    Scope::Topic("a".into())
}

/// What is done, and the states of the entries before and after.
struct Case {
    name: &'static str,
    run: fn(&MemFs) -> Result<()>,
    states: [&'static [UndoState]; 2],
}

const CASES: [Case; 3] = [
    Case {
        name: "replace",
        run: |fs| manager(fs)?.restore_part("latest", &topic(), RestoreOptions::replace()).map(drop),
        states: [&[], &[UndoState::Replaced]],
    },
    Case {
        name: "undo",
        run: |fs| manager(fs)?.undo().map(drop),
        states: [&[UndoState::Replaced], &[UndoState::Undone]],
    },
    Case {
        name: "discard",
        run: |fs| {
            let manager = manager(fs)?;
            let entries = manager.undo_list()?;
            entries.iter().try_for_each(|entry| manager.undo_discard(&entry.id).map(drop))
        },
        states: [&[UndoState::Replaced], &[]],
    },
];

/// Whatever happened: it is as before or as after, all of it, and stays so.
fn check(fs: &MemFs, case: &str, of: &Case, views: &[BTreeMap<String, String>; 2], done: bool) {
    check_lines(fs, case);
    let manager = manager(fs).unwrap();
    let now = view(fs);
    let states: Vec<UndoState> = manager.undo_list().unwrap().iter().map(|entry| entry.state).collect();
    let which = [0, 1].map(|i| now == views[i] && states == of.states[i]);
    assert!(which[1] || which[0] && !done, "{case}: {states:?}, {now:?}");
    for entry in manager.undo_list().unwrap() {
        // What is not in place is kept, whole.
        let out = open(fs, entry.path.join("dirs").to_str().unwrap());
        for part in ["a-0", "a-1"] {
            let other = if ends(&out, part).starts_with('0') { "30..45" } else { "0..20" };
            assert!(now[part].starts_with(other), "{case}: {part} is {} and {}", now[part], ends(&out, part));
        }
    }
    let names = |path: &str| -> Vec<String> {
        let names = open(fs, path).list().unwrap().into_iter().map(|e| e.name.into_string().unwrap());
        names.filter(|name| name.contains("undo")).collect()
    };
    assert_eq!(names("/").len() + names("/data.snapshots").len(), states.len(), "{case}");
    assert_eq!(open(fs, "/data").list().unwrap().iter().filter(|e| PARTS.iter().any(|p| e.name == *p)).count(), 3);
    assert!(view(fs) == now, "{case}: it has changed again");
}

fn copy(fs: &MemFs) -> MemFs {
    let mut states = fs.crash_states(0, 0, 0);
    states.remove(states.len() - 1)
}

/// The stages of the cases, one after the other, and what they lead to.
type Stage = (&'static Case, MemFs, [BTreeMap<String, String>; 2]);

fn stages() -> Vec<Stage> {
    let mut stage = stage();
    let mut stages = Vec::new();
    for case in &CASES {
        let next = copy(&stage);
        (case.run)(&next).unwrap();
        sync_all(&next);
        stages.push((case, copy(&stage), [view(&stage), view(&next)]));
        if case.name == "replace" {
            // A broker went on since, and its lines are other ones than those of the replacement.
            stage = next;
            checkpoints(&open(&stage, "/data"), [[1, 4, 30], [19, 18, 45], [17, 16, 45]]);
            sync_all(&stage);
        }
    }
    stages
}

#[test]
fn power_cuts_of_several_partitions_and_of_the_completion() {
    let mut looked = 0;
    for (case, stage, views) in stages() {
        let dry = copy(&stage);
        let so_far = dry.count(Op::Any);
        (case.run)(&dry).unwrap();
        let changes = dry.count(Op::Any) - so_far;
        for at in 0..=changes + 1 {
            let fs = copy(&stage);
            fs.cut_power_after(if at > changes { u64::MAX >> 1 } else { at });
            let done = (case.run)(&fs).is_ok();
            let states = fs.crash_states(10, 10, at);
            let pick = usize::try_from(at).unwrap() % states.len();
            for (i, state) in states.into_iter().enumerate() {
                let name = format!("{}, power cut after change {at} of {changes}, state {i}", case.name);
                if i == pick {
                    looked += cut_completion(&state, &name, case, &views, done);
                }
                check(&state, &name, case, &views, done);
                looked += 1;
            }
            // The process alone died, and a successor goes on with what the disk has not got yet.
            fs.heal();
            looked += cut_completion(&fs, &format!("{}, died after change {at}", case.name), case, &views, done);
        }
    }
    println!("{looked} states");
}

/// Cuts the power after every change of what completes it.
fn cut_completion(from: &MemFs, name: &str, case: &Case, views: &[BTreeMap<String, String>; 2], done: bool) -> u64 {
    let dry = from.fork();
    let so_far = dry.count(Op::Any);
    drop(manager(&dry).unwrap());
    let mut looked = 0;
    for then in 0..=dry.count(Op::Any) - so_far {
        let fs = from.fork();
        fs.cut_power_after(then);
        drop(manager(&fs));
        for (i, state) in fs.crash_states(6, 4, then).into_iter().enumerate() {
            check(&state, &format!("{name}, its completion after {then}, state {i}"), case, views, done);
            looked += 1;
        }
    }
    looked
}

/// The outcome of a failed sync is unknown. The journal is left to tell, and the error says so.
#[test]
fn after_a_failed_sync_of_an_exchange_nothing_is_repeated() {
    for (case, stage, views) in stages().into_iter().take(2) {
        let dry = copy(&stage);
        let so_far = dry.count(Op::Sync);
        (case.run)(&dry).unwrap();
        let mut left = 0;
        for nth in 1..=dry.count(Op::Sync) - so_far {
            let fs = copy(&stage);
            let before = fs.count(Op::Sync);
            fs.fail(Op::Sync, nth, EIO);
            let Err(e) = (case.run)(&fs) else { panic!("{}: sync {nth} failed and nobody noticed", case.name) };
            let synced = fs.count(Op::Sync) - before;
            if e.to_string().contains("which the next command goes on with") {
                left += 1;
                assert!(e.hint().unwrap().contains("undo --list"), "{e}");
                let unfinished = fs.fork();
                assert_eq!(synced, nth, "{}: it goes on to sync: {e}", case.name);
                manager(&unfinished).unwrap();
                check(&unfinished, &format!("{}, sync {nth} failed", case.name), case, &views, false);
            }
            fs.heal();
            check(&fs, &format!("{}, sync {nth} failed", case.name), case, &views, false);
        }
        assert!(left >= 5, "{}: {left} failures left the journal", case.name);
    }
}

/// What a failed sync of a directory has lost stays lost, though everybody still sees it, and the next sync says that all is
/// well. After a power cut all of it is as before or as after.
#[test]
fn what_a_failed_sync_lost_is_done_again() {
    let (mut looked, mut other) = (0, 0);
    for (case, stage, views) in stages() {
        let dry = copy(&stage);
        let so_far = dry.count(Op::Sync);
        (case.run)(&dry).unwrap();
        for nth in 1..=dry.count(Op::Sync) - so_far {
            let fs = copy(&stage);
            fs.set_abilities(Abilities { loses_names: true, ..Abilities::default() });
            fs.fail(Op::Sync, nth, EIO);
            let Err(_) = (case.run)(&fs) else { panic!("{}: sync {nth} failed and nobody noticed", case.name) };
            fs.heal();
            for completed in [false, true] {
                if completed {
                    drop(manager(&fs).unwrap());
                }
                for (i, state) in fs.crash_states(8, 8, nth).into_iter().enumerate() {
                    let name = format!("{}, sync {nth} lost, completed: {completed}, state {i}", case.name);
                    other += u32::from(view(&state) != view(&fs));
                    check(&state, &name, case, &views, false);
                    looked += 1;
                }
            }
        }
    }
    println!("{looked} states, {other} of them other than what had been seen");
    // Each of them once.
    assert!(other >= 12, "{other} of {looked}");
}

/// The store of a log goes with it, and is brought back; and the log is the one that the entry says.
#[test]
fn a_store_that_a_failed_sync_lost_is_found_again() {
    let lossy = || MemFs::with(Abilities { loses_names: true, ..Abilities::default() });
    for nth in 1.. {
        let fs = lossy();
        let (snaps, id, dir) = native(&fs);
        let mut log = Log::open_on(dir, LogConfig::default()).unwrap();
        log.append(BatchBuilder::new().record(5, None, Some(b"more")).build().unwrap()).unwrap();
        log.close().unwrap();
        sync_all(&fs);
        fs.fail(Op::Sync, nth, EIO);
        if snaps.restore_id(&id, RestoreOptions::replace()).is_ok() {
            assert!(nth > 10, "{nth}");
            break;
        }
        fs.heal();
        drop(log_manager(&fs));
        for (i, state) in fs.crash_states(8, 8, nth).into_iter().enumerate() {
            let found: Vec<String> = log_manager(&state).list().unwrap().into_iter().map(|s| s.id).collect();
            assert_eq!(found, std::slice::from_ref(&id), "sync {nth} lost, state {i}");
            assert!(open(&state, "/log").try_stat(".snapshots").unwrap().is_some(), "sync {nth} lost, state {i}");
            let states: Vec<UndoState> = log_manager(&state).undo_list().unwrap().iter().map(|e| e.state).collect();
            let end = LogReader::open_on(open(&state, "/log")).unwrap().log_end();
            let expected = if end == 5 { &[UndoState::Replaced][..] } else { &[] };
            assert_eq!(states, expected, "sync {nth} lost, state {i}: the log ends at {end}");
        }
    }
}

/// The same of a data directory as a whole, where nothing but the directory itself moves.
#[test]
fn a_data_directory_that_a_failed_sync_lost_is_put_in_place_again() {
    let run = |fs: &MemFs| manager(fs)?.restore_id("latest", RestoreOptions::replace());
    let before = stage();
    let after = before.fork();
    run(&after).unwrap();
    let views = [view(&before), view(&after)];
    let mut again = 0;
    for nth in 1.. {
        let fs = before.fork();
        fs.set_abilities(Abilities { loses_names: true, ..Abilities::default() });
        fs.fail(Op::Sync, nth, EIO);
        if run(&fs).is_ok() {
            break;
        }
        fs.heal();
        drop(manager(&fs).unwrap());
        for (i, state) in fs.crash_states(8, 8, nth).into_iter().enumerate() {
            let was = view(&state);
            let states: Vec<UndoState> =
                manager(&state).unwrap().undo_list().unwrap().iter().map(|entry| entry.state).collect();
            let expected = usize::from(!states.is_empty());
            assert!(states.len() < 2 && view(&state) == views[expected], "sync {nth} lost, state {i}: {states:?}");
            again += u32::from(was != views[expected]);
        }
    }
    assert!(again > 0);
}

fn log_manager(fs: &MemFs) -> SnapshotManager {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::from_millis(20),
        clock: fs.clock(),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_on(arc(fs), "/log", config).unwrap()
}

/// A native log with a snapshot.
fn native(fs: &MemFs) -> (SnapshotManager, String, Dir) {
    let dir = open(fs, "/").make_dir("log", 0o755).unwrap();
    let mut log = Log::open_on(dir.clone(), LogConfig::default()).unwrap();
    for offset in 0..5 {
        log.append(BatchBuilder::new().record(offset, None, Some(b"text")).build().unwrap()).unwrap();
    }
    log.close().unwrap();
    let snaps = log_manager(fs);
    let id = snaps.create().run().unwrap().snapshot.id;
    (snaps, id, dir)
}

/// Other commands hold the lock of whatever is in the making.
#[test]
fn an_entry_that_somebody_always_locks_is_not_waited_for_without_end() {
    fn lock_all(fs: &MemFs, nth: u64, locked: &Arc<Mutex<Vec<Handle>>>) {
        let (to, elsewhere) = (locked.clone(), fs.clone());
        fs.before_lock(nth, move || {
            for entry in open(&elsewhere, "/").list().unwrap() {
                if entry.name.to_string_lossy().ends_with(".partial") {
                    let dir = elsewhere.open_dir(None, &std::path::Path::new("/").join(&entry.name)).unwrap();
                    elsewhere.try_lock(&dir, LockMode::Exclusive).unwrap();
                    to.lock().unwrap().push(dir);
                }
            }
            // The next one is the one that this comes before.
            lock_all(&elsewhere, 2, &to);
        });
    }
    let fs = MemFs::new();
    let (snaps, id, _) = native(&fs);
    let locked = Arc::default();
    lock_all(&fs, 1, &locked);
    let e = snaps.restore_id(&id, RestoreOptions::replace()).unwrap_err();
    assert!(matches!(e, Error::Concurrency(_)) && e.hint().is_some(), "{e}");
    assert!(!locked.lock().unwrap().is_empty());
}

/// Somebody puts another directory there right before it is exchanged.
#[test]
fn a_stranger_that_comes_between_the_look_and_the_exchange_stays() {
    let mut came = 0;
    for nth in 1.. {
        let fs = stage();
        let old = open(&fs, "/data").stat("a-0").unwrap().ino;
        let (elsewhere, flag) = (fs.clone(), Arc::new(Mutex::new(None)));
        let to = flag.clone();
        fs.before_rename(nth, move || {
            let (root, data) = (open(&elsewhere, "/"), open(&elsewhere, "/data"));
            let is_entry = |name: &str| name.starts_with(".undo-") && !name.ends_with(".partial");
            let published = open(&elsewhere, "/data.snapshots").list().unwrap();
            let published = published.iter().any(|e| e.name.to_str().is_some_and(is_entry));
            let there = published && data.stat("a-0").unwrap().ino == old;
            if there {
                data.rename("a-0", &root, "aside", Rename::NoReplace).unwrap();
                put(&data.make_dir("a-0", 0o755).unwrap(), "stranger", b"");
            }
            *to.lock().unwrap() = Some(there);
        });
        let result = manager(&fs).unwrap().restore_part("latest", &topic(), RestoreOptions::replace());
        match *flag.lock().unwrap() {
            None => break,
            Some(false) => {}
            Some(true) => {
                let e = result.unwrap_err();
                assert!(e.to_string().contains("something else put there") && e.hint().is_some(), "{e}");
                assert!(open(&fs, "/data/a-0").try_stat("stranger").unwrap().is_some(), "rename {nth}");
                came += 1;
            }
        }
    }
    assert!(came >= 3, "{came}");
}

/// A restored directory has no lock file yet. A broker that starts at any moment between the exchange and its end finds
/// itself locked out.
#[test]
fn brokers_are_kept_out_where_none_has_made_the_lock() {
    for what in ["whole", "part"] {
        let met = Arc::new(Mutex::new(Vec::new()));
        for nth in 1.. {
            let fs = stage();
            let data = open(&fs, "/data");
            data.unlink(".lock").unwrap();
            let (elsewhere, to) = (fs.clone(), met.clone());
            let before = (data.stat_self().unwrap().ino, data.stat("a-0").unwrap().ino);
            fs.before_look(nth, move || {
                let under_way = open(&elsewhere, "/data.snapshots").list().unwrap().into_iter().any(|entry| {
                    let name = entry.name.to_str().unwrap();
                    let journal = || open(&elsewhere, &format!("/data.snapshots/{name}")).read("undo.json", 1 << 20);
                    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                    name.starts_with(".undo-") && journal().is_ok_and(|read| text(read).contains("\"replacing\""))
                });
                let data = open(&elsewhere, "/data");
                let moved = (data.stat_self().unwrap().ino, data.stat("a-0").unwrap().ino) != before;
                if under_way {
                    to.lock().unwrap().push((moved, datadir::broker_on(&data).unwrap().is_some()));
                }
            });
            let snaps = manager(&fs).unwrap();
            match what {
                "whole" => snaps.restore_id("latest", RestoreOptions::replace()).unwrap(),
                _ => snaps.restore_part("latest", &topic(), RestoreOptions::into_data_dir("/data")).unwrap(),
            };
            if fs.looks_left() > 0 {
                // It stays, as a broker's does, and nobody holds it.
                assert!(open(&fs, "/data").try_stat(".lock").unwrap().is_some(), "{what}");
                assert_eq!(datadir::broker_on(&open(&fs, "/data")).unwrap(), None, "{what}");
                snaps.undo().unwrap();
                break;
            }
        }
        let met = met.lock().unwrap();
        assert!(met.iter().filter(|(moved, _)| *moved).count() > 3, "{what}: {met:?}");
        assert!(met.iter().all(|(_, locked)| *locked), "{what}: {met:?}");
    }
}

/// A writer that comes at any moment between the exchange and its end is told to wait.
#[test]
fn what_is_put_in_place_is_locked_until_all_is_settled() {
    let met = Arc::new(Mutex::new(Vec::new()));
    for nth in 1.. {
        let fs = MemFs::new();
        let (snaps, id, dir) = native(&fs);
        let (old, elsewhere, to) = (dir.stat_self().unwrap().ino, fs.clone(), met.clone());
        fs.before_look(nth, move || {
            if open(&elsewhere, "/").stat("log").unwrap().ino != old {
                let config = LogConfig { lock_timeout: Duration::ZERO, ..LogConfig::default() };
                let opened = Log::open_in(arc(&elsewhere), "/log", config);
                to.lock().unwrap().push(opened.map(drop).map_err(|e| e.to_string()));
            }
        });
        snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
        if fs.looks_left() > 0 {
            break;
        }
    }
    let met = met.lock().unwrap();
    assert!(met.len() > 3, "{met:?}");
    assert!(met.iter().all(|opened| opened.as_ref().is_err_and(|e| e.contains("locked"))), "{met:?}");
}
