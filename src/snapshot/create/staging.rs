//! A snapshot in the making, and the moment it becomes one.

use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Guard, LockMode, Rename, try_lock_dir};
use crate::store::SnapshotId;

/// `.staging-<id>/`, locked by its creator. Dropping it without [`publish`](Self::publish) removes it.
#[derive(Debug)]
#[must_use = "a staged snapshot that is not published is removed"]
pub(in crate::snapshot) struct StagedSnapshot {
    store: Dir,
    id: SnapshotId,
    dir: Dir,
    /// Held until publication is durable: whoever gets this lock knows that the creator is dead.
    guard: Option<Guard>,
    published: bool,
}

impl StagedSnapshot {
    /// Makes and locks the directory. The caller holds the store's lock, so that no sweeper can come between.
    pub(in crate::snapshot) fn begin(store: &Dir, id: SnapshotId, mode: u32) -> Result<Self> {
        let name = id.staging_name();
        let dir = store.make_dir(&name, mode)?;
        let mut staged = StagedSnapshot { store: store.clone(), id, dir, guard: None, published: false };
        staged.guard = try_lock_dir(store, &name, LockMode::Exclusive)?;
        if staged.guard.is_none() {
            return Err(ValidationError::refused(format!("{name} was taken while it was being made")).into());
        }
        Ok(staged)
    }

    pub(in crate::snapshot) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(in crate::snapshot) fn id(&self) -> SnapshotId {
        self.id
    }

    /// The commit point. Everything inside is durable already and the caller holds the store's lock; `settle` makes the
    /// names in the store durable.
    ///
    /// After `Ok` the snapshot survives a power cut. After an error of the rename nothing was published; after
    /// one of `settle` the outcome is unknown and the directory is left as it is.
    pub(in crate::snapshot) fn publish<T>(mut self, settle: impl FnOnce() -> Result<T>) -> Result<T> {
        self.store.rename(self.id.staging_name(), &self.store, self.id.to_string(), Rename::NoReplace)?;
        self.published = true;
        settle().map_err(|e| unknown_outcome(self.id, e))
    }
}

impl Drop for StagedSnapshot {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: what cannot be removed now, the next sweep removes.
            let _ = self.store.remove_tree(self.id.staging_name());
        }
    }
}

/// An error that stands after the commit point: the outcome is unknown, not failed.
fn unknown_outcome(id: SnapshotId, e: Error) -> Error {
    match e {
        Error::Filesystem(mut fs) => {
            fs.source = std::io::Error::new(
                fs.source.kind(),
                format!("{}; whether {id} is durable is unknown, look again with list and verify", fs.source),
            );
            fs.into()
        }
        other => other,
    }
}
