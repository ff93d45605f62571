//! The real operating system, by way of `nix`, `fs2`, `reflink-copy` and `xattr`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, FcntlArg, OFlag, RenameFlags, fcntl, openat, renameat2};
use nix::libc;
use nix::sys::stat::{Mode, fstatat, futimens, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, linkat, syncfs, unlinkat};

use super::{Attributes, Entry, FileKind, Fs, Handle, LockMode, Open, Rename, Stat, Sync, Volume, VolumeKind};

/// The filesystems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFs;

const DIR_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
const FILE_FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK);

impl Fs for OsFs {
    fn canonical(&self, path: &Path) -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if let Ok(found) = std::fs::canonicalize(&absolute) {
            return found;
        }
        // What does not exist yet lies in something that does.
        match (absolute.parent().map(std::fs::canonicalize), absolute.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => absolute,
        }
    }

    fn open_dir(&self, at: Option<&Handle>, path: &Path) -> io::Result<Handle> {
        let fd = match at {
            Some(dir) => openat(os(dir)?, path, DIR_FLAGS | OFlag::O_NOFOLLOW, Mode::empty())?,
            None => nix::fcntl::open(path, DIR_FLAGS, Mode::empty())?,
        };
        Ok(Handle::Os(fd.into()))
    }

    fn open_parent(&self, dir: &Handle) -> io::Result<Handle> {
        Ok(Handle::Os(openat(os(dir)?, "..", DIR_FLAGS, Mode::empty())?.into()))
    }

    fn make_dir(&self, dir: &Handle, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(mkdirat(os(dir)?, name, Mode::from_bits_truncate(mode))?)
    }

    fn list(&self, dir: &Handle) -> io::Result<Vec<Entry>> {
        let dir = os(dir)?;
        let fd = openat(dir, ".", DIR_FLAGS, Mode::empty())?;
        let mut listing = nix::dir::Dir::from_fd(fd)?;
        let mut entries = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsStr::from_bytes(name);
            let kind = match entry.file_type() {
                Some(nix::dir::Type::File) => FileKind::File,
                Some(nix::dir::Type::Directory) => FileKind::Dir,
                Some(_) => FileKind::Other,
                None => match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind_of(stat.st_mode),
                    Err(nix::errno::Errno::ENOENT) => continue,
                    Err(e) => return Err(e.into()),
                },
            };
            entries.push(Entry { name: name.to_owned(), kind, ino: entry.ino() });
        }
        Ok(entries)
    }

    fn stat(&self, dir: &Handle, name: &OsStr) -> io::Result<Stat> {
        let s = fstatat(os(dir)?, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(Stat {
            kind: kind_of(s.st_mode),
            dev: s.st_dev,
            ino: s.st_ino,
            size: s.st_size.try_into().unwrap_or(0),
            allocated: u64::try_from(s.st_blocks).unwrap_or(0).saturating_mul(512),
            #[allow(clippy::useless_conversion, reason = "u32 on some architectures")]
            nlink: s.st_nlink.into(),
            mode: s.st_mode & 0o7777,
            uid: s.st_uid,
            gid: s.st_gid,
            mtime: nanos(s.st_mtime, s.st_mtime_nsec),
            ctime: nanos(s.st_ctime, s.st_ctime_nsec),
        })
    }

    fn fstat(&self, node: &Handle) -> io::Result<Stat> {
        let m = os(node)?.metadata()?;
        Ok(Stat {
            kind: kind_of(m.mode()),
            dev: m.dev(),
            ino: m.ino(),
            size: m.size(),
            allocated: m.blocks().saturating_mul(512),
            nlink: m.nlink(),
            mode: m.mode() & 0o7777,
            uid: m.uid(),
            gid: m.gid(),
            mtime: nanos(m.mtime(), m.mtime_nsec()),
            ctime: nanos(m.ctime(), m.ctime_nsec()),
        })
    }

    fn open(&self, dir: &Handle, name: &OsStr, how: Open) -> io::Result<Handle> {
        let (flags, mode) = match how {
            Open::Read => (OFlag::O_RDONLY, 0),
            Open::Write => (OFlag::O_RDWR, 0),
            Open::CreateNew(mode) => (OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, mode),
            Open::OpenOrCreate(mode) => (OFlag::O_RDWR | OFlag::O_CREAT, mode),
        };
        let fd = openat(os(dir)?, name, flags | FILE_FLAGS, Mode::from_bits_truncate(mode))?;
        Ok(Handle::Os(fd.into()))
    }

    fn read_at(&self, file: &Handle, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        os(file)?.read_at(buf, offset)
    }

    fn extents(&self, file: &Handle) -> io::Result<Option<Vec<super::Extent>>> {
        super::extents::of(os(file)?)
    }

    fn write_at(&self, file: &Handle, buf: &[u8], offset: u64) -> io::Result<usize> {
        os(file)?.write_at(buf, offset)
    }

    fn set_len(&self, file: &Handle, len: u64) -> io::Result<()> {
        os(file)?.set_len(len)
    }

    fn link(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr) -> io::Result<()> {
        Ok(linkat(os(from)?, from_name, os(to)?, to_name, AtFlags::empty())?)
    }

    fn clone_file(&self, from: &Handle, to: &Handle) -> io::Result<()> {
        reflink_copy::reflink_file(os(from)?, os(to)?)
    }

    fn rename(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr, how: Rename) -> io::Result<()> {
        let flags = match how {
            Rename::NoReplace => RenameFlags::RENAME_NOREPLACE,
            Rename::Replace => RenameFlags::empty(),
            Rename::Exchange => RenameFlags::RENAME_EXCHANGE,
        };
        Ok(renameat2(os(from)?, from_name, os(to)?, to_name, flags)?)
    }

    fn unlink(&self, dir: &Handle, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(os(dir)?, name, UnlinkatFlags::NoRemoveDir)?)
    }

    fn remove_dir(&self, dir: &Handle, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(os(dir)?, name, UnlinkatFlags::RemoveDir)?)
    }

    fn sync(&self, node: &Handle, how: Sync) -> io::Result<()> {
        let file = os(node)?;
        match how {
            Sync::Node => file.sync_all(),
            Sync::Data => file.sync_data(),
            Sync::Filesystem => Ok(syncfs(file)?),
        }
    }

    fn attributes(&self, node: &Handle) -> io::Result<Attributes> {
        let file = os(node)?;
        let m = file.metadata()?;
        let mut attributes = Attributes {
            uid: m.uid(),
            gid: m.gid(),
            mode: m.mode() & 0o7777,
            mtime: nanos(m.mtime(), m.mtime_nsec()),
            ..Attributes::default()
        };
        let names = match xattr::FileExt::list_xattr(file) {
            Ok(names) => names,
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(attributes),
            Err(e) => return Err(e),
        };
        for name in names {
            let Some(text) = name.to_str() else { continue };
            if let Some(value) = xattr::FileExt::get_xattr(file, &name)? {
                attributes.xattrs.insert(text.to_owned(), value);
            }
        }
        Ok(attributes)
    }

    fn set_attributes(&self, node: &Handle, to: &Attributes) -> io::Result<Vec<String>> {
        let file = os(node)?;
        let mut denied = Vec::new();
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (to.uid, to.gid) {
            match fchown(file, Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid))) {
                Ok(()) => {}
                Err(nix::errno::Errno::EPERM) => denied.push("owner".to_owned()),
                Err(e) => return Err(e.into()),
            }
        }
        // After chown, which clears the set-id bits.
        if file.metadata()?.mode() & 0o7777 != to.mode {
            match file.set_permissions(PermissionsExt::from_mode(to.mode)) {
                // A service may be kept from setting these (`systemd.exec(5)`, `RestrictSUIDSGID=`).
                Err(e) if e.raw_os_error() == Some(libc::EPERM) && to.mode & SET_ID != 0 => {
                    file.set_permissions(PermissionsExt::from_mode(to.mode & !SET_ID))?;
                    denied.push("set-id bits".to_owned());
                }
                set => set?,
            }
        }
        for (name, value) in &to.xattrs {
            if xattr::FileExt::get_xattr(file, name).ok().flatten().as_ref() == Some(value) {
                continue;
            }
            match xattr::FileExt::set_xattr(file, name, value) {
                Ok(()) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EOPNOTSUPP)) => {
                    denied.push(format!("xattr {name}"));
                }
                Err(e) => return Err(e),
            }
        }
        let time = TimeSpec::new(to.mtime.div_euclid(1_000_000_000), to.mtime.rem_euclid(1_000_000_000));
        futimens(file, &TimeSpec::UTIME_OMIT, &time)?;
        Ok(denied)
    }

    fn give(&self, node: &Handle, uid: u32, gid: u32) -> io::Result<()> {
        Ok(fchown(os(node)?, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
    }

    fn try_lock(&self, node: &Handle, mode: LockMode) -> io::Result<bool> {
        // Named in full: since Rust 1.89 `file.try_lock_shared()` is a method of the standard library.
        let result = match mode {
            LockMode::Shared => fs2::FileExt::try_lock_shared(os(node)?),
            LockMode::Exclusive => fs2::FileExt::try_lock_exclusive(os(node)?),
        };
        match result {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn unlock(&self, node: &Handle) -> io::Result<()> {
        fs2::FileExt::unlock(os(node)?)
    }

    fn lock_holder(&self, node: &Handle) -> Option<String> {
        let m = os(node).ok()?.metadata().ok()?;
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let holders: Vec<String> = locks
            .lines()
            .filter_map(|line| {
                // `1: FLOCK  ADVISORY  WRITE 812 fe:00:1838 0 EOF`; the device is unreliable on btrfs and overlay.
                let mut words = line.split_whitespace().skip(1);
                let kind = words.next()?;
                let pid: u32 = words.nth(2)?.parse().ok()?;
                let ino: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
                (kind == "FLOCK" && ino == m.ino()).then(|| describe_process(pid))
            })
            .collect();
        (!holders.is_empty()).then(|| holders.join(", "))
    }

    fn record_lock_holder(&self, file: &Handle) -> io::Result<Option<u32>> {
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(os(file)?, FcntlArg::F_OFD_GETLK(&mut lock))?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            return Ok(None);
        }
        // An open-file-description lock has no process: the pid is -1 then.
        Ok(Some(u32::try_from(lock.l_pid).unwrap_or(0)))
    }

    fn try_record_lock(&self, file: &Handle) -> io::Result<bool> {
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(os(file)?, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn volume(&self, dir: &Handle) -> io::Result<Volume> {
        let s = fstatfs(os(dir)?.as_fd())?;
        let kind = match s.filesystem_type().0 {
            libc::EXT4_SUPER_MAGIC => VolumeKind::Ext,
            0x5846_5342 => VolumeKind::Xfs,
            0x9123_683e => VolumeKind::Btrfs,
            0x794c_7630 => VolumeKind::Overlay,
            // NFS, SMB, SMB2, CIFS, Ceph, AFS, 9p
            0x6969 | 0x517b | 0xfe53_4d42 | 0xff53_4d42 | 0x00c3_6400 | 0x5346_414f | 0x0102_1997 => {
                VolumeKind::Network
            }
            _ => VolumeKind::Other,
        };
        let block = u64::try_from(s.block_size()).unwrap_or(0);
        Ok(Volume {
            available: s.blocks_available().saturating_mul(block),
            size: s.blocks().saturating_mul(block),
            kind,
        })
    }
}

fn os(handle: &Handle) -> io::Result<&File> {
    match handle {
        Handle::Os(file) => Ok(file),
        Handle::Mem(_) => Err(io::ErrorKind::CrossesDevices.into()),
    }
}

fn kind_of(mode: u32) -> FileKind {
    match mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Dir,
        _ => FileKind::Other,
    }
}

fn nanos(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

fn describe_process(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}
