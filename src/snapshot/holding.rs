//! Which snapshots hold a topic or a partition, whatever else is in them.

use super::known;
use super::manager::{SnapshotManager, no_such};
use super::outcome::{Restored, SnapshotInfo};
use super::restore::options::RestoreOptions;
use super::set;
use crate::error::Result;
use crate::store::{IdQuery, Record, Scope, Store};

impl SnapshotManager {
    /// The snapshots of a data directory that hold something of a topic or partition, oldest first: those of that scope,
    /// of a wider one, and of a topic's partitions.
    pub fn holding(&self, part: &Scope) -> Result<Vec<SnapshotInfo>> {
        let Some(store) = self.find_store()? else { return Ok(Vec::new()) };
        let records = of_part(self.records(&store)?, part);
        Ok(records.into_iter().map(|record| set::found(self.fs(), record, store.dir().path())).collect())
    }

    /// Restores a topic or a partition from any snapshot that holds it. `latest` is the latest that holds all of it.
    ///
    /// # Errors
    ///
    /// As [`restore_id`](Self::restore_id), and `Validation` where the snapshot holds nothing of it.
    pub fn restore_part(&self, id: &str, part: &Scope, options: RestoreOptions) -> Result<Restored> {
        let id = self.id_holding(&self.store()?, id, part)?;
        self.restore_id(&id, options.only(part.clone()))
    }

    /// The id of the snapshot that is meant of those that hold the part.
    pub(super) fn id_holding(&self, store: &Store, id: &str, part: &Scope) -> Result<String> {
        let query: IdQuery = id.parse()?;
        let all = self.records(store)?;
        if let Some(absent) = known::none_holds(&all, part) {
            return Err(absent.of(store));
        }
        let records = of_part(all, part);
        let whole = |record: &&Record| !query.is_latest() || record.scope.holds(part);
        let ids: Vec<_> = records.iter().filter(whole).map(|record| record.id).collect();
        match query.resolve(&ids)? {
            Some(id) => Ok(id.to_string()),
            // Named outright it is told that nothing of it is there.
            None if !query.is_latest() => Ok(id.to_owned()),
            None => {
                Err(known::pieces(&records, part).map_or_else(|| no_such(store, &query), |absent| absent.of(store)))
            }
        }
    }
}

/// One that could never be read may hold anything.
fn of_part(mut records: Vec<Record>, part: &Scope) -> Vec<Record> {
    records.retain(|record| *part == Scope::All || record.root.is_empty() || known::holds_any(record, part));
    records
}
