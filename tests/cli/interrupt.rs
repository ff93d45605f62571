//! Ctrl-C in the middle of things.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::{Ran, Stage, cowlog};

/// Makes copying the log take a while: a sealed segment that is one large hole.
fn make_large(stage: &Stage) {
    let first = stage.log.join(format!("{:020}.log", 0));
    fs::File::options().write(true).open(first).unwrap().set_len(4 << 30).unwrap();
}

fn wait_for(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

pub fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn an_interrupted_create_leaves_nothing_behind() {
    for (which, json) in [(Signal::SIGINT, true), (Signal::SIGTERM, false)] {
        let stage = Stage::new();
        make_large(&stage);
        let mut command = cowlog();
        command.arg("create").arg(&stage.log).args(["--method", "copy"]).args(json.then_some("--json"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let staged = || names(&stage.store()).iter().any(|n| n.starts_with(".staging-"));
        wait_for(staged);
        signal(&child, which);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), None);
        let ran = Ran::from(output);
        if json {
            ran.expect_error(130, "interrupted");
        } else {
            assert_eq!(ran.expect_code(130).stderr, "cowlog: interrupted; nothing was left behind\n");
        }
        assert!(!stage.store().exists(), "{:?}", names(&stage.store()));
        assert_eq!(stage.run("list", &["--json"]).expect_code(0).stdout, "[]\n");
    }
}

#[test]
fn waiting_for_a_lock_can_be_interrupted() {
    let stage = Stage::new();
    stage.create();
    let lock = fs::File::open(stage.store().join(".lock")).unwrap();
    fs2::FileExt::try_lock_exclusive(&lock).unwrap();
    let mut command = cowlog();
    command.arg("create").arg(&stage.log).args(["--force", "--lock-timeout", "60s", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    signal(&child, Signal::SIGINT);
    Ran::from(child.wait_with_output().unwrap()).expect_error(130, "interrupted");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_next_run_tidies_up() {
    let stage = Stage::new();
    let id = stage.create();
    let store_lock = || fs::File::open(stage.store().join(".lock")).unwrap();
    let lock = store_lock();
    fs2::FileExt::try_lock_exclusive(&lock).unwrap();
    let mut command = cowlog();
    command.arg("create").arg(&stage.log).args(["--force", "--lock-timeout", "60s"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::SIGINT);
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(lock);
    let listed = stage.run("list", &["--json"]).expect_code(0).json();
    assert_eq!((listed.as_array().unwrap().len(), listed[0]["id"].as_str()), (1, Some(id.as_str())));
}
