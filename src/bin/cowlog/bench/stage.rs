//! Where the bench runs, and the logs that it runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlog::error::ValidationError;
use cowlog::fs::Dir;
use cowlog::kafka::datadir::{is_data_dir, is_log_dir};
use cowlog::log::{Log, LogConfig};
use tempfile::TempDir;

use crate::demo::synthetic::Batches;
use crate::demo::{full_copy, interruptible, io};
use crate::failure::Failure;
use crate::session::Session;

const SEGMENTS: u64 = 64;
const RECORDS_PER_BATCH: u64 = 16;
/// Times that are younger are not believed: the next snapshot would inherit nothing.
const TRUSTED_AGE: Duration = Duration::from_millis(2_500);

/// A directory that goes when the bench ends, however it ends.
#[derive(Debug)]
pub struct Stage {
    home: TempDir,
    dir: PathBuf,
    bytes: u64,
}

/// What was measured on.
#[derive(Debug)]
pub struct Summary {
    pub dir: PathBuf,
    pub segments: u64,
    pub files: u64,
    pub bytes: u64,
}

impl Stage {
    /// Three logs, two copies at a time, and what others keep have to find room.
    pub fn set(dir: &Path, bytes: u64, session: &Session) -> Result<Stage, Failure> {
        const ROOM: u64 = 6;
        const LEAST: u64 = 16 << 20;
        if !dir.is_dir() {
            return Err(cowlog::Error::from(ValidationError::NoSuchSource { path: dir.into() }).into());
        }
        let opened = Dir::open(dir)?;
        if is_log_dir(&opened)? || is_data_dir(&opened)? {
            let what =
                "a log and a directory of logs hold nothing but logs: a broker would stop at anything else".into();
            let hint = Some("name a directory beside it on the same disk".into());
            return Err(cowlog::Error::from(ValidationError::Refused { what, path: Some(dir.into()), hint }).into());
        }
        let room = opened.volume()?.available / ROOM;
        if room < LEAST.min(bytes) {
            let e = std::io::ErrorKind::StorageFull.into();
            return Err(cowlog::Error::io("find room for the bench in", dir, e).into());
        }
        if room < bytes && !session.output.quiet {
            session.output.note("cowlog: warning: there is little room here, so the log will be smaller");
        }
        let home = tempfile::Builder::new().prefix(".cowlog-bench-").tempdir_in(dir);
        let home = home.map_err(io("make a directory in", dir))?;
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Stage { home, dir, bytes: bytes.min(room) })
    }

    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// What is snapshotted by cowlog and read by others.
    pub fn log(&self) -> PathBuf {
        self.path().join("log-0")
    }

    /// Its twin, whose files others give more names: that moves a time by which a change is noticed.
    pub fn linked(&self) -> PathBuf {
        self.path().join("linked-0")
    }

    /// One more, whose files nobody gives a name.
    pub fn apart(&self) -> PathBuf {
        self.path().join("apart-0")
    }

    /// What a contender makes, and what is removed behind it.
    pub fn target(&self) -> PathBuf {
        self.path().join("target")
    }

    /// Writes the log and its twins.
    pub fn prepare(&self, session: &Session) -> Result<(), Failure> {
        let segment_bytes = self.bytes / SEGMENTS;
        let config = LogConfig { segment_bytes, ..LogConfig::default() };
        let mut log = Log::open_with(self.log(), config)?;
        Batches::new(4).fill(&mut log, self.bytes, RECORDS_PER_BATCH, session)?;
        log.close()?;
        let written = Instant::now();
        for twin in [self.linked(), self.apart()] {
            full_copy::copy(&self.log(), &twin, session)?;
        }
        while written.elapsed() < TRUSTED_AGE {
            interruptible(session)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Removes what a contender made.
    pub fn clear(&self) -> Result<(), Failure> {
        let target = self.target();
        match fs::remove_dir_all(&target) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &target)(e)),
            _ => Ok(()),
        }
    }

    /// How large the log has become.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { dir: self.dir.clone(), segments: 0, files: 0, bytes: 0 };
        // Where it was not written, nothing is reported.
        let entries = fs::read_dir(self.log()).into_iter().flatten().filter_map(Result::ok);
        for metadata in entries.filter_map(|e| Some((e.file_name().into_string().ok()?, e.metadata().ok()?))) {
            let (name, metadata) = metadata;
            if metadata.is_file() && !name.starts_with('.') {
                summary.segments += u64::from(name.ends_with(".log"));
                summary.files += 1;
                summary.bytes += metadata.len();
            }
        }
        summary
    }

    /// Removes everything.
    pub fn strike(self) -> Result<(), Failure> {
        let path = self.path().to_owned();
        self.home.close().map_err(io("remove", &path))
    }
}
