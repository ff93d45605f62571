//! How one file gets into a snapshot or out of it: reflink, hard link, copy, with fallback.

use std::fmt;
use std::io;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use serde::{Deserialize, Serialize};

use super::{Buffer, Dir, File, Open, Stat};
use crate::error::{Error, Result, ValidationError};
use crate::observe::Observer;

/// How one file got into a snapshot, or out of it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A hard link to the previous snapshot's file.
    Inherit,
    /// A clone of the blocks (`FICLONE`); later writes to either side do not reach the other.
    Reflink,
    /// One more name of the source's inode; a later write in place reaches both.
    Hardlink,
    /// A deep copy.
    Copy,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Method::Inherit => "inherit",
            Method::Reflink => "reflink",
            Method::Hardlink => "hardlink",
            Method::Copy => "copy",
        })
    }
}

/// Which method to begin with for a new or changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MethodChoice {
    /// Reflink, else hard link where that is allowed, else copy.
    #[default]
    Auto,
    /// Reflink, else copy.
    Reflink,
    /// Hard link where that is allowed, else copy.
    Hardlink,
    /// Copy.
    Copy,
}

impl FromStr for MethodChoice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Ok(match s {
            "auto" => MethodChoice::Auto,
            "reflink" => MethodChoice::Reflink,
            "hardlink" => MethodChoice::Hardlink,
            "copy" => MethodChoice::Copy,
            _ => return Err(ValidationError::refused(format!("no sharing method is called {s:?}")).into()),
        })
    }
}

/// What [`Sharer::share`] did with a file.
pub(crate) struct Copied {
    /// How it got there.
    pub method: Method,
    /// The digest of the bytes, where they passed through our hands.
    pub digest: Option<blake3::Hash>,
    /// Bytes written by a copy.
    pub bytes: u64,
}

/// Shares files of one pair of filesystems, remembering what these cannot do at all.
#[derive(Debug)]
pub(crate) struct Sharer {
    choice: MethodChoice,
    /// Cleared by an error that speaks for the pair of filesystems and not for one file.
    reflink_works: AtomicBool,
    link_works: AtomicBool,
    observer: Observer,
}

impl Sharer {
    pub(crate) fn new(choice: MethodChoice, observer: &Observer) -> Sharer {
        Sharer {
            choice,
            reflink_works: AtomicBool::new(true),
            link_works: AtomicBool::new(true),
            observer: observer.clone(),
        }
    }

    /// Puts `from/name` into `to` under the same name, which must be free. Hard links only where `may_link`.
    /// Nothing is durable yet. After an error nothing of the file is left in `to`.
    pub(crate) fn share(&self, from: &Dir, name: &str, source: &Stat, to: &Dir, may_link: bool) -> Result<Copied> {
        if matches!(self.choice, MethodChoice::Auto | MethodChoice::Reflink)
            && self.reflink_works.load(Ordering::Relaxed)
            && self.reflink(from, name, source, to)?
        {
            return Ok(Copied { method: Method::Reflink, digest: None, bytes: 0 });
        }
        if self.expects_to_link(may_link) && self.link(from, name, to)? {
            return Ok(Copied { method: Method::Hardlink, digest: None, bytes: 0 });
        }
        let (digest, bytes) = self.copy(from, name, source, to)?;
        Ok(Copied { method: Method::Copy, digest: Some(digest), bytes })
    }

    /// Finds out with one file what the pair of filesystems can do; leaves nothing behind.
    pub(crate) fn probe(&self, from: &Dir, name: &str, source: &Stat, to: &Dir, may_link: bool) -> Result<()> {
        let reflinks = matches!(self.choice, MethodChoice::Auto | MethodChoice::Reflink)
            && self.reflink_works.load(Ordering::Relaxed)
            && self.reflink(from, name, source, to)?;
        if reflinks || (self.expects_to_link(may_link) && self.link(from, name, to)?) {
            to.unlink(name)?;
        }
        Ok(())
    }

    /// Whether a file will not be copied, as far as is known.
    pub(crate) fn expects_to_share(&self, may_link: bool) -> bool {
        let reflinks = matches!(self.choice, MethodChoice::Auto | MethodChoice::Reflink)
            && self.reflink_works.load(Ordering::Relaxed);
        reflinks || self.expects_to_link(may_link)
    }

    fn expects_to_link(&self, may_link: bool) -> bool {
        may_link
            && matches!(self.choice, MethodChoice::Auto | MethodChoice::Hardlink)
            && self.link_works.load(Ordering::Relaxed)
    }

    fn reflink(&self, from: &Dir, name: &str, source: &Stat, to: &Dir) -> Result<bool> {
        let input = from.open_file(name, Open::Read)?;
        let output = to.open_file(name, Open::CreateNew(source.mode & 0o777))?;
        let error = match output.fs().clone_file(input.handle(), output.handle()) {
            Ok(()) => return Ok(true),
            Err(e) => e,
        };
        to.unlink(name)?;
        if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EXDEV)) {
            self.reflink_works.store(false, Ordering::Relaxed);
        }
        if falls_back(&error) { Ok(false) } else { Err(Error::io("reflink", input.path(), error)) }
    }

    fn link(&self, from: &Dir, name: &str, to: &Dir) -> Result<bool> {
        match try_link(from, name, to) {
            Ok(()) => Ok(true),
            Err(e) if falls_back(&e) => {
                if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EXDEV)) {
                    self.link_works.store(false, Ordering::Relaxed);
                }
                Ok(false)
            }
            Err(e) => Err(Error::io("link", from.path_of(name), e)),
        }
    }

    fn copy(&self, from: &Dir, name: &str, source: &Stat, to: &Dir) -> Result<(blake3::Hash, u64)> {
        let input = from.open_file(name, Open::Read)?;
        let output = to.open_file(name, Open::CreateNew(source.mode & 0o777))?;
        let mut hasher = blake3::Hasher::new();
        let result = copy_range(&input, &output, 0..u64::MAX, &self.observer, |chunk| {
            hasher.update(chunk);
        });
        match result {
            Ok(bytes) => Ok((hasher.finalize(), bytes)),
            Err(e) => {
                let _ = to.unlink(name);
                Err(e)
            }
        }
    }
}

/// A hard link with its plain error, for callers that decide themselves.
pub(crate) fn try_link(from: &Dir, name: &str, to: &Dir) -> io::Result<()> {
    try_link_as(from, name, to, name)
}

/// The same under another name.
pub(crate) fn try_link_as(from: &Dir, name: &str, to: &Dir, to_name: &str) -> io::Result<()> {
    from.fs().link(from.handle(), name.as_ref(), to.handle(), to_name.as_ref())
}

/// The errors that mean "not this way" and not "something is wrong". A full disk, a failing disk or a missing
/// file would fail another way too, and must be reported.
pub(crate) fn falls_back(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EXDEV | libc::EMLINK | libc::EOPNOTSUPP | libc::ENOTTY | libc::EPERM | libc::EINVAL | libc::EAGAIN)
    )
}

/// Fills the empty file `to` with the first `len` bytes of `from`, sharing blocks where the filesystem can.
/// Nothing is durable yet.
pub(crate) fn clone_or_copy(from: &File, to: &File, len: u64, observer: &Observer) -> Result<()> {
    match to.fs().clone_file(from.handle(), to.handle()) {
        Ok(()) if to.len()? > len => to.set_len(len),
        Ok(()) => Ok(()),
        Err(e) if falls_back(&e) => copy_range(from, to, 0..len, observer, |_| {}).map(drop),
        Err(e) => Err(Error::io("reflink", from.path(), e)),
    }
}

/// Copies these bytes to the beginning of `to`, or as many of them as there are, showing each chunk to `seen` on the way: what
/// is hashed or parsed so need not be read again. Returns how many bytes were copied.
pub(crate) fn copy_range(
    from: &File,
    to: &File,
    range: Range<u64>,
    observer: &Observer,
    mut seen: impl FnMut(&[u8]),
) -> Result<u64> {
    let len = range.end.saturating_sub(range.start);
    // As `cp` does. With 256 KiB ext4 took a third longer.
    const CHUNK: u64 = 128 * 1024;
    let mut buf = Buffer::new(usize::try_from(CHUNK.min(len.max(1))).unwrap_or(1));
    let mut at = 0;
    while at < len {
        observer.check()?;
        let want = usize::try_from((len - at).min(buf.len() as u64)).unwrap_or(usize::MAX);
        let room = buf.get_mut(..want).unwrap_or_default();
        let got = from.read_at(room, range.start.saturating_add(at))?;
        let Some(chunk) = buf.get(..got).filter(|c| !c.is_empty()) else { break };
        seen(chunk);
        to.write_all_at(chunk, at)?;
        at += got as u64;
        observer.advance(0, got as u64);
        if got < want {
            break;
        }
    }
    Ok(at)
}
