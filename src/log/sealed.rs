//! Where a segment ends, by the headers of its last batches: what tells of one that was cut, without reading all of it.

use super::entries::Entries;
use super::index::OffsetEntry;
use super::scan::Stop;
use super::segment::SegmentFile;
use super::window::Headers;
use crate::error::Result;
use crate::fs::{Dir, File, Open};

/// Where the batches of a segment end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// The offset behind the last whole batch; the segment's own where it has none.
    pub(crate) offset: i64,
    /// The byte behind it.
    pub(crate) bytes: u64,
    /// Why they end there.
    pub(crate) stop: Stop,
}

/// How far the batches of a segment reach: by its headers from the last index entry on, or, where these do not satisfy, by all of
/// them, since an entry is a hint.
pub(crate) fn segment_end(dir: &Dir, base: i64, satisfies: impl Fn(&SegmentEnd) -> bool) -> Result<SegmentEnd> {
    let log = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let last = Entries::of_file(dir, base, SegmentFile::Index)?.last::<OffsetEntry>()?;
    let hinted = last.map_or(0, |last| u64::try_from(last.entry.position).unwrap_or(0));
    let size = log.len()?;
    let end = end_from(&log, base, hinted.min(size), size)?;
    if satisfies(&end) || hinted == 0 { Ok(end) } else { end_from(&log, base, 0, size) }
}

fn end_from(log: &File, base: i64, from: u64, size: u64) -> Result<SegmentEnd> {
    let mut headers = Headers::new(log, from, size);
    let mut offset = base;
    while let Some((_, header)) = headers.step()? {
        offset = header.next_offset();
    }
    Ok(SegmentEnd { offset, bytes: headers.position(), stop: headers.stop()? })
}
