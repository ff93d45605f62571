//! Which snapshots there are elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bucket::Object;
use super::names::{RECORD, SNAPSHOTS, SnapshotKey, SourceName};
use super::remote::Remote;
use crate::error::{Error, Result, ValidationError};
use crate::snapshot::{SnapshotInfo, none_elsewhere};
use crate::store::{DIGESTS, IdQuery, Record, Scope, SnapshotId, State, rfc3339, seal, unseal};

/// `record.json`: what a listing shows of a snapshot. It can be made again from the manifests, but for pin and tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RemoteRecord {
    pub(super) record: Record,
    /// Where the source was on its machine.
    pub(super) path: String,
    /// Milliseconds since 1970 UTC.
    pub(super) pushed_at: i64,
}

impl RemoteRecord {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        seal(RECORD, self)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        unseal(RECORD, bytes)
    }
}

/// One snapshot elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RemoteSnapshot {
    /// `host/source`.
    pub of: SourceName,
    /// Where the source was on that machine; empty where that is not known.
    pub source_path: String,
    /// When it was pushed: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
    /// The snapshot. Its `path` is its address.
    #[serde(flatten)]
    pub info: SnapshotInfo,
}

impl Remote {
    /// Every snapshot of every machine, by host, source and age, oldest first. Those whose manifests cannot be believed are
    /// among them, with `damaged` set.
    pub fn list(&self) -> Result<Vec<RemoteSnapshot>> {
        self.shown(&self.snapshots()?)
    }

    /// Those of one source. It is named `host/source`, or `source` where only one machine has such a one.
    ///
    /// # Errors
    ///
    /// `Validation` where there is none, or where several machines have one.
    pub fn list_of(&self, source: &str) -> Result<Vec<RemoteSnapshot>> {
        let of = self.source(source)?;
        self.shown(&self.snapshots_of(&of)?)
    }

    pub(super) fn shown(&self, keys: &[SnapshotKey]) -> Result<Vec<RemoteSnapshot>> {
        let records = self.records(keys)?;
        let shown = |key: &SnapshotKey| {
            let RemoteRecord { record, path, pushed_at } = records.get(key)?.clone();
            Some(RemoteSnapshot {
                of: key.of.clone(),
                source_path: path,
                pushed: (pushed_at > 0).then(|| rfc3339(pushed_at)),
                info: SnapshotInfo::of(record, &self.bucket.address(&format!("{SNAPSHOTS}/{}", key.of))),
            })
        };
        Ok(keys.iter().filter_map(shown).collect())
    }

    /// What is known of snapshots. One that has gone meanwhile is missing.
    pub(super) fn records(&self, keys: &[SnapshotKey]) -> Result<BTreeMap<SnapshotKey, RemoteRecord>> {
        let found = self.each(keys, |key| Ok(self.record_of(key)?.map(|record| (key.clone(), record))))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// From `record.json`; where that is lost, from the manifests: whether it was pinned nobody knows then.
    pub(super) fn record_of(&self, key: &SnapshotKey) -> Result<Option<RemoteRecord>> {
        if let Some(record) = self.record(key)?.filter(|r| r.record.id == key.id) {
            return Ok(Some(record));
        }
        self.record_again(key)
    }

    /// From the manifests.
    pub(super) fn record_again(&self, key: &SnapshotKey) -> Result<Option<RemoteRecord>> {
        let unknown = |record| RemoteRecord { record, path: String::new(), pushed_at: 0 };
        match self.manifests(key) {
            Ok(found) => {
                let record = Record::of(&found.manifest, &found.root, &State::unreadable());
                Ok(Some(RemoteRecord { path: found.manifest.source.path.clone(), ..unknown(record) }))
            }
            Err(e @ (Error::Integrity(_) | Error::Validation(_))) => {
                // It may have been pruned since it was listed.
                let there = self.bucket.head(&key.object(DIGESTS))?.is_some();
                let record = Record::unknown(key.id, e.to_string());
                Ok(there.then(|| unknown(Record { pinned: true, state_unreadable: true, ..record })))
            }
            Err(e) => Err(e),
        }
    }

    /// All snapshots: those whose `manifest.b3` is there.
    pub(super) fn snapshots(&self) -> Result<Vec<SnapshotKey>> {
        Ok(published(self.bucket.list(SNAPSHOTS)?))
    }

    pub(super) fn snapshots_of(&self, of: &SourceName) -> Result<Vec<SnapshotKey>> {
        Ok(published(self.bucket.list(&format!("{SNAPSHOTS}/{of}"))?))
    }

    /// The source that is meant by `host/source`, or by `source` alone.
    pub(super) fn source(&self, given: &str) -> Result<SourceName> {
        if given.contains('/') {
            let of: SourceName = given.parse()?;
            return if self.snapshots_of(&of)?.is_empty() { Err(self.no_source(given)?) } else { Ok(of) };
        }
        let mut all: Vec<SourceName> = self.snapshots()?.into_iter().map(|key| key.of).collect();
        all.dedup();
        all.retain(|of| of.source() == given);
        match all.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.no_source(given)?),
            several => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                let what = format!("{given:?} could be any of {}", several.join(", "));
                let hint = Some("say HOST/SOURCE".into());
                Err(ValidationError::Refused { what, path: None, hint }.into())
            }
        }
    }

    fn no_source(&self, given: &str) -> Result<Error> {
        let mut all: Vec<String> = self.snapshots()?.into_iter().map(|key| key.of.to_string()).collect();
        all.dedup();
        let hint = match all.as_slice() {
            [] => "`cowlog push` brings snapshots there".to_owned(),
            [..] => format!("there are {}", all.join(", ")),
        };
        let path = self.bucket.address(&format!("{SNAPSHOTS}/{given}"));
        Ok(ValidationError::NoSuchCopy { path, hint }.into())
    }

    /// The snapshot that is meant: `latest`, an id, its digits, or the beginning of either. The latest is the latest that
    /// covers all of the source; where none does and all are of one scope, of that.
    pub(super) fn find(&self, source: &str, id: &str) -> Result<SnapshotKey> {
        self.find_part(source, id, None)
    }

    /// The same, where the latest is the latest that covers a part.
    pub(super) fn find_part(&self, source: &str, id: &str, part: Option<&Scope>) -> Result<SnapshotKey> {
        let query: IdQuery = id.parse()?;
        let of = self.source(source)?;
        let keys = self.snapshots_of(&of)?;
        let mut ids: Vec<SnapshotId> = keys.iter().map(|key| key.id).collect();
        if query.is_latest() {
            ids = self.latest(&of, &ids, part)?.into_iter().collect();
        }
        let store = self.bucket.address(&format!("{SNAPSHOTS}/{of}"));
        if let Some(part) = part.filter(|_| ids.is_empty()) {
            let records: Vec<Record> = self.records(&keys)?.into_values().map(|found| found.record).collect();
            if let Some(absent) = none_elsewhere(&records, part, store.clone()) {
                return Err(absent);
            }
        }
        let id = query
            .resolve(&ids)?
            .ok_or_else(|| -> Error { ValidationError::NoSuchSnapshot { id: query.to_string(), store }.into() })?;
        Ok(SnapshotKey { of, id })
    }
}

fn published(objects: Vec<Object>) -> Vec<SnapshotKey> {
    let key =
        |object: &Object| SnapshotKey::parse(&object.key).filter(|(_, name)| *name == DIGESTS).map(|(key, _)| key);
    let mut keys: Vec<SnapshotKey> = objects.iter().filter_map(key).collect();
    keys.sort();
    keys
}
