//! What the headers of a partition's batches tell: codecs, and transactions that are open at its end.
//!
//! A broker writes its producers down at each new segment (`storage: ProducerStateManager`), so that only the batches behind
//! the newest producer snapshot need be looked at. Of each only the header is read.

use std::collections::{BTreeMap, BTreeSet};

use super::producer_state::Producer;
use crate::error::{IntegrityError, Result};
use crate::fs::{Dir, File, Open};
use crate::log::{BatchHeader, Codec, SegmentFile};

/// A transaction without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Its first offset in this partition. Readers of committed records get no further than the least of these.
    pub first_offset: i64,
    /// The largest timestamp of its first batch, milliseconds since 1970 UTC; `None` where the batch has none, or is gone.
    pub since: Option<i64>,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchSurvey {
    /// Codecs of the batches that were looked at.
    pub codecs: BTreeSet<Codec>,
    /// By first offset.
    pub open: Vec<OpenTransaction>,
}

/// Looks at the first batch of each segment, and at all those of the last segment and behind the producers, up to `end`.
/// `known` are the producers at an offset, as the newest producer snapshot has them; without them every header is read.
///
/// # Errors
///
/// `Integrity` where bytes that should be a batch's header are none. `Interrupted` by `check`.
pub fn survey(
    dir: &Dir,
    bases: &[i64],
    known: Option<(i64, &[Producer])>,
    end: i64,
    check: impl Fn() -> Result<()>,
) -> Result<BatchSurvey> {
    let mut seen = BatchSurvey::default();
    let mut open: BTreeMap<i64, OpenTransaction> = BTreeMap::new();
    for producer in known.map_or(&[][..], |(_, producers)| producers) {
        if let Some(first_offset) = producer.open_since {
            let (producer_id, producer_epoch) = (producer.id, producer.epoch);
            open.insert(producer_id, OpenTransaction { producer_id, producer_epoch, first_offset, since: None });
        }
    }
    let from = known.map_or(i64::MIN, |(at, _)| at);
    let holds_from = bases.partition_point(|base| *base <= from).saturating_sub(1);
    for (i, base) in bases.iter().enumerate() {
        let whole = i >= holds_from || i + 1 == bases.len();
        headers(dir, *base, |header| {
            check()?;
            if header.base_offset >= end {
                return Ok(false);
            }
            seen.codecs.extend(header.codec().ok());
            if header.base_offset >= from {
                follow(&mut open, header);
            }
            Ok(whole)
        })?;
    }
    seen.open = open.into_values().collect();
    seen.open.sort_unstable_by_key(|open| open.first_offset);
    find_beginnings(dir, bases, &mut seen.open, check)?;
    Ok(seen)
}

fn follow(open: &mut BTreeMap<i64, OpenTransaction>, header: &BatchHeader) {
    if !header.is_transactional() {
        return;
    }
    if header.is_control() {
        open.remove(&header.producer_id);
        return;
    }
    open.entry(header.producer_id).or_insert(OpenTransaction {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        first_offset: header.base_offset,
        since: Some(header.max_timestamp).filter(|t| *t >= 0),
    });
}

/// When those began that a producer snapshot told of. Each segment that holds a beginning is read once, up to the last one.
fn find_beginnings(
    dir: &Dir,
    bases: &[i64],
    open: &mut [OpenTransaction],
    check: impl Fn() -> Result<()>,
) -> Result<()> {
    for (i, base) in bases.iter().enumerate() {
        let end = bases.get(i + 1).copied().unwrap_or(i64::MAX);
        let mut wanted = open.iter_mut().filter(|o| o.since.is_none() && (*base..end).contains(&o.first_offset));
        let Some(mut next) = wanted.next() else { continue };
        headers(dir, *base, |header| {
            check()?;
            while next.first_offset <= header.last_offset() {
                if next.first_offset >= header.base_offset {
                    next.since = Some(header.max_timestamp).filter(|t| *t >= 0);
                }
                match wanted.next() {
                    Some(another) => next = another,
                    None => return Ok(false),
                }
            }
            Ok(true)
        })?;
    }
    Ok(())
}

/// Shows the headers of a segment's batches, as long as the visitor says so.
fn headers(dir: &Dir, base: i64, mut visit: impl FnMut(&BatchHeader) -> Result<bool>) -> Result<()> {
    let file = dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
    let size = file.len()?;
    let mut at = 0;
    while at < size {
        let header = header(&file, at, size)?;
        if !visit(&header)? {
            break;
        }
        at += header.total_size();
    }
    Ok(())
}

fn header(file: &File, at: u64, size: u64) -> Result<BatchHeader> {
    let mut bytes = [0; BatchHeader::SIZE];
    let read = file.read_at(&mut bytes, at)?;
    let broken = |why: String| IntegrityError::new(file.path(), format!("the batch at byte {at} is broken: {why}"));
    let header = BatchHeader::parse(bytes.get(..read).unwrap_or_default()).map_err(|e| broken(e.to_string()))?;
    let left = size - at;
    if header.total_size() > left {
        return Err(broken(format!("{left} of {} bytes", header.total_size())).into());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, producer: i64, transactional: bool, control: bool, time: i64) -> BatchHeader {
        BatchHeader {
            base_offset: base,
            batch_length: 49,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: i16::from(transactional) << 4 | i16::from(control) << 5,
            last_offset_delta: 0,
            base_timestamp: time,
            max_timestamp: time,
            producer_id: producer,
            producer_epoch: 3,
            base_sequence: 0,
            record_count: 0,
        }
    }

    #[test]
    fn a_transaction_is_open_from_its_first_batch_to_its_marker() {
        let mut open = BTreeMap::new();
        for header in [
            batch(0, 7, true, false, 10),
            batch(1, 8, true, false, 20),
            batch(2, 7, true, false, 30),
            batch(3, 9, false, false, 40),
            batch(4, 8, true, true, 50),
            batch(5, -1, false, true, 60),
        ] {
            follow(&mut open, &header);
        }
        let expected = OpenTransaction { producer_id: 7, producer_epoch: 3, first_offset: 0, since: Some(10) };
        assert_eq!(open.into_values().collect::<Vec<_>>(), [expected]);
    }
}
