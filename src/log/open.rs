//! Opening a native log: the lock, what interrupted operations left behind, the active segment's tail.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{CHECKPOINT, Checkpoint, Durable, SEGMENTS_LOCK, WRITER_LOCK};
use super::config::{HighWatermark, LogConfig};
use super::recover::{Active, Kept, activate, create_segment, lost, rebuild_indexes, scan_kept, sealed_looks_right};
use super::scan::Stop;
use super::segment::{Listing, SegmentEntry, SegmentFile, list_log, parse_segment_name};
use super::writer::Log;
use crate::error::{ConcurrencyError, Error, IntegrityError, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, Guard, LockMode, Open, OsFs, lock_file};

/// What opening had to mend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes cut from the end of the active segment: they were no whole batch.
    pub cut_bytes: u64,
    /// Sealed segments whose indexes were built anew.
    pub rebuilt_indexes: Vec<i64>,
    /// Segments below the log start offset that an interrupted retention had left.
    pub removed: Vec<i64>,
}

impl Log {
    /// Opens the log in this directory, which is made if it is not there (its parent must be).
    ///
    /// # Errors
    ///
    /// `Concurrency` where another writer has it open; `Integrity` where records are gone that lay below the checkpointed
    /// high watermark or were durable when the log was closed, where segments are missing from the beginning or the middle,
    /// and where a segment whose indexes had to be rebuilt is damaged; `Validation` for a directory of a broker and for a
    /// snapshot.
    pub fn open(path: impl AsRef<Path>) -> Result<Log> {
        Log::open_with(path, LogConfig::default())
    }

    /// As [`open`](Self::open), with settings.
    pub fn open_with(path: impl AsRef<Path>, config: LogConfig) -> Result<Log> {
        Log::open_in(Arc::new(OsFs), path, config)
    }

    /// As [`open_with`](Self::open_with), on another implementation of the operating system.
    pub fn open_in(fs: Arc<dyn Fs>, path: impl AsRef<Path>, config: LogConfig) -> Result<Log> {
        let path = path.as_ref();
        let dir = match Dir::open_on(fs.clone(), path) {
            Err(e) if e.is_not_found() => {
                let Some(name) = path.file_name() else { return Err(e) };
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let parent = Dir::open_on(fs.clone(), parent)?;
                match parent.make_dir(name, 0o777) {
                    // Somebody else made it meanwhile; the lock will tell who may write.
                    Err(Error::Filesystem(e)) if e.source.kind() == ErrorKind::AlreadyExists => {}
                    other => drop(other?),
                }
                parent.sync()?;
                Dir::open_on(fs.clone(), path)?
            }
            other => other?,
        };
        let log = Log::open_on(dir, config)?;
        // A replacement may have put another directory there before this one was locked.
        let (opened, named) = (log.dir.stat_self()?, Dir::open_on(fs, path)?.stat_self()?);
        if (opened.dev, opened.ino) != (named.dev, named.ino) {
            let why = "another log was put in its place while it was being opened".into();
            return Err(ConcurrencyError::Busy { path: path.to_owned(), why }.into());
        }
        Ok(log)
    }

    /// Opens the log in an open directory of any filesystem.
    pub fn open_on(dir: Dir, config: LogConfig) -> Result<Log> {
        if config.segment_bytes == 0 || config.segment_bytes > i32::MAX as u64 {
            return Err(ValidationError::refused("segment_bytes must lie between 1 and 2147483647").into());
        }
        refuse_foreign(&dir)?;
        let deadline = Deadline::after(config.lock_timeout, &config.observer);
        let writer = lock_file(&dir, WRITER_LOCK, LockMode::Exclusive, &deadline, "one writer at a time")?;
        let checkpoint = Checkpoint::read(&dir)?;
        let mut listing = list_log(&dir)?;
        let kept = read_active(&dir, &listing, checkpoint, &config)?;
        sweep(&dir, &listing)?;
        let mut recovery = Recovery::default();
        if let Some(checkpoint) = checkpoint {
            recovery.removed = finish_retention(&dir, &mut listing, &checkpoint, &config)?;
            // A log start is recorded before the segments below it go, so none above it may be missing.
            if let Some(first) = listing.segments.first().map(SegmentEntry::base)
                && checkpoint.log_start_offset < first
            {
                lost(dir.path(), checkpoint.log_start_offset, first, &config)?;
            }
        }
        recovery.rebuilt_indexes = mend_sealed(&dir, &listing, &config)?;
        // From here on the log may be shorter than the mark says.
        let durable = checkpoint.and_then(|c| c.durable);
        let checkpoint = checkpoint.map(|c| Checkpoint { durable: None, ..c });
        if let Some(checkpoint) = checkpoint.filter(|_| durable.is_some()) {
            checkpoint.write(&dir)?;
        }
        let active = match kept {
            Some((base, kept)) => open_active(&dir, base, kept, durable, &config, &mut recovery)?,
            None => {
                let start = checkpoint.map_or(0, |c| c.log_start_offset);
                create_segment(&dir, start, config.index_interval, config.file_mode)?
            }
        };
        // A segment that an interrupted roll made, or one that truncation uncovered, may not be durable by name.
        dir.sync()?;
        let mut bases: Vec<i64> = listing.segments.iter().map(SegmentEntry::base).collect();
        if bases.is_empty() {
            bases.push(active.base);
        }
        let first = bases.first().copied().unwrap_or(active.base);
        // Beyond the end only where a loss was accepted.
        let log_start = checkpoint.map_or(first, |c| c.log_start_offset.max(first)).min(active.next_offset);
        let high_watermark = match config.high_watermark {
            HighWatermark::FollowFlush => active.next_offset,
            HighWatermark::Manual => {
                let kept = checkpoint.map_or(log_start, |c| c.high_watermark.unwrap_or(active.next_offset));
                kept.clamp(log_start, active.next_offset)
            }
        };
        let mut log = Log {
            dir,
            config,
            bases,
            active,
            log_start,
            high_watermark,
            checkpoint,
            recovery,
            poisoned: false,
            _writer: writer,
        };
        log.write_checkpoint()?;
        Ok(log)
    }
}

pub(super) fn lock_segments(dir: &Dir, config: &LogConfig, mode: LockMode) -> Result<Guard> {
    let deadline = Deadline::after(config.lock_timeout, &config.observer);
    lock_file(dir, SEGMENTS_LOCK, mode, &deadline, "a snapshot sharing segments, or their removal")
}

/// Whether it is a snapshot in a store. A copy of one somewhere else is a log like any other.
fn is_snapshot(dir: &Dir) -> Result<bool> {
    if dir.try_stat("manifest.b3")?.is_none() {
        return Ok(false);
    }
    let path = dir.fs().canonical(dir.path());
    let Some(above) = path.parent() else { return Ok(false) };
    let named = above.to_str().is_some_and(|path| path.ends_with(".snapshots"));
    Ok(named || dir.open_parent(above)?.try_stat("snapshots.json")?.is_some())
}

fn refuse_foreign(dir: &Dir) -> Result<()> {
    if is_snapshot(dir)? {
        return Err(ValidationError::Refused {
            what: format!("{} is a snapshot", dir.path().display()),
            path: Some(dir.path().to_owned()),
            hint: Some("restore it and open what was restored; a `LogReader` reads it as it is".into()),
        }
        .into());
    }
    if Checkpoint::read(dir)?.is_some() {
        return Ok(());
    }
    for name in ["partition.metadata", "leader-epoch-checkpoint"] {
        if dir.try_stat(name)?.is_some() {
            let why = format!("it is a broker's: {name} is there");
            return Err(ValidationError::NotALog { path: dir.path().to_owned(), why }.into());
        }
    }
    Ok(())
}

/// Removes what interrupted replacements and rolls left behind: temporary files, and indexes without a `.log`.
fn sweep(dir: &Dir, listing: &Listing) -> Result<()> {
    for entry in &listing.side_files {
        if is_temporary(&entry.name) {
            dir.unlink(&entry.name)?;
        }
    }
    for (base, file) in &listing.unattached {
        if matches!(file, SegmentFile::Index | SegmentFile::TimeIndex) {
            dir.unlink(file.name(*base))?;
        }
    }
    Ok(())
}

/// `.{base:020}.{ext}.tmp` and the checkpoint's.
fn is_temporary(name: &OsStr) -> bool {
    let inner = name.to_str().and_then(|n| n.strip_prefix('.')).and_then(|n| n.strip_suffix(".tmp"));
    inner.is_some_and(|n| n == CHECKPOINT || parse_segment_name(n).is_some())
}

/// Removes the segments that lie wholly below the log start offset.
fn finish_retention(dir: &Dir, listing: &mut Listing, checkpoint: &Checkpoint, config: &LogConfig) -> Result<Vec<i64>> {
    let gone: Vec<_> = listing.sealed().take_while(|s| s.end() <= checkpoint.log_start_offset).collect();
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let _guard = lock_segments(dir, config, LockMode::Exclusive)?;
    for segment in &gone {
        for file in segment.entry().files() {
            dir.unlink(file.name(segment.base()))?;
        }
    }
    listing.segments.drain(..gone.len());
    Ok(gone.iter().map(|s| s.base()).collect())
}

fn mend_sealed(dir: &Dir, listing: &Listing, config: &LogConfig) -> Result<Vec<i64>> {
    let mut rebuilt = Vec::new();
    let mut guard = None;
    for segment in listing.sealed() {
        let (base, next) = (segment.base(), segment.end());
        if !sealed_looks_right(dir, &segment.entry(), next, config)? {
            if guard.is_none() {
                guard = Some(lock_segments(dir, config, LockMode::Exclusive)?);
            }
            if rebuild_indexes(dir, base, next, config)? {
                config.observer.warn(&format!("built the indexes of segment {base} in {} anew", dir.path().display()));
                rebuilt.push(base);
            }
        }
    }
    Ok(rebuilt)
}

/// Reads the last segment, and holds it against what is known to have been durable before anything is changed.
fn read_active(
    dir: &Dir,
    listing: &Listing,
    checkpoint: Option<Checkpoint>,
    config: &LogConfig,
) -> Result<Option<(i64, Kept)>> {
    let start = checkpoint.map_or(0, |c| c.log_start_offset);
    let promised = checkpoint.map_or(0, |c| c.high_watermark.unwrap_or(0).max(c.log_start_offset));
    let durable = checkpoint.and_then(|c| c.durable);
    let Some(base) = listing.active().map(|segment| segment.base()) else {
        let gone = promised > start || durable.is_some_and(|d| d.is_gone(None, start));
        if gone && !config.accept_loss {
            let what = format!("it has no segment, but records from {start} on were durable");
            return Err(IntegrityError { hint: Some(WAY_OUT.into()), ..IntegrityError::new(dir.path(), what) }.into());
        }
        return Ok(None);
    };
    let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let kept = scan_kept(&log, base, config.index_interval, i64::MAX)?;
    let gone =
        kept.next_offset < promised || durable.is_some_and(|d| d.is_gone(Some((base, kept.bytes)), kept.next_offset));
    if gone && !config.accept_loss {
        let (end, at, stop) = (kept.next_offset, kept.bytes, &kept.stop);
        let what = format!("it ends at offset {end} (at byte {at}: {stop}), but records behind that were durable");
        return Err(IntegrityError { hint: Some(WAY_OUT.into()), ..IntegrityError::new(log.path(), what) }.into());
    }
    Ok(Some((base, kept)))
}

const WAY_OUT: &str = "restore a snapshot that verifies, or open it with `accept_loss` to go on without those records";

fn open_active(
    dir: &Dir,
    base: i64,
    mut kept: Kept,
    durable: Option<Durable>,
    config: &LogConfig,
    recovery: &mut Recovery,
) -> Result<Active> {
    let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let mut stat = log.stat()?;
    let mut guard = None;
    if stat.nlink > 1 || kept.stop != Stop::End {
        guard = Some(lock_segments(dir, config, LockMode::Exclusive)?);
        // Nothing was appended meanwhile: this process has the writer's lock.
        stat = log.stat()?;
        kept = scan_kept(&log, base, config.index_interval, i64::MAX)?;
    }
    recovery.cut_bytes = stat.size.saturating_sub(kept.bytes);
    if recovery.cut_bytes > 0 {
        let (cut, path) = (recovery.cut_bytes, log.path().display());
        config.observer.warn(&format!("cut {cut} bytes at the end of {path}: {}", kept.stop));
    }
    let durable = durable.filter(|d| d.segment == base).map(|d| d.bytes);
    let active = activate(dir, base, kept, durable, false, config.file_mode, &config.observer)?;
    drop(guard);
    Ok(active)
}
