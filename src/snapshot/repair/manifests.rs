//! Mending the manifests themselves: out of a copy that fits the root that the catalogue remembers.

use super::heal::{Healed, Mended, NotMended};
use super::mend::TEMPORARY;
use super::origins::Given;
use crate::error::Result;
use crate::fs::{Dir, LockMode, lock_dir, replace_file_by};
use crate::snapshot::manager::{SnapshotManager, or_deleted};
use crate::store::{DIGESTS, DigestList, MANIFEST, SnapshotId, Store};

impl SnapshotManager {
    /// `manifest.b3` has to have the root that the catalogue remembers, `manifest.json` the digest that `manifest.b3`
    /// states. Each snapshot has manifests of its own, so only a directory that was named can have copies.
    pub(in crate::snapshot) fn heal_manifests(
        &self,
        store: &Store,
        id: SnapshotId,
        given: &Given,
        healed: &mut Healed,
    ) -> Result<()> {
        let what = "the snapshot, which is being read, restored or inherited from";
        let guard = lock_dir(store.dir(), id.to_string(), LockMode::Exclusive, &self.deadline(), what)
            .map_err(|e| or_deleted(store, id, e))?;
        let Some(dir) = guard.dir() else { return Ok(()) };
        if store.load_from(id, dir.clone()).is_ok() {
            return Ok(());
        }
        let remembered = store.read_catalogue()?.and_then(|c| {
            let record = c.get(id)?;
            blake3::Hash::from_hex(&record.root).ok()
        });
        let list = self.digests(dir, id, remembered, given, healed)?;
        let Some(stated) = list.and_then(|list| list.get(MANIFEST)) else { return Ok(()) };
        if hash_of(dir, MANIFEST) == Some(stated) {
            return Ok(());
        }
        match given.file(MANIFEST, stated, MAX_MANIFEST) {
            Some((from, bytes)) => put(dir, MANIFEST, id, &from, &bytes, healed),
            None => {
                refuse(
                    healed,
                    id,
                    MANIFEST,
                    &format!("no {MANIFEST} with the digest that {DIGESTS} states {ELSEWHERE}"),
                );
                Ok(())
            }
        }
    }

    /// The list of digests, mended if need be.
    fn digests(
        &self,
        dir: &Dir,
        id: SnapshotId,
        remembered: Option<blake3::Hash>,
        given: &Given,
        healed: &mut Healed,
    ) -> Result<Option<DigestList>> {
        let there = dir.read(DIGESTS, MAX_MANIFEST).unwrap_or_default();
        let Some(root) = remembered else {
            // Nothing says which of the two is right where they contradict each other; a copy of the other decides.
            let list = DigestList::parse(&there).ok();
            if list.is_none() {
                refuse(
                    healed,
                    id,
                    DIGESTS,
                    "the catalogue does not remember its root, so no copy of it could be told from another",
                );
            }
            return Ok(list);
        };
        if blake3::hash(&there) == root {
            return Ok(DigestList::parse(&there).ok());
        }
        let Some((from, bytes)) = given.file(DIGESTS, root, MAX_MANIFEST) else {
            refuse(
                healed,
                id,
                DIGESTS,
                &format!("no {DIGESTS} with the root that the catalogue remembers {ELSEWHERE}"),
            );
            return Ok(None);
        };
        put(dir, DIGESTS, id, &from, &bytes, healed)?;
        Ok(DigestList::parse(&bytes).ok())
    }
}

const MAX_MANIFEST: u64 = crate::store::MAX_MANIFEST;
const ELSEWHERE: &str = "is in a directory that was named, and no other snapshot can have one";

fn hash_of(dir: &Dir, name: &str) -> Option<blake3::Hash> {
    dir.read(name, MAX_MANIFEST).ok().map(|bytes| blake3::hash(&bytes))
}

fn refuse(healed: &mut Healed, id: SnapshotId, path: &str, why: &str) {
    healed.not_mended.push(NotMended { id: id.to_string(), path: path.into(), why: why.into() });
}

/// Durably; the bytes were read and have the digest.
fn put(dir: &Dir, name: &str, id: SnapshotId, from: &Dir, bytes: &[u8], healed: &mut Healed) -> Result<()> {
    let mut method = None;
    if !healed.dry_run {
        replace_file_by(dir, TEMPORARY, name, bytes, 0o666)?;
        method = Some(crate::fs::Method::Copy);
    }
    let (from, bytes) = (from.path_of(name), bytes.len() as u64);
    healed.mended.push(Mended { id: id.to_string(), path: name.into(), from, method, bytes });
    Ok(())
}
