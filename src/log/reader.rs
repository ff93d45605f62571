//! Reading a log that somebody else may be writing, or a snapshot.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::read::{Batches, View};
use super::scan::{ScanEnd, scan};
use super::segment::{SegmentEntry, SegmentFile, list_live};
use crate::error::{Result, ValidationError};
use crate::fs::{Dir, Open};

/// Reads any directory in this format, a snapshot or a partition of a broker included, without writing to it.
///
/// It sees the log as it was at opening, up to the last batch whose CRC held. Offsets that are missing, as compaction leaves
/// them, are passed over; whether they should be there a deep verification or [`Log::open`](super::Log::open) tells. Indexes are used where they are there and
/// right; without them reading is only slower.
#[derive(Debug)]
pub struct LogReader {
    dir: Dir,
    segments: Vec<SegmentEntry>,
    bases: Vec<i64>,
    log_start: i64,
    high_watermark: Option<i64>,
    active: ScanEnd,
}

impl LogReader {
    /// Opens a directory of the real filesystem.
    ///
    /// # Errors
    ///
    /// `Validation` where it has no segment; an unreadable `checkpoint.json` is `Integrity`.
    pub fn open(path: impl AsRef<Path>) -> Result<LogReader> {
        LogReader::open_on(Dir::open(path)?)
    }

    /// Opens any directory. The active segment is read once from its beginning, the sealed ones are not.
    pub fn open_on(dir: Dir) -> Result<LogReader> {
        let segments = list_live(&dir, None)?.segments;
        let Some((first, active)) = segments.first().zip(segments.last()) else {
            let why = "it has no segment".to_owned();
            return Err(ValidationError::NotALog { path: dir.path().to_owned(), why }.into());
        };
        let (first, base) = (first.base(), active.base());
        let checkpoint = Checkpoint::read(&dir)?;
        let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
        let active = scan(&log, 0, u64::MAX, base, |_| Ok(()))?;
        let log_start = checkpoint.map_or(first, |c| c.log_start_offset.max(first));
        let bases = segments.iter().map(SegmentEntry::base).collect();
        let high_watermark = checkpoint.and_then(|c| c.high_watermark);
        Ok(LogReader { dir, segments, bases, log_start, high_watermark, active })
    }

    /// The same with another log start offset, as a broker keeps it outside of the directory.
    pub fn with_log_start(mut self, offset: i64) -> LogReader {
        self.log_start = self.bases.first().map_or(offset, |first| offset.max(*first));
        self
    }

    /// The segments, by base offset.
    pub fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// The first offset that readers may see.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The offset after the last record.
    pub fn log_end(&self) -> i64 {
        self.active.next_offset
    }

    /// The high watermark: the one that `checkpoint.json` has, the log's end where it has none.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.map_or(self.log_end(), |hw| hw.min(self.log_end()))
    }

    /// What was found in the active segment, its tail included.
    pub fn active(&self) -> &ScanEnd {
        &self.active
    }

    /// The batches from the one that holds `offset` on, whole: the first may begin below it. Offsets below the log
    /// start count as the log start; at the log's end or above there is none.
    pub fn read_from(&self, offset: i64) -> Batches<'_> {
        self.view().batches(offset)
    }

    /// The first offset whose record's timestamp is `timestamp` (milliseconds since 1970 UTC) or later.
    ///
    /// # Errors
    ///
    /// `Integrity` where a batch on the way is damaged.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<i64>> {
        self.view().offset_for_timestamp(timestamp)
    }

    fn view(&self) -> View<'_> {
        View {
            dir: &self.dir,
            bases: &self.bases,
            active_bytes: Some(self.active.valid_bytes),
            log_start: self.log_start,
            log_end: self.log_end(),
            active_indexes: None,
        }
    }
}
