//! The inodes of all snapshots of a store, each with the snapshots that have it and when it was last read.

use std::collections::HashMap;
use std::ffi::OsString;

use blake3::Hash;

use crate::error::{Damage, Error, Result};
use crate::fs::FileKind;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::verify::examine::{Dirs, missing, open_dirs};
use crate::store::{Loaded, SnapshotId, Store};

/// No inode: the file is not there.
const NONE: u32 = u32::MAX;

/// One inode with the bytes that it should have.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Unit {
    pub(in crate::snapshot) size: u64,
    pub(in crate::snapshot) digest: Hash,
    /// When it was last read by whatever name: milliseconds since 1970 UTC.
    pub(in crate::snapshot) read_at: i64,
    /// The newest snapshot that has it, by its place in [`Inodes::snapshots`], and its path there.
    pub(in crate::snapshot) holder: usize,
    pub(in crate::snapshot) path: String,
}

/// One snapshot.
#[derive(Debug)]
pub(in crate::snapshot) struct Holder {
    pub(in crate::snapshot) id: SnapshotId,
    /// Of every file of the manifest the place in [`Inodes::units`].
    files: Vec<u32>,
    /// Files that are not there.
    pub(in crate::snapshot) missing: Vec<Damage>,
    /// Files in which damage is known, with their place in the manifest.
    known: Vec<(String, usize)>,
    /// The pass that it is in.
    pub(in crate::snapshot) pass: Option<i64>,
}

/// What there is to read.
#[derive(Debug, Default)]
pub(in crate::snapshot) struct Inodes {
    /// Oldest snapshot first.
    pub(in crate::snapshot) snapshots: Vec<Holder>,
    pub(in crate::snapshot) units: Vec<Unit>,
    /// Snapshots whose manifests cannot be believed, with what is wrong.
    pub(in crate::snapshot) unbelievable: Vec<(SnapshotId, Vec<Damage>)>,
    places: HashMap<(u64, u64, [u8; 32]), u32>,
}

impl Inodes {
    /// Of these snapshots, oldest first. One that was deleted since is left out.
    pub(in crate::snapshot) fn of(
        manager: &SnapshotManager,
        store: &Store,
        ids: &[SnapshotId],
        now: i64,
    ) -> Result<Inodes> {
        let mut inodes = Inodes::default();
        for id in ids {
            manager.config().observer.check()?;
            match store.load(*id).and_then(|loaded| inodes.add(&loaded, now)) {
                Ok(()) => {}
                Err(e) if e.is_not_found() => {}
                Err(Error::Integrity(e)) => inodes.unbelievable.push((*id, e.damage)),
                Err(e) => return Err(e),
            }
        }
        Ok(inodes)
    }

    fn add(&mut self, loaded: &Loaded, now: i64) -> Result<()> {
        let dirs = open_dirs(loaded)?;
        let there = listed(&dirs)?;
        let holder = self.snapshots.len();
        let reads = loaded.state.reads.clone().unwrap_or_default();
        let mut this = Holder {
            id: loaded.id,
            files: Vec::with_capacity(loaded.manifest.files.len()),
            missing: Vec::new(),
            known: Vec::new(),
            pass: reads.pass.as_ref().map(|pass| pass.since).filter(|since| *since <= now),
        };
        for (at, (file, digest)) in loaded.files().enumerate() {
            let (within, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            let found = there.get(within).and_then(|(dev, names)| Some((*dev, *names.get(&OsString::from(name))?)));
            let Some((dev, (ino, kind))) = found else {
                this.files.push(NONE);
                this.missing.push(missing(file, "it is not there"));
                continue;
            };
            if kind != FileKind::File {
                this.files.push(NONE);
                this.missing.push(missing(file, "it is not a regular file"));
                continue;
            }
            // A time that lies ahead says nothing: the clock was set back.
            let read_at = Some(reads.of(at).max(file.read_at)).filter(|at| *at <= now).unwrap_or(0);
            let next = u32::try_from(self.units.len()).unwrap_or(NONE);
            let unit = *self.places.entry((dev, ino, *digest.as_bytes())).or_insert(next);
            this.files.push(unit);
            match self.units.get_mut(usize::try_from(unit).unwrap_or(usize::MAX)) {
                Some(unit) => {
                    unit.read_at = unit.read_at.max(read_at);
                    (unit.holder, unit.path) = (holder, file.path.clone());
                }
                None => self.units.push(Unit { size: file.size, digest, read_at, holder, path: file.path.clone() }),
            }
        }
        for path in loaded.state.damaged_paths() {
            let files = &loaded.manifest.files;
            if let Ok(at) = files.binary_search_by(|f| f.path.as_str().cmp(path)) {
                this.known.push((path.to_owned(), at));
            }
        }
        self.snapshots.push(this);
        Ok(())
    }

    /// Bytes, each inode once.
    pub(in crate::snapshot) fn total(&self) -> u64 {
        self.units.iter().map(|unit| unit.size).fold(0, u64::saturating_add)
    }

    /// Those that were not read since, the longest ago first.
    pub(in crate::snapshot) fn unread_since(&self, since: i64) -> Vec<usize> {
        let mut unread: Vec<usize> = (0..self.units.len()).filter(|at| self.read_at(*at) < since).collect();
        let key = |at: &usize| self.units.get(*at).map(|u| (u.read_at, u.holder, &u.path));
        unread.sort_by(|a, b| key(a).cmp(&key(b)));
        unread
    }

    fn read_at(&self, unit: usize) -> i64 {
        self.units.get(unit).map_or(i64::MAX, |unit| unit.read_at)
    }
}

impl Holder {
    /// Each file's place in the manifest and its inode, without those that are not there.
    pub(in crate::snapshot) fn files(&self) -> impl Iterator<Item = (usize, usize)> {
        let there = self.files.iter().enumerate().filter(|(_, unit)| **unit != NONE);
        there.filter_map(|(at, unit)| Some((at, usize::try_from(*unit).ok()?)))
    }

    /// When that of its files was read that was read the longest ago; what is not there does not count.
    pub(in crate::snapshot) fn oldest(&self, units: &[Unit]) -> i64 {
        self.files().filter_map(|(_, unit)| units.get(unit)).map(|unit| unit.read_at).min().unwrap_or(i64::MAX)
    }

    /// The inode of a file in which damage was known.
    pub(in crate::snapshot) fn unit_of_known(&self, path: &str) -> Option<usize> {
        let (_, at) = self.known.iter().find(|(known, _)| known == path)?;
        self.files.get(*at).filter(|unit| **unit != NONE).and_then(|unit| usize::try_from(*unit).ok())
    }
}

type Names = HashMap<OsString, (u64, FileKind)>;

fn listed<'a>(dirs: &Dirs<'a>) -> Result<HashMap<&'a str, (u64, Names)>> {
    let mut listed = HashMap::new();
    for (path, dir) in dirs {
        let names = dir.list()?.into_iter().map(|entry| (entry.name, (entry.ino, entry.kind))).collect();
        listed.insert(*path, (dir.stat_self()?.dev, names));
    }
    Ok(listed)
}
