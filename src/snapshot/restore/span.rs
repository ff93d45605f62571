//! What is left of one log between two bounds.

use std::ops::ControlFlow;

use super::bound::Bound;
use crate::error::Result;
use crate::fs::{Dir, Open};
use crate::log::{BatchHeader, SegmentFile, walk};
use crate::store::LogManifest;

/// What a restored log is to lie between.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::snapshot) struct Bounds {
    pub(in crate::snapshot) since: Option<Bound>,
    pub(in crate::snapshot) until: Option<Bound>,
}

impl Bounds {
    pub(in crate::snapshot) fn are_none(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Offsets mean something in one log only.
    pub(in crate::snapshot) fn are_times(&self) -> bool {
        self.since.into_iter().chain(self.until).all(Bound::is_time)
    }
}

/// A batch, and where it begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::snapshot) struct Place {
    pub(in crate::snapshot) segment: i64,
    pub(in crate::snapshot) position: u64,
    pub(in crate::snapshot) header: BatchHeader,
}

/// What is left of a log: from the first batch at or above the log start that is not below `since`, up to the first that is
/// not below `until`. Time stamps need not ascend: a batch behind that one is left out whatever its own are.
#[derive(Debug)]
pub(in crate::snapshot) struct Span {
    /// The first offset that readers may see.
    pub(in crate::snapshot) start: i64,
    /// The offset after the last record.
    pub(in crate::snapshot) end: i64,
    /// The first and the last batch that are kept; the first only where something before it was dropped.
    pub(in crate::snapshot) first: Option<Place>,
    pub(in crate::snapshot) last: Option<Place>,
    /// The last batch before, and the first behind, that are left out.
    pub(in crate::snapshot) before: Option<Place>,
    pub(in crate::snapshot) behind: Option<Place>,
}

impl Span {
    /// Time indexes are not asked: what they say of a segment only its batches' headers can prove, and these are read.
    pub(in crate::snapshot) fn of(dir: &Dir, log: &LogManifest, bounds: Bounds) -> Result<Span> {
        let (log_start, log_end) = (log.cut.log_start_offset, log.cut.log_end_offset);
        let visible = log.segments.partition_point(|base| *base <= log_start).saturating_sub(1);
        let bases = log.segments.get(visible..).unwrap_or_default();
        let mut seen = Seen { bounds, log_start, first: None, last: None, before: None, behind: None };
        let mut dropped = 0;
        let mut kept = 0;
        for (at, base) in bases.iter().enumerate() {
            let ends = bases.get(at + 1).copied().unwrap_or(log_end);
            let is_above = |bound: Option<Bound>| bound.is_some_and(|bound| bound.is_above_offset(ends));
            if seen.first.is_none() && is_above(bounds.since) && bounds.until.is_none_or(|_| is_above(bounds.until)) {
                dropped = at + 1;
                continue;
            }
            let is_open = bounds.since.is_none() || seen.first.is_some();
            if is_open && is_above(bounds.until) {
                (kept, seen.last) = (at + 1, None);
                continue;
            }
            if seen.segment(dir, *base)?.is_break() {
                break;
            }
        }
        // Of segments that were passed over the last batches are wanted all the same.
        if seen.before.is_none() {
            seen.before = last_of(dir, bases.get(..dropped).unwrap_or_default(), log_start)?;
        }
        if seen.last.is_none() {
            seen.last = last_of(dir, bases.get(dropped..kept).unwrap_or_default(), log_start)?;
        }
        let Seen { first, last, before, behind, .. } = seen;
        let first = first.filter(|_| before.is_some());
        let start = match (first, before) {
            (Some(first), _) => first.header.base_offset.max(log_start),
            (None, Some(_)) if behind.is_none() => log_end,
            (None, Some(before)) => before.header.next_offset(),
            (None, None) => log_start,
        };
        let end = match (last, behind) {
            (Some(last), Some(_)) => last.header.next_offset(),
            (None, Some(_)) => start,
            (_, None) => log_end,
        };
        Ok(Span { start, end, first, last, before, behind })
    }

    /// Whether a log that held something holds nothing any more.
    pub(in crate::snapshot) fn is_emptied(&self) -> bool {
        self.last.is_none() && (self.before.is_some() || self.behind.is_some())
    }
}

struct Seen {
    bounds: Bounds,
    log_start: i64,
    first: Option<Place>,
    last: Option<Place>,
    before: Option<Place>,
    behind: Option<Place>,
}

impl Seen {
    fn segment(&mut self, dir: &Dir, segment: i64) -> Result<ControlFlow<()>> {
        let mut ended = ControlFlow::Continue(());
        let log = dir.open_file(SegmentFile::Log.name(segment), Open::Read)?;
        walk(&log, |position, header| {
            if header.last_offset() < self.log_start {
                return ControlFlow::Continue(());
            }
            let place = Some(Place { segment, position, header: *header });
            if self.bounds.until.is_some_and(|until| !until.is_above(header)) {
                self.behind = place;
                ended = ControlFlow::Break(());
                return ended;
            }
            if self.first.is_none() && self.bounds.since.is_some_and(|since| since.is_above(header)) {
                self.before = place;
            } else {
                self.first = self.first.or(place);
                self.last = place;
            }
            ControlFlow::Continue(())
        })?;
        Ok(ended)
    }
}

/// The last batch of some segments, of which those at the end may be empty.
fn last_of(dir: &Dir, segments: &[i64], log_start: i64) -> Result<Option<Place>> {
    for segment in segments.iter().rev() {
        let mut last = None;
        let log = dir.open_file(SegmentFile::Log.name(*segment), Open::Read)?;
        walk(&log, |position, header| {
            if header.last_offset() >= log_start {
                last = Some(Place { segment: *segment, position, header: *header });
            }
            ControlFlow::Continue(())
        })?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// The timestamp of the first batch of a log, and the largest of any, where they have one.
pub(in crate::snapshot) fn timestamps(dir: &Dir, log: &LogManifest) -> Result<Option<(i64, i64)>> {
    let mut found: Option<(i64, i64)> = None;
    for segment in &log.segments {
        let file = dir.open_file(SegmentFile::Log.name(*segment), Open::Read)?;
        walk(&file, |_, header| {
            if header.last_offset() >= log.cut.log_start_offset && header.max_timestamp >= 0 {
                let at = header.max_timestamp;
                found = Some(found.map_or((at, at), |(first, largest)| (first, largest.max(at))));
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}
