//! Finds a place in a segment by its indexes, which are hints: an entry counts where the batch that it names is what
//! it says, and the headers from the entry before it lead there. So a wrong entry costs time, and a right one the
//! headers of a few index intervals. A wrong answer would take two neighbours that were forged to fit the batches.

use super::entries::{Entries, Pair};
use super::index::{OffsetEntry, TimeEntry};
use super::window::Headers;
use crate::error::Result;
use crate::fs::File;

/// A segment to find places in.
#[derive(Debug)]
pub(super) struct Seeker<'a> {
    pub log: &'a File,
    pub base: i64,
    /// Bytes of the `.log` that are batches.
    pub end: u64,
    pub index: Entries<'a>,
}

impl Seeker<'_> {
    /// A position at or before the batch that holds `offset`, on the boundary of a batch.
    pub(super) fn position_for(&self, offset: i64) -> Result<u64> {
        let target = i32::try_from(offset.saturating_sub(self.base)).unwrap_or(i32::MAX);
        let Some(Pair { before, entry }) = self.index.last_where(|e: &OffsetEntry| e.relative_offset <= target)? else {
            return Ok(0);
        };
        let place = |e: OffsetEntry| (u64::try_from(e.position).unwrap_or(0), self.absolute(e.relative_offset));
        let (first, goal) = (before.map(place), place(entry));
        let mut headers = Headers::new(self.log, first.map_or(0, |(position, _)| position), self.end);
        while let Some((at, header)) = headers.step()? {
            let here = (at, header.last_offset());
            if here == goal {
                return Ok(at);
            }
            if at >= goal.0 || first.is_some_and(|first| at == first.0 && here != first) {
                break;
            }
        }
        Ok(0)
    }

    /// An offset before which no timestamp of the segment is `timestamp` or later: of a batch, or in the midst of one.
    /// Only entries for offsets below `limit` count.
    pub(super) fn offset_before(&self, timestamp: i64, limit: i64, times: &Entries<'_>) -> Result<i64> {
        let below = |e: &TimeEntry| e.timestamp < timestamp && self.absolute(e.relative_offset) < limit;
        Ok(match times.last_where(below)? {
            Some(pair) if self.borne_out(&pair)?.is_some() => self.absolute(pair.entry.relative_offset),
            _ => self.base,
        })
    }

    /// The segment's largest timestamp by its time index; `None` where that does not say.
    pub(super) fn largest_timestamp(&self, times: &Entries<'_>) -> Result<Option<i64>> {
        let Some(last) = times.last()? else { return Ok(None) };
        let Some(mut rest) = self.borne_out(&last)? else { return Ok(None) };
        while let Some((_, header)) = rest.step()? {
            if header.max_timestamp > last.entry.timestamp {
                return Ok(None);
            }
        }
        Ok(rest.is_done().then_some(last.entry.timestamp))
    }

    /// Where the entry is right as seen from the one before it: the headers behind the batch that it names.
    fn borne_out(&self, Pair { before, entry }: &Pair<TimeEntry>) -> Result<Option<Headers<'_>>> {
        let from = before.map_or(self.base, |e| self.absolute(e.relative_offset));
        let goal = self.absolute(entry.relative_offset);
        let mut headers = Headers::new(self.log, self.position_for(from)?, self.end);
        let mut largest = None;
        while let Some((_, header)) = headers.step()? {
            if header.last_offset() < from {
                continue;
            }
            if largest.is_none() && before.is_some_and(|e| e.timestamp != header.max_timestamp) {
                break;
            }
            largest = largest.max(Some(header.max_timestamp));
            if header.last_offset() >= goal {
                let holds = header.base_offset <= goal && header.max_timestamp == entry.timestamp;
                return Ok((holds && largest == Some(entry.timestamp)).then_some(headers));
            }
        }
        Ok(None)
    }

    fn absolute(&self, relative: i32) -> i64 {
        self.base.saturating_add(relative.into())
    }
}
