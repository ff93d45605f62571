//! Finds the batches in the bytes of a `.log` file and checks each, in memory that does not depend on what the
//! bytes claim: the CRC is computed as they pass.

use std::fmt;
use std::ops::ControlFlow;

use crc32c::crc32c_append;

use super::header::{BatchError, BatchHeader};
use super::index::{INDEX_INTERVAL, IndexBuilder, IndexBytes};
use crate::error::Result;
use crate::fs::{Buffer, File};

/// A batch whose CRC holds, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Its first byte in the file.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
}

impl ScannedBatch {
    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.header.total_size())
    }
}

/// Why a scan stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// At the end of the bytes, on the boundary of a batch.
    End,
    /// The next length field reads 0: a preallocated tail (`log.preallocate`), or bytes that never reached the disk.
    ZeroTail,
    /// The last batch is cut short.
    Torn {
        /// Bytes of it that are there.
        have: u64,
        /// Bytes that it claims.
        need: u64,
    },
    /// A batch's CRC does not hold.
    BadCrc {
        /// What its header says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// What stands where a batch should begin is no batch header.
    BadHeader(BatchError),
    /// A batch whose CRC holds has an offset below what must follow.
    OutOfOrder {
        /// Its base offset.
        base: i64,
        /// The least that could follow.
        expected: i64,
    },
    /// The visitor had seen enough.
    Enough,
}

impl Stop {
    /// Whether everything up to the end was batches.
    pub fn is_end(&self) -> bool {
        matches!(self, Stop::End)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::End => f.write_str("end"),
            Stop::ZeroTail => f.write_str("zeros follow"),
            Stop::Torn { have, need } => write!(f, "the batch is cut short: {have} of {need} bytes"),
            Stop::BadCrc { stored, computed } => {
                write!(f, "the batch's CRC is {computed:08x}, should be {stored:08x}")
            }
            Stop::BadHeader(e) => write!(f, "no batch header: {e}"),
            Stop::OutOfOrder { base, expected } => {
                write!(f, "the batch begins at offset {base}, expected at least {expected}")
            }
            Stop::Enough => f.write_str("seen enough"),
        }
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanEnd {
    /// Position after the last good batch: from there on nothing was understood.
    pub valid_bytes: u64,
    /// Good batches.
    pub batches: u64,
    /// Base offset of the first.
    pub first_offset: Option<i64>,
    /// Last offset of the last.
    pub last_offset: Option<i64>,
    /// The offset that would come next; the floor that was given where there was no batch.
    pub next_offset: i64,
    /// Largest timestamp, milliseconds since 1970 UTC; `None` where no batch has one.
    pub max_timestamp: Option<i64>,
    /// Header of the last good batch.
    pub last: Option<BatchHeader>,
    /// Why the scan stopped.
    pub stop: Stop,
}

/// The batches of `file` from byte `from`, a batch's beginning, to byte `to` or the end of the file. No batch may
/// begin below the offset `floor`, each must begin above the last offset of the one before it.
/// An `Err` is the visitor's own or an I/O error; bad bytes end the scan and are told in [`ScanEnd::stop`].
pub fn scan(
    file: &File,
    from: u64,
    to: u64,
    floor: i64,
    mut visit: impl FnMut(&ScannedBatch) -> Result<()>,
) -> Result<ScanEnd> {
    scan_until(file, from, to, floor, |batch| visit(batch).map(ControlFlow::Continue))
}

/// As [`scan`], until the visitor breaks off; the batch that it broke off at counts as scanned.
pub fn scan_until(
    file: &File,
    from: u64,
    to: u64,
    floor: i64,
    mut visit: impl FnMut(&ScannedBatch) -> Result<ControlFlow<()>>,
) -> Result<ScanEnd> {
    let mut framer = Framer::new(from, floor);
    let mut tally = Tally::new(from, floor);
    read_chunks(file, from, to, |chunk| {
        framer.feed(chunk, &mut |batch, fault| {
            if fault.is_some() {
                return Ok(ControlFlow::Break(()));
            }
            tally.count(batch);
            visit(batch)
        })
    })?;
    Ok(tally.end(framer.finish()))
}

/// Shows the bytes `from..to` of `file`, as far as there are any, chunk by chunk until told to stop.
pub(super) fn read_chunks(
    file: &File,
    from: u64,
    to: u64,
    mut show: impl FnMut(&[u8]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    const CHUNK: u64 = 256 * 1024;
    let to = to.min(file.len()?);
    let mut buf = Buffer::new(usize::try_from(CHUNK.min(to.saturating_sub(from))).unwrap_or(0));
    let mut at = from;
    while at < to {
        let want = usize::try_from((to - at).min(CHUNK)).unwrap_or(0);
        let room = buf.get_mut(..want).unwrap_or_default();
        let got = file.read_at(room, at)?;
        let Some(chunk) = room.get(..got).filter(|c| !c.is_empty()) else { break };
        at += got as u64;
        if show(chunk)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Scans bytes that are handed to it in chunks of any size, as they are being copied, and builds the indexes of what
/// it saw. Bytes after the first bad batch are ignored.
#[derive(Debug, Clone)]
pub struct BatchScanner {
    framer: Framer,
    tally: Tally,
    indexes: IndexBuilder,
}

impl BatchScanner {
    /// For the segment with this base offset, from its first byte.
    pub fn new(base_offset: i64) -> Self {
        Self::with_interval(base_offset, INDEX_INTERVAL)
    }

    /// As [`new`](Self::new) for a writer with another `index.interval.bytes`.
    pub fn with_interval(base_offset: i64, interval: u32) -> Self {
        BatchScanner {
            framer: Framer::new(0, base_offset),
            tally: Tally::new(0, base_offset),
            indexes: IndexBuilder::new(base_offset, interval),
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.feed_with(chunk, |_| {});
    }

    /// Takes the next bytes and shows each batch that they complete.
    pub fn feed_with(&mut self, chunk: &[u8], mut seen: impl FnMut(&ScannedBatch)) {
        let (tally, indexes) = (&mut self.tally, &mut self.indexes);
        let fed = self.framer.feed(chunk, &mut |batch, fault| {
            if fault.is_some() {
                return Ok(ControlFlow::Break(()));
            }
            tally.count(batch);
            indexes.add(batch.position, &batch.header);
            seen(batch);
            Ok(ControlFlow::Continue(()))
        });
        debug_assert!(fed.is_ok(), "the visitor above never fails");
    }

    /// Position after the last batch whose CRC holds.
    pub fn valid_end(&self) -> u64 {
        self.tally.valid_bytes
    }

    /// Whether bad bytes were met; whatever is fed now is ignored.
    pub fn is_stopped(&self) -> bool {
        self.framer.stop.is_some()
    }

    /// Header of the last good batch.
    pub fn last_header(&self) -> Option<&BatchHeader> {
        self.tally.last.as_ref()
    }

    /// The offset that would come next.
    pub fn next_offset(&self) -> i64 {
        self.tally.next_offset
    }

    /// Largest timestamp so far, milliseconds since 1970 UTC.
    pub fn max_timestamp(&self) -> Option<i64> {
        self.tally.max_timestamp
    }

    /// The index files of the segment as it would be, cut at [`valid_end`](Self::valid_end).
    pub fn indexes(&self) -> IndexBytes {
        self.indexes.clone().finish()
    }

    /// The builder of the indexes, to go on with where the scan ended.
    pub(crate) fn into_parts(self) -> (ScanEnd, IndexBuilder) {
        (self.tally.end(self.framer.finish()), self.indexes)
    }

    /// No more bytes will come.
    pub fn finish(self) -> ScanEnd {
        self.into_parts().0
    }
}

#[derive(Debug, Clone)]
pub(super) struct Tally {
    valid_bytes: u64,
    batches: u64,
    first_offset: Option<i64>,
    next_offset: i64,
    max_timestamp: Option<i64>,
    last: Option<BatchHeader>,
}

impl Tally {
    pub(super) fn new(from: u64, floor: i64) -> Self {
        Tally { valid_bytes: from, batches: 0, first_offset: None, next_offset: floor, max_timestamp: None, last: None }
    }

    pub(super) fn count(&mut self, batch: &ScannedBatch) {
        self.valid_bytes = batch.end();
        self.batches += 1;
        self.first_offset.get_or_insert(batch.header.base_offset);
        self.next_offset = batch.header.next_offset();
        if batch.header.max_timestamp >= 0 {
            self.max_timestamp = self.max_timestamp.max(Some(batch.header.max_timestamp));
        }
        self.last = Some(batch.header);
    }

    pub(super) fn end(self, stop: Stop) -> ScanEnd {
        ScanEnd {
            valid_bytes: self.valid_bytes,
            batches: self.batches,
            first_offset: self.first_offset,
            last_offset: self.last.map(|h| h.last_offset()),
            next_offset: self.next_offset,
            max_timestamp: self.max_timestamp,
            last: self.last,
            stop,
        }
    }
}

/// Told of every batch; with a fault where its CRC or its offset is wrong and its length still leads to the next one.
/// Breaking off at a fault makes that the reason of the stop.
pub(super) type Visit<'a> = dyn FnMut(&ScannedBatch, Option<Stop>) -> Result<ControlFlow<()>> + 'a;

/// Divides a stream of bytes into batches.
#[derive(Debug, Clone)]
pub(super) struct Framer {
    position: u64,
    next_offset: i64,
    head: Vec<u8>,
    body: Option<Body>,
    stop: Option<Stop>,
}

#[derive(Debug, Clone)]
struct Body {
    header: BatchHeader,
    left: u64,
    crc: u32,
}

impl Framer {
    pub(super) fn new(from: u64, floor: i64) -> Self {
        Framer {
            position: from,
            next_offset: floor,
            head: Vec::with_capacity(BatchHeader::SIZE),
            body: None,
            stop: None,
        }
    }

    pub(super) fn feed(&mut self, mut chunk: &[u8], visit: &mut Visit<'_>) -> Result<ControlFlow<()>> {
        while self.stop.is_none() {
            let Some(mut body) = self.body.take() else {
                if chunk.is_empty() {
                    break;
                }
                let missing = BatchHeader::SIZE - self.head.len();
                let (taken, rest) = chunk.split_at(missing.min(chunk.len()));
                self.head.extend_from_slice(taken);
                chunk = rest;
                if self.head.len() == BatchHeader::SIZE {
                    self.begin_body();
                }
                continue;
            };
            let fits = usize::try_from(body.left).unwrap_or(usize::MAX).min(chunk.len());
            let (taken, rest) = chunk.split_at(fits);
            body.crc = crc32c_append(body.crc, taken);
            body.left -= taken.len() as u64;
            chunk = rest;
            if body.left > 0 {
                self.body = Some(body);
                break;
            }
            self.complete(&body, visit)?;
        }
        Ok(if self.stop.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn begin_body(&mut self) {
        match BatchHeader::parse(&self.head) {
            Ok(header) => {
                self.body = Some(Body {
                    header,
                    left: header.total_size().saturating_sub(BatchHeader::SIZE as u64),
                    crc: crc32c::crc32c(self.head.get(BatchHeader::CRC_START..).unwrap_or_default()),
                });
                self.head.clear();
            }
            Err(BatchError::Length(0)) => self.stop = Some(Stop::ZeroTail),
            Err(e) => self.stop = Some(Stop::BadHeader(e)),
        }
    }

    fn complete(&mut self, body: &Body, visit: &mut Visit<'_>) -> Result<()> {
        let header = body.header;
        let batch = ScannedBatch { position: self.position, header };
        let fault = if body.crc != header.crc {
            Some(Stop::BadCrc { stored: header.crc, computed: body.crc })
        } else if header.base_offset < self.next_offset {
            Some(Stop::OutOfOrder { base: header.base_offset, expected: self.next_offset })
        } else {
            self.next_offset = header.next_offset();
            None
        };
        if visit(&batch, fault.clone())?.is_break() {
            self.stop = Some(fault.unwrap_or(Stop::Enough));
        }
        self.position = batch.end();
        Ok(())
    }

    pub(super) fn finish(self) -> Stop {
        if let Some(stop) = self.stop {
            return stop;
        }
        if let Some(body) = self.body {
            let need = body.header.total_size();
            return Stop::Torn { have: need - body.left, need };
        }
        let zeros = self.head.iter().all(|b| *b == 0);
        match self.head.len() {
            0 => Stop::End,
            _ if zeros => Stop::ZeroTail,
            have => Stop::Torn { have: have as u64, need: self.claimed_size() },
        }
    }

    /// What a header that is itself cut short claims.
    fn claimed_size(&self) -> u64 {
        let length = self.head.get(8..12).and_then(|b| b.first_chunk()).map_or(0, |b| i32::from_be_bytes(*b));
        (u64::try_from(length).unwrap_or(0) + BatchHeader::LOG_OVERHEAD as u64).max(BatchHeader::SIZE as u64)
    }

    /// Where the batch begins that could not be finished.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::{Dir, Open, OsFs};
    use crate::log::{Batch, BatchBuilder, Codec, parse_offset_index, parse_time_index};

    fn batches(count: i64) -> Vec<Batch> {
        let mut next = 100;
        (0..count)
            .map(|i| {
                let mut builder = BatchBuilder::new();
                for j in 0..=i % 3 {
                    builder.record(1000 + i, Some(&[j as u8]), Some(&vec![i as u8; (i * 37 % 900) as usize]));
                }
                if i % 4 == 1 {
                    builder.codec(Codec::Lz4);
                }
                let mut batch = builder.build().unwrap();
                batch.place(next, 0).unwrap();
                next = batch.header().next_offset();
                batch
            })
            .collect()
    }

    fn bytes_of(batches: &[Batch]) -> Vec<u8> {
        batches.iter().flat_map(|b| b.as_bytes().to_vec()).collect()
    }

    fn push(bytes: &[u8], chunk: usize) -> (ScanEnd, Vec<u64>) {
        let mut scanner = BatchScanner::new(100);
        let mut positions = Vec::new();
        for chunk in bytes.chunks(chunk.max(1)) {
            scanner.feed_with(chunk, |b| positions.push(b.position));
        }
        (scanner.finish(), positions)
    }

    #[test]
    fn chunks_of_any_size_and_a_file_give_the_same() {
        let batches = batches(60);
        let bytes = bytes_of(&batches);
        let whole = push(&bytes, bytes.len());
        assert_eq!(whole.0.stop, Stop::End);
        assert_eq!((whole.0.batches, whole.0.valid_bytes), (60, bytes.len() as u64));
        assert_eq!((whole.0.first_offset, whole.0.max_timestamp), (Some(100), Some(1059)));
        assert_eq!(whole.0.last.as_ref(), batches.last().map(Batch::header));
        for chunk in [1, 2, 60, 61, 62, 100, 1000] {
            assert_eq!(push(&bytes, chunk), whole, "{chunk}");
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_on(Arc::new(OsFs), temp.path()).unwrap();
        let file = dir.open_file("x", Open::CreateNew(0o600)).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let mut positions = Vec::new();
        let end = scan(&file, 0, u64::MAX, 100, |b| {
            positions.push(b.position);
            Ok(())
        });
        assert_eq!((end.unwrap(), positions.clone()), whole);
        let end = scan(&file, positions[7], positions[9], 0, |_| Ok(())).unwrap();
        assert_eq!((end.batches, end.valid_bytes, end.stop), (2, positions[9], Stop::End));
        let end = scan_until(&file, 0, u64::MAX, 0, |_| Ok(ControlFlow::Break(()))).unwrap();
        assert_eq!((end.batches, end.stop), (1, Stop::Enough));
    }

    #[test]
    fn every_cut_ends_on_the_boundary_before_it() {
        let batches = batches(5);
        let bytes = bytes_of(&batches);
        let mut ends = vec![0];
        for b in &batches {
            ends.push(ends[ends.len() - 1] + b.as_bytes().len());
        }
        for cut in 0..=bytes.len() {
            let (end, _) = push(&bytes[..cut], 97);
            let whole = ends.iter().rposition(|e| *e <= cut).unwrap();
            assert_eq!((end.valid_bytes, end.batches), (ends[whole] as u64, whole as u64));
            match end.stop {
                Stop::End => assert_eq!(cut, ends[whole]),
                // The offset's leading bytes are zeros.
                Stop::ZeroTail => assert!(cut - ends[whole] < 8),
                Stop::Torn { have, need } => {
                    assert_eq!(have, (cut - ends[whole]) as u64);
                    assert!(need > have);
                }
                other => panic!("{cut}: {other}"),
            }
        }
    }

    #[test]
    fn each_kind_of_bad_tail_is_told_apart() {
        let batches = batches(4);
        let good = bytes_of(&batches);
        let with = |tail: &[u8]| push(&[&good, tail].concat(), 50).0;
        assert_eq!(with(&[0; 1]).stop, Stop::ZeroTail);
        assert_eq!(with(&[0; 4096]).stop, Stop::ZeroTail);
        assert!(matches!(with(&[7; 61]).stop, Stop::BadHeader(_)));
        let first = batches[0].as_bytes();
        assert_eq!(with(first).stop, Stop::OutOfOrder { base: 100, expected: 107 });
        let mut bad = first.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert!(matches!(with(&bad).stop, Stop::BadCrc { .. }));
        for end in [with(&[0; 1]), with(&[7; 61]), with(first), with(&bad)] {
            assert_eq!((end.valid_bytes, end.batches, end.next_offset), (good.len() as u64, 4, 107));
        }
        assert_eq!(push(first, 9).0.next_offset, 101);
        let mut below = batches[0].clone();
        below.place(99, 0).unwrap();
        assert_eq!(push(below.as_bytes(), 9).0.stop, Stop::OutOfOrder { base: 99, expected: 100 });
    }

    #[test]
    fn a_batch_that_claims_2_gib_is_torn_and_costs_nothing() {
        let mut bytes = batches(1)[0].as_bytes().to_vec();
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        let (end, _) = push(&bytes, 7);
        assert_eq!(end.stop, Stop::Torn { have: bytes.len() as u64, need: i32::MAX as u64 + 12 });
        assert_eq!((end.valid_bytes, end.next_offset), (0, 100));
    }

    #[test]
    fn what_follows_a_bad_batch_is_ignored() {
        let batches = batches(3);
        let mut bytes = bytes_of(&batches);
        let second = batches[0].as_bytes().len();
        bytes[second + 30] ^= 1;
        let mut scanner = BatchScanner::new(100);
        scanner.feed(&bytes);
        assert!(scanner.is_stopped());
        scanner.feed(&bytes);
        assert_eq!(scanner.valid_end(), second as u64);
        assert_eq!(scanner.finish().batches, 1);
    }

    #[test]
    fn the_scanner_builds_the_indexes_of_what_it_saw() {
        let batches = batches(60);
        let bytes = bytes_of(&batches);
        let mut scanner = BatchScanner::new(100);
        scanner.feed(&bytes[..bytes.len() - 1]);
        let indexes = scanner.indexes();
        let entries = parse_offset_index(&indexes.offset).entries;
        assert!(entries.len() >= 4, "{}", entries.len());
        for entry in entries {
            let header = BatchHeader::parse(&bytes[entry.position as usize..]).unwrap();
            assert_eq!(header.last_offset() - 100, i64::from(entry.relative_offset));
        }
        let times = parse_time_index(&indexes.time).entries;
        assert_eq!(times.last().unwrap().timestamp, 1058);
        assert_eq!(i64::from(times.last().unwrap().relative_offset), batches[58].header().last_offset() - 100);
    }
}
