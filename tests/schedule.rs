#![cfg(feature = "schedule")]
//! What is done by itself: when, in weeks of simulated time; and that it is done, in some seconds of real time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cowlog::error::{ConcurrencyError, Error};
use cowlog::schedule::{Config, Memory, Outcome, Scheduler, SourceConfig, SourceMemory, Task, Told, plan};
use cowlog::snapshot::SnapshotConfig;
use cowlog::{BatchBuilder, Level, Log, SnapshotManager};

#[path = "schedule/weeks.rs"]
mod weeks;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Monday 2025-01-13 00:00 UTC.
const MONDAY: i64 = 1_736_726_400_000;

fn parse(text: &str) -> cowlog::Result<Config> {
    Config::parse(text, Path::new("cowlog.toml"))
}

/// A path of colons and dots once made a name that began with a dot.
#[test]
fn a_source_without_a_name_gets_one_that_is_one() {
    let text = "state = \"/s\"\n[[source]]\npath = \"/:::..:da`a\"\nevery = \"1h\"\n";
    let config = Config::parse(text, Path::new("c")).expect("a configuration");
    assert_eq!(config.sources[0].name, "daa");
}

#[test]
fn a_configuration_is_read() {
    let config = parse(
        r#"
        state = "/var/lib/cowlog"
        workers = 2

        [defaults]
        every = "1h"
        jitter = "5m"
        quiet = ["22:00-06:00"]
        keep = { max_snapshots = 7, retention = "3d", daily = 4 }
        verify = { every = "7d", level = "deep" }

        [[source]]
        path = "/data/kafka"
        drill = { cron = "0 4 * * SUN", into = "/data/drills" }

        [[source]]
        path = "/data/kafka"
        topic = "orders.eu-1"
        partition = 0
        cron = "*/10 * * * *"
        quiet = []
        method = "copy"
        max_copy = "10GiB"

        [[source]]
        name = "raft"
        path = "/srv/raft/log"
        store = "/srv/snapshots"
        profile = "native"
        "#,
    )
    .unwrap();
    assert_eq!((config.state, config.workers), (PathBuf::from("/var/lib/cowlog"), 2));
    let names: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["kafka", "kafka.orders.eu-1-0", "raft"]);
    let [all, one, raft] = config.sources.as_slice() else { panic!() };
    assert_eq!(all.create.as_ref().unwrap().to_string(), "every 1h");
    assert_eq!((all.keep.max_snapshots, all.keep.keep_daily, all.quiet.len()), (7, 4, 1));
    assert_eq!(all.keep.retention_time, Duration::from_secs(3 * 86_400));
    assert_eq!(all.verify.as_ref().map(|(_, level)| *level), Some(Level::Deep));
    assert_eq!(one.create.as_ref().unwrap().to_string(), "*/10 * * * *");
    assert_eq!((one.part.to_string(), one.quiet.len(), one.max_copy), ("orders.eu-1-0".into(), 0, Some(10 << 30)));
    assert_eq!((one.drill.is_none(), raft.store.as_deref()), (true, Some(Path::new("/srv/snapshots"))));
}

/// Whatever is wrong is told with its line, and nothing is taken over.
#[test]
fn a_bad_configuration_is_refused_with_the_line() {
    let head = "state = \"/s\"\n[[source]]\npath = \"/p\"\n";
    for (text, line, words) in [
        (String::new(), 1, "state"),
        ("state = 1\n".into(), 1, "string"),
        ("state = \"s\"\n".into(), 1, "not absolute"),
        ("state = \"/s\"\nworkers = 0\n".into(), 2, "between 1 and 256"),
        ("state = \"/s\"\n\nsorce = []\n".into(), 3, "sorce"),
        ("state = \"/s\"\n[[source]]\n".into(), 2, "path"),
        (head.to_owned(), 2, "nothing is to be done"),
        (format!("{head}every = \"1\"\n"), 4, "not a time"),
        (format!("{head}every = \"10ms\"\n"), 4, "at least 1s"),
        (format!("{head}every = \"1h\"\ncron = \"0 * * * *\"\n"), 2, "not both"),
        (format!("{head}cron = \"0 0 31 2 *\"\n"), 4, "never comes round"),
        (format!("{head}cron = \"hourly\"\n"), 4, ""),
        (format!("{head}every = \"1h\"\nquiet = [\"1:00-2:00\"]\n"), 5, "no time of day"),
        (format!("{head}every = \"1h\"\npartition = 0\n"), 5, "needs a `topic`"),
        (format!("{head}every = \"1h\"\ntopic = \"a/b\"\n"), 5, "no topic"),
        (format!("{head}every = \"1h\"\nname = \"../x\"\n"), 5, "no name"),
        (format!("{head}every = \"1h\"\nmethod = \"magic\"\n"), 5, "magic"),
        (format!("{head}every = \"1h\"\nverify = {{ every = \"1d\", level = \"quick\" }}\n"), 5, "no level"),
        (format!("{head}every = \"1h\"\nverify = {{ level = \"full\" }}\n"), 2, "`verify` needs"),
        (
            format!("{head}every = \"1h\"\nverify = {{ every = \"1d\", budget = \"5\", level = \"full\" }}\n"),
            5,
            "not both",
        ),
        (format!("{head}every = \"1h\"\nverify = {{ every = \"1d\", budget = \"0%\" }}\n"), 5, "not a budget"),
        (format!("{head}every = \"1h\"\ndrill = {{ every = \"1d\" }}\n"), 5, "into"),
        (format!("{head}every = \"1h\"\n[[source]]\npath = \"/p\"\nevery = \"1h\"\n"), 5, "two sources are called"),
        (format!("{head}every = \"1h\"\n[[source]]\nname = \"q\"\npath = \"/p\"\nevery = \"1h\"\n"), 5, "named twice"),
        (format!("{head}every = \"1h\"\nkeep = {{ retention = \"long\" }}\n"), 5, "not a time"),
        (format!("{head}every = \"1h\"\noffsite = {{ to = \"elsewhere\" }}\n"), 5, "neither a URL nor"),
        (format!("{head}every = \"1h\"\noffsite = {{ to = \"s3://b/p?x=1\" }}\n"), 5, "would not be heeded"),
        (format!("{head}every = \"1h\"\noffsite = {{ to = \"/e\", rate = \"0\" }}\n"), 5, "lets nothing through"),
        (
            format!("{head}every = \"1h\"\noffsite = {{ to = \"/e\", recipients = [\"age1x\"] }}\n"),
            5,
            "no age recipient",
        ),
        (format!("{head}offsite = {{ to = \"s3://b/p\" }}\n"), 4, "`offsite` needs"),
        (format!("{head}every = 1h\n"), 4, ""),
    ] {
        let error = parse(&text).expect_err(&text).to_string();
        assert!(error.contains(&format!("cowlog.toml, line {line}:")), "{text}\n{error}");
        assert!(error.contains(words), "{text}\n{error}");
    }
}

/// A machine, its clock and a process that is sometimes there.
struct World {
    sources: Vec<SourceConfig>,
    memory: Memory,
    now: i64,
    /// When each task was begun, by source.
    begun: BTreeMap<(String, Task), Vec<i64>>,
}

impl World {
    fn new(text: &str) -> World {
        let sources = parse(text).unwrap().sources;
        World { sources, memory: Memory::default(), now: MONDAY, begun: BTreeMap::new() }
    }

    /// Lives so long, looking every minute; `fails` says which tasks fail when.
    fn live(&mut self, time: i64, fails: impl Fn(&str, Task, i64) -> bool) {
        let end = self.now + time;
        while self.now < end {
            for source in &self.sources {
                let memory = self.memory.sources.entry(source.name.clone()).or_default();
                while let Some(task) = plan::due(source, memory, self.now) {
                    let past = memory.tasks.entry(task).or_default();
                    past.begin(self.now);
                    self.begun.entry((source.name.clone(), task)).or_default().push(self.now);
                    match fails(&source.name, task, self.now) {
                        true => past.fail(self.now, "filesystem", "broken".into()),
                        false => past.succeed(self.now),
                    }
                }
            }
            self.now += MINUTE;
        }
    }

    fn begun(&self, source: &str, task: Task) -> &[i64] {
        self.begun.get(&(source.to_owned(), task)).map_or(&[], Vec::as_slice)
    }
}

fn never(_: &str, _: Task, _: i64) -> bool {
    false
}

#[test]
fn four_weeks_of_hours_nights_and_sundays() {
    let mut world = World::new(
        r#"
        state = "/s"
        [[source]]
        name = "hourly"
        path = "/a"
        every = "1h"
        jitter = "10m"
        [[source]]
        name = "nightly"
        path = "/b"
        cron = "30 2 * * *"
        quiet = ["02:00-03:15", "03:00-03:45"]
        verify = { cron = "0 12 * * SUN" }
        "#,
    );
    world.live(28 * DAY, never);
    let hourly = world.begun("hourly", Task::Create);
    let gaps: Vec<i64> = hourly.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| (HOUR..HOUR + 11 * MINUTE).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().collect::<std::collections::BTreeSet<_>>().len() > 5, "no jitter: {gaps:?}");
    // At once, then every night when the quiet hours are over.
    let nightly = world.begun("nightly", Task::Create);
    assert_eq!(nightly.len(), 29);
    assert_eq!(nightly[0], MONDAY);
    assert!(nightly[1..].iter().all(|at| (at - MONDAY) % DAY == 3 * HOUR + 45 * MINUTE), "{nightly:?}");
    let verified = world.begun("nightly", Task::Verify);
    assert_eq!(
        verified[1..].iter().map(|at| (at - MONDAY) / HOUR).collect::<Vec<_>>(),
        [6, 13, 20, 27].map(|d| d * 24 + 12)
    );
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut world = World::new(
        "state = \"/s\"\n[[source]]\nname = \"a\"\npath = \"/a\"\nevery = \"1h\"\n[[source]]\nname = \"b\"\npath = \"/b\"\ncron = \"0 * * * *\"",
    );
    world.live(10 * HOUR + 30 * MINUTE, never);
    let before = [world.begun("a", Task::Create).len(), world.begun("b", Task::Create).len()];
    // Down for three days.
    world.now += 3 * DAY;
    let back = world.now;
    world.live(2 * HOUR, never);
    for (source, before) in ["a", "b"].into_iter().zip(before) {
        let made_up: Vec<i64> = world.begun(source, Task::Create)[before..].iter().map(|at| at - back).collect();
        assert_eq!(made_up[0], 0, "{source}");
        assert!(made_up.len() <= 3 && made_up[1] >= 30 * MINUTE, "{source}: {made_up:?}");
    }
}

#[test]
fn a_clock_that_jumps_neither_stops_nor_floods_it() {
    let mut world = World::new(
        "state = \"/s\"\n[[source]]\nname = \"a\"\npath = \"/a\"\nevery = \"1h\"\nverify = { cron = \"0 0 * * *\" }",
    );
    world.live(5 * HOUR, never);
    for jump in [-200 * DAY, 3000 * DAY, -1000 * DAY, HOUR / 2, -HOUR / 2] {
        world.now += jump;
        world.memory_normalised();
        let before = world.begun("a", Task::Create).len();
        world.live(10 * HOUR, never);
        let made = world.begun("a", Task::Create).len() - before;
        assert!((9..=11).contains(&made), "after a jump of {jump} ms: {made} in ten hours");
    }
}

impl World {
    /// What the scheduler does whenever it looks.
    fn memory_normalised(&mut self) {
        self.memory.normalise(self.now);
    }
}

#[test]
fn a_source_that_fails_is_tried_again_ever_more_rarely_and_stops_no_other() {
    let mut world = World::new(
        "state = \"/s\"\n[[source]]\nname = \"bad\"\npath = \"/a\"\nevery = \"1h\"\n[[source]]\nname = \"good\"\npath = \"/b\"\nevery = \"1h\"",
    );
    let broken_until = MONDAY + 2 * DAY;
    world.live(3 * DAY, |source, _, at| source == "bad" && at < broken_until);
    assert_eq!(world.begun("good", Task::Create).len(), 72);
    let bad = world.begun("bad", Task::Create);
    let pauses: Vec<i64> = bad.windows(2).take(8).map(|w| (w[1] - w[0]) / MINUTE).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "doubled, an hour at most");
    let memory: &SourceMemory = &world.memory.sources["bad"];
    assert!(memory.tasks[&Task::Create].failing.is_none(), "it works again");

    let mut world = World::new("state = \"/s\"\n[[source]]\nname = \"bad\"\npath = \"/a\"\nevery = \"1h\"");
    world.live(DAY, |_, _, _| true);
    let failing = world.memory.sources["bad"].tasks[&Task::Create].failing.clone().unwrap();
    assert_eq!((failing.since, failing.why.as_str()), (MONDAY, "broken"), "since when, not only that");
}

#[test]
fn what_was_under_way_when_the_process_died_is_told_and_done_again() {
    let mut world = World::new("state = \"/s\"\n[[source]]\nname = \"a\"\npath = \"/a\"\nevery = \"1h\"");
    world.live(HOUR, never);
    world.memory.sources.get_mut("a").unwrap().tasks.get_mut(&Task::Create).unwrap().begin(world.now);
    world.now += 5 * MINUTE;
    assert_eq!(world.memory.interrupted(world.now), [("a".to_owned(), Task::Create)]);
    let failing = world.memory.sources["a"].tasks[&Task::Create].failing.clone().unwrap();
    assert_eq!(failing.kind, "interrupted");
    let before = world.begun("a", Task::Create).len();
    world.live(MINUTE, never);
    assert_eq!(world.begun("a", Task::Create).len(), before + 1, "at once");
}

fn append(log: &Path, count: i64) {
    let mut log = Log::open(log).unwrap();
    for n in 0..count {
        log.append(BatchBuilder::new().record(n, None, Some(b"a value")).build().unwrap()).unwrap();
        if n % 10 == 9 {
            log.roll().unwrap();
        }
    }
    log.close().unwrap();
}

/// A real scheduler on real logs, in real time.
#[test]
fn it_runs() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    for name in ["one", "two", "data/orders-0", "data/orders-1"] {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        append(&dir.join(name), 25);
    }
    fs::create_dir(dir.join("drills")).unwrap();
    let dir_text = dir.to_str().unwrap();
    let text = format!(
        r#"
        state = "{dir_text}/state"
        [defaults]
        every = "1s"
        keep = {{ max_snapshots = 2 }}
        verify = {{ every = "1s", level = "deep" }}
        drill = {{ every = "2s", into = "{dir_text}/drills" }}
        [[source]]
        path = "{dir_text}/one"
        [[source]]
        path = "{dir_text}/two"
        [[source]]
        path = "{dir_text}/data"
        topic = "orders"
        [[source]]
        path = "{dir_text}/gone"
        "#
    );
    let config = parse(&text).unwrap();
    let ended = Arc::new(Mutex::new(BTreeMap::<(String, Task, bool), u32>::new()));
    let telling = ended.clone();
    let scheduler = Scheduler::new(config.clone(), SnapshotConfig::default(), move |told| {
        if let Told::Ended(ran) = told {
            if let Ok(Outcome::Drill { report }) = &ran.result {
                assert!(report.batches >= 25, "{report:?}");
            }
            if matches!(ran.result, Err(Error::Interrupted)) {
                return;
            }
            *telling.lock().unwrap().entry((ran.source.clone(), ran.task, ran.result.is_ok())).or_default() += 1;
        }
    })
    .unwrap();
    let second = Scheduler::new(config.clone(), SnapshotConfig::default(), |_| {});
    assert!(matches!(second, Err(Error::Concurrency(ConcurrencyError::Locked { .. }))), "one at a time");

    let seconds = std::env::var("COWLOG_SCHEDULE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let stopping = std::thread::scope(|threads| {
        threads.spawn(|| scheduler.run());
        std::thread::sleep(Duration::from_secs(seconds));
        scheduler.stop();
        Instant::now()
    });
    assert!(stopping.elapsed() < Duration::from_secs(10), "it ends in time");
    assert!(scheduler.running().is_empty());
    let ended = ended.lock().unwrap().clone();
    let count = |source: &str, task, ok| ended.get(&(source.to_owned(), task, ok)).copied().unwrap_or(0);
    for source in ["one", "two", "data.orders"] {
        assert!(count(source, Task::Create, true) >= seconds as u32 / 3, "{source}: {ended:?}");
        assert!(count(source, Task::Verify, true) >= seconds as u32 / 3, "{source}: {ended:?}");
        assert!(count(source, Task::Drill, true) >= 1, "{source}: {ended:?}");
        for task in Task::ALL {
            assert_eq!(count(source, task, false), 0, "{source}: {ended:?}");
        }
    }
    assert_eq!(count("gone", Task::Create, false), 1, "a minute's pause: {ended:?}");
    let memory = scheduler.memory();
    let gone = &memory.sources["gone"].tasks[&Task::Create];
    assert!(
        gone.failing.as_ref().is_some_and(|f| f.kind == "validation" && f.why.contains("no such source")),
        "{gone:?}"
    );
    assert!(memory.sources["one"].drill.as_ref().is_some_and(|report| report.batches >= 25));
    drop(scheduler);

    assert_eq!(fs::read_dir(dir.join("drills")).unwrap().count(), 0, "drills leave nothing behind");
    let snaps = SnapshotManager::open(dir.join("one")).unwrap();
    // Two, perhaps the newest verified one, and one more where it was stopped before it pruned.
    assert!(snaps.list().unwrap().len() <= 4);
    assert!(snaps.list().unwrap().iter().any(|s| s.verified.is_some()));
    // The next process goes on where this one was.
    let again = Scheduler::new(config, SnapshotConfig::default(), |told| {
        assert!(!matches!(told, Told::Warning(_)), "nothing was interrupted");
    })
    .unwrap();
    assert_eq!(again.memory(), memory);
}

#[test]
fn damage_is_a_failure_that_names_the_file() {
    let temp = tempfile::tempdir().unwrap();
    append(&temp.path().join("log"), 25);
    let dir = temp.path().to_str().unwrap();
    let config = parse(&format!(
        "state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\nevery = \"1h\"\nverify = {{ every = \"1h\" }}\n\
         drill = {{ every = \"1h\", into = \"{dir}\" }}"
    ))
    .unwrap();
    let made = SnapshotManager::open(temp.path().join("log")).unwrap().create().run().unwrap().snapshot;
    let victim = made.path.join("00000000000000000000.log");
    let mut bytes = fs::read(&victim).unwrap();
    bytes[70] ^= 4;
    fs::remove_file(&victim).unwrap();
    fs::write(&victim, bytes).unwrap();
    let text = format!("{:?}", config.sources[0]);
    assert!(text.contains("drill"), "{text}");
    let failures = Arc::new(Mutex::new(Vec::new()));
    let telling = failures.clone();
    let verify_and_drill =
        Config { sources: vec![SourceConfig { create: None, ..config.sources[0].clone() }], ..config };
    let scheduler = Scheduler::new(verify_and_drill, SnapshotConfig::default(), move |told| {
        if let Told::Ended(ran) = told {
            telling.lock().unwrap().push((ran.task, ran.result.as_ref().err().map(ToString::to_string)));
        }
    })
    .unwrap();
    scheduler.run_once();
    let failures = failures.lock().unwrap();
    assert_eq!(failures.iter().map(|(task, _)| *task).collect::<Vec<_>>(), [Task::Verify, Task::Drill]);
    assert!(failures.iter().all(|(_, why)| why.is_some()), "{failures:?}");
    assert!(failures[0].1.as_ref().unwrap().contains("00000000000000000000.log"), "{failures:?}");
    assert!(!temp.path().join(".cowlog-drill-log.d").exists());
}

/// A third each time: after some runs everything was read, and nothing else.
#[test]
fn a_budget_reads_a_piece_of_everything() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    append(&log, 60);
    let hour = || SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, hour()).unwrap();
    (0..2).for_each(|_| drop(snaps.create().run().unwrap()));
    let dir = temp.path().to_str().unwrap();
    let verify = "verify = { every = \"1s\", budget = \"34%\" }";
    let config = parse(&format!("state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\n{verify}")).unwrap();
    let read = Arc::new(Mutex::new(Vec::new()));
    while read.lock().unwrap().last().is_none_or(|(through, _, _)| !through) {
        let telling = read.clone();
        let scheduler = Scheduler::new(config.clone(), hour(), move |told| {
            if let Told::Ended(ran) = told {
                let Ok(Outcome::Scrub { report }) = &ran.result else { panic!("{:?}", ran.result) };
                telling.lock().unwrap().push((report.through, report.bytes_read, report.bytes_total));
            }
        })
        .unwrap();
        scheduler.run_once();
        drop(scheduler);
        // Its pause is of no interest here.
        fs::remove_dir_all(temp.path().join("state")).unwrap();
        assert!(read.lock().unwrap().len() < 10, "{read:?}");
    }
    let read = read.lock().unwrap();
    assert!(read.len() > 2 && read.iter().map(|(_, bytes, _)| bytes).sum::<u64>() == read[0].2, "{read:?}");
    assert!(snaps.list().unwrap().iter().all(|s| s.verified.as_ref().is_some_and(|v| v.ok)));
}

/// Every snapshot that is taken is carried elsewhere; where that fails it is tried again, and nothing else waits for it.
#[test]
fn what_is_taken_is_carried_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    append(&temp.path().join("log"), 25);
    let offsite = "offsite = { to = \"DIR/elsewhere\", host = \"here\", retry = \"1s\" }".replace("DIR", dir);
    let text = format!("state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\nevery = \"1s\"\n{offsite}");
    // A file stands where the directory is to be made.
    fs::write(temp.path().join("elsewhere"), "").unwrap();
    let run = || {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let telling = ended.clone();
        let scheduler = Scheduler::new(parse(&text).unwrap(), SnapshotConfig::default(), move |told| {
            if let Told::Ended(ran) = told {
                telling.lock().unwrap().push((ran.task, ran.result.is_ok()));
            }
        })
        .unwrap();
        scheduler.run_once();
        let ended = ended.lock().unwrap().clone();
        (ended, scheduler.memory().sources.remove("log").unwrap())
    };
    let (ended, memory) = run();
    assert_eq!(ended, [(Task::Create, true), (Task::Push, false)]);
    let past = &memory.tasks[&Task::Push];
    assert!(past.failing.is_some() && past.retry_at.is_some() && memory.push.is_none(), "{memory:?}");

    // It is tried again after its pause, which is of no interest here.
    fs::remove_file(temp.path().join("elsewhere")).unwrap();
    fs::remove_dir_all(temp.path().join("state")).unwrap();
    let (ended, memory) = run();
    assert_eq!(ended, [(Task::Create, true), (Task::Push, true)]);
    let report = memory.push.unwrap();
    assert_eq!((report.pushed, memory.tasks[&Task::Push].failing.is_none()), (2, true), "{report:?}");
    let remote = cowlog::offsite::Remote::open(&format!("{dir}/elsewhere"), Default::default()).unwrap();
    let there: Vec<_> = remote.list_of("here/log").unwrap().into_iter().map(|s| s.info.id).collect();
    let here: Vec<_> = SnapshotManager::open(temp.path().join("log")).unwrap().list().unwrap();
    assert_eq!(there, here.into_iter().map(|s| s.id).collect::<Vec<_>>());
    assert_eq!(there.last(), Some(&report.id));
    // Nothing is due again before the next snapshot. One in the millisecond of the push may be newer than what was carried.
    let source = &parse(&text).unwrap().sources[0];
    let mut memory = SourceMemory { push: None, ..memory };
    let begun = memory.tasks[&Task::Push].begun.unwrap();
    for (created, due) in [(begun - 1, None), (begun, Some(begun)), (begun + 5_000, Some(begun + 5_000))] {
        memory.tasks.get_mut(&Task::Create).unwrap().succeeded = Some(created);
        assert_eq!(cowlog::schedule::plan::due_at(source, Task::Push, &memory, i64::MAX / 2), due);
    }
}

/// A disk that is not mounted, a bucket that somebody emptied: what was carried there is missed, not made anew.
#[test]
fn a_place_that_vanished_is_told_and_not_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    append(&temp.path().join("log"), 25);
    let run = |to: &str| {
        let offsite = format!("offsite = {{ to = \"{dir}/{to}\", host = \"here\" }}");
        let text = format!("state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\nevery = \"1h\"\n{offsite}");
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = told.clone();
        let scheduler = Scheduler::new(parse(&text).unwrap(), SnapshotConfig::default(), move |told| {
            if let Told::Ended(ran) = told
                && ran.task == Task::Push
            {
                telling.lock().unwrap().push(ran.result.as_ref().map(|_| ()).map_err(ToString::to_string));
            }
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(5));
        scheduler.taken("log");
        scheduler.run_once();
        std::mem::take(&mut *told.lock().unwrap())
    };
    let config = |to: &str| temp.path().join(to).join("config.json");
    // Another place is made, wherever the last push went.
    for to in ["first", "second", "second"] {
        assert_eq!(run(to), [Ok(())], "{to}");
        assert!(config(to).exists());
    }
    // The directory that a disk was mounted on is still there.
    fs::rename(temp.path().join("second"), temp.path().join("away")).unwrap();
    fs::create_dir(temp.path().join("second")).unwrap();
    let told = run("second");
    assert!(matches!(&told[..], [Err(why)] if why.contains("gone or empty")), "{told:?}");
    assert!(!config("second").exists());
}

/// What was found damaged stays a failure while it is there, however many others are whole.
#[test]
fn known_damage_is_not_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    append(&log, 25);
    let hour = || SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, hour()).unwrap();
    let ids: Vec<String> = (0..3).map(|_| snaps.create().run().unwrap().snapshot.id).collect();
    let victim = snaps.get(&ids[1]).unwrap().path.join("00000000000000000020.log");
    fs::remove_file(&victim).unwrap();
    let dir = temp.path().to_str().unwrap();
    let config =
        parse(&format!("state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\nverify = {{ every = \"1s\" }}"))
            .unwrap();
    let verified = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..5 {
        let telling = verified.clone();
        let scheduler = Scheduler::new(config.clone(), hour(), move |told| {
            if let Told::Ended(ran) = told {
                telling.lock().unwrap().push(ran.result.as_ref().map_err(ToString::to_string).map(|_| ()).err());
            }
        })
        .unwrap();
        scheduler.run_once();
        drop(scheduler);
        // Its pause is of no interest here.
        fs::remove_dir_all(temp.path().join("state")).unwrap();
    }
    let found = verified.lock().unwrap().clone();
    let at = found.iter().position(Option::is_some).expect("it is found");
    assert!(at < 3, "each is read in its turn: {found:?}");
    assert!(found[at..].iter().all(|why| why.as_ref().is_some_and(|why| why.contains(&ids[1]))), "{found:?}");
    assert!(snaps.list().unwrap().iter().all(|s| s.verified.is_some()), "the others were read all the same");
    snaps.delete(&ids[1]).unwrap();
    let scheduler = Scheduler::new(config, hour(), |told| {
        assert!(!matches!(told, Told::Ended(ran) if ran.result.is_err()));
    })
    .unwrap();
    scheduler.run_once();
}

/// The whole of a data directory and a topic of it have policies of their own.
#[test]
fn the_whole_does_not_prune_its_parts() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    append(&data.join("orders-0"), 25);
    let dir = temp.path().to_str().unwrap();
    let config = parse(&format!(
        "state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/data\"\nevery = \"1s\"\nkeep = {{ max_snapshots = 1 }}\n\
         [[source]]\npath = \"{dir}/data\"\ntopic = \"orders\"\nevery = \"1s\"\nkeep = {{ max_snapshots = 3 }}"
    ))
    .unwrap();
    for _ in 0..4 {
        Scheduler::new(config.clone(), SnapshotConfig::default(), |_| {}).unwrap().run_once();
        fs::remove_dir_all(temp.path().join("state")).unwrap();
    }
    let scopes: Vec<String> =
        SnapshotManager::open(&data).unwrap().list().unwrap().into_iter().map(|s| s.scope).collect();
    let of = |scope: &str| scopes.iter().filter(|s| *s == scope).count();
    assert_eq!((of("all"), of("orders")), (1, 3));
}

/// Where nothing can be remembered nothing is begun: it would be done again and again.
#[test]
fn without_a_memory_nothing_is_begun() {
    let temp = tempfile::tempdir().unwrap();
    append(&temp.path().join("log"), 5);
    let dir = temp.path().to_str().unwrap();
    let text = format!("state = \"{dir}/state\"\n[[source]]\npath = \"{dir}/log\"\nevery = \"1h\"");
    // A directory where the file belongs.
    fs::create_dir_all(temp.path().join("state/schedule.json")).unwrap();
    assert!(Scheduler::new(parse(&text).unwrap(), SnapshotConfig::default(), |_| {}).is_err());
    assert!(SnapshotManager::open(temp.path().join("log")).unwrap().list().unwrap().is_empty());
}

/// A source that got another name by a reload, while something was being done with it, was taken for another source.
#[test]
fn a_source_that_is_renamed_while_it_is_worked_on_is_still_one_source() {
    let temp = tempfile::tempdir().unwrap();
    append(&temp.path().join("orders"), 5);
    let config = |name: &str| {
        let (state, path) = (temp.path().join("state"), temp.path().join("orders"));
        let text = format!("state = {state:?}\n[[source]]\nname = {name:?}\npath = {path:?}\nevery = \"1h\"\n");
        parse(&text).unwrap()
    };
    let (begun, begins) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, wait) = (Mutex::new(begun), Mutex::new(wait));
    let scheduler = Scheduler::new(config("before"), SnapshotConfig::default(), move |told| {
        if let Told::Began(running) = told {
            begun.lock().unwrap().send(running.source.clone()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
    })
    .unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| scheduler.run());
        assert_eq!(begins.recv_timeout(Duration::from_secs(10)).unwrap(), "before");
        scheduler.reload(config("after"));
        assert!(begins.recv_timeout(Duration::from_millis(300)).is_err(), "two jobs at once on one source");
        go.send(()).unwrap();
        assert_eq!(begins.recv_timeout(Duration::from_secs(10)).unwrap(), "after");
        go.send(()).unwrap();
        scheduler.stop();
    });
}

/// Where more is to be done than can be done, those that come first in the configuration were always late and always next.
#[test]
fn none_waits_for_ever_behind_those_that_are_always_late() {
    let temp = tempfile::tempdir().unwrap();
    let names = ["first", "second", "third"];
    let mut text = format!("state = {:?}\nworkers = 1\n[defaults]\nevery = \"1s\"\n", temp.path().join("state"));
    for name in names {
        append(&temp.path().join(name), 5);
        text += &format!("[[source]]\npath = {:?}\n", temp.path().join(name));
    }
    let now = Arc::new(Mutex::new(MONDAY));
    let time = now.clone();
    let clock = cowlog::fs::Clock::new(move || *time.lock().unwrap());
    let (ended, ends) = std::sync::mpsc::channel();
    let ended = Mutex::new(ended);
    let config = SnapshotConfig { clock, ..SnapshotConfig::default() };
    let scheduler = Scheduler::new(parse(&text).unwrap(), config, move |told| {
        if let Told::Ended(ran) = told {
            // Each takes five times as long as there is time.
            *now.lock().unwrap() += 5000;
            let _ = ended.lock().unwrap().send(ran.source.clone());
        }
    })
    .unwrap();
    let done: Vec<String> = std::thread::scope(|threads| {
        threads.spawn(|| scheduler.run());
        let done = (0..9).map(|_| ends.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        scheduler.stop();
        done
    });
    assert_eq!(done, names.repeat(3));
}
