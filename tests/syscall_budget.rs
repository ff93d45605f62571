//! What create asks of the kernel for a file that has not changed: one link and one look, and not a byte of it; and verify for a small one:
//! to open it, to read it once and to close it. Needs strace.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cowlog::{BatchBuilder, Log};
use support::mounts::{Kind, Mount, skip};

const BINARY: &str = env!("CARGO_BIN_EXE_cowlog");

/// How a file that is open is looked at.
const LOOK: &str = "statx";

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

/// A log of so many segments, of which so many snapshots were taken.
fn log_of(dir: &Path, segments: usize, snapshots: usize) -> PathBuf {
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
    for _ in 0..snapshots {
        cowlog(&mut Command::new(BINARY), &["create", "--force"], &log);
    }
    log
}

fn cowlog(command: &mut Command, args: &[&str], log: &Path) {
    command.args(args).arg(log).env_remove("COWLOG_STORE").env_remove("COWLOG_METHOD");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
    assert!(status.success(), "{status}");
}

/// The calls of a command on a log, as strace shows them with the paths of descriptors.
fn trace(args: &[&str], log: &Path) -> Vec<String> {
    let output = log.with_extension("trace");
    cowlog(Command::new("strace").args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(&output).arg(BINARY), args, log);
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

/// How often each call was made for each of the files that there were more.
fn for_each_file(few: &[String], many: &[String]) -> BTreeMap<String, f64> {
    let (few, many) = (counts(few), counts(many));
    let more = |name: &str, count: usize| count.saturating_sub(few.get(name).copied().unwrap_or_default());
    many.iter().map(|(name, count)| ((*name).to_owned(), more(name, *count) as f64 / FILES_MORE)).collect()
}

/// What a command may ask for each file: the calls of the list that often altogether, and hardly anything else.
fn within(place: &str, calls: &BTreeMap<String, f64>, allowed: &[&str], budget: f64) {
    for (name, count) in calls {
        let budget = if allowed.contains(&name.as_str()) { 1.0 } else { FOR_ALL_ELSE };
        assert!(*count <= budget, "{place}: {count:.3} {name} for each file");
    }
    let total: f64 = calls.values().sum();
    eprintln!("{place}: {total:.3} system calls for each file");
    assert!(total <= budget + FOR_ALL_ELSE, "{place}: {total:.3} system calls for each file: {calls:#?}");
}

fn within_budget(place: &str, dir: &Path, verify_budget: f64) {
    let [few, many] = [FEW, MANY].map(|segments| {
        let log = log_of(dir, segments, 1);
        [trace(&["create", "--force"], &log), trace(&["verify"], &log)]
    });
    for [create, _] in [&few, &many] {
        let read: Vec<_> = create.iter().filter(|call| reads_a_segment(call)).collect();
        assert!(read.is_empty(), "{place}: unchanged segments are read: {read:#?}");
    }
    let ([few_create, few_verify], [many_create, many_verify]) = (few, many);
    let calls = for_each_file(&few_create, &many_create);
    within(&format!("{place}, create"), &calls, &["linkat", "newfstatat"], 2.0);
    let links = counts(&many_create)["linkat"];
    assert!(links >= 3 * MANY, "{place}: only {links} links");

    let mut calls = for_each_file(&few_verify, &many_verify);
    // A build with debug assertions asks of each descriptor that it closes whether it is open.
    calls.remove("fcntl");
    // A file is opened, read or, where it is empty, looked at, and closed.
    within(&format!("{place}, verify"), &calls, &["openat", "pread64", LOOK, "close"], verify_budget);
    assert!(calls["openat"] >= 0.99 && calls["pread64"] > 0.3, "{place}: not all is read: {calls:#?}");
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
    let trace_with = |snapshots| trace(&["create", "--force"], &log_of(temp.path(), 2, snapshots));
    let (few, many) = (trace_with(2), trace_with(32));
    let (few, many) = (counts(&few), counts(&many));
    for (name, count) in many {
        let more = count.saturating_sub(few.get(name).copied().unwrap_or_default());
        // The catalogue and the list of names are larger.
        assert!(more < 15, "30 snapshots more cost {more} {name} more");
    }
}

#[test]
fn an_unchanged_file_costs_one_link_and_one_look_and_its_verification_one_read() {
    if !may_trace() {
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    // Where a read may end anywhere, as on FUSE, files are looked at, too.
    within_budget("the temporary directory", temp.path(), 4.0);
    if let Some(xfs) = Mount::new(Kind::Xfs) {
        within_budget("XFS with reflinks", xfs.path(), 3.0);
    }
}
