//! Pins and tags: what users say of a snapshot after it was taken.

use std::collections::BTreeSet;

use crate::error::{Error, IntegrityError, Result};
use crate::fs::LockMode;
use crate::snapshot::create::check_tags;
use crate::snapshot::manager::{SnapshotManager, no_such, or_deleted};
use crate::snapshot::outcome::SnapshotInfo;
use crate::store::{STATE, State};

impl SnapshotManager {
    /// Pins a snapshot, or lets it go: a pinned one is neither pruned nor counted. Of a snapshot of several directories this is
    /// about the part in this source's store alone; the observer is warned of that.
    ///
    /// After `Ok` it survives a power cut. It stands in the snapshot's `state.json`, so that it survives the loss of the catalogue
    /// too. After a crash on the way it is as it was, or as it was to be.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot. `Integrity`: its `state.json` cannot be read. `Concurrency`: the store is locked.
    /// `Filesystem`.
    pub fn set_pinned(&self, id: &str, pinned: bool) -> Result<SnapshotInfo> {
        self.label(id, |state| {
            state.pinned = pinned;
            Ok(())
        })
    }

    /// Takes tags from a snapshot and gives it others; what it has already, or has not, is no error, but the observer is warned of
    /// what it has not. What holds, as for [`set_pinned`](Self::set_pinned).
    ///
    /// # Errors
    ///
    /// As `set_pinned`, and `Validation` for more or longer tags than [`Create::tag`](crate::snapshot::Create::tag) allows.
    pub fn retag(&self, id: &str, add: &BTreeSet<String>, remove: &BTreeSet<String>) -> Result<SnapshotInfo> {
        let observer = &self.config().observer;
        self.label(id, |state| {
            for absent in remove.difference(&state.tags) {
                observer.warn(&format!("there is no tag {absent} to take away"));
            }
            state.tags.retain(|tag| !remove.contains(tag));
            state.tags.extend(add.iter().cloned());
            check_tags(state.tags.iter().map(String::as_str))
        })
    }

    fn label(&self, id: &str, change: impl FnOnce(&mut State) -> Result<()>) -> Result<SnapshotInfo> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let guard = store.lock(LockMode::Exclusive, &self.deadline())?;
        let before = store.read_state(id).map_err(|e| or_deleted(&store, id, e))?;
        if before.unreadable {
            return Err(unreadable(store.dir().path_of(format!("{id}/{STATE}"))));
        }
        let mut state = before.clone();
        change(&mut state)?;
        if state != before {
            store.write_state(id, &state, &guard)?;
            store.write_catalogue(&store.reconcile()?.catalogue, &guard)?;
        }
        drop(guard);
        let info = self.list()?.into_iter().find(|info| info.id == id.to_string());
        let info = info.ok_or_else(|| no_such(&store, &id.into()))?;
        if !info.set.is_empty() {
            let others: Vec<String> = info.set.iter().map(|part| part.source.clone()).collect();
            self.config()
                .observer
                .warn(&format!("{id} has parts of {} too, which stay as they are", others.join(", ")));
        }
        Ok(info)
    }
}

fn unreadable(path: std::path::PathBuf) -> Error {
    let what =
        "it cannot be read, so that nobody knows which pin and tags it has; the snapshot counts as pinned".into();
    let hint = "remove that file to begin with neither; the results of verifications are lost with it";
    IntegrityError { path, what, damage: Vec::new(), hint: Some(hint.into()) }.into()
}
