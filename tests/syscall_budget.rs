//! What create asks of the kernel for a file that has not changed: one link and one look, and not a byte of it. Needs strace.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cowlog::{BatchBuilder, Log};
use support::mounts::{Kind, Mount, skip};

const FEW: usize = 100;
const MANY: usize = 300;
const FILES_MORE: f64 = 3.0 * (MANY - FEW) as f64;

/// Directories and manifests are read and written a buffer at a time: more often for more files, but far from once for each.
const FOR_ALL_ELSE: f64 = 0.05;

/// Threads that wait for each other ask for that as often as it takes, whatever the number of files.
const WAITING: [&str; 4] = ["sched_yield", "futex", "clock_nanosleep", "restart_syscall"];

/// Calls by which bytes are read, or could be.
const READING: [&str; 10] =
    ["read", "pread64", "readv", "preadv", "preadv2", "copy_file_range", "sendfile", "splice", "mmap", "ioctl"];

/// The calls of a create over an unchanged log of so many segments, as strace shows them with the paths of descriptors.
fn trace(dir: &Path, segments: usize) -> Vec<String> {
    trace_with(dir, segments, 1)
}

/// The same with so many snapshots in the store.
fn trace_with(dir: &Path, segments: usize, snapshots: usize) -> Vec<String> {
    let log = dir.join(format!("log-{segments}-{snapshots}"));
    let mut writer = Log::open(&log).expect("a log");
    while writer.segments().len() < segments {
        let record = [b'x'; 400];
        writer.append(BatchBuilder::new().record(1, None, Some(&record)).build().expect("a batch")).expect("room");
        writer.roll().expect("a new segment");
    }
    writer.append(BatchBuilder::new().record(1, None, Some(b"last")).build().expect("a batch")).expect("room");
    writer.close().expect("closed");
    // Younger files are not believed to be unchanged.
    std::thread::sleep(Duration::from_millis(2_100));
    let create = |command: &mut Command| {
        command
            .env_remove("COWLOG_STORE")
            .env_remove("COWLOG_METHOD")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.arg("create").arg(&log).arg("--force").status().expect("it starts");
        assert!(status.success(), "{status}");
    };
    let binary = env!("CARGO_BIN_EXE_cowlog");
    for _ in 0..snapshots {
        create(&mut Command::new(binary));
    }
    let output = dir.join("trace");
    create(Command::new("strace").args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(&output).arg(binary));
    let text = std::fs::read_to_string(output).expect("a trace");
    let calls = text.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim_start().to_owned());
    calls.filter(|call| !call.starts_with(['<', '+', '-'])).collect()
}

fn counts(calls: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let name = call.split('(').next().unwrap_or_default();
        *counts.entry(name).or_default() += usize::from(!WAITING.contains(&name));
    }
    counts
}

/// Whether a call could read from a segment's file: sealed or active, of the log or of a snapshot.
fn reads_a_segment(call: &str) -> bool {
    let name = call.split('(').next().unwrap_or_default();
    READING.contains(&name) && [".log>", ".index>", ".timeindex>"].iter().any(|file| call.contains(file))
}

fn within_budget(place: &str, dir: &Path) {
    let (few, many) = (trace(dir, FEW), trace(dir, MANY));
    for calls in [&few, &many] {
        let read: Vec<_> = calls.iter().filter(|call| reads_a_segment(call)).collect();
        assert!(read.is_empty(), "{place}: unchanged segments are read: {read:#?}");
    }
    let (few, many) = (counts(&few), counts(&many));
    let mut total = 0.0;
    for (name, count) in &many {
        let more = count.saturating_sub(few.get(name).copied().unwrap_or_default()) as f64 / FILES_MORE;
        let budget = if ["linkat", "newfstatat"].contains(name) { 1.0 } else { FOR_ALL_ELSE };
        assert!(more <= budget, "{place}: {more:.3} {name} for each unchanged file");
        total += more;
    }
    eprintln!("{place}: {total:.3} system calls for each unchanged file");
    assert!(total <= 2.0 + FOR_ALL_ELSE, "{place}: {total:.3} system calls for each unchanged file");
    assert!(many["linkat"] >= 3 * MANY, "{place}: only {} links", many["linkat"]);
}

fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let may = traced.is_ok_and(|s| s.success());
    if !may {
        skip("strace is not here, or may not trace");
    }
    may
}

#[test]
fn snapshots_that_are_there_already_cost_no_look_each() {
    if !may_trace() {
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (few, many) = (trace_with(temp.path(), 2, 2), trace_with(temp.path(), 2, 32));
    let (few, many) = (counts(&few), counts(&many));
    for (name, count) in many {
        let more = count.saturating_sub(few.get(name).copied().unwrap_or_default());
        // The catalogue and the list of names are larger.
        assert!(more < 15, "30 snapshots more cost {more} {name} more");
    }
}

#[test]
fn an_unchanged_file_costs_one_link_and_one_look() {
    if !may_trace() {
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    within_budget("the temporary directory", temp.path());
    if let Some(xfs) = Mount::new(Kind::Xfs) {
        within_budget("XFS with reflinks", xfs.path());
    }
}
