//! An open file with its path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Attributes, Fs, Handle, LockMode, Stat, Sync};
use crate::error::{Error, Result};

/// An open file. Reads and writes name their offset; there is no cursor.
#[derive(Debug)]
pub struct File {
    fs: Arc<dyn Fs>,
    handle: Handle,
    path: PathBuf,
}

impl File {
    pub(super) fn new(fs: Arc<dyn Fs>, handle: Handle, path: PathBuf) -> File {
        File { fs, handle, path }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Looks at the inode.
    pub fn stat(&self) -> Result<Stat> {
        self.fs.fstat(&self.handle).map_err(|e| self.error("look at", e))
    }

    /// Size in bytes.
    pub fn len(&self) -> Result<u64> {
        Ok(self.stat()?.size)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `buf` is full or the file ends; returns how many bytes were read.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.fs.read_at(&self.handle, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error("read", e)),
            }
        }
        Ok(done)
    }

    /// Where its bytes lie on the device, holes left out; `None` where the filesystem does not tell.
    pub fn extents(&self) -> Result<Option<Vec<super::Extent>>> {
        self.fs.extents(&self.handle).map_err(|e| self.error("ask for the extents of", e))
    }

    /// Writes all of `buf`.
    pub fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match self.fs.write_at(&self.handle, rest, offset + done as u64) {
                Ok(0) => return Err(self.error("write", io::ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error("write", e)),
            }
        }
        Ok(())
    }

    /// The whole file; more than `limit` bytes are an error, so that no file can exhaust memory.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        let size = self.len()?;
        if size > limit {
            return Err(self.error("read all of", io::Error::from_raw_os_error(nix::libc::EFBIG)));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = self.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Cuts or extends (with zeros).
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.fs.set_len(&self.handle, len).map_err(|e| self.error("truncate", e))
    }

    /// Makes bytes, size and attributes durable. After an error nothing is known of what was written since the
    /// last success; a second call may return `Ok` with the bytes lost, so it must not be tried.
    ///
    /// The `fstat` behind it is not idle: where XFS goes down between the start of a sync and its end, the sync can return
    /// OK although the new size is lost, and the `fstat` then says so.
    pub fn sync(&self) -> Result<()> {
        self.synced(Sync::Node)
    }

    /// As [`sync`](Self::sync) for bytes and size only.
    pub fn sync_data(&self) -> Result<()> {
        self.synced(Sync::Data)
    }

    fn synced(&self, how: Sync) -> Result<()> {
        let synced = self.fs.sync(&self.handle, how).and_then(|()| self.fs.fstat(&self.handle).map(drop));
        synced.map_err(|e| Error::sync("sync", &self.path, e))
    }

    /// Owner, mode, mtime, xattrs.
    pub fn attributes(&self) -> Result<Attributes> {
        self.fs.attributes(&self.handle).map_err(|e| self.error("read attributes of", e))
    }

    /// Sets them; returns what this user was not allowed to set.
    pub fn set_attributes(&self, to: &Attributes) -> Result<Vec<String>> {
        self.fs.set_attributes(&self.handle, to).map_err(|e| self.error("set attributes of", e))
    }

    pub(crate) fn try_lock(&self, mode: LockMode) -> Result<bool> {
        self.fs.try_lock(&self.handle, mode).map_err(|e| self.error("lock", e))
    }

    /// The process that holds a POSIX record lock on it.
    pub fn record_lock_holder(&self) -> Result<Option<u32>> {
        self.fs.record_lock_holder(&self.handle).map_err(|e| self.error("ask for locks on", e))
    }

    /// Takes one, unless somebody else holds one; until this is dropped.
    pub(crate) fn try_record_lock(&self) -> Result<bool> {
        self.fs.try_record_lock(&self.handle).map_err(|e| self.error("lock", e))
    }

    fn error(&self, op: &'static str, e: io::Error) -> Error {
        Error::io(op, &self.path, e)
    }
}
