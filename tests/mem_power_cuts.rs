//! Cuts the power after every single change of every operation, in memory, and looks at everything that the disk may
//! hold then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cowlog::Result;
use cowlog::fs::mem::{Abilities, MemFs, Op};
use cowlog::fs::{Dir, Fs};
use cowlog::log::{BatchBuilder, Log, LogConfig, LogReader};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{
    Bound, ForkOptions, HealOptions, Healed, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager,
};
use cowlog::store::UndoState;

const LOG: &str = "/log";
const STORE: &str = "/log/.snapshots";
const TARGET: &str = "/restored";
const BETWEEN: &str = "/between";

fn arc(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn manager(fs: &MemFs) -> Result<SnapshotManager> {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::ZERO,
        clock: fs.clock(),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_on(arc(fs), LOG, config)
}

fn log(fs: &MemFs) -> Result<Log> {
    let config = LogConfig { segment_bytes: 400, lock_timeout: Duration::ZERO, ..LogConfig::default() };
    Log::open_on(Dir::open_on(arc(fs), LOG)?, config)
}

fn append(log: &mut Log, count: usize) -> Result<()> {
    for _ in 0..count {
        let value = format!("record {}", log.log_end_offset());
        let batch =
            BatchBuilder::new().record(log.log_end_offset() * 1000, Some(b"key"), Some(value.as_bytes())).build()?;
        log.append(batch)?;
    }
    log.flush()
}

/// All batches, one after the other.
fn content(fs: &MemFs, path: &str) -> Vec<u8> {
    let reader = LogReader::open_on(Dir::open_on(arc(fs), path).unwrap()).unwrap();
    reader.read_from(0).flat_map(|b| b.unwrap().as_bytes().to_vec()).collect()
}

/// What each snapshot was cut from.
type Expected = BTreeMap<String, Vec<u8>>;

/// A log of several segments with two snapshots, everything durable.
fn stage(abilities: Abilities) -> (MemFs, Expected, Vec<u8>) {
    let fs = MemFs::with(abilities);
    Dir::open_on(arc(&fs), "/").unwrap().make_dir("log", 0o755).unwrap().sync().unwrap();
    let mut expected = Expected::new();
    for _ in 0..2 {
        let mut log = log(&fs).unwrap();
        append(&mut log, 7).unwrap();
        log.close().unwrap();
        fs.advance(5000);
        let id = manager(&fs).unwrap().create().run().unwrap().snapshot.id;
        expected.insert(id, content(&fs, LOG));
    }
    let mut log = log(&fs).unwrap();
    append(&mut log, 7).unwrap();
    log.close().unwrap();
    fs.advance(5000);
    let root = Dir::open_on(arc(&fs), "/").unwrap();
    fs.sync_all(&root);
    let live = content(&fs, LOG);
    (fs, expected, live)
}

trait SyncAll {
    fn sync_all(&self, root: &Dir);
}

impl SyncAll for MemFs {
    fn sync_all(&self, root: &Dir) {
        let handle = self.open_dir(None, root.path()).unwrap();
        self.sync(&handle, cowlog::fs::Sync::Filesystem).unwrap();
    }
}

/// The same log without a store.
fn bare_stage() -> (MemFs, Vec<u8>) {
    let (fs, ..) = stage(Abilities::default());
    let root = Dir::open_on(arc(&fs), LOG).unwrap();
    root.remove_tree(".snapshots").unwrap();
    fs.sync_all(&root);
    let live = content(&fs, LOG);
    (fs, live)
}

/// Durable and undisturbed copies of a stage.
fn copy(fs: &MemFs) -> MemFs {
    let mut states = fs.crash_states(0, 0, 0);
    let all = states.remove(states.len() - 1);
    assert!(all.crash_states(10, 0, 0).len() == 1, "nothing pending");
    all
}

/// What an operation that returned `Ok` promises.
enum Done {
    Created(String),
    Deleted(Vec<String>),
    Restored,
    Pinned(String),
    Between,
    Forked,
    Nothing,
}

type Operation = fn(&MemFs) -> Result<Done>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("create", |fs| Ok(Done::Created(manager(fs)?.create().tag("t").run()?.snapshot.id))),
    ("delete", |fs| Ok(Done::Deleted(vec![manager(fs)?.delete("latest")?.id]))),
    ("prune", |fs| {
        let manager = manager(fs)?;
        let plan = manager.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() })?;
        Ok(Done::Deleted(manager.prune(&plan)?.into_iter().map(|d| d.id).collect()))
    }),
    ("pin", |fs| Ok(Done::Pinned(manager(fs)?.set_pinned("latest", true)?.id))),
    ("restore", |fs| {
        manager(fs)?.restore_id("latest", RestoreOptions::to(TARGET))?;
        Ok(Done::Restored)
    }),
    ("repair", |fs| {
        Dir::open_on(arc(fs), STORE)?.unlink("snapshots.json")?;
        manager(fs)?.repair(None)?;
        Ok(Done::Nothing)
    }),
    ("verify", |fs| {
        assert!(manager(fs)?.verify("latest", Level::Deep)?.ok);
        Ok(Done::Nothing)
    }),
];

/// Of what is a restore in the end: fewer states of each.
const LIKE_RESTORE: &[(&str, Operation)] = &[
    ("restore between", |fs| {
        let between = RestoreOptions::to(BETWEEN).since(Bound::Time(1500)).until(Bound::Time(5000));
        manager(fs)?.restore_id("latest", between)?;
        Ok(Done::Between)
    }),
    ("fork", |fs| {
        for (fork, _) in manager(fs)?.fork("latest", &ForkOptions::to(TARGET).count(FORKS))? {
            fork.keep();
        }
        Ok(Done::Forked)
    }),
];

const FORKS: u32 = 2;

fn forks(fs: &MemFs) -> Vec<String> {
    let named = (1..=FORKS).map(|n| format!("{TARGET}-{n}"));
    named.filter(|name| Dir::open_on(arc(fs), name).is_ok()).collect()
}

fn check(fs: &MemFs, case: &str, expected: &Expected, live: &[u8], outcome: &Result<Done>, may_go: &[String]) {
    let manager = manager(fs).unwrap();
    let listed = manager.list().unwrap();
    let ids: Vec<&str> = listed.iter().map(|s| s.id.as_str()).collect();
    for snapshot in &listed {
        assert_eq!(snapshot.damaged, None, "{case}: {}", snapshot.id);
        let report = manager.verify(&snapshot.id, Level::Deep).unwrap();
        assert!(report.ok, "{case}: {:?}", report.damage);
        assert!(report.extra.iter().all(|e| e.ends_with(".tmp")), "{case}: {:?}", report.extra);
        let target = format!("/check-{}", snapshot.id);
        manager.restore_id(&snapshot.id, RestoreOptions::to(&target)).unwrap();
        let wanted = expected.get(&snapshot.id).map_or(live, |c| c.as_slice());
        assert!(content(fs, &target) == wanted, "{case}: {} holds something else", snapshot.id);
    }
    let gone = |id: &String| !ids.contains(&id.as_str());
    let missing: Vec<_> = expected.keys().filter(|id| gone(id) && !may_go.contains(id)).collect();
    assert!(missing.is_empty(), "{case}: {missing:?} vanished");
    match outcome {
        Ok(Done::Created(id)) => assert!(!gone(id), "{case}: {id} was acknowledged"),
        Ok(Done::Deleted(went)) => assert!(went.iter().all(gone), "{case}: a deleted one came back"),
        Ok(Done::Restored) => assert!(Dir::open_on(arc(fs), TARGET).is_ok(), "{case}: the target was acknowledged"),
        Ok(Done::Pinned(id)) => {
            assert!(listed.iter().any(|s| s.id == *id && s.pinned), "{case}: a pin was acknowledged")
        }
        Ok(Done::Between) => assert!(Dir::open_on(arc(fs), BETWEEN).is_ok(), "{case}: it was acknowledged"),
        Ok(Done::Forked) => assert_eq!(forks(fs).len(), FORKS as usize, "{case}: the forks were acknowledged"),
        Ok(Done::Nothing) | Err(_) => {}
    }
    let there = forks(fs);
    assert!(there.is_empty() || outcome.is_ok() || !case.contains("errno"), "{case}: {there:?} after an error");
    for name in &there {
        assert!(content(fs, name) == *expected.values().last().unwrap(), "{case}: {name} is not whole");
    }
    if case.starts_with("fork") {
        // The next one sweeps what this one left, though it makes fewer.
        let root = Dir::open_on(arc(fs), "/").unwrap();
        there.iter().for_each(|name| root.remove_tree(name.trim_start_matches('/')).unwrap());
        drop(manager.fork("latest", &ForkOptions::to(TARGET).count(1)).unwrap());
        let left: Vec<_> = root.list().unwrap().into_iter().map(|e| e.name.into_string().unwrap()).collect();
        assert!(left.iter().all(|name| !name.ends_with(".restoring")), "{case}: {left:?}");
    }
    if let Ok(dir) = Dir::open_on(arc(fs), BETWEEN) {
        let reader = LogReader::open_on(dir).unwrap();
        assert_eq!((reader.log_start(), reader.log_end()), (2, 5), "{case}: the target is not whole");
        let batches: Vec<u8> = reader.read_from(0).flat_map(|b| b.unwrap().as_bytes().to_vec()).collect();
        assert!(live.windows(batches.len()).any(|part| part == batches), "{case}");
        let mut log = Log::open_on(Dir::open_on(arc(fs), BETWEEN).unwrap(), LogConfig::default()).unwrap();
        append(&mut log, 1).unwrap();
        assert_eq!((log.recovery().cut_bytes, log.log_end_offset()), (0, 6), "{case}");
    }
    if Dir::open_on(arc(fs), TARGET).is_ok() {
        let newest = expected.values().last().unwrap();
        assert!(content(fs, TARGET) == *newest, "{case}: the target is not whole");
    }
    assert!(content(fs, LOG) == live, "{case}: the log itself");
    let log = log(fs).unwrap();
    assert!(log.recovery().cut_bytes == 0, "{case}: {:?}", log.recovery());
    drop(log);
    if Dir::open_on(arc(fs), STORE).is_err() {
        assert!(expected.is_empty(), "{case}: the store is gone");
        return;
    }
    manager.repair(None).unwrap();
    for id in &ids {
        let report = manager.verify(id, Level::Quick).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{case}: {report:?}");
    }
    let store = Dir::open_on(arc(fs), STORE).unwrap();
    for entry in store.list().unwrap() {
        let name = entry.name.to_str().unwrap();
        let known = [".lock", "snapshots.json"].contains(&name) || name.starts_with("snapshot-");
        assert!(known, "{case}: {name} was left in the store");
    }
}

fn cut_everywhere(abilities: Abilities, seed: u64) {
    let (stage, expected, live) = stage(abilities);
    let mut states = 0;
    for (name, operation) in OPERATIONS {
        states += cut_within(&stage, name, *operation, &expected, &live, seed, (10, samples()));
    }
    for (name, operation) in LIKE_RESTORE {
        states += cut_within(&stage, name, *operation, &expected, &live, seed, (2, 2));
    }
    println!("{states} states");
}

/// Gives how many states of the disk were looked at.
fn cut_within(
    stage: &MemFs,
    name: &str,
    operation: Operation,
    expected: &Expected,
    live: &[u8],
    seed: u64,
    (all_of, samples): (usize, usize),
) -> usize {
    let mut states = 0;
    let dry = copy(stage);
    let before = dry.count(Op::Any);
    let done = operation(&dry).unwrap();
    let changes = dry.count(Op::Any) - before;
    let may_go = match done {
        Done::Deleted(ids) => ids,
        _ => Vec::new(),
    };
    // Once more after the end: then the operation has returned `Ok`.
    for at in 0..=changes + 1 {
        let fs = copy(stage);
        // Not every run makes the same number of changes: what a changed file's link comes to depends on who is first.
        fs.cut_power_after(if at > changes { u64::MAX >> 1 } else { at });
        let outcome = operation(&fs);
        assert!(at <= changes || outcome.is_ok(), "{name}: the power was not cut");
        for (i, state) in fs.crash_states(all_of, samples, seed + at).into_iter().enumerate() {
            let case = format!("{name}, power cut after change {at} of {changes}, state {i}");
            check(&state, &case, expected, live, &outcome, &may_go);
            states += 1;
        }
    }
    states
}

fn samples() -> usize {
    std::env::var("COWLOG_CRASH_SAMPLES").ok().and_then(|s| s.parse().ok()).unwrap_or(4)
}

#[test]
fn power_cuts_with_reflinks() {
    cut_everywhere(Abilities::default(), 1);
}

#[test]
fn power_cuts_with_hard_links() {
    cut_everywhere(Abilities { reflink: false, ..Abilities::default() }, 2);
}

#[test]
fn power_cuts_of_the_first_snapshot() {
    let (stage, live) = bare_stage();
    let (name, create) = OPERATIONS[0];
    println!("{} states", cut_within(&stage, name, create, &Expected::new(), &live, 3, (10, samples())));
}

#[test]
fn every_failing_change_is_reported_and_undone() {
    for errno in [nix_errno::EIO, nix_errno::ENOSPC, nix_errno::EDQUOT, nix_errno::EROFS] {
        let (stage, expected, live) = stage(Abilities::default());
        let like_restore = LIKE_RESTORE.iter().filter(|_| errno == nix_errno::EIO);
        for (name, operation) in OPERATIONS.iter().chain(like_restore) {
            let dry = copy(&stage);
            let before = dry.count(Op::Any);
            operation(&dry).unwrap();
            let changes = dry.count(Op::Any) - before;
            for at in 1..=changes {
                let fs = copy(&stage);
                fs.fail(Op::Any, at, errno);
                let case = format!("{name}, errno {errno} at change {at} of {changes}");
                let outcome = operation(&fs);
                fs.heal();
                if let Err(e) = &outcome {
                    assert_eq!(e.kind(), cowlog::error::Kind::Filesystem, "{case}: {e}");
                    assert!(Path::new("/").join(e.path().unwrap()).starts_with("/"), "{case}");
                }
                let may_go: Vec<String> = match name {
                    &"delete" | &"prune" => expected.keys().cloned().collect(),
                    _ => Vec::new(),
                };
                // What was acknowledged in spite of a failure is durable too.
                let states = if outcome.is_ok() { fs.crash_states(10, samples(), at) } else { Vec::new() };
                for (i, state) in states.into_iter().enumerate() {
                    check(&state, &format!("{case}, then the power, state {i}"), &expected, &live, &outcome, &may_go);
                }
                check(&fs, &case, &expected, &live, &outcome, &may_go);
            }
        }
    }
}

/// Its state is read twice, when the plan is applied and once more with the store held.
#[test]
fn a_prune_that_cannot_read_a_state_says_so() {
    let (stage, ..) = stage(Abilities::default());
    let mut said_so = 0;
    for nth in 1.. {
        let fs = copy(&stage);
        let said = Arc::new(AtomicUsize::new(0));
        let told = said.clone();
        let observer = Observer::new(move |event| {
            told.fetch_add(usize::from(matches!(event, Event::Warning(_))), Ordering::Relaxed);
        });
        let config = SnapshotConfig { observer, clock: fs.clock(), ..SnapshotConfig::default() };
        let manager = SnapshotManager::open_on(arc(&fs), LOG, config).unwrap();
        let plan = manager.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).unwrap();
        let before = fs.count(Op::Open);
        fs.fail(Op::Open, nth, nix_errno::EINVAL);
        let pruned = manager.prune(&plan);
        let opened = fs.count(Op::Open) - before;
        let said = said.load(Ordering::Relaxed);
        if let Ok(gone) = &pruned {
            assert!(gone.len() == 1 || said > 0, "the opening {nth} of {opened} failed, and nobody was told");
            said_so += usize::from(gone.is_empty());
        }
        if nth > opened {
            break;
        }
    }
    assert!(said_so >= 2, "{said_so}");
}

/// The process that deleted it dies right behind the rename; a successor removes the rest; then the power fails.
#[test]
fn what_a_successor_swept_does_not_come_back_in_part() {
    let (stage, expected, live) = stage(Abilities::default());
    let dry = copy(&stage);
    let before = dry.count(Op::Any);
    manager(&dry).unwrap().delete("latest").unwrap();
    for at in 1..=dry.count(Op::Any) - before {
        let fs = copy(&stage);
        fs.cut_power_after(at);
        let _ = manager(&fs).unwrap().delete("latest");
        fs.heal();
        let dry = fs.fork();
        let so_far = dry.count(Op::Any);
        manager(&dry).unwrap().repair(None).unwrap();
        for then in 0..=dry.count(Op::Any) - so_far {
            let fs = fs.fork();
            fs.cut_power_after(then);
            let _ = manager(&fs).and_then(|m| m.repair(None));
            for (i, state) in fs.crash_states(10, samples(), then).into_iter().enumerate() {
                let case = format!("died after change {at}, the successor after {then}, state {i}");
                let all: Vec<String> = expected.keys().cloned().collect();
                check(&state, &case, &expected, &live, &Ok(Done::Nothing), &all[1..]);
            }
        }
    }
}

/// The log is the one or the other, whole, whatever became of `exchange`; its store is with it, and nothing is lost.
fn check_exchanged(fs: &MemFs, case: &str, expected: &Expected, [before, after]: [&[u8]; 2], undone: bool, done: bool) {
    let there = content(fs, LOG);
    assert!(there == after || there == before && !done, "{case}: the log is not what it was, nor what it is to be");
    let arrived = there == after;
    let manager = manager(fs).unwrap();
    assert!(content(fs, LOG) == there, "{case}: it has changed again");
    let ids: Vec<String> = manager.list().unwrap().into_iter().map(|s| s.id).collect();
    assert!(ids.iter().eq(expected.keys()), "{case}: {ids:?}");
    for id in &ids {
        let report = manager.verify(id, Level::Deep).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{case}: {report:?}");
    }
    let entries = manager.undo_list().unwrap();
    let states: Vec<UndoState> = entries.iter().map(|e| e.state).collect();
    match (undone, arrived) {
        (false, false) => assert_eq!(states, [], "{case}"),
        (false, true) | (true, false) => assert_eq!(states, [UndoState::Replaced], "{case}"),
        (true, true) => assert_eq!(states, [UndoState::Undone], "{case}"),
    }
    let names = |dir: &str| -> Vec<String> {
        let dir = Dir::open_on(arc(fs), dir).unwrap();
        dir.list().unwrap().into_iter().map(|e| e.name.into_string().unwrap()).collect()
    };
    assert_eq!(names("/").len(), 1 + entries.len(), "{case}: {:?}", names("/"));
    for entry in &entries {
        let kept = entry.path.join("dirs/whole");
        let kept = kept.to_str().unwrap();
        assert!(content(fs, kept) == if arrived { before } else { after }, "{case}: what is kept is not whole");
        assert!(!names(kept).contains(&".snapshots".to_owned()), "{case}: the store was left behind");
    }
    // It goes on, forth and back.
    assert_eq!(log(fs).unwrap().recovery().cut_bytes, 0, "{case}");
    if states == [UndoState::Replaced] {
        manager.undo().unwrap();
        assert!(content(fs, LOG) == if undone { after } else { before }, "{case}");
    }
    manager.restore_id("latest", RestoreOptions::replace()).unwrap();
    assert_eq!(manager.list().unwrap().len(), ids.len(), "{case}");
}

const EXCHANGES: [fn(&MemFs) -> Result<()>; 2] =
    [|fs| manager(fs)?.restore_id("latest", RestoreOptions::replace()).map(drop), |fs| manager(fs)?.undo().map(drop)];

/// Where it happens, and the bytes before and after.
type Exchange = (MemFs, Vec<u8>, Vec<u8>);

/// A stage for each of them, with what the log is before and after.
fn exchanges(abilities: Abilities) -> (Expected, [Exchange; 2]) {
    let (fs, expected, live) = stage(abilities);
    let newest = expected.values().last().unwrap().clone();
    assert!(newest != live);
    let replaced = copy(&fs);
    EXCHANGES[0](&replaced).unwrap();
    replaced.sync_all(&Dir::open_on(arc(&replaced), "/").unwrap());
    (expected, [(fs, live.clone(), newest.clone()), (replaced, newest, live)])
}

#[test]
fn power_cuts_of_a_replacement_and_of_its_undoing() {
    let (expected, stages) = exchanges(Abilities::default());
    let mut states = 0;
    for (undone, (stage, before, after)) in stages.iter().enumerate() {
        let exchange = EXCHANGES[undone];
        let dry = copy(stage);
        let so_far = dry.count(Op::Any);
        exchange(&dry).unwrap();
        let changes = dry.count(Op::Any) - so_far;
        for at in 0..=changes + 1 {
            let fs = copy(stage);
            fs.cut_power_after(if at > changes { u64::MAX >> 1 } else { at });
            let outcome = exchange(&fs);
            for (i, state) in fs.crash_states(10, samples(), at).into_iter().enumerate() {
                let case = format!("exchange {undone}, power cut after change {at} of {changes}, state {i}");
                check_exchanged(&state, &case, &expected, [before, after], undone == 1, outcome.is_ok());
                states += 1;
            }
        }
    }
    println!("{states} states");
}

#[test]
fn every_failing_change_of_a_replacement_leaves_the_one_or_the_other() {
    let (expected, stages) = exchanges(Abilities::default());
    for errno in [nix_errno::EIO, nix_errno::ENOSPC, nix_errno::EROFS] {
        for (undone, (stage, before, after)) in stages.iter().enumerate() {
            let exchange = EXCHANGES[undone];
            let dry = copy(stage);
            let so_far = dry.count(Op::Any);
            exchange(&dry).unwrap();
            for at in 1..=dry.count(Op::Any) - so_far {
                let fs = copy(stage);
                fs.fail(Op::Any, at, errno);
                let case = format!("exchange {undone}, errno {errno} at change {at}");
                let outcome = exchange(&fs);
                fs.heal();
                let states = if outcome.is_ok() { fs.crash_states(10, samples(), at) } else { Vec::new() };
                for (i, state) in states.into_iter().chain([fs.fork()]).enumerate() {
                    let case = format!("{case}, state {i}");
                    check_exchanged(&state, &case, &expected, [before, after], undone == 1, outcome.is_ok());
                }
            }
        }
    }
}

const VICTIM: &str = "00000000000000000000.log";

/// The stage with a bit flipped in a file that both snapshots share, and with one missing in the second; durable.
fn damaged_stage(abilities: Abilities) -> (MemFs, Expected, Vec<u8>) {
    let (fs, expected, live) = stage(abilities);
    for (n, id) in expected.keys().enumerate() {
        let dir = Dir::open_on(arc(&fs), format!("{STORE}/{id}")).unwrap();
        if n == 0 {
            let file = dir.open_file(VICTIM, cowlog::fs::Open::Write).unwrap();
            let mut byte = [0];
            file.read_at(&mut byte, 100).unwrap();
            file.write_all_at(&[byte[0] ^ 1], 100).unwrap();
        } else {
            dir.unlink("00000000000000000000.index").unwrap();
        }
    }
    fs.sync_all(&Dir::open_on(arc(&fs), "/").unwrap());
    (fs, expected, live)
}

/// Nothing but the damage is damaged, and what was said to be mended is not; then all of it is.
fn check_healed(fs: &MemFs, case: &str, expected: &Expected, live: &[u8], mended: &[(String, String)]) {
    let manager = manager(fs).unwrap();
    for id in expected.keys() {
        let report = manager.verify(id, Level::Full).unwrap();
        for damage in &report.damage {
            let known = damage.path == VICTIM || damage.path == "00000000000000000000.index";
            assert!(known, "{case}: {damage:?}");
            let said = mended.contains(&(id.clone(), damage.path.clone()));
            assert!(!said, "{case}: {} was said to be mended: {damage:?}", damage.path);
        }
        assert!(report.extra.iter().all(|e| e.ends_with(".tmp")), "{case}: {:?}", report.extra);
    }
    manager.repair(None).unwrap();
    let healed = manager.heal(&HealOptions::all()).unwrap();
    assert!(healed.not_mended.is_empty(), "{case}: {healed:?}");
    check(fs, case, expected, live, &Ok(Done::Nothing), &[]);
}

fn mended(healed: &Healed) -> Vec<(String, String)> {
    healed.mended.iter().map(|m| (m.id.clone(), m.path.clone())).collect()
}

fn heal(fs: &MemFs) -> Result<Healed> {
    manager(fs)?.heal(&HealOptions::all())
}

#[test]
fn power_cuts_of_a_heal() {
    let (stage, expected, live) = damaged_stage(Abilities::default());
    let dry = copy(&stage);
    let before = dry.count(Op::Any);
    let done = heal(&dry).unwrap();
    assert!(done.mended.len() >= 2 && done.not_mended.is_empty(), "{done:?}");
    let (changes, mut states) = (dry.count(Op::Any) - before, 0);
    for at in 0..=changes + 1 {
        let fs = copy(&stage);
        fs.cut_power_after(if at > changes { u64::MAX >> 1 } else { at });
        let outcome = heal(&fs);
        let said = outcome.as_ref().map(mended).unwrap_or_default();
        assert!(at <= changes || said == mended(&done));
        for (i, state) in fs.crash_states(10, samples(), at).into_iter().enumerate() {
            let case = format!("heal, power cut after change {at} of {changes}, state {i}");
            check_healed(&state, &case, &expected, &live, &said);
            states += 1;
        }
    }
    println!("{states} states");
}

#[test]
fn every_failing_change_of_a_heal_leaves_what_was_there_or_mends_it() {
    let (stage, expected, live) = damaged_stage(Abilities::default());
    for errno in [nix_errno::EIO, nix_errno::ENOSPC, nix_errno::EROFS] {
        let dry = copy(&stage);
        let before = dry.count(Op::Any);
        heal(&dry).unwrap();
        for at in 1..=dry.count(Op::Any) - before {
            let fs = copy(&stage);
            fs.fail(Op::Any, at, errno);
            let outcome = heal(&fs);
            fs.heal();
            let said = outcome.as_ref().map(mended).unwrap_or_default();
            for (i, state) in fs.crash_states(10, samples(), at).into_iter().chain([fs.fork()]).enumerate() {
                let case = format!("heal, errno {errno} at change {at}, state {i}");
                check_healed(&state, &case, &expected, &live, &said);
            }
        }
    }
}

#[test]
fn after_a_failed_sync_a_heal_tries_nothing_more() {
    let (stage, ..) = damaged_stage(Abilities::default());
    let dry = copy(&stage);
    let before = dry.count(Op::Sync);
    heal(&dry).unwrap();
    let mut stopped = 0;
    for at in 1..=dry.count(Op::Sync) - before {
        let fs = copy(&stage);
        fs.fail(Op::Sync, at, nix_errno::EIO);
        // The last ones are of the states, when everything is mended.
        let Ok(healed) = heal(&fs) else { continue };
        let why = |n: &cowlog::snapshot::NotMended| n.why.contains("cannot sync");
        stopped += u64::from(!healed.not_mended.is_empty());
        assert!(healed.not_mended.iter().all(why), "{healed:?}");
    }
    assert!(stopped >= 2, "{stopped}");
}

/// Before each lock that a heal tries another process does something: mends the file itself, or damages the live log.
fn meanwhile(what: fn(&MemFs, &str), then: impl Fn(&MemFs, &str, &Healed)) {
    let (stage, expected, _) = damaged_stage(Abilities::default());
    let first = expected.keys().next().unwrap().clone();
    let dry = copy(&stage);
    let before = dry.count(Op::Lock);
    heal(&dry).unwrap();
    for nth in 1..=dry.count(Op::Lock) - before {
        let fs = copy(&stage);
        let (other, id) = (fs.clone(), first.clone());
        fs.before_lock(nth, move || what(&other, &id));
        let healed = heal(&fs).unwrap();
        then(&fs, &first, &healed);
    }
}

#[test]
fn what_somebody_else_mended_meanwhile_is_left_alone() {
    fn mend(fs: &MemFs, id: &str) {
        let intact = Dir::open_on(arc(fs), LOG).unwrap().read(VICTIM, 1 << 20).unwrap();
        let dir = Dir::open_on(arc(fs), format!("{STORE}/{id}")).unwrap();
        let file = dir.open_file("by-hand", cowlog::fs::Open::CreateNew(0o640)).unwrap();
        file.write_all_at(&intact, 0).unwrap();
        dir.rename("by-hand", &dir, VICTIM, cowlog::fs::Rename::Replace).unwrap();
    }
    meanwhile(mend, |fs, id, healed| {
        let stat = Dir::open_on(arc(fs), format!("{STORE}/{id}")).unwrap().stat(VICTIM).unwrap();
        assert_eq!(stat.mode, 0o640, "it was intact, and replaced");
        assert!(healed.not_mended.is_empty(), "{healed:?}");
    });
}

#[test]
fn a_copy_that_is_damaged_meanwhile_is_not_taken() {
    fn damage(fs: &MemFs, _: &str) {
        let log = Dir::open_on(arc(fs), LOG).unwrap();
        log.open_file(VICTIM, cowlog::fs::Open::Write).unwrap().write_all_at(b"x", 90).unwrap();
    }
    let refused = std::cell::Cell::new(0);
    meanwhile(damage, |fs, _, healed| {
        for (id, path) in mended(healed) {
            let report = manager(fs).unwrap().verify(&id, Level::Full).unwrap();
            assert!(report.damage.iter().all(|d| d.path != path), "{report:?}");
        }
        refused.set(refused.get() + healed.not_mended.len());
    });
    assert!(refused.get() > 0);
}

/// Numbers of Linux; the tests use no crate for them.
mod nix_errno {
    pub const EIO: i32 = 5;
    pub const EINVAL: i32 = 22;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const EDQUOT: i32 = 122;
}
