//! Removing a snapshot.

use super::unlink::unlink_tree;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, LockMode, Rename, locked, try_lock_dir};
use crate::snapshot::manager::{SnapshotManager, or_deleted};
use crate::snapshot::outcome::Deleted;
use crate::store::{Catalogue, Record, SnapshotId, Store};

impl SnapshotManager {
    /// Deletes a snapshot, unless it is pinned.
    ///
    /// After `Ok` it is gone and stays gone after a power cut. After a crash on the way it is either still listed,
    /// whole, or gone, and the next open removes what is left of it. It works on a full disk.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or it is pinned, as which one whose state cannot be read counts. `Concurrency`: it is being
    /// verified or restored, or the store is locked.
    pub fn delete(&self, id: &str) -> Result<Deleted> {
        self.delete_asked(id, false)
    }

    /// Deletes a snapshot, be it pinned. Otherwise as [`delete`](Self::delete).
    pub fn delete_even_pinned(&self, id: &str) -> Result<Deleted> {
        self.delete_asked(id, true)
    }

    fn delete_asked(&self, id: &str, even_pinned: bool) -> Result<Deleted> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        self.delete_for(&store, id, even_pinned, "asked for")
    }

    /// What stands in the way of deleting a snapshot that is pinned.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn must_not_be_pinned(&self, id: &str) -> Result<()> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        refuse_pinned(&store, id)
    }

    pub(in crate::snapshot) fn delete_for(
        &self,
        store: &Store,
        id: SnapshotId,
        even_pinned: bool,
        reason: &str,
    ) -> Result<Deleted> {
        let deadline = self.deadline();
        let observer = &self.config().observer;
        let trashed = deadline.retry(|| {
            let store_guard = store.lock(LockMode::Exclusive, &deadline)?;
            // While the store is held others are only tried; between two tries it is let go.
            let tried = try_lock_dir(store.dir(), id.to_string(), LockMode::Exclusive);
            let Some(guard) = tried.map_err(|e| or_deleted(store, id, e))? else { return Ok(None) };
            if !even_pinned {
                refuse_pinned(store, id)?;
            }
            let catalogue = store.read_catalogue()?;
            let (files, bytes) = size_of(store, id, catalogue.as_ref());
            to_trash(store.dir(), id)?;
            let without = match catalogue {
                Some(mut catalogue) => {
                    catalogue.snapshots.retain(|r| r.id != id);
                    // No id is given out twice, also where the catalogue did not know of this one.
                    catalogue.last_id = catalogue.last_id.max(Some(id));
                    Ok(catalogue)
                }
                None => store.reconcile().map(|reconciled| reconciled.catalogue),
            };
            store.settle(without, &store_guard, observer)?;
            Ok(Some((guard, files, bytes)))
        })?;
        let Some((guard, files, bytes)) = trashed else {
            let holder = store.dir().open_dir(id.to_string()).ok().and_then(|d| d.fs().lock_holder(d.handle()));
            let what = "it is being verified, restored or inherited from";
            return Err(locked(store.dir().path_of(id.to_string()), what, &deadline, holder));
        };
        observer.phase("delete", files, 0);
        // Decided and durable. What cannot be unlinked now, the next sweep unlinks.
        let (frees, removed) = unlink_tree(store.dir(), &id.trash_name());
        if let Err(e) = removed {
            observer.warn(&format!("{e}; the rest is removed when the store is next opened"));
        }
        drop(guard);
        Ok(Deleted { id: id.to_string(), reason: reason.to_owned(), files, bytes, frees })
    }
}

fn refuse_pinned(store: &Store, id: SnapshotId) -> Result<()> {
    let state = store.read_state(id).map_err(|e| or_deleted(store, id, e))?;
    if !state.pinned {
        return Ok(());
    }
    let path = store.dir().path_of(id.to_string());
    Err(ValidationError::Pinned { id: id.to_string(), path, unreadable: state.unreadable }.into())
}

/// Files and bytes, as the catalogue remembers them: to read a large manifest would take longer than to decide. Else as
/// the manifest says; zero where nobody knows.
fn size_of(store: &Store, id: SnapshotId, catalogue: Option<&Catalogue>) -> (u64, u64) {
    if let Some(record) = catalogue.and_then(|c| c.get(id)).filter(|r| !r.root.is_empty()) {
        return record.files_and_bytes();
    }
    store.load(id).map_or((0, 0), |loaded| Record::from(&loaded).files_and_bytes())
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
