//! Other programs, which end when they are told to.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::demo::{interruptible, io};
use crate::failure::Failure;
use crate::session::Session;

/// How the variables begin that other programs take their settings from.
const THEIRS: [&str; 2] = ["RESTIC_", "RSYNC_"];

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    Badly,
    /// It was ended: there was no time left.
    Late,
    /// There is no such program.
    NotHere,
}

/// Runs a program to its end, or ends it after Ctrl-C and when the time is up.
pub fn run(command: &mut Command, until: Instant, session: &Session) -> Result<Ended, Failure> {
    interruptible(session)?;
    let program = command.get_program().to_owned();
    let failed = |e| io("run", Path::new(&program))(e);
    // What the user has set for them is about other places.
    let ours: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in std::env::vars_os() {
        let is_theirs = THEIRS.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        if is_theirs && !ours.contains(&name) {
            command.env_remove(name);
        }
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env("LC_ALL", "C").spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Ended::NotHere),
        other => other.map_err(failed)?,
    };
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            // It had the signal too, where that came from a terminal.
            interruptible(session)?;
            return Ok(if status.success() { Ended::Well } else { Ended::Badly });
        }
        let interrupted = interruptible(session);
        if interrupted.is_err() || Instant::now() > until {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return interrupted.map(|()| Ended::Late);
        }
        // At the most a hundredth more than it took.
        thread::sleep((started.elapsed() / 100).clamp(Duration::from_micros(50), Duration::from_millis(5)));
    }
}
