//! Holds a segment's indexes against its batches, and a whole segment against the rules of the format.

use std::fmt;
use std::ops::ControlFlow;

use super::batch::{Batch, check_records};
use super::header::{BatchError, BatchHeader};
use super::index::{IndexEntry, IndexStop, OffsetEntry, ParsedIndex, TimeEntry, parse_offset_index, parse_time_index};
use super::scan::{Framer, ScanEnd, ScannedBatch, Stop, Tally, read_chunks};
use super::segment::SegmentFile;
use crate::error::Result;
use crate::fs::File;

/// Something wrong with one file of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentProblem {
    /// Which file.
    pub file: SegmentFile,
    /// What, for a reader.
    pub detail: String,
}

impl fmt::Display for SegmentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}: {}", self.file, self.detail)
    }
}

/// Told of the batches of a segment in their order, says which index entries agree with them.
///
/// An offset entry names a batch's start and its last offset. A time entry names the last offset of a batch and the
/// largest timestamp up to it, which that batch was the first to have.
#[derive(Debug, Clone)]
pub struct IndexChecker {
    base: i64,
    offsets: Cursor<OffsetEntry>,
    times: Cursor<TimeEntry>,
    largest: i64,
    largest_at: i64,
    /// Whether the time index is one entry of zeros: a zero tail, unless the first batch says otherwise.
    lone_zero: bool,
    zero_agrees: bool,
}

/// What an [`IndexChecker`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexVerdict {
    /// Entries that agree with no batch, bad order, bad size. A tail of zeros and entries beyond the last batch among them.
    pub problems: Vec<SegmentProblem>,
    /// Leading bytes of the `.index` whose entries agree with the batches.
    pub index_bytes: u64,
    /// Leading bytes of the `.timeindex` whose entries agree with the batches.
    pub time_index_bytes: u64,
}

#[derive(Debug, Clone)]
struct Cursor<E> {
    file: SegmentFile,
    parsed: ParsedIndex<E>,
    next: usize,
    agreeing: Option<usize>,
    problems: Vec<SegmentProblem>,
    more: u64,
}

/// So many problems are told per file.
const TOLD: usize = 16;

impl<E: IndexEntry> Cursor<E> {
    fn new(file: SegmentFile, parsed: ParsedIndex<E>) -> Self {
        Cursor { file, parsed, next: 0, agreeing: None, problems: Vec::new(), more: 0 }
    }

    fn peek(&self) -> Option<E> {
        self.parsed.entries.get(self.next).copied()
    }

    /// Passes the next entry, with what is wrong with it.
    fn pass(&mut self, wrong: Option<String>) {
        if let Some(wrong) = wrong {
            self.agreeing.get_or_insert(self.next);
            self.tell(format!("entry {}: {wrong}", self.next));
        }
        self.next += 1;
    }

    fn tell(&mut self, detail: String) {
        if self.problems.len() < TOLD {
            self.problems.push(SegmentProblem { file: self.file, detail });
        } else {
            self.more += 1;
        }
    }

    /// The bytes that agree, and the problems.
    fn finish(mut self) -> (u64, Vec<SegmentProblem>) {
        while self.peek().is_some() {
            self.pass(Some("it lies beyond the last batch".to_owned()));
        }
        let at = self.parsed.valid_bytes();
        match self.parsed.stop {
            IndexStop::End => {}
            IndexStop::ZeroTail => self.tell(format!("zeros from byte {at} on")),
            IndexStop::Misaligned => self.tell(format!("a part of an entry at byte {at}")),
            IndexStop::Disorder => self.tell(format!("the entry at byte {at} is not above the one before it")),
        }
        if self.more > 0 {
            let detail = format!("and {} more", self.more);
            self.problems.push(SegmentProblem { file: self.file, detail });
        }
        ((self.agreeing.unwrap_or(self.next) * E::SIZE) as u64, self.problems)
    }
}

impl IndexChecker {
    /// For a segment's index files; a missing one is as good as an empty one.
    pub fn new(base_offset: i64, index: &[u8], time_index: &[u8]) -> Self {
        IndexChecker {
            base: base_offset,
            offsets: Cursor::new(SegmentFile::Index, parse_offset_index(index)),
            times: Cursor::new(SegmentFile::TimeIndex, parse_time_index(time_index)),
            largest: -1,
            largest_at: -1,
            lone_zero: time_index.len() == TimeEntry::SIZE && time_index.iter().all(|b| *b == 0),
            zero_agrees: false,
        }
    }

    /// Takes the next batch, which starts at `position`.
    pub fn batch(&mut self, position: u64, header: &BatchHeader) {
        let last = header.last_offset();
        // A first record of 1970-01-01T00:00:00Z at the segment's base.
        self.zero_agrees |= self.lone_zero && self.largest < 0 && (header.max_timestamp, last) == (0, self.base);
        if header.max_timestamp > self.largest {
            (self.largest, self.largest_at) = (header.max_timestamp, last);
        }
        while let Some(entry) = self.offsets.peek() {
            let (at, offset) = (u64::try_from(entry.position).unwrap_or(0), self.absolute(entry.relative_offset));
            if at > position {
                break;
            }
            self.offsets.pass(if at < position {
                Some(format!("no batch starts at byte {at}"))
            } else if offset != last {
                Some(format!("offset {offset}, but the batch at byte {at} ends with {last}"))
            } else {
                None
            });
        }
        while let Some(entry) = self.times.peek() {
            let offset = self.absolute(entry.relative_offset);
            if offset > last {
                break;
            }
            self.times.pass(if (entry.timestamp, offset) == (self.largest, self.largest_at) {
                None
            } else {
                Some(format!(
                    "timestamp {} at offset {offset}, but the largest up to offset {last} is {} at {}",
                    entry.timestamp, self.largest, self.largest_at
                ))
            });
        }
    }

    fn absolute(&self, relative: i32) -> i64 {
        self.base.saturating_add(relative.into())
    }

    /// No more batches will come.
    pub fn finish(self) -> IndexVerdict {
        if self.zero_agrees {
            let (index_bytes, problems) = self.offsets.finish();
            return IndexVerdict { problems, index_bytes, time_index_bytes: TimeEntry::SIZE as u64 };
        }
        let (index_bytes, mut problems) = self.offsets.finish();
        let (time_index_bytes, more) = self.times.finish();
        problems.extend(more);
        IndexVerdict { problems, index_bytes, time_index_bytes }
    }
}

/// What [`check_segment`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCheck {
    /// All that is wrong; none for a sound segment.
    pub problems: Vec<SegmentProblem>,
    /// The good batches. Unlike a scan, a check goes on after a batch whose CRC or offset is wrong.
    pub end: ScanEnd,
}

/// Checks every batch of a segment (CRC, records that can be decoded, no offset below `base_offset`, ascending, all below
/// `end_offset` where a later segment begins there), that nothing follows the last batch, and that the indexes given agree
/// with the batches. The `.log` is streamed; memory is that of the indexes and of one batch, at most twice
/// [`Batch::UNPACKED_LIMIT`].
pub fn check_segment(
    log: &File,
    index: Option<&[u8]>,
    time_index: Option<&[u8]>,
    base_offset: i64,
    end_offset: Option<i64>,
) -> Result<SegmentCheck> {
    let mut checker = IndexChecker::new(base_offset, index.unwrap_or_default(), time_index.unwrap_or_default());
    let mut framer = Framer::new(0, base_offset);
    let mut tally = Tally::new(0, base_offset);
    let mut told = Told::default();
    let mut packed = Vec::new();
    read_chunks(log, 0, u64::MAX, |chunk| {
        framer.feed(chunk, &mut |batch, fault| {
            match fault {
                Some(fault) => told.add(batch.position, &fault.to_string()),
                None => {
                    tally.count(batch);
                    if let Some(why) = undecodable(log, batch, &mut packed)? {
                        told.add(batch.position, &format!("its records cannot be decoded: {why}"));
                    }
                }
            }
            // The indexes may well agree with a batch whose records are damaged.
            checker.batch(batch.position, &batch.header);
            if let Some(end) = end_offset.filter(|end| batch.header.last_offset() >= *end) {
                let last = batch.header.last_offset();
                told.add(batch.position, &format!("its last offset {last} is in the segment that begins at {end}"));
            }
            Ok(ControlFlow::Continue(()))
        })
    })?;
    let position = framer.position();
    let stop = framer.finish();
    if stop != Stop::End {
        told.add(position, &stop.to_string());
    }
    let mut problems = told.finish();
    problems.extend(checker.finish().problems);
    Ok(SegmentCheck { problems, end: tally.end(stop) })
}

/// What keeps the records of a batch whose CRC holds from being decoded. Not judged are those that take more than
/// [`Batch::UNPACKED_LIMIT`]: a broker may have been told to take them.
fn undecodable(log: &File, batch: &ScannedBatch, packed: &mut Vec<u8>) -> Result<Option<BatchError>> {
    let size = batch.header.total_size().saturating_sub(BatchHeader::SIZE as u64);
    if size > Batch::UNPACKED_LIMIT {
        return Ok(None);
    }
    packed.resize(usize::try_from(size).unwrap_or(0), 0);
    let read = log.read_at(packed, batch.position.saturating_add(BatchHeader::SIZE as u64))?;
    Ok(match check_records(&batch.header, packed.get(..read).unwrap_or_default()) {
        Ok(()) | Err(BatchError::TooLarge(_)) => None,
        Err(why) => Some(why),
    })
}

#[derive(Default)]
struct Told {
    problems: Vec<SegmentProblem>,
    more: u64,
}

impl Told {
    fn add(&mut self, position: u64, what: &str) {
        if self.problems.len() < TOLD {
            let detail = format!("at byte {position}: {what}");
            self.problems.push(SegmentProblem { file: SegmentFile::Log, detail });
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<SegmentProblem> {
        if self.more > 0 {
            self.problems.push(SegmentProblem { file: SegmentFile::Log, detail: format!("and {} more", self.more) });
        }
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Dir, Open};
    use crate::log::{BatchBuilder, BatchScanner, IndexBytes};

    fn segment() -> (Vec<u8>, Vec<usize>, IndexBytes) {
        let (mut bytes, mut starts, mut next) = (Vec::new(), Vec::new(), 50);
        for i in 0..40i64 {
            starts.push(bytes.len());
            let mut batch = BatchBuilder::new().record(1000 + i, None, Some(&[i as u8; 900])).build().unwrap();
            batch.place(next, 0).unwrap();
            next = batch.header().next_offset() + i % 2;
            bytes.extend_from_slice(batch.as_bytes());
        }
        let mut scanner = BatchScanner::new(50);
        scanner.feed(&bytes);
        let indexes = scanner.indexes();
        (bytes, starts, indexes)
    }

    fn check(bytes: &[u8], indexes: &IndexBytes, end: Option<i64>) -> Vec<String> {
        let temp = tempfile::tempdir().unwrap();
        let file = Dir::open(temp.path()).unwrap().open_file("x", Open::CreateNew(0o600)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let check = check_segment(&file, Some(&indexes.offset), Some(&indexes.time), 50, end).unwrap();
        check.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_segment_has_no_problem() {
        let (bytes, _, indexes) = segment();
        assert!(indexes.offset.len() >= 8 * 4);
        assert_eq!(check(&bytes, &indexes, Some(110)), [""; 0]);
        assert_eq!(check(&bytes, &IndexBytes::default(), None), [""; 0]);
        assert_eq!(check(&[], &IndexBytes::default(), Some(50)), [""; 0]);
    }

    #[test]
    fn every_bad_batch_is_told_and_the_rest_still_checked() {
        let (mut bytes, starts, indexes) = segment();
        bytes[starts[3] + 100] ^= 1;
        bytes[starts[20] + 100] ^= 1;
        let problems = check(&bytes, &indexes, Some(100));
        assert_eq!(problems.len(), 2 + 6, "{problems:?}");
        assert!(problems[0].starts_with(&format!(".log: at byte {}: the batch's CRC", starts[3])));
        assert!(problems[1].contains(&format!("byte {}", starts[20])));
        assert!(problems[2].contains("in the segment that begins at 100"));
    }

    #[test]
    fn records_that_nobody_can_decode_are_a_problem() {
        let (mut bytes, starts, indexes) = segment();
        for (batch, at, value) in [(3, 22, 7), (20, BatchHeader::SIZE, 1), (30, 60, 2)] {
            let place = &mut bytes[starts[batch]..starts[batch + 1]];
            place[at] = value;
            let crc = crc32c::crc32c(&place[BatchHeader::CRC_START..]);
            place[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let problems = check(&bytes, &indexes, None);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[0]
                .ends_with(&format!("byte {}: its records cannot be decoded: unknown compression codec 7", starts[3]))
        );
        assert!(problems[1].contains(&format!("byte {}: its records cannot be decoded: record 0", starts[20])));
        assert!(problems[2].contains(&format!("byte {}: its records cannot be decoded: record 1", starts[30])));
    }

    #[test]
    fn what_follows_the_last_batch_is_a_problem() {
        let (bytes, starts, indexes) = segment();
        assert!(check(&[&bytes[..], &[0; 9]].concat(), &indexes, None)[0].contains("zeros follow"));
        assert!(check(&[&bytes[..], &bytes[..50]].concat(), &indexes, None)[0].contains("cut short"));
        assert!(check(&[&bytes[..], &bytes[..starts[1]]].concat(), &indexes, None)[0].contains("expected at least"));
    }

    #[test]
    fn every_changed_bit_of_an_index_is_noticed() {
        let (bytes, _, indexes) = segment();
        for file in 0..2 {
            let size = [indexes.offset.len(), indexes.time.len()][file];
            for bit in 0..size * 8 {
                let mut bad = indexes.clone();
                let target = if file == 0 { &mut bad.offset } else { &mut bad.time };
                target[bit / 8] ^= 1 << (bit % 8);
                assert!(!check(&bytes, &bad, None).is_empty(), "file {file} bit {bit}");
            }
        }
    }

    #[test]
    fn the_agreeing_bytes_end_at_the_first_entry_that_does_not() {
        let (bytes, starts, indexes) = segment();
        let verdict = |until: usize, index: &[u8], times: &[u8]| {
            let mut checker = IndexChecker::new(50, index, times);
            BatchScanner::new(50).feed_with(&bytes[..until], |b| checker.batch(b.position, &b.header));
            checker.finish()
        };
        let all = verdict(bytes.len(), &indexes.offset, &indexes.time);
        assert_eq!((all.index_bytes, all.time_index_bytes), (indexes.offset.len() as u64, indexes.time.len() as u64));
        let padded = [&indexes.offset[..], &[0; 800]].concat();
        let zeros = verdict(bytes.len(), &padded, &[&indexes.time[..], &[0; 120]].concat());
        assert_eq!((zeros.index_bytes, zeros.time_index_bytes), (all.index_bytes, all.time_index_bytes));
        assert_eq!(zeros.problems.len(), 2);
        let second = parse_offset_index(&indexes.offset).entries[1];
        let cut = verdict(second.position as usize, &indexes.offset, &indexes.time);
        assert_eq!((cut.index_bytes, cut.time_index_bytes), (8, 12));
        assert_eq!(verdict(starts[1], &indexes.offset, &indexes.time).index_bytes, 0);
    }
}
