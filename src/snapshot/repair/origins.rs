//! Where the bytes of a damaged file can be had from: snapshots, the live log, directories that the user names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;

use super::mend::Origin;
use crate::error::{Error, Result};
use crate::fs::{Dir, FileKind, Fs};
use crate::observe::Observer;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::scrub::readings::Readings;
use crate::snapshot::verify::examine::{Dirs, place};
use crate::store::{FileManifest, Loaded, SnapshotId, SourceKind};

/// Digest and size: what makes two files the same.
pub(in crate::snapshot) type Bytes = (Hash, u64);

/// A name of a snapshot that should have certain bytes.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Name {
    pub(in crate::snapshot) id: SnapshotId,
    pub(in crate::snapshot) file: FileManifest,
    /// Where its source has it, where that is there.
    pub(in crate::snapshot) live: Vec<PathBuf>,
    /// The directory that it is in, unless that is gone.
    pub(in crate::snapshot) dir: Option<Dir>,
    /// Whether its bytes were found right.
    pub(in crate::snapshot) right: bool,
    /// Whether the source names this very inode now.
    pub(in crate::snapshot) exposed: bool,
    /// Under this name.
    pub(in crate::snapshot) itself: Option<PathBuf>,
}

impl Name {
    pub(in crate::snapshot) fn of(
        manager: &SnapshotManager,
        loaded: &Loaded,
        dirs: &Dirs<'_>,
        file: &FileManifest,
        live: &mut Live,
    ) -> Name {
        let at = place(dirs, &file.path);
        let stat = match at {
            Some((dir, name)) => dir.try_stat(name).unwrap_or(None),
            None => None,
        };
        let inode = stat.map(|stat| (stat.dev, stat.ino));
        let paths = live_paths(manager, loaded, &file.path);
        let itself = inode.and_then(|inode| paths.iter().find(|path| live.names(path, inode)).cloned());
        let dir = at.map(|(dir, _)| dir.clone());
        Name { id: loaded.id, file: file.clone(), live: paths, dir, right: false, exposed: itself.is_some(), itself }
    }

    pub(in crate::snapshot) fn name(&self) -> &str {
        self.file.path.rsplit('/').next().unwrap_or(&self.file.path)
    }
}

/// The file of the source that a snapshot's file was taken of: where it was then, and where the source is said to be now.
fn live_paths(manager: &SnapshotManager, loaded: &Loaded, path: &str) -> Vec<PathBuf> {
    let source = &loaded.manifest.source;
    let within = match source.kind {
        SourceKind::Data => path,
        SourceKind::Log => path.rsplit('/').next().unwrap_or(path),
    };
    let mut paths = vec![Path::new(&source.path).join(within)];
    let now = manager.fs().canonical(manager.source()).join(within);
    if !paths.contains(&now) {
        paths.push(now);
    }
    paths
}

/// Which inodes the directories of the source name now, by whatever name: a writer that is about to delete a file renames it.
pub(in crate::snapshot) struct Live {
    fs: Arc<dyn Fs>,
    dirs: HashMap<PathBuf, LiveDir>,
}

enum LiveDir {
    There(Dir, HashSet<u64>),
    Gone,
    /// It cannot be looked at.
    Unknown,
}

impl Live {
    pub(in crate::snapshot) fn new(fs: &Arc<dyn Fs>) -> Live {
        Live { fs: fs.clone(), dirs: HashMap::new() }
    }

    fn dir(&mut self, file: &Path) -> &LiveDir {
        let parent = file.parent().unwrap_or(file).to_owned();
        let fs = &self.fs;
        self.dirs.entry(parent).or_insert_with_key(|parent| {
            let open = || {
                let dir = Dir::open_on(fs.clone(), parent)?;
                let inodes = dir.list()?.into_iter().map(|entry| entry.ino).collect();
                Ok::<_, Error>((dir, inodes))
            };
            match open() {
                Ok((dir, inodes)) => LiveDir::There(dir, inodes),
                Err(e) if e.is_not_found() => LiveDir::Gone,
                Err(_) => LiveDir::Unknown,
            }
        })
    }

    /// Where that cannot be found out, it may.
    fn names(&mut self, file: &Path, (dev, ino): (u64, u64)) -> bool {
        match self.dir(file) {
            LiveDir::There(dir, inodes) => inodes.contains(&ino) && dir.stat_self().is_ok_and(|stat| stat.dev == dev),
            LiveDir::Gone => false,
            LiveDir::Unknown => true,
        }
    }

    /// The source's file, if its first bytes are the right ones: an active segment has grown since.
    pub(in crate::snapshot) fn origin(
        &mut self,
        file: &Path,
        bytes: Bytes,
        readings: &mut Readings<'_>,
    ) -> Result<Option<Origin>> {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        let LiveDir::There(dir, _) = self.dir(file) else { return Ok(None) };
        let right = readings.digest(dir, name, bytes.1)? == Some(bytes.0);
        Ok(right.then(|| Origin { dir: dir.clone(), name: name.to_owned(), may_link: false }))
    }
}

/// The files below directories that the user named, by size.
pub(in crate::snapshot) struct Given {
    by_size: BTreeMap<u64, Vec<(Dir, String)>>,
}

impl Given {
    /// # Errors
    ///
    /// `Filesystem` where one of them cannot be read.
    pub(in crate::snapshot) fn below(fs: &Arc<dyn Fs>, paths: &[PathBuf], observer: &Observer) -> Result<Given> {
        let mut given = Given { by_size: BTreeMap::new() };
        for path in paths {
            given.walk(&Dir::open_on(fs.clone(), path)?, DEEPEST, observer)?;
        }
        Ok(given)
    }

    fn walk(&mut self, dir: &Dir, deeper: usize, observer: &Observer) -> Result<()> {
        for entry in dir.list()? {
            observer.check()?;
            let Some(name) = entry.name.to_str() else { continue };
            match entry.kind {
                FileKind::File => {
                    if let Ok(Some(stat)) = dir.try_stat(name) {
                        self.by_size.entry(stat.size).or_default().push((dir.clone(), name.to_owned()));
                    }
                }
                // What this user may not read has nothing to give.
                FileKind::Dir if deeper > 0 => {
                    if let Ok(below) = dir.open_dir(name) {
                        match self.walk(&below, deeper - 1, observer) {
                            Err(e @ Error::Interrupted) => return Err(e),
                            _ => continue,
                        }
                    }
                }
                FileKind::Dir | FileKind::Other => {}
            }
        }
        Ok(())
    }

    /// One with these bytes: those of the same name are read first.
    pub(in crate::snapshot) fn origin(
        &self,
        name: &str,
        bytes: Bytes,
        readings: &mut Readings<'_>,
    ) -> Result<Option<Origin>> {
        let Some(files) = self.by_size.get(&bytes.1) else { return Ok(None) };
        let (alike, others): (Vec<_>, Vec<_>) = files.iter().partition(|(_, found)| found == name);
        for (dir, name) in alike.into_iter().chain(others) {
            if readings.digest(dir, name, bytes.1)? == Some(bytes.0) {
                return Ok(Some(Origin { dir: dir.clone(), name: name.clone(), may_link: false }));
            }
        }
        Ok(None)
    }

    /// The bytes of a file of this name with this digest, whatever its size.
    pub(in crate::snapshot) fn file(&self, name: &str, digest: Hash, limit: u64) -> Option<(Dir, Vec<u8>)> {
        let mut named = self.by_size.range(..=limit).flat_map(|(_, files)| files).filter(|(_, found)| found == name);
        named.find_map(|(dir, name)| {
            let bytes = dir.read(name, limit).ok()?;
            (blake3::hash(&bytes) == digest).then(|| (dir.clone(), bytes))
        })
    }
}

/// How deep directories are followed.
const DEEPEST: usize = 8;

/// Whether the inode of one file can stand for another one.
pub(in crate::snapshot) fn alike(a: &FileManifest, b: &FileManifest) -> bool {
    (a.uid, a.gid, a.mode, a.mtime, &a.xattrs) == (b.uid, b.gid, b.mode, b.mtime, &b.xattrs)
}
