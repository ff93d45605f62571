//! A log, a store, and every verb of the real binary; and what must hold however a verb ended. Whatever attacks a store
//! with processes joins the verbs here.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cowlog::log::{BatchBuilder, Log, LogConfig};
use cowlog::snapshot::{HealOptions, Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::store::UndoState;

use super::process::{contents, cowlog, strays};

pub const VERBS: [&str; 13] = [
    "create", "copy", "restore", "fork", "replace", "undo", "pin", "delete", "prune", "repair", "heal", "verify",
    "list",
];

/// What is missing of the oldest snapshot when it is healed.
const VICTIM: &str = "00000000000000000000.timeindex";

/// A log and a store that commands are run on.
pub struct Stage {
    pub dir: PathBuf,
    pub log: PathBuf,
    live: BTreeMap<String, Vec<u8>>,
    /// The log as any of its snapshots restores it.
    restored: BTreeMap<String, Vec<u8>>,
    /// Of the log's own directory.
    inode: u64,
}

impl Stage {
    pub fn new(dir: &Path, segments: usize) -> Stage {
        let log = dir.join("orders-0");
        std::fs::create_dir(&log).expect("a directory");
        let config = LogConfig { segment_bytes: 600, ..LogConfig::default() };
        let mut writer = Log::open_with(&log, config).expect("a log");
        while writer.segments().len() < segments {
            let value = [b'x'; 400];
            writer.append(BatchBuilder::new().record(1, None, Some(&value)).build().expect("a batch")).expect("room");
        }
        writer.close().expect("closed");
        let mut stage = Stage { dir: dir.into(), log, live: BTreeMap::new(), restored: BTreeMap::new(), inode: 0 };
        stage.refill();
        stage.live = log_files(&stage.log);
        stage.manager().restore_id("latest", RestoreOptions::to(stage.target())).expect("restored");
        stage.restored = log_files(&stage.target());
        stage.inode = stage.inode();
        stage.refill();
        stage
    }

    pub fn manager(&self) -> SnapshotManager {
        let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
        SnapshotManager::open_with(&self.log, config).expect("a manager")
    }

    fn inode(&self) -> u64 {
        std::fs::metadata(&self.log).expect("the log").ino()
    }

    fn store(&self) -> PathBuf {
        self.log.join(".snapshots")
    }

    pub fn target(&self) -> PathBuf {
        self.dir.join("restored")
    }

    /// Those that are there.
    fn forks(&self) -> Vec<PathBuf> {
        let numbered = (1..=3).map(|n| self.dir.join(format!("restored-{n}")));
        numbered.filter(|fork| fork.exists()).collect()
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.manager().list().expect("a list").into_iter().map(|s| s.id).collect()
    }

    /// At least three snapshots, at most six.
    pub fn refill(&self) {
        let manager = self.manager();
        while !self.store().exists() || self.ids().len() < 3 {
            manager.create().run().expect("a snapshot");
        }
        while self.ids().len() > 6 {
            let oldest = self.ids().into_iter().next().expect("one");
            manager.delete(&oldest).expect("deleted");
        }
        let _ = std::fs::remove_dir_all(self.target());
        self.forks().iter().for_each(|fork| std::fs::remove_dir_all(fork).expect("it goes"));
        self.bring_back();
    }

    /// Takes back what was replaced, and keeps nothing of it.
    fn bring_back(&self) {
        let manager = self.manager();
        for entry in manager.undo_list().expect("a list") {
            if entry.state == UndoState::Replaced {
                manager.undo().expect("undone");
            }
            manager.undo_discard(&entry.id).expect("discarded");
        }
    }

    pub fn command(&self, verb: &str) -> Command {
        self.command_under(cowlog([""; 0]), verb)
    }

    /// The command line of a verb behind a program that starts it.
    pub fn command_under(&self, mut command: Command, verb: &str) -> Command {
        let oldest = self.ids().into_iter().next().unwrap_or_else(|| "latest".into());
        command.arg(match verb {
            "copy" => "create",
            "replace" => "restore",
            "heal" => "repair",
            verb => verb,
        });
        command.arg(&self.log).stdout(Stdio::null()).stderr(Stdio::null());
        match verb {
            "create" => command.arg("--force"),
            "copy" => command.args(["--force", "--method", "copy"]),
            "restore" => command.args(["latest", "--to"]).arg(self.target()),
            "fork" => command.args(["latest", "--count", "3", "--to"]).arg(self.target()),
            "replace" => command.args(["latest", "--replace"]),
            "undo" => {
                self.manager().restore_id("latest", RestoreOptions::replace()).expect("replaced");
                &mut command
            }
            "delete" | "pin" => command.arg(&oldest),
            "prune" => command.args(["--max-snapshots", "1"]),
            "verify" => command.args(["--level", "deep", "--all"]),
            "heal" => {
                std::fs::remove_file(self.store().join(&oldest).join(VICTIM)).expect("it is there");
                command.args(["--heal", oldest.as_str()])
            }
            "repair" | "list" => {
                let gone = std::fs::remove_file(self.store().join("snapshots.json"));
                // A list does not write a new one.
                assert!(gone.is_ok() || verb == "list", "there is a catalogue");
                &mut command
            }
            _ => panic!("there is no verb {verb}"),
        };
        command
    }

    /// A verb that must end well.
    pub fn run(&self, verb: &str, told: &str) {
        let ended = self.command(verb).stderr(Stdio::piped()).output().expect("it starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{told}: the next {verb}: {}: {said}", ended.status);
    }

    /// What a dead process left: in the store, beside the target.
    pub fn leftovers(&self) -> Vec<String> {
        let beside = std::fs::read_dir(&self.dir).expect("a directory");
        let beside = beside.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"));
        let staged = beside.filter(|n| (n.contains("restor") || n.contains(".undo-")) && *n != "restored");
        staged.chain(strays(&self.store())).collect()
    }
}

/// The log's own files, but for those by which processes wait for each other.
fn log_files(log: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(log);
    files.retain(|name, _| !name.starts_with(".snapshots/") && !name.ends_with(".lock"));
    files
}

/// Of `replace` and `undo`: the log is the one or the other, whole, and the other is kept.
fn check_exchanged(stage: &Stage, verb: &str, ended: bool, told: &str) {
    let replaced = stage.inode() != stage.inode;
    let [there, other] = if replaced { [&stage.restored, &stage.live] } else { [&stage.live, &stage.restored] };
    assert!(log_files(&stage.log) == *there, "{told}: the log is not whole");
    assert!(!ended || replaced == (verb == "replace"), "{told}: it was acknowledged");
    let kept = stage.manager().undo_list().unwrap_or_else(|e| panic!("{told}: {e}"));
    assert_eq!(stage.inode() != stage.inode, replaced, "{told}: it has been exchanged again");
    let state = kept.iter().map(|entry| entry.state).collect::<Vec<_>>();
    match (verb, replaced) {
        ("undo", false) => assert_eq!(state, [UndoState::Undone], "{told}"),
        (_, false) => assert_eq!(state, [], "{told}"),
        (_, true) => assert_eq!(state, [UndoState::Replaced], "{told}"),
    }
    for entry in kept {
        assert!(log_files(&entry.path.join("dirs/whole")) == *other, "{told}: what is kept is not whole");
    }
    stage.bring_back();
}

/// What is missing still is, or is mended; nothing else is damaged. The next heal mends it.
fn check_healed(stage: &Stage, ended: bool, told: &str) {
    let manager = stage.manager();
    for id in stage.ids() {
        let report = manager.verify(&id, Level::Full).unwrap_or_else(|e| panic!("{told}: {id}: {e}"));
        assert!(report.damage.iter().all(|d| !ended && d.path == VICTIM), "{told}: {id}: {report:#?}");
    }
    manager.repair(None).unwrap_or_else(|e| panic!("{told}: {e}"));
    let healed = manager.heal(&HealOptions::all()).unwrap_or_else(|e| panic!("{told}: {e}"));
    assert_eq!(healed.not_mended, [], "{told}");
}

/// What holds after any end of any verb.
pub fn check(stage: &Stage, verb: &str, before: &BTreeSet<String>, ended: bool, told: &str) {
    if ["replace", "undo"].contains(&verb) {
        check_exchanged(stage, verb, ended, told);
    }
    if verb == "heal" {
        check_healed(stage, ended, told);
    }
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
    for snapshot in manager.list().expect("a list").into_iter().filter(|_| verb == "pin") {
        let oldest = Some(&snapshot.id) == before.first();
        assert!(!snapshot.pinned || oldest, "{told}: {} is pinned", snapshot.id);
        assert!(snapshot.pinned || !(oldest && ended), "{told}: the pin was acknowledged");
        manager.set_pinned(&snapshot.id, false).unwrap_or_else(|e| panic!("{told}: {e}"));
    }
    let latest = after.last().expect("one");
    let mut wanted = contents(&stage.store().join(latest));
    wanted.retain(|name, _| !["manifest.json", "manifest.b3", "state.json"].contains(&name.as_str()));
    let (forks, target) = (stage.forks(), Some(stage.target()).filter(|target| target.exists()));
    assert!(verb != "restore" || !ended || target.is_some(), "{told}: the target was acknowledged");
    for made in forks.iter().chain(&target) {
        assert!(contents(made) == wanted, "{told}: {} is not whole", made.display());
        std::fs::remove_dir_all(made).expect("it goes");
    }
    if verb == "fork" {
        assert!(!ended || forks.len() == 3, "{told}: the forks were acknowledged");
        stage.run("fork", told);
        assert_eq!(stage.forks().len(), 3, "{told}");
        stage.forks().iter().for_each(|fork| std::fs::remove_dir_all(fork).expect("it goes"));
    }
    // The next ones of the real binary work, and sweep what the dead one left.
    stage.run("create", told);
    stage.run("restore", told);
    assert_eq!(stage.leftovers(), [""; 0], "{told}");
    manager.repair(None).unwrap_or_else(|e| panic!("{told}: {e}"));
    for id in stage.ids() {
        let report = manager.verify(&id, Level::Quick).unwrap_or_else(|e| panic!("{told}: {id}: {e}"));
        assert!(report.ok && report.extra.is_empty(), "{told}: {id}: {report:#?}");
    }
}
