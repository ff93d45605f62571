//! Restoring less than all of a log: batches as they are, between two of which it begins and ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::plan::{Content, MAX_SMALL, Plan, Planned, stripped, target_path};
use super::span::{Bounds, Place, Span};
use crate::error::{Error, IntegrityError, Result, ValidationError};
use crate::fs::{Dir, Open};
use crate::kafka::checkpoints::{LeaderEpochs, OffsetCheckpoint, amend};
use crate::kafka::live::Turn;
use crate::kafka::{cut_txn_index, datadir};
use crate::log::{
    self, CHECKPOINT, Checkpoint, INDEX_INTERVAL, IndexBuilder, IndexBytes, SegmentFile, parse_segment_name,
};
use crate::snapshot::outcome::{CutBatch, LogCut};
use crate::snapshot::verify::examine::{Dirs, place};
use crate::store::{FileManifest, Loaded, LogManifest, Scope, SourceKind, rfc3339};

/// One log that is cut.
struct CutLog<'a> {
    log: &'a LogManifest,
    span: Span,
    /// The first and the last of its segments that something is left of.
    segments: (i64, i64),
    pieces: Vec<Piece>,
}

/// What is left of a segment of which not all is.
struct Piece {
    segment: i64,
    /// The base offset that it gets.
    named: i64,
    bytes: std::ops::Range<u64>,
    indexes: IndexBytes,
}

/// What lies between the bounds of each log. Of all that a broker has, its own logs are left whole: they are compacted, and of
/// what stood there at some time the later records have taken the place.
pub(in crate::snapshot) fn cut<'a>(loaded: &'a Loaded, dirs: &Dirs<'_>, bounds: Bounds) -> Result<Plan<'a>> {
    let logs = &loaded.manifest.logs;
    if logs.len() != 1 && !bounds.are_times() {
        let hint = Some("name a time, or one partition with `--topic` and `--partition`".into());
        let what = format!("an offset means something in one log, {} holds {}", loaded.id, logs.len());
        return Err(ValidationError::Refused { what, path: None, hint }.into());
    }
    let is_all = loaded.manifest.source.kind == SourceKind::Data && loaded.manifest.source.scope == Scope::All;
    let is_cut = |log: &&LogManifest| !is_all || log.topic.as_deref().is_none_or(|topic| Turn::of(topic) == Turn::Data);
    let of_log =
        |log: &'a LogManifest| Ok((log.dir.as_str(), CutLog::of(loaded, dir_of(loaded, dirs, log)?, log, bounds)?));
    let cut: BTreeMap<&str, CutLog<'a>> =
        logs.par_iter().filter(is_cut).map(of_log).collect::<Result<Vec<_>>>()?.into_iter().collect();
    let held = || cut.values().filter(|log| log.span.last.is_some() || log.span.is_emptied());
    if (bounds.since.into_iter().chain(bounds.until)).any(|b| b.is_time())
        && held().next().is_some()
        && held().all(|log| log.span.is_emptied())
    {
        return Err(nothing_left(loaded, dirs, bounds, held().map(|log| log.log)));
    }
    let restored: Vec<LogManifest> =
        logs.iter().map(|log| cut.get(log.dir.as_str()).map_or_else(|| log.clone(), CutLog::restored)).collect();
    let strip = stripped(loaded);
    let mut files = Vec::with_capacity(loaded.manifest.files.len());
    for file in &loaded.manifest.files {
        let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let read = || match place(dirs, &file.path) {
            Some((dir, name)) => dir.read(name, MAX_SMALL),
            None => Err(Error::io("open", loaded.dir.path_of(&file.path), std::io::ErrorKind::NotFound.into())),
        };
        let (to, content) = match cut.get(dir) {
            Some(log) => match log.file(name, read)? {
                Some((to, content)) if to == name => (target_path(file, strip).into(), content),
                Some((to, content)) => (Cow::Owned(beside(target_path(file, strip), &to)), content),
                None => continue,
            },
            None if dir.is_empty() => (target_path(file, strip).into(), marks(file, read, &cut, &restored)?),
            None => (target_path(file, strip).into(), Content::Whole),
        };
        files.push(Planned { file, to, content });
    }
    Ok(Plan { files, logs: restored, cuts: cut.values().map(CutLog::told).collect() })
}

fn dir_of<'d>(loaded: &Loaded, dirs: &'d Dirs<'_>, log: &LogManifest) -> Result<&'d Dir> {
    let gone = || Error::io("open", loaded.dir.path_of(&log.dir), std::io::ErrorKind::NotFound.into());
    dirs.get(log.dir.as_str()).ok_or_else(gone)
}

fn beside(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or_else(|| name.to_owned(), |(dir, _)| format!("{dir}/{name}"))
}

/// Not one record: that was hardly meant, and an offset would say so plainly.
fn nothing_left<'a>(
    loaded: &Loaded,
    dirs: &Dirs<'_>,
    bounds: Bounds,
    logs: impl Iterator<Item = &'a LogManifest>,
) -> Error {
    let (mut oldest, mut newest) = (None, None);
    for log in logs {
        let all = dir_of(loaded, dirs, log).and_then(|dir| super::span::timestamps(dir, log));
        let Ok(Some((first, largest))) = all else { continue };
        oldest = Some(oldest.map_or(first, |oldest: i64| oldest.min(first)));
        newest = newest.max(Some(largest));
    }
    let mut asked = String::new();
    for (word, bound) in [(" from ", bounds.since), (" before ", bounds.until)] {
        if let Some(bound) = bound {
            asked.push_str(&format!("{word}{bound}"));
        }
    }
    let hint = oldest.zip(newest).map(|(oldest, newest)| {
        format!("its first batch is of {}, its latest of {}", rfc3339(oldest), rfc3339(newest))
    });
    ValidationError::Refused { what: format!("nothing of {} lies{asked}", loaded.id), path: None, hint }.into()
}

/// A broker's checkpoints of offsets, none of them outside of a log that was cut.
fn marks(
    file: &FileManifest,
    read: impl Fn() -> Result<Vec<u8>>,
    cut: &BTreeMap<&str, CutLog<'_>>,
    restored: &[LogManifest],
) -> Result<Content> {
    if ![datadir::LOG_STARTS, datadir::RECOVERY_POINTS, datadir::HIGH_WATERMARKS, datadir::CLEANED]
        .contains(&file.path.as_str())
    {
        return Ok(Content::Whole);
    }
    let bytes = read()?;
    let Ok(was) = OffsetCheckpoint::parse(&bytes) else { return Ok(Content::Whole) };
    let mut changes = Vec::new();
    for log in restored {
        let (Some(topic), Some(partition)) = (log.topic.as_deref(), log.partition) else { continue };
        let Some(offset) = was.get(topic, partition) else { continue };
        let (start, end) = (log.cut.log_start_offset, log.cut.log_end_offset);
        let now = match file.path.as_str() {
            datadir::LOG_STARTS => {
                Some(offset.max(if cut.contains_key(log.dir.as_str()) { start } else { 0 }).min(end))
            }
            _ if !cut.contains_key(log.dir.as_str()) => continue,
            // Compaction begins anew.
            datadir::CLEANED => Some(offset).filter(|offset| (start..=end).contains(offset)),
            _ => Some(offset.clamp(start, end)),
        };
        changes.push((topic, partition, now));
    }
    Ok(amend(&bytes, &changes)
        .map_or(Content::Whole, |now| if now == bytes { Content::Whole } else { Content::Bytes(now) }))
}

impl<'a> CutLog<'a> {
    fn of(loaded: &Loaded, dir: &Dir, log: &'a LogManifest, bounds: Bounds) -> Result<CutLog<'a>> {
        refuse_outside(log, bounds)?;
        let span = Span::of(dir, log, bounds).map_err(|e| match e {
            Error::Integrity(e) => {
                let hint = format!("`cowlog verify` tells of all damage of {} at the level deep", loaded.id);
                IntegrityError { hint: Some(hint), ..e }.into()
            }
            other => other,
        })?;
        let first = log.segments.first().copied().unwrap_or(log.cut.log_start_offset);
        let last = log.segments.last().copied().unwrap_or(first);
        if span.is_emptied() {
            let indexes = IndexBytes::default();
            let piece = Piece { segment: first, named: span.start, bytes: 0..0, indexes };
            return Ok(CutLog { log, span, segments: (first, first), pieces: vec![piece] });
        }
        let segments = (
            span.first.map_or(first, |place| place.segment),
            span.last.filter(|_| span.behind.is_some()).map_or(last, |place| place.segment),
        );
        let mut pieces = Vec::new();
        let mut begins: Vec<i64> = vec![segments.0, segments.1];
        begins.dedup();
        for segment in begins {
            let begin = span.first.filter(|place| place.segment == segment && place.position > 0);
            let end = span.behind.filter(|place| place.segment == segment);
            if begin.is_none() && end.is_none() {
                continue;
            }
            let named = begin.map_or(segment, |place| place.header.base_offset);
            let bytes = begin.map_or(0, |place| place.position)..end.map_or(u64::MAX, |place| place.position);
            pieces.push(Piece::of(dir, segment, named, bytes)?);
        }
        Ok(CutLog { log, span, segments, pieces })
    }

    fn is_whole(&self) -> bool {
        self.span.before.is_none() && self.span.behind.is_none()
    }

    /// The name and the content of one of its files; `None` where nothing of it is left.
    fn file(&self, name: &str, read: impl Fn() -> Result<Vec<u8>>) -> Result<Option<(String, Content)>> {
        let as_it_is = || Ok(Some((name.to_owned(), Content::Whole)));
        let Span { start, end, before, .. } = &self.span;
        if self.is_whole() {
            return as_it_is();
        }
        let content = match parse_segment_name(name) {
            Some((at, SegmentFile::ProducerState)) if at > *end || before.is_some() && at < *start => return Ok(None),
            Some((_, SegmentFile::ProducerState)) => return as_it_is(),
            Some((base, _)) if base < self.segments.0 || base > self.segments.1 => return Ok(None),
            Some((base, kind)) => {
                let Some(piece) = self.pieces.iter().find(|piece| piece.segment == base) else { return as_it_is() };
                let content = match kind {
                    SegmentFile::Log => Content::Range(piece.bytes.clone()),
                    SegmentFile::Index => Content::Bytes(piece.indexes.offset.clone()),
                    SegmentFile::TimeIndex => Content::Bytes(piece.indexes.time.clone()),
                    _ if piece.bytes.is_empty() => return Ok(None),
                    _ => Content::Bytes(cut_txn_index(&read()?, piece.named..*end).to_vec()),
                };
                return Ok(Some((kind.name(piece.named), content)));
            }
            None if name == datadir::LEADER_EPOCHS => match LeaderEpochs::parse(&read()?) {
                Ok(epochs) => {
                    let epochs = epochs.cut((*end).max(1));
                    Content::Bytes(if before.is_some() { epochs.cut_before(*start) } else { epochs }.to_bytes())
                }
                Err(_) => Content::Whole,
            },
            None if name == CHECKPOINT => match Checkpoint::parse(&read()?) {
                Ok(checkpoint) => {
                    let high_watermark = checkpoint.high_watermark.map(|mark| mark.clamp(*start, *end));
                    let log_start_offset =
                        if before.is_some() { *start } else { checkpoint.log_start_offset.min(*end) };
                    Content::Bytes(Checkpoint { log_start_offset, high_watermark, durable: None }.to_bytes())
                }
                Err(_) => Content::Whole,
            },
            None => Content::Whole,
        };
        Ok(Some((name.to_owned(), content)))
    }

    fn restored(&self) -> LogManifest {
        let mut log = self.log.clone();
        let Span { start, end, .. } = self.span;
        (log.cut.log_start_offset, log.cut.log_end_offset) = (start, end);
        log.cut.high_watermark = log.cut.high_watermark.clamp(start, end);
        log.segments.retain(|base| (self.segments.0..=self.segments.1).contains(base));
        for base in &mut log.segments {
            *base = self.pieces.iter().find(|piece| piece.segment == *base).map_or(*base, |piece| piece.named);
        }
        log
    }

    fn told(&self) -> LogCut {
        let batch = |place: Option<Place>| place.map(|Place { header, .. }| CutBatch::of(&header));
        LogCut {
            topic: self.log.topic.clone(),
            partition: self.log.partition,
            start_offset: self.span.start,
            end_offset: self.span.end,
            before: batch(self.span.before),
            first: batch(self.span.first),
            last: batch(self.span.last),
            behind: batch(self.span.behind),
        }
    }
}

/// Offsets that the log never had were hardly meant.
fn refuse_outside(log: &LogManifest, bounds: Bounds) -> Result<()> {
    use super::bound::Bound::Offset;
    let (start, end) = (log.cut.log_start_offset, log.cut.log_end_offset);
    let what = match (bounds.since, bounds.until) {
        (_, Some(Offset(until))) if until < start => {
            format!("the log starts at offset {start}, it cannot be cut at {until}")
        }
        (Some(Offset(since)), _) if since > end => format!("the log ends at offset {end}, it cannot begin at {since}"),
        (Some(Offset(since)), Some(Offset(until))) if since > until => {
            format!("nothing lies from offset {since} on and below {until}")
        }
        _ => return Ok(()),
    };
    let hint = Some(format!("the log holds offsets {start} to {end}"));
    Err(ValidationError::Refused { what, path: None, hint }.into())
}

impl Piece {
    fn of(dir: &Dir, segment: i64, named: i64, bytes: std::ops::Range<u64>) -> Result<Piece> {
        let source = dir.open_file(SegmentFile::Log.name(segment), Open::Read)?;
        let mut indexes = IndexBuilder::new(named, INDEX_INTERVAL);
        let end = log::scan(&source, bytes.start, bytes.end, named, |batch| {
            indexes.add(batch.position.saturating_sub(bytes.start), &batch.header);
            Ok(())
        })?;
        if !end.stop.is_end() {
            let what = format!("it cannot be cut, since at byte {}: {}", end.valid_bytes, end.stop);
            return Err(IntegrityError::new(source.path(), what).into());
        }
        Ok(Piece { segment, named, bytes: bytes.start..end.valid_bytes, indexes: indexes.finish() })
    }
}
