//! What a new snapshot can inherit from an older one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::fs::{Dir, Guard, Identity, Stat};
use crate::log::Cut;
use crate::store::{FileManifest, Loaded};

/// The snapshot to inherit from, locked against deletion.
pub(super) struct Previous {
    loaded: Arc<Loaded>,
    dir: Dir,
    _guard: Guard,
}

/// The part of it that is one log, or the root of a data directory.
pub(super) struct PreviousLog<'a> {
    /// The directory of the files.
    pub(super) dir: Dir,
    pub(super) cut: Option<&'a Cut>,
    dev: u64,
    files: HashMap<&'a str, PreviousFile<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct PreviousFile<'a> {
    pub(super) manifest: &'a FileManifest,
    pub(super) digest: blake3::Hash,
    ino: u64,
}

impl Previous {
    pub(super) fn new(loaded: Loaded, dir: Dir, guard: Guard) -> Self {
        Previous { loaded: Arc::new(loaded), dir, _guard: guard }
    }

    /// The files directly in `prefix` (empty for the snapshot's own directory); `None` where there is no such
    /// directory. Files that a verification found damaged are not offered.
    pub(super) fn log(&self, prefix: &str) -> Result<Option<PreviousLog<'_>>> {
        let dir = if prefix.is_empty() {
            self.dir.clone()
        } else {
            match self.dir.open_dir(prefix) {
                Ok(dir) => dir,
                Err(e) if e.is_not_found() => return Ok(None),
                Err(e) => return Err(e),
            }
        };
        let inodes: HashMap<_, _> = dir.list()?.into_iter().map(|e| (e.name, e.ino)).collect();
        let damaged: HashSet<&str> = self.loaded.state.damaged_paths().collect();
        let mut files = HashMap::new();
        for (manifest, digest) in self.loaded.files_in(prefix) {
            let name = manifest.path.rsplit('/').next().unwrap_or(&manifest.path);
            if damaged.contains(manifest.path.as_str()) {
                continue;
            }
            if let Some(&ino) = inodes.get(std::ffi::OsStr::new(name)) {
                files.insert(name, PreviousFile { manifest, digest, ino });
            }
        }
        let cut = self.loaded.manifest.logs.iter().find(|l| l.dir == prefix).map(|l| &l.cut);
        let dev = dir.stat_self()?.dev;
        Ok(Some(PreviousLog { dir, cut, dev, files }))
    }
}

impl<'a> PreviousLog<'a> {
    pub(super) fn file(&self, name: &str) -> Option<PreviousFile<'a>> {
        self.files.get(name).copied()
    }

    /// The file of this name, if the source's file is still what it was when that one was shared.
    ///
    /// The very inode that the previous snapshot holds cannot have been reused, so size and mtime decide there;
    /// its ctime moves with every link and unlink. Any other inode must be the same down to its ctime, taken when
    /// that ctime had settled.
    pub(super) fn unchanged(&self, name: &str, now: &Stat) -> Option<PreviousFile<'a>> {
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
    pub(super) fn same_inode(&self, previous: &PreviousFile<'_>, now: &Stat) -> bool {
        (self.dev, previous.ino) == (now.dev, now.ino)
    }
}
