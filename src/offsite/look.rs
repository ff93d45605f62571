//! One snapshot elsewhere, as `show` has it.

use super::list::{RemoteRecord, RemoteSnapshot};
use super::meant::{covers, whole};
use super::names::{SNAPSHOTS, SnapshotKey, SourceName};
use super::remote::Remote;
use crate::error::{Result, ValidationError};
use crate::snapshot::SnapshotInfo;
use crate::store::{DigestList, Manifest, Record, Scope, rfc3339};

impl Remote {
    /// Which snapshot is meant, damaged or not.
    ///
    /// # Errors
    ///
    /// `Validation` where there is none.
    pub fn resolve(&self, source: &str, id: &str) -> Result<(SourceName, String)> {
        self.resolve_part(source, id, None)
    }

    /// The same, where `latest` is the latest that holds a part.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn resolve_part(&self, source: &str, id: &str, part: Option<&Scope>) -> Result<(SourceName, String)> {
        let key = self.find_part(source, id, part)?;
        Ok((key.of, key.id.to_string()))
    }

    /// The first snapshot that holds a time, as [`SnapshotManager::at`](crate::snapshot::SnapshotManager::at) chooses it.
    /// Milliseconds since 1970 UTC.
    ///
    /// # Errors
    ///
    /// `Validation` where there is none.
    pub fn at(&self, source: &str, time: i64, part: Option<&Scope>) -> Result<RemoteSnapshot> {
        let of = self.source(source)?;
        let keys = self.snapshots_of(&of)?;
        let records = self.records(&keys)?;
        let whole = whole(&of, records.values().map(|r| &r.record), part)?;
        let is_meant = |key: &&SnapshotKey| {
            let record = records.get(*key).map(|r| &r.record);
            let is_good = |r: &Record| r.damaged.is_none() && r.verified.as_ref().is_none_or(|(_, _, ok)| *ok);
            record.is_some_and(|r| r.timestamp >= time && is_good(r) && covers(r, part, &whole))
        };
        let found = keys.iter().find(is_meant).cloned();
        let store = self.bucket.address(&format!("{SNAPSHOTS}/{of}"));
        let none = || ValidationError::NoSnapshotSince { time: rfc3339(time), store, nearest: Vec::new() };
        let found = found.ok_or_else(none)?;
        self.shown(&[found])?.pop().ok_or_else(|| ValidationError::refused("it was removed meanwhile").into())
    }

    /// A snapshot, its manifest and its digests, which hold.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot. `Integrity`: its manifests are not to be believed.
    pub fn show(&self, source: &str, id: &str) -> Result<(RemoteSnapshot, Manifest, DigestList)> {
        let key = self.find(source, id)?;
        let found = self.manifests(&key)?;
        let record = self.record_of(&key)?;
        let (path, pushed_at) =
            record.as_ref().map_or((found.manifest.source.path.clone(), 0), |r| (r.path.clone(), r.pushed_at));
        let record = record.map(|RemoteRecord { record, .. }| record);
        let record = record.unwrap_or_else(|| Record::of(&found.manifest, &found.root, &Default::default()));
        let info = SnapshotInfo::of(record, &self.bucket.address(&format!("{SNAPSHOTS}/{}", key.of)));
        let pushed = (pushed_at > 0).then(|| rfc3339(pushed_at));
        Ok((RemoteSnapshot { of: key.of, source_path: path, pushed, info }, found.manifest, found.digests))
    }
}
