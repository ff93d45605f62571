//! Keeping in the states what was found out about snapshots; and who alone may be at such work.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::Result;
use crate::fs::{Guard, LockMode, lock_dir};
use crate::snapshot::manager::SnapshotManager;
use crate::store::{SnapshotId, State, Store};

/// So many states are written before others get the store's lock.
const AT_A_TIME: usize = 50;

impl SnapshotManager {
    /// Changes the states of snapshots, durably, and brings the catalogue up to date. Those that are gone, and those whose state
    /// cannot be read, are passed over.
    pub(in crate::snapshot) fn remember(
        &self,
        store: &Store,
        ids: BTreeSet<SnapshotId>,
        mut change: impl FnMut(SnapshotId, &mut State),
    ) -> Result<()> {
        let ids: Vec<SnapshotId> = ids.into_iter().collect();
        for ids in ids.chunks(AT_A_TIME) {
            let guard = store.lock(LockMode::Exclusive, &self.deadline())?;
            let mut changed = false;
            for id in ids {
                let before = match store.read_state(*id) {
                    Err(e) if e.is_not_found() => continue,
                    other => other?,
                };
                let mut after = before.clone();
                change(*id, &mut after);
                if before.unreadable || after == before {
                    continue;
                }
                match store.write_state(*id, &after, &guard) {
                    Err(e) if e.is_not_found() => continue,
                    other => other?,
                }
                changed = true;
            }
            if changed {
                store.write_catalogue(&store.reconcile()?.catalogue, &guard)?;
            }
        }
        Ok(())
    }

    /// Keeps other scrubs and heals off the store.
    pub(in crate::snapshot) fn upkeep(&self, store: &Store) -> Result<Guard> {
        let path = store.dir().path();
        let parent = store.dir().open_parent(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or_default();
        lock_dir(&parent, name, LockMode::Exclusive, &self.deadline(), UPKEEP)
    }
}

const UPKEEP: &str = "the store, which is being scrubbed or healed";
