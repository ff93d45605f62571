//! The bench, small.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::interrupt::signal;
use crate::stage::{Ran, Stage, cowlog, run};

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn it_measures_every_method_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let ran = run(cowlog().arg("bench").arg(temp.path()).args(["--size", "16MiB"])).expect_code(0);
    for part in ["nothing changed", "hard links", "reflinks", "copies", "cp -al", "rsync", "restic", "DURABLE", "█"] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(), "{}", ran.stderr);
    assert_eq!(names(temp.path()), [""; 0]);
}

#[test]
fn as_json_it_is_one_value() {
    let temp = tempfile::tempdir().unwrap();
    let ran = run(cowlog().arg("bench").arg(temp.path()).args(["--size", "16MiB", "--json"])).expect_code(0);
    let json = ran.json();
    assert!(json["bytes"].as_u64().unwrap() >= 16 << 20 && json["segments"].as_u64().unwrap() > 10, "{json}");
    assert!(json["elapsed_ms"].as_f64().unwrap() < 60_000.0, "less than a minute: {json}");
    let results = json["results"].as_array().unwrap();
    let of = |method: &str| results.iter().find(|r| r["method"] == method).unwrap();
    for method in ["inherit", "hardlink", "copy"] {
        let times = &of(method)["times"];
        assert!(times["least_ms"].as_f64().unwrap() <= times["elapsed_ms"].as_f64().unwrap(), "{method}: {json}");
        assert_eq!(times["elapsed_ms"], times["durable_ms"], "{method}: cowlog's own are durable");
    }
    let reflink = of("reflink");
    assert!(reflink.get("times").is_some() != reflink.get("left_out").is_some(), "{reflink}");
    let copy = results.iter().find(|r| r["what"] == "cp -a --reflink=never").unwrap();
    assert!(copy["times"]["durable_ms"].as_f64().unwrap() >= copy["times"]["elapsed_ms"].as_f64().unwrap());
}

#[test]
fn interrupted_it_leaves_nothing_either() {
    let temp = tempfile::tempdir().unwrap();
    // While the log is written, and among the contenders.
    let cases = [("log-0", Signal::SIGINT), ("snapshots", Signal::SIGTERM), ("target", Signal::SIGINT)];
    // And while other programs run, which may have children.
    let others = [("rsync", "rsynced", Signal::SIGTERM), ("restic", "restic", Signal::SIGINT)];
    let is_here = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let others = others.into_iter().filter(|(program, _, _)| is_here(program)).map(|(_, when, which)| (when, which));
    for (when, which) in cases.into_iter().chain(others) {
        let mut command = cowlog();
        command.arg("bench").arg(temp.path()).args(["--size", "64MiB", "--json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        let reached = || names(temp.path()).iter().any(|home| temp.path().join(home).join(when).exists());
        while !reached() {
            assert!(started.elapsed() < Duration::from_secs(60), "never came to {when}");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(&child, which);
        Ran::from(child.wait_with_output().unwrap()).expect_error(130, "interrupted");
        assert_eq!(names(temp.path()), [""; 0], "{when}");
    }
}

/// A second signal ends the process at once; what is left then goes when the next one begins, unless that one still runs.
#[test]
fn what_a_killed_one_left_is_swept_by_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let begun = || {
        let mut command = cowlog();
        command.arg("bench").arg(temp.path()).args(["--size", "64MiB", "--json"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = names(temp.path());
        let home = loop {
            let new = names(temp.path()).into_iter().find(|home| !before.contains(home));
            match new.filter(|home| temp.path().join(home).join("log-0").exists()) {
                Some(home) => break home,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        (child, home)
    };
    let (mut killed, left) = begun();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (running, busy) = begun();
    // Both are old enough, and nothing makes the one that still runs younger.
    signal(&running, Signal::SIGSTOP);
    let old = SystemTime::now() - Duration::from_secs(60);
    for home in [&left, &busy] {
        fs::File::open(temp.path().join(home)).unwrap().set_modified(old).unwrap();
    }
    run(cowlog().arg("bench").arg(temp.path()).args(["--size", "16MiB", "--json"])).expect_code(0);
    assert_eq!(names(temp.path()), [busy]);
    signal(&running, Signal::SIGTERM);
    signal(&running, Signal::SIGCONT);
    running.wait_with_output().unwrap();
    assert_eq!(names(temp.path()), [""; 0]);
}

#[test]
fn it_does_not_run_among_logs_nor_nowhere() {
    let stage = Stage::new();
    let before = names(&stage.log).len();
    for dir in [stage.log.as_path(), stage.log.parent().unwrap()] {
        let ran = run(cowlog().arg("bench").arg(dir).args(["--size", "16MiB", "--json"]));
        ran.expect_error(2, "validation");
    }
    assert_eq!(names(&stage.log).len(), before);
    run(cowlog().arg("bench").arg(stage.path("nowhere")).arg("--json")).expect_error(10, "validation");
    let small = run(cowlog().arg("bench").arg(stage.path("")).args(["--size", "1MiB", "--json"]));
    small.expect_error(2, "validation");
}
