//! An open directory with its path.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Attributes, Entry, File, Fs, Handle, LockMode, Open, OsFs, Owner, Rename, Stat, Sync, Volume, owner};
use crate::error::{Error, Result};

/// An open directory. Cheap to clone; clones share the descriptor.
#[derive(Debug, Clone)]
pub struct Dir {
    fs: Arc<dyn Fs>,
    handle: Arc<Handle>,
    path: Arc<Path>,
    /// Whose all is that is made in it, and in directories that are opened by way of it; `None` is this process's user.
    owner: Option<Owner>,
}

impl Dir {
    /// Opens a directory of the real filesystem.
    pub fn open(path: impl AsRef<Path>) -> Result<Dir> {
        Dir::open_on(Arc::new(OsFs), path)
    }

    /// Opens a directory of any filesystem.
    pub fn open_on(fs: Arc<dyn Fs>, path: impl AsRef<Path>) -> Result<Dir> {
        let path = path.as_ref();
        let handle = fs.open_dir(None, path).map_err(|e| Error::io("open directory", path, e))?;
        Ok(Dir { fs, handle: Arc::new(handle), path: path.into(), owner: None })
    }

    /// The same, and what root makes in it belongs to its owner.
    pub(crate) fn for_its_owner(self) -> Result<Dir> {
        Ok(Dir { owner: Owner::of(&self.stat_self()?), ..self })
    }

    /// Opens the directory that a file is to be found in; gives the file's name too. The file need not be there.
    #[cfg(any(feature = "schedule", feature = "offsite"))]
    pub(crate) fn open_around(file: &Path) -> Result<(Dir, &OsStr)> {
        let no_file = || Error::io("use as a file", file, io::ErrorKind::InvalidInput.into());
        let name = file.file_name().ok_or_else(no_file)?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((Dir::open(parent.unwrap_or(Path::new(".")))?.for_its_owner()?, name))
    }

    /// Opens a directory of the real filesystem; it and those above it are made where they are missing, durably.
    #[cfg(feature = "offsite")]
    pub(crate) fn make_all(path: &Path) -> Result<Dir> {
        match Dir::open(path) {
            Err(e) if e.is_not_found() => {}
            other => return other,
        }
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Dir::open(path) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let parent = Dir::make_all(parent)?;
        let made = match parent.make_dir(name, 0o700) {
            Err(Error::Filesystem(e)) if e.source.kind() == io::ErrorKind::AlreadyExists => parent.open_dir(name),
            other => other,
        }?;
        parent.sync()?;
        Ok(made)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its names.
    pub fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(Path::new(name.as_ref()))
    }

    /// The filesystem it is on.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Opens a subdirectory.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Dir> {
        let path = self.path_of(&name);
        let handle = self
            .fs
            .open_dir(Some(&self.handle), Path::new(name.as_ref()))
            .map_err(|e| Error::io("open directory", &path, e))?;
        Ok(Dir { fs: self.fs.clone(), handle: Arc::new(handle), path: path.into(), owner: self.owner })
    }

    /// Opens the containing directory; `path` is what to call it.
    pub fn open_parent(&self, path: impl Into<PathBuf>) -> Result<Dir> {
        let path = path.into();
        let handle = self.fs.open_parent(&self.handle).map_err(|e| Error::io("open directory", &path, e))?;
        Ok(Dir { fs: self.fs.clone(), handle: Arc::new(handle), path: path.into(), owner: None })
    }

    /// Makes a subdirectory and opens it.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Dir> {
        self.fs
            .make_dir(&self.handle, name.as_ref(), mode)
            .map_err(|e| Error::io("make directory", self.path_of(&name), e))?;
        let made = self.open_dir(name)?;
        made.give(self.owner)?;
        Ok(made)
    }

    /// Makes the directory itself somebody's.
    pub(crate) fn give(&self, to: Option<Owner>) -> Result<()> {
        give(&*self.fs, &self.handle, to).map_err(|e| Error::io("give away", &*self.path, e))
    }

    /// All names, in no order.
    pub fn list(&self) -> Result<Vec<Entry>> {
        self.fs.list(&self.handle).map_err(|e| Error::io("list", &*self.path, e))
    }

    /// Looks at a name; symbolic links are not followed.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Stat> {
        self.fs.stat(&self.handle, name.as_ref()).map_err(|e| Error::io("look at", self.path_of(&name), e))
    }

    /// Looks at a name that may not be there.
    pub fn try_stat(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>> {
        match self.fs.stat(&self.handle, name.as_ref()) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("look at", self.path_of(&name), e)),
        }
    }

    /// Looks at the directory itself.
    pub fn stat_self(&self) -> Result<Stat> {
        self.fs.fstat(&self.handle).map_err(|e| Error::io("look at", &*self.path, e))
    }

    /// Opens a file.
    pub fn open_file(&self, name: impl AsRef<OsStr>, how: Open) -> Result<File> {
        let path = self.path_of(&name);
        let op = match how {
            Open::Read | Open::Write => "open",
            Open::CreateNew(_) | Open::OpenOrCreate(_) => "create",
        };
        match self.open_or_give(name.as_ref(), how) {
            Ok(handle) => Ok(File::new(self.fs.clone(), handle, path)),
            Err(e) => Err(Error::io(op, path, e)),
        }
    }

    /// Only what is made here and now is given away: what is there already may be a link to anything.
    fn open_or_give(&self, name: &OsStr, how: Open) -> io::Result<Handle> {
        let (Some(owner), Open::CreateNew(mode) | Open::OpenOrCreate(mode)) = (self.owner, how) else {
            return self.fs.open(&self.handle, name, how);
        };
        match self.fs.open(&self.handle, name, Open::CreateNew(mode)) {
            Ok(made) => give(&*self.fs, &made, Some(owner)).map(|()| made),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.fs.open(&self.handle, name, how),
            Err(e) => Err(e),
        }
    }

    /// Reads once from the beginning of a file: at most as many bytes as there is room for. It may be fewer before its end, too.
    pub(crate) fn read_once(&self, name: impl AsRef<OsStr>, buf: &mut [u8]) -> Result<usize> {
        let file = self.fs.open(&self.handle, name.as_ref(), Open::Read);
        let file = file.map_err(|e| Error::io("open", self.path_of(&name), e))?;
        loop {
            match self.fs.read_at(&file, buf, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map_err(|e| Error::io("read", self.path_of(&name), e)),
            }
        }
    }

    /// Opens a file for reading if it is there.
    pub fn try_open(&self, name: impl AsRef<OsStr>) -> Result<Option<File>> {
        match self.open_file(name, Open::Read) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a whole small file; more than `limit` bytes are an error.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Vec<u8>> {
        self.open_file(name, Open::Read)?.read_all(limit)
    }

    /// As [`read`](Self::read), `None` where the file is not there.
    pub fn try_read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>> {
        self.try_open(name)?.map(|f| f.read_all(limit)).transpose()
    }

    /// Renames `from` in this directory to `to_name` in `to`. Not durable before both directories are synced.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: &Dir, to_name: impl AsRef<OsStr>, how: Rename) -> Result<()> {
        self.fs
            .rename(&self.handle, from.as_ref(), &to.handle, to_name.as_ref(), how)
            .map_err(|e| Error::io("rename", self.path_of(&from), e))
    }

    /// Removes a file's name. Not durable before [`sync`](Self::sync).
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.fs.unlink(&self.handle, name.as_ref()).map_err(|e| Error::io("remove", self.path_of(&name), e))
    }

    /// Removes an empty directory. Not durable before [`sync`](Self::sync).
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.fs
            .remove_dir(&self.handle, name.as_ref())
            .map_err(|e| Error::io("remove directory", self.path_of(&name), e))
    }

    /// Removes a subdirectory with all that is in it. A name that is gone already is no error.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match self.try_stat(name)? {
            None => return Ok(()),
            Some(stat) if stat.kind != super::FileKind::Dir => return ignore_missing(self.unlink(name)),
            Some(_) => {}
        }
        let dir = self.open_dir(name)?;
        for entry in dir.list()? {
            if entry.kind == super::FileKind::Dir {
                dir.remove_tree(&entry.name)?;
            } else {
                ignore_missing(dir.unlink(&entry.name))?;
            }
        }
        ignore_missing(self.remove_dir(name))
    }

    /// Makes all entries durable. The `fstat` behind it is not idle: on XFS after a shutdown the first
    /// `fsync` of a directory can return OK although its changes are lost, and the `fstat` then says so.
    pub fn sync(&self) -> Result<()> {
        self.fs
            .sync(&self.handle, Sync::Node)
            .and_then(|()| self.fs.fstat(&self.handle).map(drop))
            .map_err(|e| Error::sync("sync directory", &*self.path, e))
    }

    /// Makes everything on the filesystem durable.
    pub(crate) fn sync_filesystem(&self) -> Result<()> {
        self.fs
            .sync(&self.handle, Sync::Filesystem)
            .and_then(|()| self.fs.fstat(&self.handle).map(drop))
            .map_err(|e| Error::sync("sync the filesystem of", &*self.path, e))
    }

    /// Owner, mode, mtime, xattrs.
    pub fn attributes(&self) -> Result<Attributes> {
        self.fs.attributes(&self.handle).map_err(|e| Error::io("read attributes of", &*self.path, e))
    }

    /// Sets them; returns what this user was not allowed to set.
    pub fn set_attributes(&self, to: &Attributes) -> Result<Vec<String>> {
        self.fs.set_attributes(&self.handle, to).map_err(|e| Error::io("set attributes of", &*self.path, e))
    }

    pub(crate) fn try_lock(&self, mode: LockMode) -> Result<bool> {
        self.fs.try_lock(&self.handle, mode).map_err(|e| Error::io("lock", &*self.path, e))
    }

    /// The filesystem below.
    pub fn volume(&self) -> Result<Volume> {
        self.fs.volume(&self.handle).map_err(|e| Error::io("look at the filesystem of", &*self.path, e))
    }

    /// Fails with `StorageFull` where so many bytes do not fit, before any of them is written.
    pub(crate) fn expect_room(&self, bytes: u64) -> Result<()> {
        if bytes <= self.volume()?.available {
            return Ok(());
        }
        // What has just been deleted may become free only with the next commit, as on btrfs.
        self.sync_filesystem()?;
        if bytes <= self.volume()?.available {
            return Ok(());
        }
        Err(Error::io("find room for the copies in", &*self.path, io::ErrorKind::StorageFull.into()))
    }
}

fn give(fs: &dyn Fs, node: &Handle, to: Option<Owner>) -> io::Result<()> {
    match to.map(|owner| fs.give(node, owner.uid, owner.gid)) {
        Some(Err(e)) if !owner::cannot(&e) => Err(e),
        _ => Ok(()),
    }
}

/// What somebody else has removed need not be removed.
pub(crate) fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}
