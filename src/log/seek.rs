//! Finds a place in a segment by its indexes, without trusting them: a wrong index costs time, not a wrong answer
//! by offset.

use super::header::BatchHeader;
use super::index::{IndexEntry, OffsetEntry, TimeEntry};
use super::segment::SegmentFile;
use crate::error::Result;
use crate::fs::{Dir, File};

/// The entries of an index, wherever they are.
#[derive(Debug)]
pub(super) enum Entries<'a> {
    None,
    File { file: File, bytes: u64 },
    Bytes(&'a [u8]),
}

impl Entries<'_> {
    pub(super) fn of_file(dir: &Dir, base: i64, which: SegmentFile) -> Result<Entries<'static>> {
        Ok(match dir.try_open(which.name(base))? {
            Some(file) => Entries::File { bytes: file.len()?, file },
            None => Entries::None,
        })
    }

    fn count<E: IndexEntry>(&self) -> u64 {
        let bytes = match self {
            Entries::None => 0,
            Entries::File { bytes, .. } => *bytes,
            Entries::Bytes(bytes) => bytes.len() as u64,
        };
        bytes / E::SIZE as u64
    }

    /// `None` for what cannot be an entry, a zero tail included.
    fn get<E: IndexEntry>(&self, index: u64) -> Result<Option<E>> {
        const LARGEST: usize = 12;
        let mut buf = [0; LARGEST];
        let at = index * E::SIZE as u64;
        let raw = match self {
            Entries::None => None,
            Entries::File { file, .. } => {
                let read = file.read_at(buf.get_mut(..E::SIZE).unwrap_or_default(), at)?;
                buf.get(..read).filter(|raw| raw.len() == E::SIZE)
            }
            Entries::Bytes(bytes) => usize::try_from(at).ok().and_then(|at| bytes.get(at..at + E::SIZE)),
        };
        Ok(raw.filter(|raw| raw.iter().any(|b| *b != 0)).and_then(E::read).filter(E::possible))
    }

    /// The last entry for which `holds`, by bisection: it must hold for a beginning of the entries only.
    pub(super) fn last_where<E: IndexEntry>(&self, holds: impl Fn(&E) -> bool) -> Result<Option<E>> {
        let (mut low, mut high, mut found) = (0, self.count::<E>(), None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get::<E>(middle)?.filter(|e| holds(e)) {
                Some(entry) => {
                    found = Some(entry);
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// Whether every entry is one, by the look of the last.
    pub(super) fn is_whole<E: IndexEntry>(&self) -> Result<bool> {
        let aligned = match self {
            Entries::None => true,
            Entries::File { bytes, .. } => bytes % E::SIZE as u64 == 0,
            Entries::Bytes(bytes) => bytes.len() % E::SIZE == 0,
        };
        Ok(aligned
            && match self.count::<E>() {
                0 => true,
                count => self.get::<E>(count - 1)?.is_some(),
            })
    }
}

/// The header at `position`, if one is there and its batch ends at or before `end`.
pub(super) fn header_at(log: &File, position: u64, end: u64) -> Result<Option<BatchHeader>> {
    let mut bytes = [0; BatchHeader::SIZE];
    let read = log.read_at(&mut bytes, position)?;
    let header = bytes.get(..read).and_then(|b| BatchHeader::parse(b).ok());
    Ok(header.filter(|h| position.checked_add(h.total_size()).is_some_and(|after| after <= end)))
}

/// A position at or before the batch that holds `offset`, on the boundary of a batch.
pub(super) fn position_for(log: &File, base: i64, end: u64, offset: i64, index: &Entries<'_>) -> Result<u64> {
    let target = i32::try_from(offset.saturating_sub(base)).unwrap_or(i32::MAX);
    let Some(entry) = index.last_where(|e: &OffsetEntry| e.relative_offset <= target)? else { return Ok(0) };
    let position = u64::try_from(entry.position).unwrap_or(0);
    // All offsets before that batch are then below the target, whatever else the index says.
    let limit = base.saturating_add(entry.relative_offset.into());
    Ok(header_at(log, position, end)?
        .filter(|h| h.last_offset() <= limit && h.base_offset >= base)
        .map_or(0, |_| position))
}

/// The largest timestamp of a segment as its time index has it; `None` where that has no entry or is not trimmed.
pub(super) fn last_time_entry(times: &Entries<'_>) -> Result<Option<TimeEntry>> {
    if !times.is_whole::<TimeEntry>()? {
        return Ok(None);
    }
    match times.count::<TimeEntry>() {
        0 => Ok(None),
        count => times.get(count - 1),
    }
}
