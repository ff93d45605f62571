//! Other processes: the built `cowlog`, and this very test program in another role.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROLE: &str = "COWLOG_TEST_ROLE";
const ARGS: &str = "COWLOG_TEST_ARGS";
/// Between arguments; no path of a test has it.
const SEPARATOR: &str = "\u{1f}";

/// A command that starts this test program again to run its test `child_process`, which must call [`role`].
pub fn in_role(role: &str, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test program's path"));
    command.args(["--exact", "child_process", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ARGS, args.join(SEPARATOR));
    // What the test harness says there is of no interest; panics go to standard error.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The role that this process was started in and its arguments; `None` in the test program itself.
pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var(ROLE).ok()?;
    let args = std::env::var(ARGS).unwrap_or_default();
    Some((role, args.split(SEPARATOR).map(str::to_owned).collect()))
}

/// The built command line.
pub fn cowlog<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
    command.args(args).stdin(Stdio::null()).env_remove("COWLOG_STORE");
    command
}

/// A child that is killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap_or_else(|e| panic!("cannot start {:?}: {e}", command.get_program())))
    }

    /// With its standard output, line by line.
    pub fn talking(command: &mut Command) -> (Running, Lines<BufReader<ChildStdout>>) {
        let mut running = Running::start(command.stdout(Stdio::piped()));
        let output = running.0.stdout.take().expect("it is piped");
        (running, BufReader::new(output).lines())
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        // It may have ended by itself already, but it has not been waited for.
        let _ = kill(pid, signal);
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it is our child").is_none()
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("it is our child")
    }

    pub fn kill(mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All files below a directory, with their contents.
pub fn contents(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    collect(dir, "", &mut found);
    found
}

fn collect(dir: &Path, prefix: &str, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a type").is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read(entry.path()).expect("a file"));
        }
    }
}

/// What a store holds besides its snapshots, its lock and its catalogue.
pub fn strays(store: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(store).expect("a store");
    let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"));
    names.filter(|n| !n.starts_with("snapshot-") && ![".lock", "snapshots.json"].contains(&n.as_str())).collect()
}
