//! Every system call that changes something, of every verb of the real binary: the process is killed right before it, or
//! it fails, with every error that filesystems are known to give. Needs strace. `COWLOG_SYSCALLS` says how much is tried of
//! each verb on each of two filesystems: everything if 0, a sample of 20 if not set.

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::attacked::{Stage, VERBS, check};
use support::mounts::{Kind, Mount, skip};
use support::{Random, env_number};

/// Calls by which a process changes what is on disk, or makes it durable.
const CALLS: [&str; 18] = [
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "linkat",
    "renameat2",
    "renameat",
    "unlinkat",
    "mkdirat",
    "fsync",
    "fdatasync",
    "syncfs",
    "ioctl",
    "fchmod",
    "fchown",
    "utimensat",
    "fsetxattr",
    "flock",
];
/// What any of them may say.
const ERRORS: [&str; 10] =
    ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR", "EMLINK", "EXDEV", "EPERM", "EINVAL", "EOPNOTSUPP"];

/// Which of them must not fail in silence.
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

const SEGMENTS: usize = 5;

fn have_strace() -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if works.is_ok_and(|s| s.success()) {
        return true;
    }
    skip("strace is not here, or may not trace");
    false
}

/// The binary under strace with one more option.
fn traced(options: &[&str], output: &Path) -> Command {
    let mut command = Command::new("strace");
    // One thread has all the work: the calls are counted per thread.
    command.args(["-f", "-qq", "-o"]).arg(output).args(options).env("RAYON_NUM_THREADS", "1");
    command.arg(env!("CARGO_BIN_EXE_cowlog")).env_remove("COWLOG_STORE").stdin(Stdio::null());
    command
}

/// How often each call is made at the most by one thread of a verb.
fn counts(stage: &Stage, verb: &str) -> BTreeMap<String, u64> {
    let trace = stage.dir.join("trace");
    let calls = format!("trace={}", CALLS.join(","));
    let status = stage.command_under(traced(&["-e", &calls], &trace), verb).status().expect("strace");
    assert!(status.success(), "{verb}: {status}");
    let text = std::fs::read_to_string(&trace).expect("a trace");
    std::fs::remove_file(&trace).expect("it goes");
    let mut by_thread: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(2, ' ');
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else { continue };
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        if CALLS.contains(&name) {
            *by_thread.entry((thread.into(), name.into())).or_default() += 1;
        }
    }
    let mut counts = BTreeMap::new();
    for ((_, name), count) in by_thread {
        let most: &mut u64 = counts.entry(name).or_default();
        *most = count.max(*most);
    }
    counts
}

/// Each injection of strace's that `how` gives for a call, at each time that each call is made.
fn attack(what: &str, how: &dyn Fn(&str, u64) -> Vec<String>) {
    if !have_strace() {
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    attack_on(&format!("{what}, in the temporary directory"), temp.path(), how);
    if let Some(xfs) = Mount::new(Kind::Xfs) {
        attack_on(&format!("{what}, on XFS with reflinks"), xfs.path(), how);
    }
}

fn attack_on(what: &str, dir: &Path, how: &dyn Fn(&str, u64) -> Vec<String>) {
    let stage = Stage::new(dir, SEGMENTS);
    let mut random = Random::new(what);
    let limit = env_number("COWLOG_SYSCALLS", 10);
    let trace = dir.join("trace-of-one");
    for verb in VERBS {
        stage.refill();
        let mut tries: Vec<String> = Vec::new();
        for (call, count) in counts(&stage, verb) {
            tries.extend((1..=count).flat_map(|nth| how(&call, nth)));
        }
        let all = tries.len();
        while limit > 0 && tries.len() as u64 > limit {
            tries.swap_remove(random.below(tries.len() as u64) as usize);
        }
        let (mut hit, mut failed) = (0, 0);
        for inject in &tries {
            stage.refill();
            let before = stage.ids();
            let mut command = stage.command_under(traced(&["-e", inject], &trace), verb);
            let output = command.stderr(Stdio::piped()).output().expect("strace");
            let injected = std::fs::read_to_string(&trace).expect("a trace").contains("(INJECTED)");
            let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr).into_owned());
            let told = format!("{what}, {verb}, {inject}: {status}: {said}");
            // strace ends as the process that it traces does.
            hit += u64::from(injected || status.signal() == Some(9));
            failed += u64::from(status.code().is_some_and(|code| code != 0));
            assert_ne!(status.code(), Some(101), "{told}: it panicked");
            // One that was interrupted has not failed: it is called again.
            let failed_sync = SYNCS.iter().any(|call| inject.starts_with(&format!("inject={call}:error")))
                && !inject.contains("EINTR");
            assert!(
                !(failed_sync && injected && status.success() && said.is_empty()),
                "{told}: a sync failed and nobody was told"
            );
            // A prune that could not read a snapshot names it and lets it stay.
            let ended = status.success() && (verb != "prune" || said.is_empty());
            check(&stage, verb, &before, ended, &told);
        }
        eprintln!("{what}, {verb}: {} of {all} tried; {hit} hit, {failed} verbs failed", tries.len());
        assert!(hit > 0, "{what}, {verb}: nothing was hit");
    }
    std::fs::remove_file(trace).expect("it goes");
}

#[test]
fn killed_before_it() {
    attack("killed", &|call, nth| vec![format!("inject={call}:signal=KILL:when={nth}")]);
}

#[test]
fn each_fails_once() {
    attack("failing", &|call, nth| ERRORS.map(|error| format!("inject={call}:error={error}:when={nth}")).to_vec());
}
