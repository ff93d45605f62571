//! The demo, played small.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::interrupt::signal;
use crate::stage::{Ran, cowlog, run};

#[test]
fn it_holds_what_it_says_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let ran = run(cowlog().args(["demo", "--size", "16MiB"]).env("TMPDIR", temp.path())).expect_code(0);
    for part in ["records compared", "DAMAGED", "refused (exit code 4)", "a full copy, synced", "removed"] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn it_leaves_the_stage_to_play_on() {
    let temp = tempfile::tempdir().unwrap();
    let stage = temp.path().join("the stage");
    let demo = || run(cowlog().args(["demo", "--size", "16MiB", "--keep"]).arg(&stage));
    let ran = demo().expect_code(0);
    let turn = ran.stdout.split("Your turn").nth(1).unwrap();
    let commands: Vec<&str> = turn.lines().filter_map(|l| l.get(35..)).filter(|l| l.contains("cowlog")).collect();
    assert_eq!(commands.len(), 7, "{turn}");
    for command in commands {
        let ran = Ran::from(Command::new("sh").args(["-c", command]).output().unwrap());
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
    }
    let again = demo().expect_code(2);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
}

#[test]
fn interrupted_it_leaves_nothing_either() {
    let temp = tempfile::tempdir().unwrap();
    for until in ["1. ", "3. "] {
        let mut command = cowlog();
        command
            .args(["demo", "--size", "64MiB"])
            .env("TMPDIR", temp.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with(until)));
        signal(&child, Signal::SIGINT);
        lines.for_each(drop);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (130, "cowlog: interrupted; nothing was left behind\n"), "{until}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "{until}");
    }
}

#[test]
fn as_json_it_is_one_value() {
    let temp = tempfile::tempdir().unwrap();
    let ran = run(cowlog().args(["demo", "--size", "16MiB", "--json"]).env("TMPDIR", temp.path())).expect_code(0);
    let json = ran.json();
    assert_eq!(json["ok"], true);
    assert!(json["steps"].as_array().unwrap().len() >= 6);
}
