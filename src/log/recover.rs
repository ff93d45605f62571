//! Brings a segment into the state that a writer needs: a whole `.log` that no snapshot shares, and its indexes.

use std::ops::ControlFlow;
use std::path::Path;

use super::config::LogConfig;
use super::entries::Entries;
use super::index::{IndexBuilder, IndexBytes, OffsetEntry, TimeEntry};
use super::scan::{Stop, scan, scan_until};
use super::segment::{SegmentEntry, SegmentFile};
use super::window::Headers;
use crate::error::{Error, IntegrityError, Result};
use crate::fs::{Buffer, Dir, File, Open, Rename, clone_or_copy, copy_range, replace_file};
use crate::observe::Observer;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub base: i64,
    pub log: File,
    pub index: File,
    pub time: File,
    /// Bytes of whole batches.
    pub bytes: u64,
    pub next_offset: i64,
    pub builder: IndexBuilder,
    /// Bytes of the builder's indexes that were written to the files.
    pub written: (usize, usize),
    /// Largest timestamp of the first batch.
    pub first_timestamp: Option<i64>,
    pub last_epoch: Option<i32>,
}

/// What stands in a segment up to an offset.
#[derive(Debug)]
pub(super) struct Kept {
    pub bytes: u64,
    pub next_offset: i64,
    pub builder: IndexBuilder,
    pub first_timestamp: Option<i64>,
    pub last_epoch: Option<i32>,
    /// `Enough` where a batch was not kept because it reaches the offset.
    pub stop: Stop,
}

/// Reads the `.log` up to the first batch that is bad or holds `until` or more.
pub(super) fn scan_kept(log: &File, base: i64, interval: u32, until: i64) -> Result<Kept> {
    let mut kept = Kept {
        bytes: 0,
        next_offset: base,
        builder: IndexBuilder::new(base, interval),
        first_timestamp: None,
        last_epoch: None,
        stop: Stop::End,
    };
    let end = scan_until(log, 0, u64::MAX, base, |batch| {
        let header = &batch.header;
        if header.last_offset() >= until {
            return Ok(ControlFlow::Break(()));
        }
        kept.builder.add(batch.position, header);
        kept.bytes = batch.end();
        kept.next_offset = header.next_offset();
        kept.first_timestamp.get_or_insert(header.max_timestamp);
        kept.last_epoch = Some(header.leader_epoch);
        Ok(ControlFlow::Continue(()))
    })?;
    kept.stop = end.stop;
    Ok(kept)
}

/// Makes the segment ready for appending, with exactly the bytes that were `kept`. An inode that has other names, or is
/// `sealed` and has to be cut, is left as it is and replaced by a new one. Durable after `Ok`.
///
/// Bytes from `durable` on are written again, and so is the size where nothing is known: a sync that failed leaves them in
/// memory for everybody to read, takes them for written, and says so to whoever syncs next.
///
/// The caller holds `.segments.lock` exclusively wherever the `.log` is cut or has other names.
pub(super) fn activate(
    dir: &Dir,
    base: i64,
    kept: Kept,
    durable: Option<u64>,
    sealed: bool,
    mode: u32,
    observer: &Observer,
) -> Result<Active> {
    let name = SegmentFile::Log.name(base);
    let mut log = dir.open_file(&name, Open::Write)?;
    let stat = log.stat()?;
    let cut = stat.size > kept.bytes;
    let known = durable.is_some_and(|durable| durable >= kept.bytes);
    if stat.nlink > 1 || (cut && sealed) {
        drop(log);
        let filled = if known { Filled::Shared } else { Filled::Copied };
        replace_by_prefix(dir, &name, kept.bytes, filled, observer)?;
        log = dir.open_file(&name, Open::Write)?;
    } else {
        if cut || !known {
            log.set_len(kept.bytes)?;
        }
        rewrite(&log, durable.unwrap_or(0), kept.bytes, observer)?;
    }
    log.sync()?;
    let files = kept.builder.so_far();
    let index = settle_index(dir, &SegmentFile::Index.name(base), &files.offset, known, mode)?;
    let time = settle_index(dir, &SegmentFile::TimeIndex.name(base), &files.time, known, mode)?;
    Ok(Active {
        base,
        log,
        index,
        time,
        bytes: kept.bytes,
        next_offset: kept.next_offset,
        written: (files.offset.len(), files.time.len()),
        builder: kept.builder,
        first_timestamp: kept.first_timestamp,
        last_epoch: kept.last_epoch,
    })
}

/// Writes bytes of a file over themselves.
fn rewrite(log: &File, from: u64, to: u64, observer: &Observer) -> Result<()> {
    const CHUNK: u64 = 256 * 1024;
    let mut buf = Buffer::new(usize::try_from(CHUNK.min(to.saturating_sub(from))).unwrap_or(1));
    let mut at = from;
    while at < to {
        observer.check()?;
        let want = usize::try_from((to - at).min(buf.len() as u64)).unwrap_or(usize::MAX);
        let got = log.read_at(buf.get_mut(..want).unwrap_or_default(), at)?;
        let Some(chunk) = buf.get(..got).filter(|c| !c.is_empty()) else { break };
        log.write_all_at(chunk, at)?;
        at += got as u64;
    }
    Ok(())
}

/// How the new inode gets its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// By a clone where the filesystem can: what is on the disk.
    Shared,
    /// By reading and writing: what can be read.
    Copied,
}

/// Puts a new inode with the first `bytes` bytes under the same name. The old one keeps all of its bytes.
fn replace_by_prefix(dir: &Dir, name: &str, bytes: u64, filled: Filled, observer: &Observer) -> Result<()> {
    let temp = format!(".{name}.tmp");
    if dir.try_stat(&temp)?.is_some() {
        dir.unlink(&temp)?;
    }
    let old = dir.open_file(name, Open::Read)?;
    let attributes = old.attributes()?;
    let new = dir.open_file(&temp, Open::CreateNew(attributes.mode))?;
    let fill = || match filled {
        Filled::Shared => clone_or_copy(&old, &new, bytes, observer),
        Filled::Copied => copy_range(&old, &new, 0..bytes, observer, |_| {}).map(drop),
    };
    let filled = fill()
        .and_then(|()| new.set_attributes(&attributes).map(drop))
        .and_then(|()| new.sync())
        .and_then(|()| dir.rename(&temp, dir, name, Rename::Replace));
    if let Err(e) = filled {
        let _ = dir.unlink(&temp);
        return Err(e);
    }
    dir.sync()
}

/// Opens an index file that holds exactly `bytes` and has no other name, replacing it where it does not, or where it may
/// not be kept.
fn settle_index(dir: &Dir, name: &str, bytes: &[u8], keep: bool, mode: u32) -> Result<File> {
    if keep
        && let Some(stat) = dir.try_stat(name)?
        && stat.nlink == 1
        && stat.size == bytes.len() as u64
    {
        let file = dir.open_file(name, Open::Write)?;
        if file.read_all(stat.size)? == bytes {
            return Ok(file);
        }
    }
    replace_file(dir, name, bytes, mode)?;
    dir.open_file(name, Open::Write)
}

/// Makes a new, empty segment: its indexes first, because a `.log` proves that the segment before it is whole. The
/// names are durable when the directory has been synced; after an error none is left.
pub(super) fn create_segment(dir: &Dir, base: i64, interval: u32, mode: u32) -> Result<Active> {
    let make = |file: SegmentFile| {
        let name = file.name(base);
        // What an interrupted attempt left behind is in nobody's use: there is no `.log`.
        if file != SegmentFile::Log && dir.try_stat(&name)?.is_some() {
            dir.unlink(&name)?;
        }
        dir.open_file(&name, Open::CreateNew(mode))
    };
    let made = (|| {
        let (index, time) = (make(SegmentFile::Index)?, make(SegmentFile::TimeIndex)?);
        Ok((make(SegmentFile::Log)?, index, time))
    })();
    let (log, index, time) = match made {
        Ok(files) => files,
        Err(e) => {
            for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
                let _ = dir.unlink(file.name(base));
            }
            return Err(e);
        }
    };
    Ok(Active {
        base,
        log,
        index,
        time,
        bytes: 0,
        next_offset: base,
        builder: IndexBuilder::new(base, interval),
        written: (0, 0),
        first_timestamp: None,
        last_epoch: None,
    })
}

/// Whether a sealed segment's indexes are there and look right: by their sizes and last entries, and by the headers from
/// the last entry to the end. The rest of the log is not read.
///
/// # Errors
///
/// `Integrity` where the `.log` does not end on the boundary of a batch, reaches into the next segment, or, unless a loss
/// is accepted, ends before it.
pub(super) fn sealed_looks_right(dir: &Dir, segment: &SegmentEntry, next: i64, config: &LogConfig) -> Result<bool> {
    if !segment.has(SegmentFile::Index) || !segment.has(SegmentFile::TimeIndex) {
        return Ok(false);
    }
    let base = segment.base();
    let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let size = log.len()?;
    let index = Entries::of_file(dir, base, SegmentFile::Index)?;
    let times = Entries::of_file(dir, base, SegmentFile::TimeIndex)?;
    if !index.is_whole::<OffsetEntry>()? || !times.is_whole::<TimeEntry>()? {
        return Ok(false);
    }
    let last = index.last::<OffsetEntry>()?.map(|last| last.entry);
    let time = times.last::<TimeEntry>()?.map(|last| last.entry);
    let indexed = last.map_or(0, |last| u64::try_from(last.position).unwrap_or(u64::MAX));
    let mut headers = Headers::new(&log, indexed, size);
    let mut next_offset = base;
    while let Some((position, header)) = headers.step()? {
        let is_last = |e: OffsetEntry| base.saturating_add(e.relative_offset.into()) == header.last_offset();
        let named = |e: TimeEntry| base.saturating_add(e.relative_offset.into());
        let is_sound = |e: TimeEntry| match (header.base_offset..=header.last_offset()).contains(&named(e)) {
            true => header.max_timestamp == e.timestamp,
            false => header.max_timestamp <= e.timestamp,
        };
        // Another entry was due where more than the interval lies behind.
        if position == indexed && !last.is_none_or(is_last)
            || position.saturating_sub(indexed) > u64::from(config.index_interval)
            || !time.is_none_or(is_sound)
        {
            return Ok(false);
        }
        next_offset = header.next_offset();
    }
    if !headers.is_done() {
        // Nothing is known of an index whose last entry names no batch.
        if headers.position() == indexed && last.is_some() {
            return Ok(false);
        }
        return Err(damaged(&log, format!("no whole batch at byte {} of {size}", headers.position())));
    }
    check_end(&log, next_offset, next, config)?;
    Ok(match time {
        Some(last) => base.saturating_add(last.relative_offset.into()) < next,
        None => size == 0,
    })
}

/// Builds a sealed segment's indexes anew from its `.log`; the files become new inodes where they differ. Says whether
/// one did.
///
/// # Errors
///
/// `Integrity` where the `.log` itself is damaged: nothing is cut from a sealed segment. Also, unless a loss is accepted,
/// where it ends before the next segment.
pub(super) fn rebuild_indexes(dir: &Dir, base: i64, next: i64, config: &LogConfig) -> Result<bool> {
    let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let mut builder = IndexBuilder::new(base, config.index_interval);
    let end = scan(&log, 0, u64::MAX, base, |batch| {
        builder.add(batch.position, &batch.header);
        Ok(())
    })?;
    if !end.stop.is_end() {
        return Err(damaged(&log, format!("at byte {}: {}", end.valid_bytes, end.stop)));
    }
    check_end(&log, end.next_offset, next, config)?;
    let IndexBytes { offset, time } = builder.finish();
    let mut changed = false;
    for (file, bytes) in [(SegmentFile::Index, offset), (SegmentFile::TimeIndex, time)] {
        let name = file.name(base);
        let same = dir.try_stat(&name)?.is_some_and(|s| s.size == bytes.len() as u64)
            && dir.read(&name, bytes.len() as u64)? == bytes;
        if !same {
            replace_file(dir, &name, &bytes, config.file_mode)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// A sealed segment ends where the next one begins: the offsets of a native log have no gap.
fn check_end(log: &File, reached: i64, next: i64, config: &LogConfig) -> Result<()> {
    if reached > next {
        return Err(damaged(log, format!("it reaches offset {reached}, the next segment begins at {next}")));
    }
    if reached < next { lost(log.path(), reached, next, config) } else { Ok(()) }
}

/// The error for offsets from `from` on that are gone; where losses are accepted a warning.
pub(super) fn lost(path: &Path, from: i64, to: i64, config: &LogConfig) -> Result<()> {
    let what = format!("the offsets {from} to {} are missing before the segment at {to}", to.saturating_sub(1));
    if config.accept_loss {
        config.observer.warn(&format!("{}: {what}", path.display()));
        return Ok(());
    }
    let hint = "restore a snapshot that has them, or open the log with accept_loss to go on without them".to_owned();
    Err(IntegrityError { hint: Some(hint), ..IntegrityError::new(path, what) }.into())
}

pub(super) fn damaged(log: &File, what: String) -> Error {
    IntegrityError {
        hint: Some("restore a snapshot that verifies, or set this file aside".to_owned()),
        ..IntegrityError::new(log.path(), what)
    }
    .into()
}
