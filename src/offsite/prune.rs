//! Which snapshots elsewhere may go, and removing them. Their blobs stay until `gc`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::list::RemoteRecord;
use super::names::{SnapshotKey, SourceName};
use super::remote::Remote;
use crate::error::{Result, ValidationError};
use crate::snapshot::{Policy, plan};
use crate::store::{DIGESTS, Record};

/// What is to become of one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteStep {
    /// `host/source`.
    pub of: SourceName,
    /// The snapshot.
    pub id: String,
    /// Whether it goes.
    pub remove: bool,
    /// In words.
    pub reason: String,
}

impl Remote {
    /// What a policy would do to the snapshots of a source, or of every source where none is named; each counts for
    /// itself, and each scope of it. Nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`list_of`](Self::list_of).
    pub fn plan_prune(&self, source: Option<&str>, policy: &Policy) -> Result<Vec<RemoteStep>> {
        let keys = match source {
            Some(source) => self.snapshots_of(&self.source(source)?)?,
            None => self.snapshots()?,
        };
        let mut sources: BTreeMap<SourceName, Vec<Record>> = BTreeMap::new();
        for (key, RemoteRecord { record, .. }) in self.records(&keys)? {
            sources.entry(key.of).or_default().push(record);
        }
        let now = self.options.clock.now();
        let steps = |(of, records): (SourceName, Vec<Record>)| {
            let planned = plan(&records, policy, now, &BTreeSet::new()).steps().to_vec();
            planned.into_iter().map(move |step| RemoteStep {
                of: of.clone(),
                id: step.id.to_string(),
                remove: step.remove,
                reason: step.reason,
            })
        };
        Ok(sources.into_iter().flat_map(steps).collect())
    }

    /// Applies such a plan, oldest first. What was pinned meanwhile stays. Returns what went.
    ///
    /// # Errors
    ///
    /// `Filesystem` where the server does not let one go, as it does while it is locked; what went before is gone, and what
    /// was refused is still there, whole.
    pub fn prune(&self, steps: &[RemoteStep]) -> Result<Vec<RemoteStep>> {
        let mut gone = Vec::new();
        for step in steps.iter().filter(|step| step.remove).rev() {
            let Ok(id) = step.id.parse() else { continue };
            let key = SnapshotKey { of: step.of.clone(), id };
            self.observer().check()?;
            match self.record_of(&key)? {
                Some(record) if !record.record.pinned => {}
                _ => continue,
            }
            self.remove(&key)?;
            gone.push(step.clone());
        }
        Ok(gone)
    }

    /// Removes a snapshot, whatever the rules say; one that is pinned only where `even_pinned` says so. Its blobs stay until
    /// [`gc`](Self::gc).
    ///
    /// After `Ok` it is gone. After an error or a crash it is there, whole, or gone.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or it is pinned. `Filesystem`: the server does not let it go.
    pub fn delete(&self, source: &str, id: &str, even_pinned: bool) -> Result<String> {
        let key = self.find(source, id)?;
        if !even_pinned && let Some(record) = self.record_of(&key)?.map(|r| r.record).filter(|r| r.pinned) {
            let path = self.bucket.address(&key.object(""));
            let unreadable = record.state_unreadable;
            return Err(ValidationError::Pinned { id: key.id.to_string(), path, unreadable }.into());
        }
        self.remove(&key)?;
        Ok(key.id.to_string())
    }

    /// What stood beside it is left to `gc`: a push of the same snapshot may be relying on it at this moment.
    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.bucket.delete(&key.object(DIGESTS))
    }
}
