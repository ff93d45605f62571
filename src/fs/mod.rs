//! The only code that touches the operating system.
//!
//! [`Fs`] is the seam: [`os::OsFs`] is the real thing, [`mem::MemFs`] models inodes, links, unsynced data,
//! a power cut and failing operations for tests. Everything above works with [`Dir`] and [`File`], which add
//! the path to every error.

mod buffer;
mod clock;
mod dir;
mod extents;
mod file;
mod identity;
mod lock;
mod machine;
pub mod mem;
mod os;
mod owner;
mod share;
mod sync;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use buffer::Buffer;
pub use clock::Clock;
#[cfg(feature = "offsite")]
pub(crate) use clock::since_boot;
pub use dir::Dir;
pub(crate) use dir::ignore_missing;
pub use extents::Extent;
pub use file::File;
pub use identity::Identity;
pub(crate) use lock::{Deadline, Guard, lock_dir, lock_file, locked, try_lock_dir};
#[cfg(feature = "clouds")]
pub(crate) use machine::variable;
pub use machine::{host_name, raise_descriptors};
pub(crate) use machine::{may_give_away, most_descriptors, mounts, protects_hard_links, user};
pub use mem::MemFs;
pub use os::OsFs;
pub(crate) use owner::Owner;
pub use share::{Method, MethodChoice};
pub(crate) use share::{Sharer, clone_or_copy, copy_range, falls_back, try_link, try_link_as};
pub(crate) use sync::{
    replace_file, replace_file_as, replace_file_by, replace_unsettled, settle, temporary, write_new_file,
    write_new_unsynced,
};

/// An open file or directory of one of the two implementations.
#[derive(Debug)]
pub enum Handle {
    /// A descriptor.
    Os(std::fs::File),
    /// An inode of a [`MemFs`].
    Mem(mem::MemHandle),
}

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else: a symbolic link, a socket, a device.
    Other,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub kind: FileKind,
    /// Its inode number, from the directory itself.
    pub ino: u64,
}

/// What `stat` tells. Times are nanoseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// File, directory, or other.
    pub kind: FileKind,
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that it takes up, as far as the filesystem tells: without holes, with what was reserved beyond its end.
    pub allocated: u64,
    /// Names of the inode.
    pub nlink: u64,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the bytes, as far as the filesystem tells.
    pub mtime: i64,
    /// Last change of bytes or inode; user space cannot set it.
    pub ctime: i64,
}

/// What a restore gives back besides bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Extended attributes, SELinux labels and ACLs among them.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// How to open a file. Symbolic links are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Existing, for reading.
    Read,
    /// Existing, for reading and writing.
    Write,
    /// For reading and writing; fails with `AlreadyExists` if the name is taken. The mode is subject to the umask.
    CreateNew(u32),
    /// For reading and writing; made if it is not there.
    OpenOrCreate(u32),
}

/// What a rename does about an existing destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// Fails with `AlreadyExists`, an empty directory included (`RENAME_NOREPLACE`).
    NoReplace,
    /// Replaces a file atomically.
    Replace,
    /// Swaps both names atomically (`RENAME_EXCHANGE`).
    Exchange,
}

/// What a sync makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// A file's bytes, size and attributes; a directory's entries. `fsync`.
    Node,
    /// A file's bytes and size. `fdatasync`.
    Data,
    /// Everything on the filesystem. `syncfs`.
    Filesystem,
}

/// The two modes of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Many at a time.
    Shared,
    /// One at a time.
    Exclusive,
}

/// What is known of the filesystem below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Bytes that this user can still write.
    pub available: u64,
    /// Bytes of all of it.
    pub size: u64,
    /// The type.
    pub kind: VolumeKind,
}

/// Filesystem types that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeKind {
    /// ext2, ext3, ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// overlayfs.
    Overlay,
    /// NFS, CIFS and the like, where a lock may not reach the other party.
    Network,
    /// Anything else.
    Other,
}

impl VolumeKind {
    /// Whether a read that ends in the middle of a page has come to the end of the file. Elsewhere (FUSE, 9p) a read may end anywhere.
    pub(crate) fn reads_whole_pages(self) -> bool {
        matches!(self, VolumeKind::Ext | VolumeKind::Xfs | VolumeKind::Btrfs)
    }
}

/// The operating system, as far as this crate needs it.
///
/// Names are single components, never paths. Operations are relative to open directories, so that a
/// directory that is renamed meanwhile stays the same directory. Nothing here is durable before
/// [`sync`](Fs::sync) returned `Ok`; after a `sync` failed, what it covered is in an unknown state and
/// must not be synced again in the hope of better news.
pub trait Fs: Send + std::marker::Sync + fmt::Debug {
    /// The absolute path without symbolic links, as far as it exists; otherwise just made absolute.
    fn canonical(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
    /// Opens a directory: by path, or a subdirectory of `at` by name. By path, symbolic links are followed.
    fn open_dir(&self, at: Option<&Handle>, path: &Path) -> io::Result<Handle>;
    /// Opens the directory that contains this one (`..`).
    fn open_parent(&self, dir: &Handle) -> io::Result<Handle>;
    /// Makes a directory.
    fn make_dir(&self, dir: &Handle, name: &OsStr, mode: u32) -> io::Result<()>;
    /// All names of a directory but `.` and `..`, in no order.
    fn list(&self, dir: &Handle) -> io::Result<Vec<Entry>>;
    /// Looks at a name, or at `directory/name`, not following a symbolic link at its end.
    fn stat(&self, dir: &Handle, name: &OsStr) -> io::Result<Stat>;
    /// Looks at what is open.
    fn fstat(&self, node: &Handle) -> io::Result<Stat>;
    /// Opens a file.
    fn open(&self, dir: &Handle, name: &OsStr, how: Open) -> io::Result<Handle>;
    /// Reads at most `buf.len()` bytes at `offset`; 0 means the end.
    fn read_at(&self, file: &Handle, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Where its bytes lie on the device; `None` where that is not known.
    fn extents(&self, _file: &Handle) -> io::Result<Option<Vec<Extent>>> {
        Ok(None)
    }
    /// Writes at most `buf.len()` bytes at `offset`.
    fn write_at(&self, file: &Handle, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts or extends (with zeros) a file.
    fn set_len(&self, file: &Handle, len: u64) -> io::Result<()>;
    /// Gives the inode `from/from_name` one more name.
    fn link(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr) -> io::Result<()>;
    /// Makes the empty file `to` share all blocks of `from` (`FICLONE`).
    fn clone_file(&self, from: &Handle, to: &Handle) -> io::Result<()>;
    /// Renames.
    fn rename(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr, how: Rename) -> io::Result<()>;
    /// Removes the name of a file.
    fn unlink(&self, dir: &Handle, name: &OsStr) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Handle, name: &OsStr) -> io::Result<()>;
    /// Makes durable what [`Sync`] says.
    fn sync(&self, node: &Handle, how: Sync) -> io::Result<()>;
    /// Owner, mode, mtime, xattrs of what is open.
    fn attributes(&self, node: &Handle) -> io::Result<Attributes>;
    /// Sets them. Returns what this user was not allowed to set (`owner`, `set-id bits`, `xattr NAME`).
    fn set_attributes(&self, node: &Handle, to: &Attributes) -> io::Result<Vec<String>>;
    /// Makes it another user's and group's.
    fn give(&self, node: &Handle, uid: u32, gid: u32) -> io::Result<()>;
    /// Tries to take an advisory lock (`flock`) that belongs to this handle; false if somebody else is in the way.
    fn try_lock(&self, node: &Handle, mode: LockMode) -> io::Result<bool>;
    /// Gives the lock up.
    fn unlock(&self, node: &Handle) -> io::Result<()>;
    /// Who seems to hold an advisory lock on what is open, in words.
    fn lock_holder(&self, node: &Handle) -> Option<String>;
    /// The process that holds a POSIX record lock on the file, as a JVM's `FileChannel.lock` takes one.
    /// `flock` does not see these, nor they it.
    fn record_lock_holder(&self, file: &Handle) -> io::Result<Option<u32>>;
    /// Tries to take such a lock, on a file that is open for writing; it is held until the handle is dropped.
    fn try_record_lock(&self, file: &Handle) -> io::Result<bool>;
    /// The filesystem below a directory.
    fn volume(&self, dir: &Handle) -> io::Result<Volume>;
}
