//! Reading batches by offset and by timestamp across the segments of a log.

use super::batch::Batch;
use super::entries::Entries;
use super::header::BatchHeader;
use super::index::IndexBytes;
use super::scan::{Stop, scan};
use super::seek::Seeker;
use super::segment::SegmentFile;
use super::window::Window;
use crate::error::{Error, IntegrityError, Result};
use crate::fs::{Dir, File, Open};

/// What is readable of a log at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub dir: &'a Dir,
    /// Base offsets, ascending.
    pub bases: &'a [i64],
    /// Bytes of the last segment that are batches; `None` where that is not known: what is not whole at its end is the end.
    pub active_bytes: Option<u64>,
    pub log_start: i64,
    pub log_end: i64,
    /// The last segment's indexes where the writer has them in memory.
    pub active_indexes: Option<&'a IndexBytes>,
}

impl<'a> View<'a> {
    /// From the batch that holds `offset` on.
    pub(super) fn batches(self, offset: i64) -> Batches<'a> {
        let from = offset.max(self.log_start);
        let first = self.bases.partition_point(|base| *base <= from).saturating_sub(1);
        self.batches_of(self.bases.get(first..).unwrap_or_default(), from)
    }

    /// Of these segments alone.
    pub(super) fn batches_of(self, segments: &'a [i64], from: i64) -> Batches<'a> {
        Batches { view: self, rest: segments, from, begun: false, current: None, window: Window::new(AHEAD) }
    }

    fn is_active(&self, base: i64) -> bool {
        self.bases.last() == Some(&base)
    }

    fn open_log(&self, base: i64) -> Result<(File, u64)> {
        let file = self.dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
        let end = match self.active_bytes.filter(|_| self.is_active(base)) {
            Some(bytes) => bytes,
            None => file.len()?,
        };
        Ok((file, end))
    }

    fn entries(&self, base: i64, which: SegmentFile) -> Result<Entries<'a>> {
        match self.active_indexes.filter(|_| self.is_active(base)) {
            Some(bytes) if which == SegmentFile::Index => Ok(Entries::Bytes(&bytes.offset)),
            Some(bytes) => Ok(Entries::Bytes(&bytes.time)),
            None => Entries::of_file(self.dir, base, which),
        }
    }

    /// The first offset whose record's timestamp is `timestamp` or later.
    pub(super) fn offset_for_timestamp(self, timestamp: i64) -> Result<Option<i64>> {
        for (i, &base) in self.bases.iter().enumerate() {
            let ends_below_start = self.bases.get(i + 1).is_some_and(|next| *next <= self.log_start);
            if ends_below_start {
                continue;
            }
            let (log, end) = self.open_log(base)?;
            let seeker = Seeker { log: &log, base, end, index: self.entries(base, SegmentFile::Index)? };
            let times = self.entries(base, SegmentFile::TimeIndex)?;
            // The last entry of a sealed segment has the segment's largest timestamp.
            if !self.is_active(base) && seeker.largest_timestamp(&times)?.is_some_and(|largest| largest < timestamp) {
                continue;
            }
            let limit = self.bases.get(i + 1).copied().unwrap_or(self.log_end);
            let from = seeker.offset_before(timestamp, limit, &times)?;
            let segment = self.batches_of(self.bases.get(i..=i).unwrap_or_default(), from.max(self.log_start));
            if let Some(offset) = self.first_at_or_after(timestamp, segment)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    fn first_at_or_after(&self, timestamp: i64, batches: Batches<'_>) -> Result<Option<i64>> {
        for batch in batches {
            let batch = batch?;
            if batch.header().max_timestamp < timestamp {
                continue;
            }
            let records = batch.records().map_err(|e| {
                let what = format!("the batch at offset {} cannot be read: {e}", batch.header().base_offset);
                Error::from(IntegrityError::new(self.dir.path(), what))
            })?;
            let found = records.iter().find(|r| r.timestamp >= timestamp && r.offset >= self.log_start);
            if let Some(record) = found {
                return Ok(Some(record.offset));
            }
        }
        Ok(None)
    }
}

/// Batches in the order of their offsets. Ends at the log's end as it was when this was made; after an error nothing more
/// comes.
#[derive(Debug)]
pub struct Batches<'a> {
    view: View<'a>,
    /// Segments not opened yet.
    rest: &'a [i64],
    /// The least offset that is still wanted.
    from: i64,
    /// A batch was given: `from` lies behind it, no longer within one.
    begun: bool,
    current: Option<Segment>,
    window: Window,
}

#[derive(Debug)]
struct Segment {
    base: i64,
    log: File,
    position: u64,
    end: u64,
    /// Whether something that is not whole may follow the last batch.
    open: bool,
}

/// Bytes that are read at a time.
const AHEAD: usize = 256 * 1024;

/// Batches above this size are checked as a stream before room is made for them: a length field proves nothing.
const LARGE: u64 = 16 << 20;

impl Batches<'_> {
    fn step(&mut self) -> Result<Option<Batch>> {
        loop {
            if self.from >= self.view.log_end {
                return Ok(None);
            }
            let Some(segment) = &mut self.current else {
                let Some((&base, rest)) = self.rest.split_first() else { return Ok(None) };
                self.rest = rest;
                self.open(base)?;
                continue;
            };
            if segment.position >= segment.end {
                self.current = None;
                continue;
            }
            let left = segment.end - segment.position;
            let head = self.window.at(&segment.log, segment.position, left.min(BatchHeader::SIZE as u64))?;
            if segment.open && is_tail(head, left) {
                self.current = None;
                continue;
            }
            let header = BatchHeader::parse(head).map_err(|e| segment.broken(self.from, &e.to_string()))?;
            let size = header.total_size();
            if size > left {
                return Err(segment.broken(self.from, &Stop::Torn { have: left, need: size }.to_string()));
            }
            if header.base_offset < segment.base {
                return Err(segment.broken(self.from, "its offset is below the segment's"));
            }
            if header.last_offset() < self.from {
                segment.position += size;
                continue;
            }
            if self.begun && header.base_offset < self.from {
                return Err(segment.broken(self.from, "its offsets overlap those before it"));
            }
            if header.base_offset >= self.view.log_end {
                return Ok(None);
            }
            if size > LARGE {
                let end = scan(&segment.log, segment.position, segment.position + size, 0, |_| Ok(()))?;
                if end.batches != 1 {
                    return Err(segment.broken(self.from, &end.stop.to_string()));
                }
            }
            let bytes = self.window.at(&segment.log, segment.position, size)?.to_vec();
            let batch = Batch::from_bytes(bytes).map_err(|e| segment.broken(self.from, &e.to_string()))?;
            segment.position += size;
            (self.from, self.begun) = (header.next_offset(), true);
            return Ok(Some(batch));
        }
    }

    fn open(&mut self, base: i64) -> Result<()> {
        let (log, end) = self.view.open_log(base)?;
        self.window.clear();
        let position = if self.from > base {
            let index = self.view.entries(base, SegmentFile::Index)?;
            Seeker { log: &log, base, end, index }.position_for(self.from)?
        } else {
            0
        };
        let open = self.view.active_bytes.is_none() && self.view.is_active(base);
        self.current = Some(Segment { base, log, position, end, open });
        Ok(())
    }
}

impl Segment {
    /// `from` is the least offset that it can have.
    fn broken(&self, from: i64, why: &str) -> Error {
        let what = format!("the batch at byte {} (offset {from} or above) is broken: {why}", self.position);
        IntegrityError::new(self.log.path(), what).into()
    }
}

/// Whether these are the first bytes of what a writer has not written to its end, or of a preallocated tail, whose length
/// field reads 0.
fn is_tail(head: &[u8], left: u64) -> bool {
    let length = head.get(8..12);
    left < BatchHeader::SIZE as u64
        || head.len() < BatchHeader::SIZE
        || length == Some(&[0; 4][..])
        || BatchHeader::parse(head).is_ok_and(|header| header.total_size() > left)
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            (self.rest, self.current) = (&[], None);
        }
        step
    }
}
