//! Replacing one damaged file of a snapshot. The old one is never written to.

use blake3::Hash;

use crate::error::{Error, Result};
use crate::fs::{Attributes, Dir, File, FileKind, Method, Open, Rename, copy_range, falls_back, try_link_as};
use crate::observe::Observer;
use crate::snapshot::verify::hash::{buffer, hash_to};
use crate::store::FileManifest;

/// Under which name the new bytes are made, beside the file.
pub(in crate::snapshot) const TEMPORARY: &str = crate::store::HEALING;

/// Where the bytes are to come from.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Origin {
    pub(in crate::snapshot) dir: Dir,
    pub(in crate::snapshot) name: String,
    /// Whether the inode may get one more name: it is a snapshot's own, no writer has it, and its attributes are the right ones.
    pub(in crate::snapshot) may_link: bool,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::snapshot) enum Outcome {
    /// The name stands for the right bytes now. Durable once the directory is synced.
    Mended(Method),
    /// It had the right bytes when it was looked at for the last time, and was left alone.
    WasRight,
    /// What was to be its bytes does not have the digest.
    OriginWrong,
}

/// A name of a snapshot that is to get its bytes back. The snapshot's lock is held alone.
pub(in crate::snapshot) struct Mender<'a> {
    pub(in crate::snapshot) dir: &'a Dir,
    pub(in crate::snapshot) name: &'a str,
    pub(in crate::snapshot) file: &'a FileManifest,
    pub(in crate::snapshot) digest: Hash,
    pub(in crate::snapshot) observer: &'a Observer,
}

impl Mender<'_> {
    /// Makes the bytes beside the file, durably, reads them back, makes sure that the file still is damaged, and renames.
    /// After an error, and for every outcome but `Mended`, the file is as it was and nothing is left beside it.
    pub(in crate::snapshot) fn mend(&self, origin: Option<&Origin>) -> Result<Outcome> {
        self.discard()?;
        let outcome = self.stage(origin).and_then(|method| match method {
            None => Ok(Outcome::OriginWrong),
            Some(_) if self.is_right(self.name)? => Ok(Outcome::WasRight),
            Some(method) => {
                self.dir.rename(TEMPORARY, self.dir, self.name, Rename::Replace)?;
                Ok(Outcome::Mended(method))
            }
        });
        if !matches!(outcome, Ok(Outcome::Mended(_))) {
            let _ = self.discard();
        }
        outcome
    }

    fn discard(&self) -> Result<()> {
        match self.dir.try_stat(TEMPORARY)? {
            Some(_) => self.dir.unlink(TEMPORARY),
            None => Ok(()),
        }
    }

    /// `None` where the bytes turn out to be others.
    fn stage(&self, origin: Option<&Origin>) -> Result<Option<Method>> {
        if let Some(origin) = origin.filter(|origin| origin.may_link) {
            match try_link_as(&origin.dir, &origin.name, self.dir, TEMPORARY) {
                Ok(()) => return Ok(self.is_right(TEMPORARY)?.then_some(Method::Inherit)),
                Err(e) if falls_back(&e) => {}
                Err(e) => return Err(Error::io("link", origin.dir.path_of(&origin.name), e)),
            }
        }
        let output = self.dir.open_file(TEMPORARY, Open::CreateNew(0o600))?;
        let method = match origin {
            Some(origin) => match self.bring(origin, &output)? {
                Some(method) => method,
                None => return Ok(None),
            },
            None => Method::Copy,
        };
        let denied = output.set_attributes(&Attributes {
            uid: self.file.uid,
            gid: self.file.gid,
            mode: self.file.mode,
            mtime: self.file.mtime,
            xattrs: self.file.xattrs.clone(),
        })?;
        if !denied.is_empty() {
            self.observer.warn(&format!("{}: not set: {}", self.file.path, denied.join(", ")));
        }
        output.sync()?;
        Ok(self.is_right(TEMPORARY)?.then_some(method))
    }

    fn bring(&self, origin: &Origin, output: &File) -> Result<Option<Method>> {
        let input = origin.dir.open_file(&origin.name, Open::Read)?;
        if input.stat()?.kind != FileKind::File {
            return Ok(None);
        }
        match output.fs().clone_file(input.handle(), output.handle()) {
            Ok(()) => {
                if output.len()? > self.file.size {
                    output.set_len(self.file.size)?;
                }
                return Ok(Some(Method::Reflink));
            }
            Err(e) if falls_back(&e) => {}
            Err(e) => return Err(Error::io("reflink", input.path(), e)),
        }
        copy_range(&input, output, 0..self.file.size, self.observer, |_| {})?;
        Ok(Some(Method::Copy))
    }

    /// Whether a name stands for the right bytes now. What the disk cannot read is not right; what could not be read for
    /// another reason may be.
    fn is_right(&self, name: &str) -> Result<bool> {
        let read = || {
            let file = self.dir.open_file(name, Open::Read)?;
            let stat = file.stat()?;
            if stat.kind != FileKind::File || stat.size != self.file.size {
                return Ok(false);
            }
            let (digest, _) = hash_to(&file, self.file.size, &mut buffer(), self.observer)?;
            Ok(digest == self.digest)
        };
        match read() {
            Err(e) if is_lost(&e) => Ok(false),
            other => other,
        }
    }
}

/// Whether an error of reading means that the bytes are not there, and not that this user or process may not read them now.
fn is_lost(e: &Error) -> bool {
    let codes = [nix::libc::EIO, nix::libc::EUCLEAN, nix::libc::EBADMSG, nix::libc::ENODATA, nix::libc::ENOTDIR];
    e.is_not_found() || e.is_no_file() || e.os_code().is_some_and(|code| codes.contains(&code))
}
