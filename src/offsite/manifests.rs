//! The manifests of a snapshot elsewhere. Digests first, then what they vouch for, as in a store.

use blake3::Hash;

use super::list::RemoteRecord;
use super::names::{BLOB_LIST, RECORD, SnapshotKey};
use super::remote::Remote;
use crate::error::{Damage, DamageKind, Error, IntegrityError, Result};
use crate::store::{DIGESTS, DigestList, FileManifest, MANIFEST, MAX_MANIFEST, Manifest, Scope, names_the_same};

/// A snapshot elsewhere whose manifests hold.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    pub(super) key: SnapshotKey,
    pub(super) manifest: Manifest,
    pub(super) digests: DigestList,
    pub(super) root: Hash,
    /// As they were when the snapshot was taken.
    pub(super) manifest_bytes: Vec<u8>,
    pub(super) digest_bytes: Vec<u8>,
}

impl Manifests {
    /// All files with their digests.
    pub(super) fn files(&self) -> impl Iterator<Item = (&FileManifest, Hash)> {
        // Both are sorted by path.
        let digests = self.digests.iter().filter(|(path, _)| *path != MANIFEST);
        self.manifest.files.iter().zip(digests).map(|(file, (_, digest))| (file, digest))
    }

    /// Those that belong to a part of the snapshot: the files of its logs, and of a topic those that stand beside them.
    pub(super) fn files_of(&self, part: Option<&Scope>) -> Vec<(&FileManifest, Hash)> {
        let Some(part) = part else { return self.files().collect() };
        let of_part = |log: &&crate::store::LogManifest| match (&log.topic, log.partition) {
            (Some(topic), Some(partition)) => part.has(topic, partition),
            _ => *part == Scope::All,
        };
        let dirs: std::collections::HashSet<&str> =
            self.manifest.logs.iter().filter(of_part).map(|log| log.dir.as_str()).collect();
        let of_one_log = matches!(part, Scope::Partition { .. });
        let belongs = |path: &str| match path.rsplit_once('/') {
            Some((dir, _)) => dirs.contains(dir),
            None => !of_one_log || dirs.contains(""),
        };
        self.files().filter(|(file, _)| belongs(&file.path)).collect()
    }
}

impl Remote {
    /// The digests of a snapshot, and the root. That is the one that its record states, where the record is there: of a
    /// digest that changed nothing else in them would tell.
    pub(super) fn digests(&self, key: &SnapshotKey) -> Result<(DigestList, Hash, Vec<u8>)> {
        self.digests_and_record(key).map(|(digests, root, bytes, _)| (digests, root, bytes))
    }

    /// The same, with the record that they were held against.
    pub(super) fn digests_and_record(
        &self,
        key: &SnapshotKey,
    ) -> Result<(DigestList, Hash, Vec<u8>, Option<RemoteRecord>)> {
        let bytes = self.manifest_object(key, DIGESTS)?;
        let root = blake3::hash(&bytes);
        let record = self.record(key)?;
        let of_it = record.as_ref().filter(|there| there.record.id == key.id);
        if of_it.is_some_and(|there| there.record.root != root.to_hex().as_str()) {
            return Err(self.damaged(key, DIGESTS, format!("it does not have the digest that {RECORD} states")));
        }
        let digests = DigestList::parse(&bytes).map_err(|e| self.damaged(key, DIGESTS, text(e)))?;
        Ok((digests, root, bytes, record))
    }

    /// Reads and checks the manifests.
    ///
    /// # Errors
    ///
    /// `Integrity` where one is missing, changed, senseless, or cannot be decrypted; `Validation` where a newer cowlog is
    /// needed.
    pub(super) fn manifests(&self, key: &SnapshotKey) -> Result<Manifests> {
        let (digests, root, digest_bytes) = self.digests(key)?;
        let manifest_bytes = self.manifest_object(key, MANIFEST)?;
        if digests.get(MANIFEST) != Some(blake3::hash(&manifest_bytes)) {
            let what = format!("it does not have the digest that {DIGESTS} states");
            return Err(self.damaged(key, MANIFEST, what));
        }
        let manifest = match Manifest::parse(&manifest_bytes) {
            Err(e @ Error::Integrity(_)) => return Err(self.damaged(key, MANIFEST, text(e))),
            other => other?,
        };
        if manifest.id != key.id || !names_the_same(&manifest, &digests) {
            let what = format!("it does not name the same snapshot and files as its key and {DIGESTS}");
            return Err(self.damaged(key, MANIFEST, what));
        }
        Ok(Manifests { key: key.clone(), manifest, digests, root, manifest_bytes, digest_bytes })
    }

    fn manifest_object(&self, key: &SnapshotKey, name: &str) -> Result<Vec<u8>> {
        let missing = || self.damage(key, name, DamageKind::Missing, "it is not there".into());
        let bytes = self.bucket.get(&key.object(name), MAX_MANIFEST)?.ok_or_else(missing)?;
        self.unsealed(bytes).map_err(|what| self.damaged(key, name, what))
    }

    /// How large the blobs of a snapshot are, as far as that can be known.
    pub(super) fn sizes(
        &self,
        key: &SnapshotKey,
    ) -> Result<Option<std::collections::BTreeMap<super::blobs::BlobId, (super::blobs::Blob, u64)>>> {
        let Some(bytes) = self.bucket.get(&key.object(BLOB_LIST), MAX_MANIFEST)? else { return Ok(None) };
        Ok(self.unsealed(bytes).ok().and_then(|bytes| super::blobs::BlobList::parse(&bytes).ok()))
    }

    /// What a listing shows of a snapshot; `None` where that is missing or not to be believed.
    pub(super) fn record(&self, key: &SnapshotKey) -> Result<Option<RemoteRecord>> {
        let Some(bytes) = self.bucket.get(&key.object(RECORD), MAX_MANIFEST)? else { return Ok(None) };
        Ok(self.unsealed(bytes).ok().and_then(|bytes| RemoteRecord::parse(&bytes).ok()))
    }

    pub(super) fn damaged(&self, key: &SnapshotKey, name: &str, what: String) -> Error {
        self.damage(key, name, DamageKind::Manifest, what)
    }

    fn damage(&self, key: &SnapshotKey, name: &str, kind: DamageKind, detail: String) -> Error {
        IntegrityError {
            path: self.bucket.address(&key.object("")),
            what: "its manifest is not to be believed".into(),
            damage: vec![Damage { path: name.into(), kind, detail }],
            hint: Some("restore another snapshot; `cowlog list --from` shows which ones there are".into()),
        }
        .into()
    }
}

fn text(e: Error) -> String {
    match e {
        Error::Integrity(e) => e.what,
        e => e.to_string(),
    }
}
