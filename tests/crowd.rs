//! Eight processes that do everything at once on one log and one store, are killed at random and started again; and
//! eight threads that are not. Nothing that was acknowledged is lost, nobody waits for longer than the deadline.
//! `COWLOG_CROWD_SECONDS` says for how long, over all filesystems, 30 if not set.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cowlog::error::{Error, Kind, ValidationError};
use cowlog::log::{LogConfig, LogReader};
use cowlog::snapshot::{At, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager};
use support::chain::{self, ChainLog};
use support::mounts::{Kind as Filesystem, Mount};
use support::process::{Running, in_role, role, strays};
use support::worker::{Line, Lines, read_lines};
use support::{Random, env_number};

const CROWD: u64 = 8;
const DEADLINE: Duration = Duration::from_secs(5);
/// Beyond the deadline: the work itself, on a machine with more processes than processors.
const WORK: Duration = Duration::from_secs(15);

struct Member {
    dir: PathBuf,
    lines: Lines,
    random: Random,
    name: String,
}

type Outcome = Result<(), String>;

fn text(e: Error) -> String {
    format!("{e}; {e:?}")
}

impl Member {
    fn new(dir: &Path, lines: &Path, seed: u64) -> Member {
        Member { dir: dir.into(), lines: Lines::append(lines), random: Random::seeded(seed), name: format!("{seed:x}") }
    }

    fn manager(&self) -> cowlog::Result<SnapshotManager> {
        let config = SnapshotConfig { lock_timeout: DEADLINE, ..SnapshotConfig::default() };
        SnapshotManager::open_with(self.dir.join("orders-0"), config)
    }

    fn work(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let ended = if self.random.below(4) == 0 { self.write() } else { self.snapshot() };
            let failed = match ended {
                Err(why) => why,
                Ok(()) if begun.elapsed() > DEADLINE + WORK => format!("it took {:?}", begun.elapsed()),
                Ok(()) => continue,
            };
            self.lines.say(&Line::Failed { why: failed });
            return;
        }
    }

    /// Only one can; the others do something else.
    fn write(&mut self) -> Outcome {
        let config = LogConfig {
            segment_bytes: 8 << 10,
            retention_bytes: Some(120 << 10),
            lock_timeout: Duration::ZERO,
            ..LogConfig::default()
        };
        let generation = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64;
        let mut chain = match ChainLog::try_open(&self.dir.join("orders-0"), config, generation)? {
            Some(chain) => chain,
            None => return self.snapshot(),
        };
        let mut changes = 0;
        for _ in 0..self.random.between(20, 120) {
            changes += 1;
            let done = match self.random.below(40) {
                0 => chain.log().roll(),
                1 => chain.log().apply_retention(0).map(drop),
                2 => {
                    let to = chain.point_to_truncate_to(&mut self.random);
                    chain.truncate(to)
                }
                3 => chain.log().flush(),
                4 => {
                    self.create_at(&mut chain)?;
                    Ok(())
                }
                _ => {
                    let records = self.random.between(1, 4);
                    chain.append(records, &mut self.random, 900)
                }
            };
            // Who shares or removes segments may be waited for in vain: with no deadline at all, as here.
            done.or_else(|e| if e.kind() == Kind::Concurrency { Ok(()) } else { Err(text(e)) })?;
        }
        self.lines.say(&Line::Changed { changes });
        Ok(())
    }

    fn create_at(&mut self, chain: &mut ChainLog) -> Outcome {
        let cut = match chain.log().cut() {
            Ok(cut) => cut,
            Err(e) if e.kind() == Kind::Concurrency => return Ok(()),
            Err(e) => return Err(text(e)),
        };
        let tail = chain.tail();
        match self.manager().map_err(text)?.create().force(true).at(cut).run() {
            Ok(made) => {
                let made = made.snapshot;
                let (start, end, link) = (tail.start, tail.end, tail.link);
                self.lines.say(&Line::Created { id: made.id, root: made.root, start, end, link });
                Ok(())
            }
            Err(e) => allowed(e),
        }
    }

    fn snapshot(&mut self) -> Outcome {
        let snaps = self.manager().map_err(text)?;
        let ended = match self.random.below(12) {
            0..4 => snaps.create().force(true).run().map(|made| {
                let made = made.snapshot;
                let (start, end) = (made.base_offset.unwrap_or(0), made.log_end_offset.unwrap_or(0));
                self.lines.say(&Line::Created { id: made.id, root: made.root, start, end, link: String::new() });
            }),
            4..6 => self.with_any(&snaps, |member, id| {
                member.lines.say(&Line::BeginRemove { id: id.into() });
                snaps.delete(id).map(drop)
            }),
            6..8 => self.with_any(&snaps, |_, id| {
                let report = snaps.verify(id, Level::Deep)?;
                assert!(report.ok, "{report:?}");
                Ok(())
            }),
            8..10 => self.with_any(&snaps, |member, id| {
                let target = member.dir.join(format!("restored-{}", member.name));
                let _ = std::fs::remove_dir_all(&target);
                snaps.restore_id(id, RestoreOptions::to(&target))?;
                let reader = LogReader::open(&target)?;
                chain::check(&reader).unwrap_or_else(|e| panic!("{id}: {e}"));
                Ok(())
            }),
            10 => self.prune(&snaps),
            11 if self.random.below(2) == 0 => self.with_any(&snaps, |_, id| look_inside(&snaps, id)),
            _ => match snaps.store_path() {
                Ok(Some(_)) => snaps.repair(None).map(drop),
                Ok(None) => Ok(()),
                Err(e) => Err(e),
            },
        };
        self.lines.say(&Line::Changed { changes: 0 });
        ended.or_else(allowed)
    }

    fn with_any(
        &mut self,
        snaps: &SnapshotManager,
        work: impl FnOnce(&mut Member, &str) -> cowlog::Result<()>,
    ) -> cowlog::Result<()> {
        let all = snaps.list()?;
        match all.get(self.random.below(all.len().max(1) as u64) as usize) {
            Some(one) => work(self, &one.id),
            None => Ok(()),
        }
    }

    fn prune(&mut self, snaps: &SnapshotManager) -> cowlog::Result<()> {
        if snaps.store_path()?.is_none() {
            return Ok(());
        }
        let policy = Policy { max_snapshots: 5, retention_time: Duration::MAX, ..Policy::default() };
        let plan = snaps.plan_prune(&policy)?;
        for step in plan.removals() {
            self.lines.say(&Line::BeginRemove { id: step.id.to_string() });
        }
        snaps.prune(&plan).map(drop)
    }
}

/// What is told of the way from a snapshot to itself, and which records it has; and that the log that others write to can be
/// compared with it.
fn look_inside(snaps: &SnapshotManager, id: &str) -> cowlog::Result<()> {
    let opened = snaps.logs_at(At::Snapshot(id), None)?;
    for log in opened.logs() {
        let mut next = None;
        let flow: cowlog::Result<_> = log.read(0..i64::MAX, |_, record| {
            assert!(next.is_none_or(|next| next == record.offset), "{id}: {next:?}, found {}", record.offset);
            next = Some(record.offset + 1);
            Ok(ControlFlow::Continue(()))
        });
        assert!(flow?.is_continue());
    }
    assert!(snaps.compare(At::Snapshot(id), At::Snapshot(id), None)?.diff().equal);
    snaps.compare(At::Snapshot(id), At::Live, None).map(drop)
}

/// Another one holds what is wanted, or has deleted it.
fn allowed(e: Error) -> Outcome {
    match e {
        Error::Concurrency(_) | Error::Validation(ValidationError::NoSuchSnapshot { .. }) => Ok(()),
        e => Err(text(e)),
    }
}

#[test]
fn child_process() {
    let Some((role, args)) = role() else { return };
    assert_eq!(role, "member");
    let [dir, lines, seed] = args.as_slice() else { panic!("{args:?}") };
    Member::new(dir.as_ref(), lines.as_ref(), seed.parse().expect("a number")).work(&AtomicBool::new(false));
    std::process::exit(3);
}

/// A log with a snapshot.
fn begin(dir: &Path) {
    let mut chain = ChainLog::open(&dir.join("orders-0"), LogConfig::default(), 0).expect("a log");
    chain.append(3, &mut Random::seeded(1), 900).expect("room");
    chain.log().flush().expect("flushed");
    SnapshotManager::open(dir.join("orders-0")).and_then(|s| s.create().run()).expect("a snapshot");
}

fn seconds() -> u64 {
    env_number("COWLOG_CROWD_SECONDS", 30)
}

fn is_much(store: u64, log: u64) -> bool {
    store > 20 && log > 100
}

/// For its time, and on a slow disk until much was done; but not for ever.
fn goes_on(begun: Instant, lines: &Path) -> bool {
    let time = Duration::from_secs(seconds().div_ceil(4));
    if begun.elapsed() < time {
        return true;
    }
    let lines = all_lines(lines);
    let (store, log) = done(&lines);
    let failed = lines.iter().any(|line| matches!(line, Line::Failed { .. }));
    !failed && !is_much(store, log) && begun.elapsed() < 10 * time
}

/// How many operations on the store, and how many changes of the log.
fn done(lines: &[Line]) -> (u64, u64) {
    lines.iter().fold((0, 0), |(store, log), line| match line {
        Line::Changed { changes: 0 } => (store + 1, log),
        Line::Changed { changes } => (store, log + changes),
        _ => (store, log),
    })
}

#[test]
fn processes_that_are_killed() {
    for kind in Filesystem::ALL {
        let Some(mount) = Mount::sized(kind, 1024) else { continue };
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let mut random = Random::new(&kind.to_string());
        begin(mount.path());
        let (mut crowd, mut started, mut kills) = (Vec::new(), 0, 0);
        let begun = Instant::now();
        while goes_on(begun, elsewhere.path()) {
            while crowd.len() < CROWD as usize {
                started += 1;
                let lines = elsewhere.path().join(format!("lines-{started}"));
                let seed = random.next().to_string();
                let text = |p: &Path| p.to_str().expect("UTF-8").to_owned();
                let (dir, lines) = (text(mount.path()), text(&lines));
                crowd.push(Running::start(&mut in_role("member", &[&dir, &lines, &seed])));
            }
            std::thread::sleep(Duration::from_millis(random.between(10, 300)));
            let ended = crowd.iter_mut().position(|member| !member.is_running());
            assert_eq!(ended, None, "{kind}: {:#?}", failures(elsewhere.path()));
            let victim = random.below(CROWD) as usize;
            crowd.swap_remove(victim).kill();
            kills += 1;
        }
        drop(crowd);
        let (store, log) = look(mount.path(), elsewhere.path(), kind);
        eprintln!("{kind}: {kills} kills, {store} operations on the store, {log} changes of the log");
        assert!(is_much(store, log) && kills > 5, "{kind}: hardly anything was done");
    }
}

#[test]
fn threads_of_one_process() {
    for kind in [Filesystem::Xfs] {
        let Some(mount) = Mount::sized(kind, 1024) else { continue };
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let mut random = Random::new("threads");
        begin(mount.path());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..CROWD {
                let lines = elsewhere.path().join(format!("lines-{number}"));
                let mut member = Member::new(mount.path(), &lines, random.next());
                let stop = &stop;
                scope.spawn(move || member.work(stop));
            }
            let begun = Instant::now();
            while goes_on(begun, elsewhere.path()) {
                std::thread::sleep(Duration::from_millis(300));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let (store, log) = look(mount.path(), elsewhere.path(), kind);
        eprintln!("threads: {store} operations on the store, {log} changes of the log");
        assert!(is_much(store, log), "hardly anything was done");
    }
}

fn all_lines(dir: &Path) -> Vec<Line> {
    let files = std::fs::read_dir(dir).expect("a directory");
    files.flat_map(|file| read_lines(&file.expect("an entry").path())).collect()
}

fn failures(dir: &Path) -> Vec<Line> {
    let mut lines = all_lines(dir);
    lines.retain(|line| matches!(line, Line::Failed { .. }));
    lines
}

/// Gives how much was done to the store and to the log.
fn look(dir: &Path, lines: &Path, kind: Filesystem) -> (u64, u64) {
    assert_eq!(failures(lines), [], "{kind}");
    let (mut made, mut removed) = (BTreeMap::new(), BTreeSet::new());
    let lines = all_lines(lines);
    let done = done(&lines);
    for line in lines {
        match line {
            Line::Created { id, root, start, end, link } => {
                let twice = made.insert(id.clone(), (root, start, end, link));
                assert_eq!(twice, None, "{kind}: {id} was made twice");
            }
            Line::BeginRemove { id } => drop(removed.insert(id)),
            _ => {}
        }
    }
    let snaps = SnapshotManager::open(dir.join("orders-0")).expect("a manager");
    snaps.repair(None).expect("repaired");
    let listed: BTreeMap<String, _> = snaps.list().expect("a list").into_iter().map(|s| (s.id.clone(), s)).collect();
    for (id, (root, start, end, link)) in &made {
        let Some(found) = listed.get(id) else {
            assert!(removed.contains(id), "{kind}: {id} was acknowledged and is lost");
            continue;
        };
        assert_eq!(&found.root, root, "{kind}: {id}");
        let tail = chain::check(&LogReader::open(&found.path).expect("a log")).expect("one history");
        assert_eq!((tail.start, tail.end), (*start, *end), "{kind}: {id}");
        assert!(link.is_empty() || *link == tail.link, "{kind}: {id}: another history");
    }
    for (id, found) in &listed {
        let report = snaps.verify(id, Level::Deep).expect("a report");
        assert!(report.ok && report.extra.is_empty() && found.damaged.is_none(), "{kind}: {report:?}");
    }
    assert_eq!(strays(&snaps.store_path().expect("a look").expect("a store")), [""; 0], "{kind}");
    done
}
