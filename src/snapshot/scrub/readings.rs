//! Digests of files, each inode read once however many names it has.

use std::collections::{HashMap, HashSet};

use blake3::Hash;

use crate::error::{Damage, Error, Result};
use crate::fs::{Buffer, Dir, FileKind, Open, Stat};
use crate::observe::Observer;
use crate::snapshot::verify::blame::changed;
use crate::snapshot::verify::examine::{Dirs, differs, missing, open_dirs, place, unreadable};
use crate::snapshot::verify::hash::{buffer, hash_all, hash_to};
use crate::store::Loaded;

/// Device, inode, and how many of its first bytes.
type Key = (u64, u64, u64);

/// What has been read so far.
pub(in crate::snapshot) struct Readings<'a> {
    observer: &'a Observer,
    /// `None` for what could not be read.
    known: HashMap<Key, Option<Hash>>,
    buffer: Buffer,
    /// Bytes that were read.
    pub(in crate::snapshot) bytes: u64,
}

impl<'a> Readings<'a> {
    pub(in crate::snapshot) fn new(observer: &'a Observer) -> Self {
        Readings { observer, known: HashMap::new(), buffer: buffer(), bytes: 0 }
    }

    /// The digest of the first `size` bytes of a regular file; `None` where it has fewer or cannot be read.
    pub(in crate::snapshot) fn digest(&mut self, dir: &Dir, name: &str, size: u64) -> Result<Option<Hash>> {
        self.observer.check()?;
        let read = |buffer: &mut [u8], known: &HashMap<Key, Option<Hash>>| {
            let file = dir.open_file(name, Open::Read)?;
            let stat = file.stat()?;
            if stat.kind != FileKind::File || stat.size < size {
                return Ok((None, None, 0));
            }
            let key = (stat.dev, stat.ino, size);
            if let Some(known) = known.get(&key) {
                return Ok((None, *known, 0));
            }
            match hash_to(&file, size, buffer, self.observer) {
                Ok((digest, bytes)) => Ok((Some(key), (bytes == size).then_some(digest), bytes)),
                Err(Error::Filesystem(_)) => Ok((Some(key), None, 0)),
                Err(e) => Err(e),
            }
        };
        match read(&mut self.buffer, &self.known) {
            Ok((key, digest, bytes)) => {
                self.bytes += bytes;
                if let Some(key) = key {
                    self.known.insert(key, digest);
                }
                Ok(digest)
            }
            Err(Error::Filesystem(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All damaged files of a snapshot whose manifests hold.
    ///
    /// # Errors
    ///
    /// `Filesystem` where this user may not read it. `Interrupted`.
    pub(in crate::snapshot) fn damage_of(&mut self, loaded: &Loaded) -> Result<Vec<Damage>> {
        let dirs = open_dirs(loaded)?;
        let mut looks = Vec::with_capacity(loaded.manifest.files.len());
        let (mut queued, mut to_read, mut bytes) = (HashSet::new(), Vec::new(), 0);
        for file in &loaded.manifest.files {
            self.observer.check()?;
            let look = look(&dirs, &file.path);
            if let (Ok(Some(stat)), Some(place)) = (&look, place(&dirs, &file.path))
                && stat.kind == FileKind::File
                && stat.size == file.size
            {
                let key = (stat.dev, stat.ino, file.size);
                if !self.known.contains_key(&key) && queued.insert(key) {
                    to_read.push((key, place));
                    bytes += file.size;
                }
            }
            looks.push(look);
        }
        self.observer.phase("verify", to_read.len() as u64, bytes);
        let places: Vec<(&Dir, &str)> = to_read.iter().map(|(_, place)| *place).collect();
        for ((key, _), read) in to_read.iter().zip(hash_all(&places, self.observer)) {
            let digest = match read {
                Ok((digest, read)) => {
                    self.bytes += read;
                    (read == key.2).then_some(digest)
                }
                Err(e) if e.is_denied() => return Err(e),
                Err(Error::Filesystem(_)) => None,
                Err(e) => return Err(e),
            };
            self.known.insert(*key, digest);
        }
        let mut damage = Vec::new();
        for ((file, expected), look) in loaded.files().zip(looks) {
            let stat = match look {
                Ok(Some(stat)) => stat,
                Ok(None) => {
                    damage.push(missing(file, "it is not there"));
                    continue;
                }
                Err(e) => {
                    damage.push(unreadable(&file.path, e)?);
                    continue;
                }
            };
            if let Some(found) = differs(file, &stat) {
                damage.push(found);
            } else if self.known.get(&(stat.dev, stat.ino, file.size)) != Some(&Some(expected)) {
                damage.push(changed(file, Some(&stat)));
            }
        }
        Ok(damage)
    }
}

fn look(dirs: &Dirs<'_>, path: &str) -> Result<Option<Stat>> {
    match place(dirs, path) {
        Some((dir, name)) => dir.try_stat(name),
        None => Ok(None),
    }
}
