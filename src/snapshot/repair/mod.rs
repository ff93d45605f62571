//! Putting a store in order.

pub(in crate::snapshot) mod heal;
pub(in crate::snapshot) mod healing;
pub(in crate::snapshot) mod manifests;
pub(in crate::snapshot) mod mend;
pub(in crate::snapshot) mod origins;

use crate::error::Result;
use crate::fs::LockMode;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::{Deleted, Repaired};
use crate::store::{Record, SnapshotId};

impl SnapshotManager {
    /// Sweeps what dead processes left and rebuilds the catalogue from the directories. Snapshots are neither changed nor
    /// removed. With `accept` the present manifests of that snapshot become the remembered ones, if they hold.
    ///
    /// # Errors
    ///
    /// `Validation`: there is no store, or nothing that `accept` names. `Integrity`: what was to be accepted does not
    /// hold in itself. `Concurrency`: the store is locked. `Filesystem`.
    pub fn repair(&self, accept: Option<&str>) -> Result<Repaired> {
        let store = self.store()?;
        let accepted: Option<SnapshotId> = accept.map(|id| self.resolve(&store, id)).transpose()?;
        let guard = store.lock(LockMode::Exclusive, &self.deadline())?;
        let mut swept = store.sweep(&guard)?;
        swept.extend(store.sweep_states(&guard)?);
        swept.extend(store.sweep_healing(&guard)?);
        let mut reconciled = store.reconcile()?;
        if let Some(id) = accepted {
            let loaded = store.load(id)?;
            for record in reconciled.catalogue.snapshots.iter_mut().filter(|r| r.id == id) {
                *record = Record::from(&loaded);
                reconciled.stale = true;
            }
        }
        if reconciled.stale {
            store.write_catalogue(&reconciled.catalogue, &guard)?;
        }
        let records = &reconciled.catalogue.snapshots;
        let damaged = records
            .iter()
            .filter_map(|r| {
                let reason = r.damaged.clone()?;
                Some(Deleted { id: r.id.to_string(), reason, files: 0, bytes: 0, frees: None })
            })
            .collect();
        Ok(Repaired { snapshots: records.len() as u64, swept, catalogue_rebuilt: reconciled.stale, damaged })
    }
}
