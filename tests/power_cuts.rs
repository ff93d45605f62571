//! Real power cuts at random moments of everything that can be done, on real filesystems: what was acknowledged is
//! there, whole, and nothing is there in part. `COWLOG_CUTS` says how often the power fails in each case, `COWLOG_DISK_CUTS`
//! on disks that reorder, tear and fail what was not flushed; `COWLOG_SEED` repeats the choices, though not the moments.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use cowlog::fs::MethodChoice;
use cowlog::log::LogReader;
use cowlog::snapshot::{Level, SnapshotManager};
use support::chain::{self, ChainLog, Tail};
use support::disk::{Disk, Loss};
use support::mounts::Kind;
use support::power::PowerRig;
use support::process::{Running, in_role, role, strays};
use support::worker::{Job, Line, read_lines};
use support::{Random, env_number};

#[test]
fn child_process() {
    let Some((role, args)) = role() else { return };
    assert_eq!(role, "worker");
    Job::from_args(&args).work();
}

#[test]
fn ext4_by_hard_links() {
    shut_down(Kind::Ext4, MethodChoice::Hardlink);
}

#[test]
fn xfs_by_hard_links() {
    shut_down(Kind::Xfs, MethodChoice::Hardlink);
}

#[test]
fn xfs_by_reflinks() {
    shut_down(Kind::Xfs, MethodChoice::Reflink);
}

#[test]
fn btrfs_by_reflinks() {
    shut_down(Kind::Btrfs, MethodChoice::Reflink);
}

#[test]
fn ext4_on_a_disk_that_reorders() {
    reorder(Kind::Ext4, MethodChoice::Hardlink);
}

#[test]
fn xfs_on_a_disk_that_reorders() {
    reorder(Kind::Xfs, MethodChoice::Auto);
}

#[test]
fn btrfs_on_a_disk_that_reorders() {
    reorder(Kind::Btrfs, MethodChoice::Auto);
}

fn shut_down(kind: Kind, method: MethodChoice) {
    let what = format!("{kind} by {method:?}").to_lowercase();
    let mut random = Random::new(&what);
    let Some(mut rig) = PowerRig::new(kind) else { return };
    cut_often(&mut rig, &what, method, Often::of("COWLOG_CUTS", 25, 38), &mut random);
}

fn reorder(kind: Kind, method: MethodChoice) {
    let what = format!("{kind} by {method:?} on a disk that reorders").to_lowercase();
    let mut random = Random::new(&what);
    let Some(mut rig) = PowerRig::on_disk(kind, random.next()) else { return };
    let cuts = cut_often(&mut rig, &what, method, Often::of("COWLOG_DISK_CUTS", 10, 18), &mut random);
    let lost = rig.disk().expect("it has one").lost();
    eprintln!("{what}: {lost} pieces of 4 KiB were lost");
    assert!(lost * 5 > cuts, "{what}: hardly anything was at stake");
}

/// How often: so many times if that is set; or else at least so many and for so many seconds.
struct Often {
    times: u64,
    time: Duration,
}

impl Often {
    fn of(variable: &str, least: u64, seconds: u64) -> Often {
        match std::env::var_os(variable) {
            Some(_) => Often { times: env_number(variable, 0), time: Duration::ZERO },
            None => Often { times: least, time: Duration::from_secs(seconds) },
        }
    }
}

/// What must be there after the power has come back, as far as the worker's lines tell.
#[derive(Debug, Default)]
struct Promised {
    snapshots: BTreeMap<String, Made>,
    /// Their removal had begun.
    doubtful: BTreeMap<String, Made>,
    removed: BTreeSet<String>,
    restored: BTreeSet<String>,
    /// Which snapshot each restore is of, begun or done.
    restores: BTreeMap<String, String>,
    /// Content of every snapshot that there ever was.
    contents: BTreeMap<String, Made>,
    /// The log reaches at least to this end, with this link before it.
    floor: Option<(i64, String)>,
    start: i64,
    /// From this offset on there is nothing older than this generation.
    era: (i64, u64),
    /// What the log may have been exchanged for instead.
    exchanges: Vec<(i64, i64, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    root: String,
    start: i64,
    end: i64,
    link: String,
}

impl Promised {
    /// `sure`: written before the power failed, or else to be taken as something that may have happened.
    fn note(&mut self, line: &Line, sure: bool) {
        match line.clone() {
            Line::Created { id, root, start, end, link } => {
                let made = Made { root, start, end, link };
                self.contents.insert(id.clone(), made.clone());
                if sure { &mut self.snapshots } else { &mut self.doubtful }.insert(id, made);
            }
            Line::BeginRemove { id } => {
                if let Some(made) = self.snapshots.remove(&id) {
                    self.doubtful.insert(id, made);
                }
            }
            Line::Removed { id } if sure => {
                self.snapshots.remove(&id);
                self.doubtful.remove(&id);
                self.removed.insert(id);
            }
            Line::BeginRestore { name, id } => drop(self.restores.insert(name, id)),
            Line::Restored { name } if sure => drop(self.restored.insert(name)),
            Line::Forget { name } => {
                self.restored.remove(&name);
                self.restores.remove(&name);
            }
            Line::BeginTruncate => self.floor = None,
            Line::Truncated { end, link, generation } if sure => {
                self.floor = Some((end, link));
                self.era = (end, generation);
            }
            Line::BeginExchange { start, end, link } => self.exchanges.push((start, end, link)),
            Line::Exchanged { start, end, link, generation } if sure => {
                (self.start, self.floor, self.era) = (start, Some((end, link)), (end, generation));
                self.exchanges.clear();
            }
            Line::Started { start } if sure => self.start = start,
            Line::Flushed { end, link } if sure => self.floor = Some((end, link)),
            Line::Removed { .. }
            | Line::Restored { .. }
            | Line::Truncated { .. }
            | Line::Exchanged { .. }
            | Line::Started { .. }
            | Line::Flushed { .. }
            | Line::Changed { .. }
            | Line::Failed { .. } => {}
        }
    }
}

fn cut_often(rig: &mut PowerRig, what: &str, method: MethodChoice, often: Often, random: &mut Random) -> u64 {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let mut promised = Promised::default();
    let mut acknowledged = BTreeMap::<&str, u64>::new();
    let (begun, mut cuts) = (Instant::now(), 0);
    while cuts < often.times || begun.elapsed() < often.time {
        cuts += 1;
        let job = Job {
            dir: rig.path().into(),
            lines: elsewhere.path().join(format!("lines-{cuts}")),
            seed: random.next(),
            method,
            generation: cuts << 32,
            // Many small files now and then: some syncs are done another way above a number of files.
            segment_bytes: if random.below(3) == 0 { 2 << 10 } else { 32 << 10 },
        };
        let args = job.to_args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut worker = Running::start(&mut in_role("worker", &args));
        let moment = Duration::from_micros(random.between(20_000, 450_000));
        if let Some(disk) = rig.disk() {
            wear(disk, random, moment);
        } else {
            std::thread::sleep(moment);
            let lines = read_lines(&job.lines);
            assert!(worker.is_running(), "{what}, cut {cuts}: the worker failed: {:?}", lines.last());
        }
        let before = read_lines(&job.lines);
        let off = rig.cut();
        let lines = end(worker, &job, rig);
        rig.restart(off);

        let told = format!(
            "{what}, cut {cuts}, seed {}, after {:#?}",
            job.seed,
            lines.iter().rev().take(6).collect::<Vec<_>>()
        );
        for (i, line) in lines.iter().enumerate() {
            *acknowledged.entry(line.verb()).or_default() += 1;
            promised.note(line, i < before.len() || rig.tells_the_truth_to_the_end());
        }
        check_snapshots(&job, &mut promised, &told);
        check_kept(&job, &told);
        check_restored(&job, &mut promised, &told);
        check_log(&job, &mut promised, &told);
    }
    eprintln!("{what}: {cuts} cuts, {acknowledged:?}");
    for verb in ["created", "removed", "restored", "truncated", "exchanged", "flushed"] {
        assert!(acknowledged.contains_key(verb), "{what}: nothing was ever {verb}");
    }
    cuts
}

/// Until the power of a disk goes, or is to be cut: after some writes, or after some of them have failed.
fn wear(disk: &Disk, random: &mut Random, moment: Duration) {
    if random.below(4) == 0 {
        std::thread::sleep(moment);
        disk.fail_one_of(random.between(1, 30));
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        return;
    }
    disk.cut_after(random.below(600), Loss::any(random));
    let begun = Instant::now();
    while !disk.is_off() && begun.elapsed() < 3 * moment {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// On a filesystem that was shut down, or whose disk has gone, the worker fails by itself, and what it is told until then
/// counts. The branch of one that was cloned goes on and is dead.
fn end(mut worker: Running, job: &Job, rig: &PowerRig) -> Vec<Line> {
    let cut = Instant::now();
    while rig.tells_the_truth_to_the_end() && worker.is_running() && cut.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.kill();
    read_lines(&job.lines)
}

fn check_snapshots(job: &Job, promised: &mut Promised, told: &str) {
    let snaps = job.manager().unwrap_or_else(|e| panic!("{told}: {e}"));
    let found = match snaps.store_path().unwrap_or_else(|e| panic!("{told}: {e}")) {
        Some(_) => snaps.list().unwrap_or_else(|e| panic!("{told}: {e}")),
        None => Vec::new(),
    };
    let listed: BTreeSet<&String> = found.iter().map(|s| &s.id).collect();
    for id in promised.snapshots.keys() {
        assert!(listed.contains(id), "{told}: {id} was acknowledged and is gone");
    }
    let mut there = BTreeMap::new();
    for info in &found {
        let id = &info.id;
        assert!(!promised.removed.contains(id), "{told}: {id} was removed and is back");
        assert_eq!(info.damaged, None, "{told}: {id}");
        let report = snaps.verify(id, Level::Deep).unwrap_or_else(|e| panic!("{told}: {id}: {e}"));
        assert!(report.ok && report.extra.is_empty(), "{told}: {id}: {report:#?}");
        let tail = tail_of(&info.path, &format!("{told}: {id}"));
        let made = Made { root: info.root.clone(), start: tail.start, end: tail.end, link: tail.link };
        if let Some(expected) = promised.contents.get(id) {
            assert_eq!(&made, expected, "{told}: {id} is not what was snapshotted");
        }
        there.insert(id.clone(), made);
    }
    promised.contents.extend(there.clone());
    promised.snapshots = there;
    promised.doubtful.clear();
    if !found.is_empty() {
        no_strays(&snaps, told);
    }
}

fn no_strays(snaps: &SnapshotManager, told: &str) {
    snaps.repair(None).unwrap_or_else(|e| panic!("{told}: repair: {e}"));
    let store = snaps.store_path().expect("a look").expect("a store");
    assert_eq!(strays(&store), [""; 0], "{told}");
}

fn tail_of(dir: &Path, told: &str) -> Tail {
    let reader = LogReader::open(dir).unwrap_or_else(|e| panic!("{told}: {e}"));
    let tail = chain::check(&reader).unwrap_or_else(|e| panic!("{told}: {e}"));
    Tail { generation: 0, ..tail }
}

/// What replacements took out is whole, and nothing of any is left in part. Then it goes.
fn check_kept(job: &Job, told: &str) {
    let snaps = job.manager().unwrap_or_else(|e| panic!("{told}: {e}"));
    for kept in snaps.undo_list().unwrap_or_else(|e| panic!("{told}: {e}")) {
        tail_of(&kept.path.join("dirs/whole"), &format!("{told}: {}", kept.id));
        snaps.undo_discard(&kept.id).unwrap_or_else(|e| panic!("{told}: {e}"));
    }
    let names = std::fs::read_dir(&job.dir).expect("the mount").map(|e| e.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|n| n.to_string_lossy().contains(".undo-")).collect();
    assert!(left.is_empty(), "{told}: {left:?}");
}

/// A restored directory is whole or not there.
fn check_restored(job: &Job, promised: &mut Promised, told: &str) {
    for name in &promised.restored {
        assert!(job.dir.join(name).exists(), "{told}: {name} was acknowledged and is gone");
    }
    for (name, id) in &promised.restores {
        let target = job.dir.join(name);
        if !target.exists() {
            continue;
        }
        let tail = tail_of(&target, &format!("{told}: {name} of {id}"));
        if let Some(made) = promised.contents.get(id) {
            assert_eq!(
                (tail.start, tail.end, &tail.link),
                (made.start, made.end, &made.link),
                "{told}: {name} of {id}"
            );
        }
    }
    for entry in std::fs::read_dir(&job.dir).expect("the mount") {
        let entry = entry.expect("an entry");
        if entry.file_name().to_string_lossy().contains("restor") {
            std::fs::remove_dir_all(entry.path()).expect("it can go");
        }
    }
    promised.restored.clear();
    promised.restores.clear();
}

fn check_log(job: &Job, promised: &mut Promised, told: &str) {
    if !job.log().exists() {
        assert_eq!(promised.floor, None, "{told}: the log is gone");
        return;
    }
    let generation = job.generation + (1 << 31);
    let mut log = ChainLog::open(&job.log(), job.log_config(), generation).unwrap_or_else(|e| panic!("{told}: {e}"));
    log.log().flush().unwrap_or_else(|e| panic!("{told}: {e}"));
    let tail = log.tail();
    drop(log);
    let exchanges = std::mem::take(&mut promised.exchanges);
    let starts = exchanges.iter().map(|(start, ..)| *start);
    let first = starts.chain([promised.start]).min().unwrap_or_default();
    assert!(tail.start >= first, "{told}: records below {first} are back: {tail:?}");
    let reader = LogReader::open(job.log()).unwrap_or_else(|e| panic!("{told}: {e}"));
    let (from, oldest) = promised.era;
    let survey = |wanted: Option<i64>| chain::survey(&reader, wanted, from).unwrap_or_else(|e| panic!("{told}: {e}"));
    let floors = exchanges.iter().map(|(_, end, link)| (*end, link.clone())).chain(promised.floor.clone());
    let holds = |(end, link): &(i64, String)| tail.start >= *end || survey(Some(end - 1)).link.as_ref() == Some(link);
    let floors: Vec<_> = floors.collect();
    let held = promised.floor.is_none() || floors.iter().any(holds);
    assert!(held, "{told}: records up to one of {floors:?} were acknowledged; {tail:?}");
    let found = survey(None);
    let spliced = exchanges.is_empty() && found.oldest.is_some_and(|g| g < oldest);
    assert!(!spliced, "{told}: truncated records are back: {found:?}");
    promised.floor = (tail.end > tail.start).then_some((tail.end, tail.link));
    promised.start = tail.start;
    promised.era = (tail.end, 0);
}
