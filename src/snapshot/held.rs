//! Nobody writes to a directory while it changes places.

use crate::error::{ConcurrencyError, Result};
use crate::fs::{Deadline, Dir, File, Guard, LockMode, lock_file};
use crate::kafka::{Profile, datadir};
use crate::log::{SEGMENTS_LOCK, WRITER_LOCK};

/// The locks of writers, brokers and snapshots of what is replaced, until this is dropped.
#[derive(Default)]
pub(super) struct Held {
    _logs: Vec<Guard>,
    _broker: Option<File>,
}

impl Held {
    /// Of a log, or of a data directory with its logs.
    ///
    /// # Errors
    ///
    /// `Locked` where a writer has one of the native logs open, or a snapshot of it is being taken; `Busy` where a broker
    /// runs.
    pub(super) fn whole(dir: &Dir, deadline: &Deadline) -> Result<Held> {
        if datadir::is_log_dir(dir)? {
            return Ok(Held { _logs: log(dir, deadline)?, _broker: None });
        }
        let names: Vec<String> = datadir::inventory(dir)?.partitions.into_iter().map(|found| found.name).collect();
        Held::parts(dir, names.iter().map(String::as_str), deadline)
    }

    /// Of some partitions of a data directory, as far as they are there.
    pub(super) fn parts<'a>(data: &Dir, names: impl Iterator<Item = &'a str>, deadline: &Deadline) -> Result<Held> {
        let broker = match datadir::keep_brokers_out(data)? {
            Ok(lock) => lock,
            Err(broker) => {
                let why = format!("a broker runs on it ({broker}); stop it first");
                return Err(ConcurrencyError::Busy { path: data.path().into(), why }.into());
            }
        };
        let mut logs = Vec::new();
        for name in names {
            match data.open_dir(name) {
                Ok(dir) => logs.extend(log(&dir, deadline)?),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Held { _logs: logs, _broker: broker })
    }
}

fn log(dir: &Dir, deadline: &Deadline) -> Result<Vec<Guard>> {
    if datadir::profile_of(dir)? != Profile::Native {
        return Ok(Vec::new());
    }
    let exclusive = |name, what| lock_file(dir, name, LockMode::Exclusive, deadline, what);
    let writer = exclusive(WRITER_LOCK, "a writer has the log open")?;
    let segments = exclusive(SEGMENTS_LOCK, "a snapshot of the log is being taken")?;
    Ok(vec![writer, segments])
}
