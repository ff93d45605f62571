//! Where the bytes of a file lie on the device: `FIEMAP`.
//!
//! The only unsafe code of the crate: no safe binding of this ioctl is at hand, and without it two files that share blocks
//! by reflink cannot be told from two that do not.
#![allow(unsafe_code, reason = "the kernel writes into a buffer that it is given by address")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// A run of bytes of a file that lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where on the device, in bytes; `None` where they have no place of their own: within the metadata, or not yet
    /// written.
    pub physical: Option<u64>,
    /// Bytes.
    pub len: u64,
    /// Whether other files, or other places of this one, may use the same blocks.
    pub shared: bool,
    /// Whether as many bytes as `len` says need not lie there: they are compressed or encrypted.
    pub encoded: bool,
}

const LAST: u32 = 0x1;
const UNKNOWN: u32 = 0x2;
const DELALLOC: u32 = 0x4;
const ENCODED: u32 = 0x8;
const INLINE: u32 = 0x200;
const TAIL: u32 = 0x400;
const SHARED: u32 = 0x2000;

/// As many extents as are asked for at a time.
const AT_ONCE: usize = 128;

/// `struct fiemap` of `linux/fiemap.h`, without the extents behind it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Raw {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// The layout that the kernel expects: the extents begin where the header ends.
#[repr(C)]
struct Request {
    header: Header,
    extents: [Raw; AT_ONCE],
}

const _: () = assert!(size_of::<Header>() == 32 && size_of::<Raw>() == 56);
const _: () = assert!(std::mem::offset_of!(Request, extents) == 32);

mod call {
    nix::ioctl_readwrite!(fiemap, b'f', 11, super::Header);
}

/// The extents of a file, holes left out; `None` where the filesystem does not tell.
pub(super) fn of(file: &File) -> io::Result<Option<Vec<Extent>>> {
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        let mut request = Request {
            header: Header { start, length: u64::MAX - start, count: AT_ONCE as u32, ..Header::default() },
            extents: [Raw::default(); AT_ONCE],
        };
        // SAFETY: the descriptor is open for as long as `file` is borrowed. The kernel writes one header and at most `count`
        // extents behind it, which is what `Request` has room for, and the pointer is that of all of it.
        match unsafe { call::fiemap(file.as_raw_fd(), (&raw mut request).cast()) } {
            Ok(_) => {}
            Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EINVAL | Errno::ENOSYS | Errno::EBADR) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
        }
        let mapped = request.extents.iter().take(request.header.mapped as usize);
        let mut end = None;
        for raw in mapped {
            let nowhere = raw.flags & (UNKNOWN | DELALLOC | INLINE | TAIL) != 0;
            found.push(Extent {
                physical: (!nowhere).then_some(raw.physical),
                len: raw.length,
                shared: raw.flags & SHARED != 0,
                encoded: raw.flags & ENCODED != 0,
            });
            end = (raw.flags & LAST == 0).then(|| raw.logical.saturating_add(raw.length));
        }
        match end {
            Some(next) if next > start && next < u64::MAX => start = next,
            _ => return Ok(Some(found)),
        }
    }
}
