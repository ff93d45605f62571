//! Changing an object without losing what others change in it at the same time.

use std::io::ErrorKind::{AlreadyExists, Unsupported};
use std::time::Duration;

use bytes::Bytes;
use object_store::{PutMode, PutOptions, PutPayload, UpdateVersion};

use super::bucket::{Bucket, Put};
use super::names::SNAPSHOTS;
use crate::error::{Error, Result};
use crate::fs::{Deadline, Dir, Guard, LockMode, lock_dir};
use crate::observe::Observer;

/// What became of a write that was to replace one version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Written; where the place knows no such condition, over whatever was there.
    Done,
    /// Something else is there by now, and nothing was written. Where the answer was lost it may be these bytes.
    Overtaken,
}

impl Bucket {
    /// Writes an object if what is there is this version of it, or if nothing is there and none is given.
    pub(super) fn put_over(&self, key: &str, bytes: Vec<u8>, version: Option<&UpdateVersion>) -> Result<Over> {
        let Some(version) = version else {
            return Ok(match self.put_new(key, bytes)? {
                Put::Made => Over::Done,
                Put::Exists => Over::Overtaken,
            });
        };
        let (path, bytes) = (self.path(key), Bytes::from(bytes));
        let put = || {
            let (payload, mode) = (PutPayload::from(bytes.clone()), PutMode::Update(version.clone()));
            self.wait("write", key, self.sending.put_opts(&path, payload, PutOptions::from(mode)))
        };
        let can = version.e_tag.is_some() || version.version.is_some();
        match can.then(|| self.again(put)) {
            Some(Ok(_)) => Ok(Over::Done),
            Some(Err(Error::Filesystem(e))) if e.source.kind() == AlreadyExists => Ok(Over::Overtaken),
            Some(Err(Error::Filesystem(e))) if !is_unknown(&e.source) => Err(e.into()),
            Some(Err(e)) if !matches!(e, Error::Filesystem(_)) => Err(e),
            _ => self.put(key, bytes).map(|()| Over::Done),
        }
    }

    /// Keeps others away from what changes, as long as this is held, where the place is a directory: no write to it can be
    /// conditional. Best effort: some mounted filesystems have no locks.
    ///
    /// # Errors
    ///
    /// `Concurrency` where somebody holds it for long.
    pub(super) fn alone(&self, observer: &Observer) -> Result<Option<Guard>> {
        const LONG: Duration = Duration::from_secs(20);
        let Some(dir) = &self.directory else { return Ok(None) };
        let deadline = Deadline::after(LONG, observer);
        let locked = Dir::open(dir).and_then(|dir| {
            lock_dir(&dir, SNAPSHOTS, LockMode::Exclusive, &deadline, "a change of what is known of a snapshot")
        });
        match locked {
            Err(Error::Filesystem(_)) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Whether the place does not know such a condition.
fn is_unknown(e: &std::io::Error) -> bool {
    e.kind() == Unsupported || e.to_string().contains("NotImplemented")
}
