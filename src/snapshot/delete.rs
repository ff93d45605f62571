//! Removing a snapshot.

use super::manager::{SnapshotManager, or_deleted};
use super::outcome::Deleted;
use crate::error::{Error, Result};
use crate::fs::{Dir, Guard, LockMode, Rename, locked, try_lock_dir};
use crate::store::{Loaded, Record, SnapshotId, Store};

impl SnapshotManager {
    /// Deletes a snapshot. Nobody is asked.
    ///
    /// After `Ok` it is gone and stays gone after a power cut. After a crash on the way it is either still listed,
    /// whole, or gone, and the next open removes what is left of it. It works on a full disk.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot. `Concurrency`: it is being verified or restored, or the store is locked.
    pub fn delete(&self, id: &str) -> Result<Deleted> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        self.delete_for(&store, id, "asked for")
    }

    pub(super) fn delete_for(&self, store: &Store, id: SnapshotId, reason: &str) -> Result<Deleted> {
        let deadline = self.deadline();
        let observer = &self.config().observer;
        let trashed = deadline.retry(|| {
            let store_guard = store.lock(LockMode::Exclusive, &deadline)?;
            // While the store is held others are only tried; between two tries it is let go.
            let tried = try_lock_dir(store.dir(), id.to_string(), LockMode::Exclusive);
            let Some(guard) = tried.map_err(|e| or_deleted(store, id, e))? else { return Ok(None) };
            let (files, bytes) = match Loaded::read(id, store.dir().open_dir(id.to_string())?) {
                Ok(loaded) => {
                    let sizes = loaded.manifest.files.iter().map(|f| f.size);
                    (loaded.manifest.files.len() as u64, sizes.sum())
                }
                // As the catalogue remembers it.
                Err(_) => {
                    store.read_catalogue()?.and_then(|c| c.get(id).map(Record::files_and_bytes)).unwrap_or((0, 0))
                }
            };
            to_trash(store.dir(), id)?;
            self.forget(store, id, &store_guard);
            store.dir().sync()?;
            Ok(Some((guard, files, bytes)))
        })?;
        let Some((guard, files, bytes)) = trashed else {
            let holder = store.dir().open_dir(id.to_string()).ok().and_then(|d| d.fs().lock_holder(d.handle()));
            let what = "it is being verified, restored or inherited from";
            return Err(locked(store.dir().path_of(id.to_string()), what, &deadline, holder));
        };
        observer.phase("delete", files, 0);
        // Decided and durable. What cannot be unlinked now, the next sweep unlinks.
        if let Err(e) = store.dir().remove_tree(id.trash_name()) {
            observer.warn(&format!("{e}; the rest is removed when the store is next opened"));
        }
        drop(guard);
        Ok(Deleted { id: id.to_string(), reason: reason.to_owned(), files, bytes })
    }

    /// Best effort: the directories decide what exists.
    fn forget(&self, store: &Store, id: SnapshotId, guard: &Guard) {
        let written = store.reconcile().and_then(|mut reconciled| {
            reconciled.catalogue.snapshots.retain(|r| r.id != id);
            store.write_catalogue(&reconciled.catalogue, guard)
        });
        if let Err(e) = written {
            self.config().observer.warn(&format!("{e}; the catalogue will be rebuilt"));
        }
    }
}

/// The commit point. Where even a rename finds no room, as on a full btrfs or XFS, files are unlinked in place until it
/// does, all of them if need be: deletion must free space on a full disk.
fn to_trash(store: &Dir, id: SnapshotId) -> Result<()> {
    let rename = || store.rename(id.to_string(), store, id.trash_name(), Rename::NoReplace);
    let Err(mut full) = rename() else { return Ok(()) };
    let dir = store.open_dir(id.to_string())?;
    let mut entries = dir.list()?;
    // The digests go last: what is half deleted must not look whole.
    entries.sort_by_key(|e| e.name == crate::store::DIGESTS);
    for entry in entries {
        if !is_full(&full) {
            break;
        }
        dir.remove_tree(&entry.name)?;
        match rename() {
            Ok(()) => return Ok(()),
            Err(e) => full = e,
        }
    }
    if is_full(&full) {
        // What was unlinked is shared, or not free yet; but nothing is left that needed another name.
        return store.remove_tree(id.to_string());
    }
    Err(full)
}

fn is_full(e: &Error) -> bool {
    matches!(e, Error::Filesystem(e)
        if matches!(e.source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
}
