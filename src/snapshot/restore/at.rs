//! Choosing a snapshot by time.

use crate::error::{Result, ValidationError};
use crate::snapshot::known;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::SnapshotInfo;
use crate::snapshot::set;
use crate::store::{Record, Scope, rfc3339};

impl SnapshotManager {
    /// The first snapshot that holds a time (milliseconds since 1970 UTC): the oldest of those that were begun at that time
    /// or later, so that all that had been appended by then is in it. Restored [until](crate::snapshot::RestoreOptions::until) that time
    /// it is the log as it was. With `part` the snapshots count that hold all of that topic or partition; without, those of
    /// this manager's own scope. Passed over are those that are known to be damaged.
    ///
    /// # Errors
    ///
    /// `Validation` where there is none; the error names the nearest ones.
    pub fn at(&self, time: i64, part: Option<&Scope>) -> Result<SnapshotInfo> {
        let store = self.store()?;
        let records: Vec<Record> = match part {
            Some(part) => {
                let all = self.records(&store)?;
                if let Some(absent) = known::none_holds(&all, part) {
                    return Err(absent.of(&store));
                }
                let holds = |record: &Record| record.scope.holds(part) && known::holds_any(record, part);
                all.into_iter().filter(|record| *part == Scope::All || holds(record)).collect()
            }
            None => {
                let (records, scope) = self.scoped(&store)?;
                records.into_iter().filter(|record| scope.is_some() || record.scope == Scope::All).collect()
            }
        };
        let (late, early): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| record.timestamp >= time);
        let is_good =
            |record: &Record| record.damaged.is_none() && record.verified.as_ref().is_none_or(|(_, _, ok)| *ok);
        let (good, bad): (Vec<Record>, Vec<Record>) = late.into_iter().partition(is_good);
        if let Some(first) = good.into_iter().min_by_key(|record| record.id) {
            return Ok(set::found(self.fs(), first, store.dir().path()));
        }
        let named = |record: &Record, what: &str| format!("{} of {}{what}", record.id, rfc3339(record.timestamp));
        let before = early.iter().max_by_key(|record| record.id).map(|record| named(record, ""));
        let damaged = bad.iter().min_by_key(|record| record.id).map(|record| named(record, ", which is damaged"));
        let nearest = before.into_iter().chain(damaged).collect();
        Err(ValidationError::NoSnapshotSince { time: rfc3339(time), store: store.dir().path().into(), nearest }.into())
    }
}
