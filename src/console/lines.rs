//! A file to which lines of JSON are appended.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Result, ValidationError};
use crate::fs::{Dir, Open};

/// The file is opened for each line, so that whoever turns logs over may move it away at any time.
#[derive(Debug)]
pub(super) struct Lines {
    dir: Dir,
    name: OsString,
    /// One line at a time.
    turn: Mutex<()>,
}

impl Lines {
    pub(super) fn new(dir: Dir, name: impl Into<OsString>) -> Lines {
        Lines { dir, name: name.into(), turn: Mutex::new(()) }
    }

    /// By its path, in a directory that is there.
    pub(super) fn at(path: &Path) -> Result<Lines> {
        let (dir, name) = Dir::open_around(path)?;
        Ok(Lines::new(dir, name))
    }

    /// Appends one, durably; gives its length.
    pub(super) fn append(&self, line: &impl Serialize) -> Result<usize> {
        let mut bytes = serde_json::to_vec(line).map_err(|e| ValidationError::refused(e.to_string()))?;
        bytes.push(b'\n');
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = self.dir.try_stat(&self.name)?.is_none();
        let file = self.dir.open_file(&self.name, Open::OpenOrCreate(0o600))?;
        let end = file.len()?;
        let torn = end > 0 && {
            let mut last = [0];
            file.read_at(&mut last, end - 1)?;
            last != [b'\n']
        };
        if torn {
            // The end of a line that a power cut tore: what follows it stands alone.
            bytes.insert(0, b'\n');
        }
        file.write_all_at(&bytes, end)?;
        file.sync_data()?;
        if is_new {
            self.dir.sync()?;
        }
        Ok(bytes.len())
    }

    /// Whether a line could be appended now.
    pub(super) fn check(&self) -> Result<()> {
        self.dir.open_file(&self.name, Open::OpenOrCreate(0o600)).map(drop)
    }
}
