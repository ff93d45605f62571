//! The real scheduler on real logs, by a clock of the test's own: four weeks in which the process dies in the middle of jobs,
//! the machine is down, the clock jumps both ways and a source is gone for two days.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use cowlog::error::Error;
use cowlog::fs::Clock;
use cowlog::schedule::{Memory, Scheduler, Task, Told};
use cowlog::snapshot::SnapshotConfig;
use cowlog::{Level, SnapshotManager};

use crate::{DAY, HOUR, MINUTE, MONDAY, append, parse};

/// A job that was begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// How much time had passed since it all began.
    passed: i64,
    /// What the clock showed.
    clock: i64,
    /// `None` where the process died, or as long as it lasts.
    went_well: Option<bool>,
}

#[derive(Default)]
struct Seen {
    jobs: BTreeMap<(String, Task), Vec<Begun>>,
    running: BTreeSet<String>,
    /// What was told when the process began.
    warnings: Vec<String>,
}

enum Happens {
    /// The process dies while nothing is being done.
    Death,
    /// It dies in the middle of the next such job.
    DeathIn(&'static str, Task),
    /// The machine is off for so long.
    Off(i64),
    /// The clock is set.
    Jump(i64),
    Gone(&'static str),
    Back(&'static str),
}

/// A machine whose time passes when nothing is done.
struct Machine {
    dir: PathBuf,
    text: String,
    passed: Arc<AtomicI64>,
    clock: Arc<AtomicI64>,
    seen: Arc<Mutex<Seen>>,
    /// What happens when so much time has passed.
    plan: VecDeque<(i64, Happens)>,
    end: i64,
}

impl Machine {
    fn pass(&self, time: i64) {
        self.passed.fetch_add(time, Ordering::SeqCst);
        self.clock.fetch_add(time, Ordering::SeqCst);
    }

    fn passed(&self) -> i64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// From the beginning of the process to its death; gives what it knew then.
    fn live(&mut self) -> Memory {
        let state = self.dir.join("state");
        let (clock, passed, seen) = (self.clock.clone(), self.passed.clone(), self.seen.clone());
        let now = move || clock.load(Ordering::SeqCst);
        let base = SnapshotConfig { clock: Clock::new(now.clone()), ..SnapshotConfig::default() };
        let dies_in: Arc<Mutex<Option<(&str, Task)>>> = Arc::default();
        let (stop, stops) = channel();
        let (go, goes) = channel();
        let told_to_stop = Mutex::new((stop.clone(), goes));
        let (deadly, remembered) = (dies_in.clone(), state.clone());
        let told = move |told: Told<'_>| match told {
            Told::Warning(text) => seen.lock().unwrap().warnings.push(text.to_owned()),
            Told::Progress(..) => {}
            Told::Began(running) => {
                let mut seen = seen.lock().unwrap();
                assert!(seen.running.insert(running.source.clone()), "two at once: {running:?}");
                let begun = Begun { passed: passed.load(Ordering::SeqCst), clock: now(), went_well: None };
                seen.jobs.entry((running.source.clone(), running.task)).or_default().push(begun);
                drop(seen);
                if *deadly.lock().unwrap() == Some((running.source.as_str(), running.task)) {
                    // What the next process finds is what the disk has at this moment.
                    std::fs::copy(remembered.join("schedule.json"), remembered.join("found")).unwrap();
                    let (stop, goes) = &*told_to_stop.lock().unwrap();
                    stop.send(true).unwrap();
                    goes.recv().unwrap();
                }
            }
            Told::Ended(ran) => {
                let mut seen = seen.lock().unwrap();
                seen.running.remove(&ran.source);
                let jobs = seen.jobs.get_mut(&(ran.source.clone(), ran.task)).unwrap();
                let interrupted = matches!(ran.result, Err(Error::Interrupted));
                jobs.last_mut().unwrap().went_well = (!interrupted).then_some(ran.result.is_ok());
            }
        };
        let scheduler = Scheduler::new(parse(&self.text).unwrap(), base, told).unwrap();
        std::thread::scope(|threads| {
            let scheduler = &scheduler;
            // Whoever is told must not call the scheduler: another one does.
            threads.spawn(move || {
                while stops.recv() == Ok(true) {
                    scheduler.stop();
                    go.send(()).unwrap();
                }
            });
            let mut off = 0;
            scheduler.run_by(|time| {
                self.pass(i64::try_from(time.as_millis()).unwrap());
                if self.passed() >= self.end {
                    scheduler.stop();
                }
                while self.plan.front().is_some_and(|(at, _)| *at <= self.passed()) {
                    match self.plan.pop_front().unwrap().1 {
                        Happens::Death => scheduler.stop(),
                        Happens::Off(time) => {
                            off = time;
                            scheduler.stop();
                        }
                        Happens::DeathIn(source, task) => *dies_in.lock().unwrap() = Some((source, task)),
                        Happens::Jump(by) => drop(self.clock.fetch_add(by, Ordering::SeqCst)),
                        Happens::Gone(name) => std::fs::rename(self.dir.join(name), self.dir.join("away")).unwrap(),
                        Happens::Back(name) => std::fs::rename(self.dir.join("away"), self.dir.join(name)).unwrap(),
                    }
                }
            });
            stop.send(false).unwrap();
            self.pass(off);
        });
        let memory = scheduler.memory();
        drop(scheduler);
        if state.join("found").exists() {
            std::fs::rename(state.join("found"), state.join("schedule.json")).unwrap();
        }
        memory
    }

    fn jobs(&self, source: &str, task: Task) -> Vec<Begun> {
        self.seen.lock().unwrap().jobs.get(&(source.to_owned(), task)).cloned().unwrap_or_default()
    }
}

fn machine(dir: &Path, plan: Vec<(i64, Happens)>, end: i64) -> Machine {
    for name in ["steady", "nightly", "shaky"] {
        append(&dir.join(name), 12);
    }
    std::fs::create_dir(dir.join("drills")).unwrap();
    let dir_text = dir.to_str().unwrap();
    let text = format!(
        r#"
        state = "{dir_text}/state"
        [defaults]
        keep = {{ max_snapshots = 3 }}
        [[source]]
        path = "{dir_text}/steady"
        every = "6h"
        jitter = "20m"
        verify = {{ every = "1d", level = "deep" }}
        drill = {{ every = "3d", into = "{dir_text}/drills" }}
        [[source]]
        path = "{dir_text}/nightly"
        cron = "30 2 * * *"
        quiet = ["02:00-03:15"]
        [[source]]
        path = "{dir_text}/shaky"
        store = "{dir_text}/shaky.snapshots"
        every = "6h"
        "#
    );
    let (passed, clock) = (Arc::default(), Arc::new(AtomicI64::new(MONDAY)));
    Machine { dir: dir.to_owned(), text, passed, clock, seen: Arc::default(), plan: plan.into(), end }
}

const DEATHS_IN: [(&str, Task); 4] =
    [("steady", Task::Create), ("nightly", Task::Create), ("steady", Task::Verify), ("steady", Task::Drill)];

#[test]
fn four_weeks_of_a_machine_that_fails() {
    use Happens::{Back, Death, DeathIn, Gone, Jump, Off};
    // On a disk the syncs would take most of the time.
    let memory = Path::new("/dev/shm");
    let temp = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let day = |days: i64, hours: i64| days * DAY + hours * HOUR;
    let [first, second, third, fourth] = DEATHS_IN.map(|(source, task)| DeathIn(source, task));
    let plan = vec![
        (day(1, 1), first),
        (day(3, 0), Death),
        (day(4, 0), Off(3 * DAY)),
        (day(9, 0), Gone("shaky")),
        (day(10, 0), Death),
        (day(11, 0), Back("shaky")),
        (day(13, 5), Jump(-5 * DAY)),
        (day(15, 5), Jump(12 * DAY)),
        (day(16, 5), Jump(-20 * MINUTE)),
        (day(18, 0), second),
        (day(20, 0), third),
        (day(22, 0), fourth),
    ];
    let mut machine = machine(temp.path(), plan, day(28, 0));
    let mut memories = Vec::new();
    while machine.passed() < machine.end {
        memories.push(machine.live());
    }
    assert_eq!(memories.len(), 4 + 3 + 1, "each death has a life after it");

    // Each that died is told of once and done again at once.
    let warnings = machine.seen.lock().unwrap().warnings.clone();
    let expected: Vec<String> =
        DEATHS_IN.map(|(source, task)| format!("{source}: {task} was interrupted when the last process ended")).into();
    assert_eq!(warnings, expected);
    for (source, task) in DEATHS_IN {
        let jobs = machine.jobs(source, task);
        let died: Vec<usize> = (0..jobs.len()).filter(|n| jobs[*n].went_well.is_none()).collect();
        assert_eq!(died.len(), 1, "{source} {task}: {jobs:?}");
        let again = jobs[died[0] + 1];
        assert_eq!((again.passed, again.went_well), (jobs[died[0]].passed, Some(true)), "{source} {task}");
    }

    // Nothing waits for longer than it should, whatever the clock shows, and nothing comes round too often.
    let (back, forward) = (day(13, 5), day(15, 5));
    for (source, task, every) in [
        ("steady", Task::Create, 6 * HOUR),
        ("steady", Task::Verify, DAY),
        ("steady", Task::Drill, 3 * DAY),
        ("nightly", Task::Create, DAY),
    ] {
        let jobs = machine.jobs(source, task);
        let failed: Vec<&Begun> = jobs.iter().filter(|job| job.went_well == Some(false)).collect();
        assert!(failed.is_empty(), "{source} {task}: {failed:?}");
        assert_eq!(jobs[0].passed, 0, "what was never done is due at once");
        for pair in jobs.windows(2) {
            let (from, to) = (pair[0].passed, pair[1].passed);
            let (lies_in, slack) = (|at: i64| (from..=to).contains(&at), 25 * MINUTE);
            let most = match () {
                () if lies_in(day(4, 0)) => every.max(3 * DAY) + every,
                () if lies_in(back) || lies_in(day(16, 5)) => 2 * every,
                () => every,
            };
            assert!(to - from <= most + slack, "{source} {task} waits: {pair:?}");
            let is_early = source == "steady" && to - from < every;
            assert!(!is_early || pair[0].went_well.is_none() || lies_in(forward), "{source} {task}: {pair:?}");
        }
    }
    let nightly = machine.jobs("nightly", Task::Create);
    let of_day = |job: &Begun| (job.clock - MONDAY).rem_euclid(DAY);
    assert!(nightly.iter().all(|job| !(2 * HOUR..3 * HOUR + 15 * MINUTE).contains(&of_day(job))), "{nightly:?}");
    let on_time = nightly.iter().filter(|job| (of_day(job) - 3 * HOUR - 15 * MINUTE).abs() <= MINUTE).count();
    assert!(on_time >= 18, "{on_time} of {nightly:?}");

    // What was missed is made up for once, at once.
    for source in ["steady", "nightly", "shaky"] {
        let jobs = machine.jobs(source, Task::Create);
        assert!(jobs.iter().all(|job| !(day(4, 1)..day(7, 0)).contains(&job.passed)), "{source}: {jobs:?}");
        let first = jobs.iter().filter(|job| (day(7, 0)..day(7, 3)).contains(&job.passed)).count();
        assert_eq!(first, 1, "{source}: {jobs:?}");
    }

    // The one that is gone is tried ever more rarely, also by the next process, and works at once when it is back.
    let shaky = machine.jobs("shaky", Task::Create);
    let failed: Vec<i64> = shaky.iter().filter(|job| job.went_well == Some(false)).map(|job| job.passed).collect();
    let pauses: Vec<i64> = failed.windows(2).map(|pair| (pair[1] - pair[0]) / MINUTE).collect();
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 32, 60], "{pauses:?}");
    assert!(pauses[6..].iter().all(|pause| (60..=61).contains(pause)), "{pauses:?}");
    let mended = shaky.iter().find(|job| job.passed >= day(11, 0)).unwrap();
    assert!(mended.went_well == Some(true) && mended.passed <= day(11, 1) + MINUTE, "{mended:?}");
    let failing = |memory: &Memory| memory.sources["shaky"].tasks[&Task::Create].failing.clone();
    let since = MONDAY + failed[0];
    // The death of day 10 ended the fourth life.
    assert!(failing(&memories[3]).is_some_and(|failing| (failing.since - since).abs() < MINUTE), "{:?}", memories[3]);
    assert!(memories[4..].iter().all(|memory| failing(memory).is_none()));

    // All of that on real logs: what is there is whole, and nothing else is there.
    assert_eq!(std::fs::read_dir(temp.path().join("drills")).unwrap().count(), 0);
    for name in ["steady", "nightly", "shaky"] {
        let store = (name == "shaky").then(|| temp.path().join("shaky.snapshots"));
        let snapshots =
            SnapshotManager::open_with(temp.path().join(name), SnapshotConfig { store, ..SnapshotConfig::default() })
                .unwrap();
        let listed = snapshots.list().unwrap();
        assert!((1..=4).contains(&listed.len()), "{name}: {listed:?}");
        assert!(listed.iter().all(|s| snapshots.verify(&s.id, Level::Deep).unwrap().ok), "{name}");
    }
}
