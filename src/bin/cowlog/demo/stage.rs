//! Where the demo plays.

use std::fs;
use std::path::{Path, PathBuf};

use cowlog::error::ValidationError;
use cowlog::fs::Dir;
use tempfile::TempDir;

use super::io;
use crate::failure::Failure;
use crate::session::Session;

/// A directory that goes when the demo ends, however it ends, unless the user wants to keep it.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    temporary: Option<TempDir>,
    /// Bytes of the log that the demo writes.
    pub log_bytes: u64,
}

impl Stage {
    /// Where there is less room than the log, a full copy and a restored copy take, the log is smaller.
    pub fn set(keep: Option<&Path>, log_bytes: u64, session: &Session) -> Result<Stage, Failure> {
        const LEAST: u64 = 16 << 20;
        let (path, temporary) = match keep {
            Some(dir) => {
                fs::create_dir(dir).map_err(|e| match e.kind() {
                    std::io::ErrorKind::AlreadyExists => {
                        cowlog::Error::from(ValidationError::TargetExists { path: dir.into() }).into()
                    }
                    _ => io("make", dir)(e),
                })?;
                let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
                (path, None)
            }
            None => {
                let parent = std::env::temp_dir();
                let made = tempfile::Builder::new().prefix("cowlog-demo-").tempdir_in(&parent);
                let made = made.map_err(io("make a directory in", &parent))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let available = Dir::open(&path)?.volume()?.available;
        let room = available / 4;
        if room < LEAST.min(log_bytes) {
            let e = std::io::ErrorKind::StorageFull.into();
            return Err(cowlog::Error::io("find room for the demo in", path, e).into());
        }
        if room < log_bytes && !session.output.quiet {
            session.output.note("cowlog: warning: there is little room here, so the log will be smaller");
        }
        Ok(Stage { path, temporary, log_bytes: log_bytes.min(room) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The broker's directory.
    pub fn kafka(&self) -> PathBuf {
        self.path.join("kafka-data")
    }

    /// The demo's own log.
    pub fn log(&self) -> PathBuf {
        self.path.join("orders-0")
    }

    /// Removes it, or says where it was left.
    pub fn strike(self) -> Result<Option<PathBuf>, Failure> {
        match self.temporary {
            Some(temporary) => temporary.close().map(|()| None).map_err(io("remove", &self.path)),
            None => Ok(Some(self.path)),
        }
    }
}
