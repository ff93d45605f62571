//! Reading a log of which it is known what belongs to it: nothing is read before it is asked for.

use std::path::PathBuf;

use super::cut::Cut;
use super::read::{Batches, View};
use super::segment::SegmentFile;
use crate::fs::Dir;

/// Reads the segments that it is given, up to a cut, as a snapshot's manifest names them; or those of a log that goes on
/// growing, up to what is not whole at its end. A [`LogReader`](super::LogReader) reads the last segment first.
#[derive(Debug)]
pub struct CutReader {
    dir: Dir,
    bases: Vec<i64>,
    log_start: i64,
    log_end: i64,
    active_bytes: Option<u64>,
}

impl CutReader {
    /// Of these segments (base offsets, ascending), up to the cut.
    pub fn new(dir: Dir, segments: &[i64], cut: &Cut) -> CutReader {
        let (log_start, log_end) = (cut.log_start_offset, cut.log_end_offset);
        CutReader { dir, bases: segments.to_vec(), log_start, log_end, active_bytes: Some(cut.active_bytes) }
    }

    /// Of a log that somebody may be appending to. Bytes behind its last whole batch, as an append leaves them that has not
    /// ended, are its end. A batch whose CRC does not hold is an error there as well.
    pub fn growing(dir: Dir, segments: &[i64], log_start: i64) -> CutReader {
        CutReader { dir, bases: segments.to_vec(), log_start, log_end: i64::MAX, active_bytes: None }
    }

    /// The first offset that readers may see.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The file in which an offset is, or would be.
    pub fn segment_of(&self, offset: i64) -> PathBuf {
        let before = self.bases.partition_point(|base| *base <= offset).saturating_sub(1);
        self.dir.path_of(SegmentFile::Log.name(self.bases.get(before).copied().unwrap_or(0)))
    }

    /// As [`LogReader::read_from`](super::LogReader::read_from).
    pub fn read_from(&self, offset: i64) -> Batches<'_> {
        self.view().batches(offset)
    }

    /// The same of some of the segments alone, ascending.
    pub fn read_segments<'a>(&'a self, segments: &'a [i64], offset: i64) -> Batches<'a> {
        self.view().batches_of(segments, offset.max(self.log_start))
    }

    fn view(&self) -> View<'_> {
        View {
            dir: &self.dir,
            bases: &self.bases,
            active_bytes: self.active_bytes,
            log_start: self.log_start,
            log_end: self.log_end,
            active_indexes: None,
        }
    }
}
