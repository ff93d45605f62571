//! What a new snapshot can inherit from an older one.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

use crate::error::Result;
use crate::fs::{Dir, Guard, Identity, Stat};
use crate::log::Cut;
use crate::store::{FileManifest, Loaded, SnapshotId};

/// The snapshot to inherit from, locked against deletion. Its manifests are read when they are first needed: which
/// files it has can be seen without them.
pub(in crate::snapshot) struct Previous {
    id: SnapshotId,
    dir: Dir,
    loaded: OnceLock<Option<Loaded>>,
    _guard: Guard,
}

/// The part of it that is one log, or the root of a data directory.
pub(in crate::snapshot) struct PreviousLog<'a> {
    /// The directory of the files.
    pub(in crate::snapshot) dir: Dir,
    previous: &'a Previous,
    prefix: &'a str,
    dev: u64,
    inodes: HashMap<OsString, u64>,
    /// Borrowed, since there may be very many.
    files: OnceLock<HashMap<&'a str, (&'a FileManifest, &'a blake3::Hash)>>,
}

#[derive(Clone, Copy)]
pub(in crate::snapshot) struct PreviousFile<'a> {
    pub(in crate::snapshot) manifest: &'a FileManifest,
    pub(in crate::snapshot) digest: blake3::Hash,
    /// When its bytes were last read.
    pub(in crate::snapshot) read_at: i64,
    ino: u64,
}

impl Previous {
    pub(in crate::snapshot) fn new(id: SnapshotId, dir: Dir, guard: Guard) -> Self {
        Previous { id, dir, loaded: OnceLock::new(), _guard: guard }
    }

    /// The files directly in `prefix` (empty for the snapshot's own directory); `None` where there is no such
    /// directory.
    pub(in crate::snapshot) fn log<'a>(&'a self, prefix: &'a str) -> Result<Option<PreviousLog<'a>>> {
        let dir = if prefix.is_empty() {
            self.dir.clone()
        } else {
            match self.dir.open_dir(prefix) {
                Ok(dir) => dir,
                Err(e) if e.is_not_found() => return Ok(None),
                Err(e) => return Err(e),
            }
        };
        let inodes = dir.list()?.into_iter().map(|e| (e.name, e.ino)).collect();
        let dev = dir.stat_self()?.dev;
        Ok(Some(PreviousLog { dir, previous: self, prefix, dev, inodes, files: OnceLock::new() }))
    }

    /// Gives back the manifests, and with them most of the memory.
    pub(in crate::snapshot) fn unload(&mut self) -> Option<Loaded> {
        self.loaded.take().flatten()
    }

    /// Reads the manifests. `None` if that cannot be done: that is verify's business, a new snapshot then shares
    /// everything anew.
    pub(in crate::snapshot) fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get_or_init(|| Loaded::read(self.id, self.dir.clone()).ok()).as_ref()
    }
}

impl<'a> PreviousLog<'a> {
    /// Whether there is a file of this name, inheritable or not.
    pub(in crate::snapshot) fn has(&self, name: &str) -> bool {
        self.inodes.contains_key(OsStr::new(name))
    }

    /// Where that snapshot ends in this log.
    pub(in crate::snapshot) fn cut(&self) -> Option<&'a Cut> {
        self.previous.loaded()?.manifest.logs.iter().find(|l| l.dir == self.prefix).map(|l| &l.cut)
    }

    /// The file of this name. One that a verification found damaged is not offered.
    pub(in crate::snapshot) fn file(&self, name: &str) -> Option<PreviousFile<'a>> {
        let &(manifest, &digest) = self.files.get_or_init(|| self.files_of_manifest()).get(name)?;
        let &ino = self.inodes.get(OsStr::new(name))?;
        Some(PreviousFile { manifest, digest, read_at: self.previous.loaded()?.read_at(manifest), ino })
    }

    fn files_of_manifest(&self) -> HashMap<&'a str, (&'a FileManifest, &'a blake3::Hash)> {
        let Some(loaded) = self.previous.loaded() else { return HashMap::new() };
        let damaged: HashSet<&str> = loaded.state.damaged_paths().collect();
        let mut files = HashMap::with_capacity(self.inodes.len());
        for (manifest, digest) in loaded.borrowed_in(self.prefix) {
            let name = manifest.path.rsplit('/').next().unwrap_or(&manifest.path);
            if self.has(name) && !damaged.contains(manifest.path.as_str()) {
                files.insert(name, (manifest, digest));
            }
        }
        files
    }

    /// The file of this name, if the source's file is still what it was when that one was shared.
    ///
    /// The very inode that the previous snapshot holds cannot have been reused, so size and mtime decide there;
    /// its ctime moves with every link and unlink. Any other inode must be the same down to its ctime, taken when
    /// that ctime had settled.
    pub(in crate::snapshot) fn unchanged(&self, name: &str, now: &Stat) -> Option<PreviousFile<'a>> {
        let previous = self.file(name)?;
        let was = previous.manifest.source.as_ref()?;
        let is = Identity::from(now);
        let same = if self.same_inode(&previous, now) {
            was.same_but_ctime(&is)
        } else {
            previous.manifest.trusted && *was == is
        };
        same.then_some(previous)
    }

    /// Whether the source's inode is the one that the previous snapshot holds.
    pub(in crate::snapshot) fn same_inode(&self, previous: &PreviousFile<'_>, now: &Stat) -> bool {
        (self.dev, previous.ino) == (now.dev, now.ino)
    }
}
