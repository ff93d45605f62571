//! A restored directory in the making, and the moment it appears under its name.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, Guard, LockMode, Rename, try_lock_dir};
use crate::kafka::datadir;
use crate::store::SnapshotId;

/// A hidden directory beside the target. Dropping it without [`publish`](Self::publish) removes it.
pub(super) struct Target {
    place: Dir,
    parent: Dir,
    staging: OsString,
    name: OsString,
    dir: Dir,
    _guard: Option<Guard>,
    published: bool,
}

impl Target {
    /// Fails where the target exists; removes what a restore that died here left.
    pub(super) fn begin(fs: &Arc<dyn Fs>, target: &Path, id: SnapshotId, deadline: &Deadline) -> Result<Self> {
        let path = fs.canonical(target);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ValidationError::TargetExists { path }.into());
        };
        let parent = Dir::open_on(fs.clone(), parent)?;
        if parent.try_stat(name)?.is_some() {
            return Err(ValidationError::TargetExists { path: target.into() }.into());
        }
        // A broker refuses to start over a directory that it does not know: nothing of ours in its data directory.
        let place = match (datadir::is_data_dir(&parent)?, parent.path().parent()) {
            (true, Some(above)) => parent.open_parent(above)?,
            _ => parent.clone(),
        };
        // Above a mount point lies another filesystem, from which nothing can be renamed into place.
        let place = if place.stat_self()?.dev == parent.stat_self()?.dev { place } else { parent.clone() };
        let mut staging = OsString::from(".");
        staging.push(name);
        staging.push(format!(".restoring-{}", id.ms()));
        let made = deadline.retry(|| {
            match place.make_dir(&staging, 0o700) {
                Ok(dir) => return Ok(Some(dir)),
                Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
            if let Some(_dead) = try_lock_dir(&place, &staging, LockMode::Exclusive)? {
                place.remove_tree(&staging)?;
            }
            Ok(None)
        })?;
        let busy = || ConcurrencyError::Busy { path: target.into(), why: "another restore writes to it".into() };
        let dir = made.ok_or_else(busy)?;
        let guard = try_lock_dir(&place, &staging, LockMode::Exclusive)?;
        if guard.is_none() {
            return Err(busy().into());
        }
        Ok(Target { place, parent, staging, name: name.to_owned(), dir, _guard: guard, published: false })
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The commit point. Everything inside is durable already; after `Ok` the name is too.
    pub(super) fn publish(mut self) -> Result<()> {
        match self.place.rename(&self.staging, &self.parent, &self.name, Rename::NoReplace) {
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(ValidationError::TargetExists { path: self.parent.path_of(&self.name) }.into());
            }
            other => other?,
        }
        self.published = true;
        self.parent.sync()?;
        self.place.sync()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.place.remove_tree(&self.staging);
        }
    }
}
