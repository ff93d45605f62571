//! Where the bench runs, and the logs that it runs on.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
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
const LEAST: u64 = 16 << 20;
const USUAL: u64 = 256 << 20;
const PREFIX: &str = ".cowlog-bench-";
const RECORDS_PER_BATCH: u64 = 16;
/// A directory that is younger may not be locked yet.
const YOUNG: Duration = Duration::from_secs(5);
/// Times that are younger are not believed: the next snapshot would inherit nothing.
const TRUSTED_AGE: Duration = Duration::from_millis(2_500);

/// A directory that goes when the bench ends. What a process leaves that is ended at once, the next bench there sweeps.
#[derive(Debug)]
pub struct Stage {
    home: TempDir,
    /// As long as the directory is in use, it is locked.
    _lock: File,
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
    /// Three logs, two copies at a time, and what others keep have to find room. Where nobody said how large the log is to be, it is
    /// one that this disk can take so often in good time.
    pub fn set(dir: &Path, asked: Option<u64>, session: &Session) -> Result<Stage, Failure> {
        const ROOM: u64 = 6;
        let bytes = asked.unwrap_or(USUAL);
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
        sweep(dir)?;
        let home = tempfile::Builder::new().prefix(PREFIX).tempdir_in(dir);
        let home = home.map_err(io("make a directory in", dir))?;
        let lock = File::open(home.path()).and_then(|lock| lock.lock_shared().map(|()| lock));
        let lock = lock.map_err(io("lock", home.path()))?;
        let bytes = match asked {
            Some(bytes) => bytes.min(room),
            None => bytes.min(room).min(bearable(home.path(), session)?),
        };
        if bytes < USUAL.min(room) && asked.is_none() && !session.output.quiet {
            session.output.note("cowlog: warning: this disk takes its time, so the log will be smaller");
        }
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Stage { home, dir, bytes, _lock: lock })
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
        const PATIENCE: Duration = Duration::from_secs(5);
        let path = self.home.keep();
        let begun = Instant::now();
        loop {
            match fs::remove_dir_all(&path) {
                Ok(()) => return Ok(()),
                Err(_) if !path.exists() => return Ok(()),
                // Children of a program that was ended may still be making files and removing them, until they notice.
                Err(e)
                    if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound)
                        && begun.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => return Err(io("remove", &path)(e)),
            }
        }
    }
}

/// Removes what benches left that were ended at once.
fn sweep(dir: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(dir).map_err(io("list", dir))?.filter_map(Result::ok) {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // One that begins right now is not locked yet; it is young.
        let old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > YOUNG));
        if old && File::open(&path).is_ok_and(|home| home.try_lock().is_ok()) {
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

/// How large a log this disk writes in a few seconds, at least the smallest: it is written some six times before anything is measured.
fn bearable(dir: &Path, session: &Session) -> Result<u64, Failure> {
    const SECONDS: f64 = 3.0;
    let path = dir.join("probe");
    let mut piece = vec![0_u8; 1 << 20];
    let mut state = 1_u64;
    for word in piece.chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(state ^ state >> 29).to_le_bytes());
    }
    let started = Instant::now();
    let mut file = File::create_new(&path).map_err(io("make", &path))?;
    for _ in 0..LEAST >> 20 {
        interruptible(session)?;
        file.write_all(&piece).map_err(io("write", &path))?;
    }
    file.sync_all().map_err(io("sync", &path))?;
    let rate = LEAST as f64 / started.elapsed().as_secs_f64().max(1e-6);
    fs::remove_file(&path).map_err(io("remove", &path))?;
    Ok(((rate * SECONDS) as u64).max(LEAST))
}
