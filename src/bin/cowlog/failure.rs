//! How a command fails: message, hint, kind, exit code.

use std::io;
use std::path::Path;

use cowlog::Error;
use cowlog::error::{ConcurrencyError, Kind};
use serde::Serialize;

/// Exit code of a command that ended as it should.
pub const DONE: u8 = 0;
/// Exit code of a command that did a part of what was asked.
pub const IN_PART: u8 = 3;
/// Exit code of a verification that found damage.
pub const DAMAGED: u8 = 4;
/// Exit code after an interruption.
pub const INTERRUPTED: u8 = 130;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The library says so.
    Library(Error),
    /// The command line makes no sense; the text is clap's.
    Usage(String),
    /// Standard output could not be written.
    Output(io::Error),
    /// Interrupted, of what leaves something: the text says what.
    Interrupted(&'static str),
    /// The demo measured something else than it should have.
    Demo(String),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Library(e)
    }
}

/// An error as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct ErrorJson {
    pub error: ErrorBody,
}

/// What stands under `error`.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    pub kind: Kind,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// File by file, where bytes are not what they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<cowlog::error::Damage>,
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Interrupted(_) => INTERRUPTED,
            Failure::Output(_) | Failure::Demo(_) => 1,
            Failure::Library(e) => exit_code_of(e),
        }
    }

    pub fn message(&self) -> String {
        match self {
            Failure::Library(e) => e.to_string(),
            Failure::Usage(text) | Failure::Demo(text) => text.clone(),
            Failure::Interrupted(text) => (*text).into(),
            Failure::Output(e) => format!("cannot write standard output: {e}"),
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Failure::Library(e) => hint_of(e),
            Failure::Usage(_) => Some("`cowlog --help` shows the commands".into()),
            Failure::Interrupted(_) | Failure::Output(_) | Failure::Demo(_) => None,
        }
    }

    pub fn to_json(&self) -> ErrorJson {
        let kind = match self {
            Failure::Library(e) => return ErrorJson { error: ErrorBody::from(e) },
            Failure::Usage(_) => Kind::Validation,
            Failure::Interrupted(_) => Kind::Interrupted,
            Failure::Output(_) => Kind::Filesystem,
            Failure::Demo(_) => Kind::Integrity,
        };
        let (message, hint) = (self.message(), self.hint());
        ErrorJson { error: ErrorBody { kind, message, path: None, hint, damage: Vec::new() } }
    }
}

impl From<&Error> for ErrorBody {
    fn from(e: &Error) -> Self {
        let damage = match e {
            Error::Integrity(e) => e.damage.clone(),
            _ => Vec::new(),
        };
        ErrorBody { kind: e.kind(), message: e.to_string(), path: e.path().map(lossy), hint: hint_of(e), damage }
    }
}

/// The exit code for an error of the library.
pub fn exit_code_of(e: &Error) -> u8 {
    match e.kind() {
        Kind::Validation if e.is_not_found() => 10,
        Kind::Validation => 2,
        Kind::Filesystem => 1,
        Kind::Concurrency => 11,
        Kind::Integrity => DAMAGED,
        Kind::Interrupted => INTERRUPTED,
    }
}

fn hint_of(e: &Error) -> Option<String> {
    match e {
        Error::Concurrency(ConcurrencyError::TooSoon { .. }) => {
            Some("`--force` takes one all the same, `--min-interval` sets another interval".into())
        }
        e => e.hint(),
    }
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
