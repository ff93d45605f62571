//! Reading one snapshot directory: the digests, and what they vouch for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use blake3::Hash;

use super::catalogue::Seen;
use super::digests::DigestList;
use super::id::SnapshotId;
use super::manifest::{FileManifest, LogManifest, Manifest, Scope, SourceKind};
use super::state::State;
use super::{DIGESTS, MANIFEST, STATE};
use crate::error::{Damage, DamageKind, Error, IntegrityError, Result};
use crate::fs::Dir;

/// A manifest of a million files is below this.
pub(crate) const MAX_MANIFEST: u64 = 1 << 30;
const MAX_STATE: u64 = 64 << 20;

/// A snapshot whose manifests hold. Its data files have not been looked at.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its directory.
    pub dir: Dir,
    /// What it is.
    pub manifest: Manifest,
    /// The digest of every file.
    pub digests: DigestList,
    /// BLAKE3 of `manifest.b3`.
    pub root: Hash,
    /// What may change.
    pub state: State,
}

impl Loaded {
    /// Reads and checks the manifests of an open snapshot directory.
    ///
    /// # Errors
    ///
    /// `Integrity` where a manifest is missing, changed or senseless; `Validation` where a newer cowlog is
    /// needed; `Filesystem` where this user may not read it.
    pub fn read(id: SnapshotId, dir: Dir) -> Result<Loaded> {
        Self::read_knowing(id, dir, None)
    }

    /// As [`read`](Self::read); where the manifests contradict each other, the root that is remembered says which of
    /// the two has changed. Without it both are named.
    pub(super) fn read_knowing(id: SnapshotId, dir: Dir, remembered: Option<&str>) -> Result<Loaded> {
        // One after the other: both at once would be half of the memory that a create needs.
        let list = read_digests(&dir)?;
        let manifest = read_manifest(&dir)?;
        Self::agreed(id, dir, remembered, list, manifest)
    }

    /// The same with both manifests at once, and what `beside` makes of the digests in the meantime, when nothing says yet that they belong
    /// to it; the flag is set once `manifest.json` has been parsed.
    pub(super) fn read_beside<T: Send>(
        id: SnapshotId,
        dir: Dir,
        beside: &(impl Fn(&DigestList, &AtomicBool) -> T + Sync),
    ) -> Result<(Loaded, T)> {
        let parsed = AtomicBool::new(false);
        let list = || read_digests(&dir).map(|(root, digests)| (beside(&digests, &parsed), (root, digests)));
        let manifest = || {
            let manifest = read_manifest(&dir);
            parsed.store(true, Ordering::Relaxed);
            manifest
        };
        let (manifest, list) = rayon::join(manifest, list);
        let (made, list) = list?;
        Ok((Self::agreed(id, dir, None, list, manifest?)?, made))
    }

    /// Of manifests that agree.
    fn agreed(
        id: SnapshotId,
        dir: Dir,
        remembered: Option<&str>,
        (root, digests): (Hash, DigestList),
        (found, parsed): (Hash, Result<Manifest>),
    ) -> Result<Loaded> {
        let Some(stated) = digests.get(MANIFEST) else {
            return Err(damage(&dir, DIGESTS, DamageKind::Manifest, format!("it does not name {MANIFEST}")));
        };
        let changed: &[&str] = match remembered {
            Some(remembered) if remembered == root.to_hex().as_str() => &[MANIFEST],
            Some(_) => &[DIGESTS],
            None => &[MANIFEST, DIGESTS],
        };
        if stated != found {
            let what = format!("{MANIFEST} does not have the digest that {DIGESTS} states");
            return Err(contradiction(&dir, changed, &what));
        }
        let manifest = match parsed {
            Err(e @ Error::Integrity(_)) => return Err(damaged(&dir, MANIFEST, &e)),
            other => other?,
        };
        if manifest.id != id || !names_the_same(&manifest, &digests) {
            let what = format!("{MANIFEST} does not name the same snapshot and files as its directory and {DIGESTS}");
            return Err(contradiction(&dir, changed, &what));
        }
        let state = read_state(&dir)?;
        Ok(Loaded { id, dir, manifest, digests, root, state })
    }

    /// What it has of a topic, with the files that stand beside the logs, or of a partition: then that log alone. `None`
    /// where it has no log of it.
    pub fn part(mut self, part: &Scope) -> Option<Loaded> {
        // It counts the files of the whole.
        self.state.reads = None;
        let manifest = &mut self.manifest;
        manifest.logs.retain(|log| match (&log.topic, log.partition) {
            (Some(topic), Some(partition)) => part.has(topic, partition),
            _ => *part == Scope::All,
        });
        let of_one_log = matches!(part, Scope::Partition { .. });
        manifest.source.kind = if of_one_log { SourceKind::Log } else { manifest.source.kind };
        manifest.source.scope = part.clone();
        let dirs: HashSet<String> = manifest.logs.iter().map(|log| log.dir.clone()).collect();
        let keep = |path: &str| match path.rsplit_once('/') {
            Some((dir, _)) => dirs.contains(dir),
            None => !of_one_log || dirs.contains(""),
        };
        manifest.dirs.retain(|dir| dir.path.is_empty() || dirs.contains(&dir.path));
        manifest.files.retain(|file| keep(&file.path));
        self.digests.retain(|path| path == MANIFEST || keep(path));
        (!dirs.is_empty()).then_some(self)
    }

    /// The bytes of `manifest.json` and `manifest.b3` as they are now.
    #[cfg(feature = "offsite")]
    pub(crate) fn manifest_bytes(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((read(&self.dir, MANIFEST)?, read(&self.dir, DIGESTS)?))
    }

    /// All files with their digests.
    pub fn files(&self) -> impl Iterator<Item = (&FileManifest, Hash)> {
        // Both are sorted by path.
        let digests = self.digests.iter().filter(|(path, _)| *path != MANIFEST);
        self.manifest.files.iter().zip(digests).map(|(file, (_, digest))| (file, digest))
    }

    /// When the bytes of one of its files were last read: when the snapshot was taken or before, or since.
    pub fn read_at(&self, file: &FileManifest) -> i64 {
        let Some(reads) = &self.state.reads else { return file.read_at };
        let files = &self.manifest.files;
        let at = files.binary_search_by(|f| f.path.as_str().cmp(&file.path));
        at.map_or(file.read_at, |at| reads.of(at).max(file.read_at))
    }

    /// The directory of one of its logs.
    pub(crate) fn dir_of(&self, log: &LogManifest) -> Result<Dir> {
        if log.dir.is_empty() { Ok(self.dir.clone()) } else { self.dir.open_dir(&log.dir) }
    }

    /// The files directly in a directory of the snapshot (empty for its own), with their digests.
    pub fn files_in(&self, dir: &str) -> impl Iterator<Item = (&FileManifest, Hash)> {
        self.borrowed_in(dir).map(|(file, digest)| (file, *digest))
    }

    /// The same, for who keeps many of them.
    pub(crate) fn borrowed_in(&self, dir: &str) -> impl Iterator<Item = (&FileManifest, &Hash)> {
        let below = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let first = self.manifest.files.partition_point(|f| f.path.as_str() < below.as_str());
        let files = self.manifest.files.get(first..).unwrap_or_default();
        let digests = self.digests.iter_from(&below).filter(|(path, _)| *path != MANIFEST);
        let both = files.iter().zip(digests).map(|(file, (_, digest))| (file, digest));
        both.map_while(move |(f, digest)| f.path.strip_prefix(&below).map(|name| (f, digest, name)))
            .filter(|(_, _, name)| !name.contains('/'))
            .map(|(f, digest, _)| (f, digest))
    }
}

/// `manifest.b3` and its own digest.
fn read_digests(dir: &Dir) -> Result<(Hash, DigestList)> {
    let bytes = read(dir, DIGESTS)?;
    let list = DigestList::parse(&bytes).map_err(|e| damaged(dir, DIGESTS, &e))?;
    Ok((blake3::hash(&bytes), list))
}

/// The digest of `manifest.json`, and what it says: not to be believed before the digest is the one that `manifest.b3` states.
fn read_manifest(dir: &Dir) -> Result<(Hash, Result<Manifest>)> {
    let bytes = read(dir, MANIFEST)?;
    Ok((blake3::hash(&bytes), Manifest::parse(&bytes)))
}

/// Whether both manifests are of the same files.
pub(crate) fn names_the_same(manifest: &Manifest, digests: &DigestList) -> bool {
    // Both are sorted by path.
    let listed = digests.iter().map(|(path, _)| path).filter(|path| *path != MANIFEST);
    listed.eq(manifest.files.iter().map(|f| f.path.as_str()))
}

/// The state of a snapshot; unreadable it counts as pinned.
pub(super) fn read_state(dir: &Dir) -> Result<State> {
    match dir.try_read(STATE, MAX_STATE) {
        Ok(Some(bytes)) => Ok(State::parse(&bytes).unwrap_or_else(|_| State::unreadable())),
        Ok(None) => Ok(State::default()),
        Err(Error::Filesystem(_)) => Ok(State::unreadable()),
        Err(e) => Err(e),
    }
}

/// Which inodes stand behind what is known of a snapshot now.
pub(super) fn look_at(store: &Dir, snapshot: &str) -> Result<Option<Seen>> {
    let look = |name: &str| store.try_stat(format!("{snapshot}/{name}"));
    let (Some(manifest), Some(digests)) = (look(MANIFEST)?, look(DIGESTS)?) else { return Ok(None) };
    Ok(Some(Seen::new(&manifest, &digests, look(STATE)?.as_ref())))
}

fn read(dir: &Dir, name: &str) -> Result<Vec<u8>> {
    dir.read(name, MAX_MANIFEST).map_err(|e| match &e {
        _ if e.is_denied() => e,
        Error::Filesystem(_) if e.is_not_found() => damage(dir, name, DamageKind::Missing, "it is not there".into()),
        _ => damage(dir, name, DamageKind::Unreadable, e.to_string()),
    })
}

fn damaged(dir: &Dir, name: &str, e: &Error) -> Error {
    let what = match e {
        Error::Integrity(e) => e.what.clone(),
        e => e.to_string(),
    };
    damage(dir, name, DamageKind::Manifest, what)
}

fn contradiction(dir: &Dir, changed: &[&str], what: &str) -> Error {
    let damage = |name: &&str| Damage { path: (*name).into(), kind: DamageKind::Manifest, detail: what.into() };
    unbelievable(dir, changed.iter().map(damage).collect())
}

fn damage(dir: &Dir, name: &str, kind: DamageKind, detail: String) -> Error {
    unbelievable(dir, vec![Damage { path: name.into(), kind, detail }])
}

fn unbelievable(dir: &Dir, damage: Vec<Damage>) -> Error {
    IntegrityError {
        path: dir.path().into(),
        what: "its manifest is not to be believed".into(),
        damage,
        hint: Some("restore another snapshot; `cowlog list` shows which ones there are".into()),
    }
    .into()
}
