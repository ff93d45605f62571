//! The source: what it is, who writes it, whether it can be read.

use super::{Checkup, kind_of};
use crate::error::{Error, Result};
use crate::fs::{self, Dir, FileKind};
use crate::kafka::Profile;
use crate::log;
use crate::observe::Observer;
use crate::snapshot::source::Source;

/// Descriptors that a log may take, and those that are needed beside them.
const DESCRIPTORS_A_LOG: u64 = 3;
const OTHER_DESCRIPTORS: u64 = 64;

pub(super) fn look(source: &Source, found: &mut Checkup, observer: &Observer) -> Result<()> {
    let logs = match source.logs.len() {
        1 => "1 log".to_owned(),
        n => format!("{n} logs"),
    };
    found.good("source", format!("{}: a {}, {logs}", source.path().display(), kind_of(source)));
    // Locks and markers never belong into one.
    for left_out in source.left_out.iter().filter(|left_out| !left_out.path.starts_with('.')) {
        let what = format!("{} is left out of snapshots: {}", left_out.path, left_out.why);
        found.note("source", what, None);
    }
    writers(source, found);
    unreadable(source, found, observer)?;
    let needed = source.logs.len() as u64 * DESCRIPTORS_A_LOG + OTHER_DESCRIPTORS;
    if needed > fs::most_descriptors() {
        let what = format!("{} descriptors may be open, {needed} may be needed", fs::most_descriptors());
        found.problem(
            "limits",
            what,
            format!("raise the limit: ulimit -n {needed}, or LimitNOFILE={needed} of a unit"),
        );
    }
    Ok(())
}

/// Who has what locked.
fn writers(source: &Source, found: &mut Checkup) {
    if let Some(broker) = &source.broker {
        found.good("writer", format!("a broker runs on it ({broker}): it is taken live"));
        return;
    }
    let mut written = false;
    for log in source.logs.iter().filter(|log| log.profile == Profile::Native) {
        if let Some(holder) = holder(&log.dir, log::WRITER_LOCK) {
            found.good("writer", format!("{} is written by {holder}", log.dir.path().display()));
            written = true;
        }
    }
    if !written {
        found.good("writer", "nobody writes to it at the moment");
    }
}

/// Who holds a lock file.
pub(super) fn holder(dir: &Dir, name: &str) -> Option<String> {
    let file = dir.try_open(name).ok().flatten()?;
    file.fs().lock_holder(file.handle())
}

/// Whether this user may read what a snapshot needs.
fn unreadable(source: &Source, found: &mut Checkup, observer: &Observer) -> Result<()> {
    let (mut files, mut refused, mut first) = (0u64, 0u64, None);
    for log in &source.logs {
        observer.check()?;
        let entries = match log.dir.list() {
            Ok(entries) => entries,
            Err(e) => {
                found.failed("source", &e);
                continue;
            }
        };
        for entry in entries.into_iter().filter(|e| e.kind == FileKind::File) {
            files += 1;
            match log.dir.try_open(&entry.name) {
                Ok(_) => {}
                Err(e) if e.is_denied() => {
                    refused += 1;
                    first.get_or_insert(e);
                }
                Err(e @ Error::Interrupted) => return Err(e),
                Err(e) => found.failed("source", &e),
            }
        }
    }
    match first {
        Some(e) => {
            let advice = "run as the user who writes the log, or as root";
            found.problem("rights", format!("{refused} of {files} files cannot be read; the first: {e}"), advice);
        }
        None => found.good("rights", format!("all {files} files can be read")),
    }
    Ok(())
}
