//! Which snapshots elsewhere may go, and removing them. Their blobs stay until `gc`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::list::RemoteRecord;
use super::names::{SnapshotKey, SourceName};
use super::remote::Remote;
use crate::error::{Error, Result, ValidationError};
use crate::snapshot::{Policy, Step, plan};
use crate::store::{DIGESTS, Record, Scope, SnapshotId};

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
    /// itself, and each scope of it. A snapshot whose manifests are not to be believed does not count: before others go for
    /// the sake of those that stay, these are looked at. Nothing is changed.
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
        let mut all = Vec::new();
        for (of, records) in sources {
            let steps = self.plan_source(&of, records, policy)?.into_iter();
            all.extend(steps.map(|Step { id, remove, reason, .. }| RemoteStep {
                of: of.clone(),
                id: id.to_string(),
                remove,
                reason,
            }));
        }
        Ok(all)
    }

    /// Nothing goes for the sake of a snapshot that only its record calls good: of what is kept the manifests are looked at,
    /// and one whose manifests are not to be believed does not count.
    fn plan_source(&self, of: &SourceName, mut records: Vec<Record>, policy: &Policy) -> Result<Vec<Step>> {
        let now = self.options.clock.now();
        let mut looked = BTreeSet::new();
        loop {
            let steps = plan(&records, policy, now, &BTreeSet::new()).steps().to_vec();
            let going: BTreeSet<&Scope> = steps.iter().filter(|step| step.remove).map(|step| &step.scope).collect();
            let is_kept = |step: &&Step| !step.remove && going.contains(&step.scope) && looked.insert(step.id);
            let kept: BTreeSet<SnapshotId> = steps.iter().filter(is_kept).map(|step| step.id).collect();
            let relied: Vec<SnapshotKey> = records
                .iter()
                .filter(|record| kept.contains(&record.id) && record.damaged.is_none())
                .map(|record| SnapshotKey { of: of.clone(), id: record.id })
                .collect();
            let damaged = self.each(&relied, |key| match self.manifests(key) {
                // One of a newer cowlog is what its record says.
                Ok(_) | Err(Error::Validation(_)) => Ok(None),
                Err(Error::Integrity(e)) => Ok(Some((key.id, e.to_string()))),
                Err(e) => Err(e),
            })?;
            let damaged: BTreeMap<SnapshotId, String> = damaged.into_iter().flatten().collect();
            if damaged.is_empty() {
                return Ok(steps);
            }
            for record in &mut records {
                if let Some(why) = damaged.get(&record.id) {
                    self.observer().warn(&format!("{of}/{}: {why}", record.id));
                    record.damaged = Some(why.clone());
                }
            }
        }
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
        if !even_pinned {
            self.refuse_pinned(&key)?;
        }
        self.remove(&key)?;
        Ok(key.id.to_string())
    }

    /// That a snapshot may be deleted.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or it is pinned.
    pub fn must_not_be_pinned(&self, source: &str, id: &str) -> Result<()> {
        self.refuse_pinned(&self.find(source, id)?)
    }

    fn refuse_pinned(&self, key: &SnapshotKey) -> Result<()> {
        if let Some(record) = self.record_of(key)?.map(|r| r.record).filter(|r| r.pinned) {
            let path = self.bucket.address(&key.object(""));
            let unreadable = record.state_unreadable;
            return Err(ValidationError::Pinned { id: key.id.to_string(), path, unreadable }.into());
        }
        Ok(())
    }

    /// What stood beside it is left to `gc`: a push of the same snapshot may be relying on it at this moment.
    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.bucket.delete(&key.object(DIGESTS))
    }
}
