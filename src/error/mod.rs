//! Errors: which of four families, what was being done, to which path, and the way out.

mod concurrency;
mod damage;
mod validation;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use concurrency::ConcurrencyError;
use damage::Listed;
pub use damage::{Damage, DamageKind};
pub use validation::ValidationError;

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by family. The families need different reactions, so they are different types.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something: disk full, permission, I/O, a file that is not there.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// The request cannot be carried out as it was made: bad id, no such snapshot, target exists.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// Somebody else is in the way, or it is too soon. The same request may work later.
    #[error(transparent)]
    Concurrency(#[from] ConcurrencyError),
    /// Bytes are not what they should be.
    #[error(transparent)]
    Integrity(#[from] IntegrityError),
    /// The caller asked to stop. What had been begun was undone.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
}

/// The family of an [`Error`], as it stands in `--json` output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// See [`Error::Filesystem`].
    Filesystem,
    /// See [`Error::Validation`].
    Validation,
    /// See [`Error::Concurrency`].
    Concurrency,
    /// See [`Error::Integrity`].
    Integrity,
    /// See [`Error::Interrupted`].
    Interrupted,
}

impl Error {
    /// The family.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Filesystem(_) => Kind::Filesystem,
            Error::Validation(_) => Kind::Validation,
            Error::Concurrency(_) => Kind::Concurrency,
            Error::Integrity(_) => Kind::Integrity,
            Error::Interrupted => Kind::Interrupted,
        }
    }

    /// The path that the error is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Filesystem(e) => Some(&e.path),
            Error::Validation(e) => e.path(),
            Error::Concurrency(e) => e.path(),
            Error::Integrity(e) => Some(&e.path),
            Error::Interrupted => None,
        }
    }

    /// What the reader of the error can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Filesystem(e) => e.hint().map(str::to_owned),
            Error::Validation(e) => e.hint(),
            Error::Concurrency(e) => e.hint(),
            Error::Integrity(e) => e.hint.clone(),
            Error::Interrupted => None,
        }
    }

    /// True where the error says that a named thing does not exist: source, store or snapshot.
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::Filesystem(e) => e.source.kind() == io::ErrorKind::NotFound,
            Error::Validation(e) => {
                matches!(
                    e,
                    ValidationError::NoSuchSnapshot { .. }
                        | ValidationError::NoSuchPart { .. }
                        | ValidationError::NoSnapshotSince { .. }
                        | ValidationError::NoSuchStore { .. }
                        | ValidationError::NoSuchSource { .. }
                        | ValidationError::NoSuchCopy { .. }
                )
            }
            _ => false,
        }
    }

    /// An operating-system error with its context.
    pub fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        FilesystemError { op, path: path.into(), source, outcome: Outcome::Known }.into()
    }

    /// Of a place that is not of this machine.
    #[cfg(feature = "offsite")]
    pub(crate) fn elsewhere(op: &'static str, address: impl Into<PathBuf>, source: io::Error) -> Self {
        FilesystemError { op, path: address.into(), source, outcome: Outcome::Elsewhere }.into()
    }

    /// A sync that failed.
    pub(crate) fn sync(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        FilesystemError { op, path: path.into(), source, outcome: Outcome::Unknown }.into()
    }

    /// True where something stands in a file's place that is none: a symbolic link, a directory, a socket, or more bytes
    /// than such a file can have. Reading it again will not help.
    pub(crate) fn is_no_file(&self) -> bool {
        let codes = [nix::libc::EFBIG, nix::libc::EISDIR, nix::libc::ELOOP, nix::libc::ENODEV, nix::libc::ENXIO];
        self.os_code().is_some_and(|code| codes.contains(&code))
    }

    /// True where the operating system says that this user may not.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Error::Filesystem(e) if e.source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether a sync failed: what it was to make durable may be so or not, and another sync would not tell.
    pub(crate) fn is_of_sync(&self) -> bool {
        matches!(self, Error::Filesystem(e) if matches!(e.outcome, Outcome::Unknown | Outcome::Unsettled))
    }

    /// After a failed sync of an exchange: its journal stays, for whoever comes next to go by.
    pub(crate) fn unsettled(self) -> Self {
        match self {
            Error::Filesystem(failed) if failed.outcome == Outcome::Unknown => {
                FilesystemError { op: UNSETTLED, outcome: Outcome::Unsettled, ..failed }.into()
            }
            e => e,
        }
    }

    /// The operating system's own number of the error (`errno`), where there is one.
    pub fn os_code(&self) -> Option<i32> {
        match self {
            Error::Filesystem(e) => e.source.raw_os_error(),
            _ => None,
        }
    }
}

/// The operating system refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}: {source}", path.display())]
pub struct FilesystemError {
    /// What was being done, as a verb phrase that the path completes.
    pub op: &'static str,
    /// To which path.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
    outcome: Outcome,
}

/// What is known of what was done before an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is as if the operation had not been tried.
    Known,
    /// A sync failed: what it was to make durable may be so or not.
    Unknown,
    /// The same, of an exchange whose journal tells whoever comes next.
    Unsettled,
    /// It was not of this machine.
    #[cfg(feature = "offsite")]
    Elsewhere,
}

const UNSETTLED: &str = "complete the exchange of directories, which the next command goes on with, without a sync of";

impl FilesystemError {
    /// Whether a server answered, or did not, rather than this machine.
    #[cfg(feature = "offsite")]
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.outcome == Outcome::Elsewhere
    }

    fn hint(&self) -> Option<&'static str> {
        #[cfg(feature = "offsite")]
        if self.is_elsewhere() && self.source.raw_os_error().is_none() {
            return Some(match self.source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "look at the credentials in the environment, at what they allow, and at locks of the bucket"
                }
                io::ErrorKind::NotFound => "look at the name of the bucket and at its prefix",
                _ => "look at the network and the server, and try again: what has arrived is not sent again",
            });
        }
        if self.outcome == Outcome::Unsettled {
            return Some(
                "look at the kernel log; once the disk is well again, `cowlog undo --list` completes it or takes it back",
            );
        }
        Some(match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space, for instance with `cowlog prune` or `cowlog delete`, and try again"
            }
            io::ErrorKind::PermissionDenied => "run as the owner of these files or as root",
            io::ErrorKind::ReadOnlyFilesystem => "the filesystem is mounted read-only",
            io::ErrorKind::NotFound => "check the path; another process may have removed it",
            _ if matches!(self.source.raw_os_error(), Some(nix::libc::EMFILE)) => {
                "raise the limit of open files: `ulimit -n`, or LimitNOFILE= of a systemd service"
            }
            _ if self.source.raw_os_error() == Some(nix::libc::EIO) => {
                "the disk or filesystem failed: look at the kernel log, then verify what is there"
            }
            _ => return None,
        })
    }
}

/// Bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}{}", path.display(), Listed(damage))]
pub struct IntegrityError {
    /// The snapshot or log that is damaged.
    pub path: PathBuf,
    /// What is wrong, in a sentence.
    pub what: String,
    /// File by file.
    pub damage: Vec<Damage>,
    /// The way to recover.
    pub hint: Option<String>,
}

impl IntegrityError {
    /// Damage that needs no account per file.
    pub fn new(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        IntegrityError { path: path.into(), what: what.into(), damage: Vec::new(), hint: None }
    }
}
