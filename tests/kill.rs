//! SIGKILL at random moments of the real binary. `COWLOG_KILLS` says how often on each filesystem, 60 times if not set.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cowlog::log::{BatchBuilder, Log, LogConfig};
use cowlog::snapshot::{Level, SnapshotConfig, SnapshotManager};
use support::mounts::each_filesystem;
use support::process::{Running, contents, cowlog};
use support::{Random, env_number};

const SEGMENTS: i64 = 150;
const VERBS: [&str; 7] = ["create", "copy", "restore", "delete", "prune", "repair", "verify"];

struct Stage {
    dir: PathBuf,
    log: PathBuf,
    live: BTreeMap<String, Vec<u8>>,
}

impl Stage {
    fn new(dir: &Path) -> Stage {
        let log = dir.join("orders-0");
        std::fs::create_dir(&log).expect("a directory");
        let config = LogConfig { segment_bytes: 600, ..LogConfig::default() };
        let mut writer = Log::open_with(&log, config).expect("a log");
        while (writer.segments().len() as i64) < SEGMENTS {
            let value = [b'x'; 400];
            writer.append(BatchBuilder::new().record(1, None, Some(&value)).build().expect("a batch")).expect("room");
        }
        writer.close().expect("closed");
        let mut stage = Stage { dir: dir.into(), log, live: BTreeMap::new() };
        // The first snapshot leaves the file in the log through which it waits for truncations.
        stage.refill();
        stage.live = log_files(&stage.log);
        stage
    }

    fn manager(&self) -> SnapshotManager {
        let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
        SnapshotManager::open_with(&self.log, config).expect("a manager")
    }

    fn store(&self) -> PathBuf {
        self.log.join(".snapshots")
    }

    fn target(&self) -> PathBuf {
        self.dir.join("restored")
    }

    fn ids(&self) -> BTreeSet<String> {
        self.manager().list().expect("a list").into_iter().map(|s| s.id).collect()
    }

    /// At least three snapshots, at most six.
    fn refill(&self) {
        let manager = self.manager();
        while !self.store().exists() || self.ids().len() < 3 {
            manager.create().run().expect("a snapshot");
        }
        while self.ids().len() > 6 {
            let oldest = self.ids().into_iter().next().expect("one");
            manager.delete(&oldest).expect("deleted");
        }
        let _ = std::fs::remove_dir_all(self.target());
    }

    fn command(&self, verb: &str) -> Running {
        let log = self.log.as_os_str();
        let oldest = self.ids().into_iter().next().unwrap_or_else(|| "latest".into());
        let mut command = cowlog([match verb {
            "copy" => "create",
            verb => verb,
        }]);
        command.arg(log).stdout(Stdio::null()).stderr(Stdio::null());
        match verb {
            "create" => command.arg("--force"),
            "copy" => command.args(["--force", "--method", "copy"]),
            "restore" => command.args(["latest", "--to"]).arg(self.target()),
            "delete" => command.arg(&oldest),
            "prune" => command.args(["--max-snapshots", "1"]),
            "verify" => command.args(["--level", "deep", "--all"]),
            _ => {
                std::fs::remove_file(self.store().join("snapshots.json")).expect("there is a catalogue");
                &mut command
            }
        };
        Running::start(&mut command)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store()).expect("a store");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    /// What a dead process left: in the store, beside the target.
    fn leftovers(&self) -> Vec<String> {
        let beside = std::fs::read_dir(&self.dir).expect("a directory");
        let beside = beside.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"));
        let staged = beside.filter(|n| n.contains("restor") && *n != "restored");
        let in_store = self.names().into_iter();
        let known = |n: &String| n.starts_with("snapshot-") || [".lock", "snapshots.json"].contains(&n.as_str());
        staged.chain(in_store.filter(|n| !known(n))).collect()
    }
}

/// The log's own files.
fn log_files(log: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(log);
    files.retain(|name, _| !name.starts_with(".snapshots/"));
    files
}

fn kill_often(filesystem: &str, dir: &Path) {
    let stage = Stage::new(dir);
    let mut random = Random::new(filesystem);
    let mut usual: BTreeMap<&str, Duration> = BTreeMap::new();
    let (mut within, mut traces) = (0, 0);
    let kills = env_number("COWLOG_KILLS", 60);
    for round in 0..kills {
        stage.refill();
        let before = stage.ids();
        let verb = VERBS[random.below(VERBS.len() as u64) as usize];
        let told = format!("{filesystem}, round {round}, {verb}");
        let begun = Instant::now();
        let mut running = stage.command(verb);
        let status = match usual.get(verb) {
            Some(usual) => {
                let all = usual.as_micros() as u64;
                std::thread::sleep(Duration::from_micros(random.below(all + all / 10)));
                running.kill()
            }
            None => running.wait(),
        };
        usual.entry(verb).or_insert(begun.elapsed());
        match status.code() {
            Some(code) => assert_eq!(code, 0, "{told}: {status}"),
            None => {
                assert_eq!(status.signal(), Some(9), "{told}");
                within += 1;
            }
        }
        traces += u64::from(!stage.leftovers().is_empty());
        check(&stage, verb, &before, status.success(), &told);
    }
    eprintln!("{filesystem}: {within} of {kills} were killed before their end, {traces} left something to sweep");
    assert!(within * 3 > kills && traces * 10 > kills, "the kills missed");
}

fn check(stage: &Stage, verb: &str, before: &BTreeSet<String>, ended: bool, told: &str) {
    assert!(log_files(&stage.log) == stage.live, "{told}: the log itself changed");
    let manager = stage.manager();
    let after = stage.ids();
    for id in &after {
        let report = manager.verify(id, Level::Deep).unwrap_or_else(|e| panic!("{told}: {id}: {e}"));
        // A state that was never finished.
        assert!(report.ok && report.extra.iter().all(|e| e == ".state.json.tmp"), "{told}: {id}: {report:#?}");
    }
    let gone: Vec<_> = before.difference(&after).collect();
    let new: Vec<_> = after.difference(before).collect();
    match verb {
        "create" | "copy" => {
            assert!(gone.is_empty() && new.len() <= 1 && (!ended || new.len() == 1), "{told}: {new:?}")
        }
        "delete" => assert!(new.is_empty() && gone.len() <= 1 && (!ended || gone.len() == 1), "{told}: {gone:?}"),
        // The newest one and the newest that was verified stay.
        "prune" => assert!(
            new.is_empty() && (!ended || after.len() <= 2) && after.last() == before.last(),
            "{told}: {after:?} of {before:?}"
        ),
        _ => assert!(gone.is_empty() && new.is_empty(), "{told}: {gone:?} {new:?}"),
    }
    if stage.target().exists() {
        let restored = contents(&stage.target());
        let latest = after.last().expect("one");
        let mut wanted = contents(&stage.store().join(latest));
        wanted.retain(|name, _| !["manifest.json", "manifest.b3", "state.json"].contains(&name.as_str()));
        assert!(restored == wanted, "{told}: the target is not whole");
        std::fs::remove_dir_all(stage.target()).expect("it goes");
    } else {
        assert!(!(verb == "restore" && ended), "{told}: the target was acknowledged");
    }
    // The next ones of the real binary work, and sweep what the dead one left.
    assert!(stage.command("create").wait().success(), "{told}: the next create");
    assert!(stage.command("restore").wait().success(), "{told}: the next restore");
    assert_eq!(stage.leftovers(), [""; 0], "{told}");
    manager.repair(None).unwrap_or_else(|e| panic!("{told}: {e}"));
    for id in stage.ids() {
        let report = manager.verify(&id, Level::Quick).unwrap_or_else(|e| panic!("{told}: {id}: {e}"));
        assert!(report.ok && report.extra.is_empty(), "{told}: {id}: {report:#?}");
    }
}

#[test]
fn killed_at_any_moment() {
    each_filesystem(kill_often);
}

/// Every verb in several processes at once on one store: each ends well, finds nothing, or gives up waiting.
#[test]
fn many_processes_at_once() {
    each_filesystem(|filesystem, dir| {
        let stage = Stage::new(dir);
        let mut random = Random::new(filesystem);
        let mut ended: BTreeMap<(&str, i32), u64> = BTreeMap::new();
        for _ in 0..env_number("COWLOG_CROWDS", 8) {
            let verbs: Vec<&str> = (0..8)
                .map(|_| ["create", "create", "copy", "delete", "prune", "verify"][random.below(6) as usize])
                .collect();
            let running: Vec<(&str, Running)> = verbs.into_iter().map(|verb| (verb, stage.command(verb))).collect();
            for (verb, mut process) in running {
                let code = process.wait().code().expect("an exit code");
                *ended.entry((verb, code)).or_default() += 1;
                // Another one may have deleted it first, or hold it for longer than the deadline.
                let allowed = match verb {
                    "create" | "copy" => [0, 11, 11],
                    _ => [0, 10, 11],
                };
                assert!(allowed.contains(&code), "{filesystem}: {verb} ended with {code}");
            }
            stage.refill();
        }
        eprintln!("{filesystem}: {ended:?}");
        assert!(ended.get(&("create", 0)).is_some_and(|n| *n > 0), "no create worked: {ended:?}");
        check(&stage, "verify", &stage.ids(), true, filesystem);
    });
}
