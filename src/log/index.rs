//! Offset and time index (`storage: OffsetIndex`, `TimeIndex`, `LogSegment`).

use super::header::BatchHeader;

/// `index.interval.bytes`: an entry is due once more than this was written since the last one.
pub const INDEX_INTERVAL: u32 = 4096;

/// Where a batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// The batch's last offset minus the segment's base offset.
    pub relative_offset: i32,
    /// The batch's first byte in the `.log` file.
    pub position: i32,
}

/// The largest timestamp up to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// Last offset of the batch that has it, minus the segment's base offset.
    pub relative_offset: i32,
}

/// An entry of fixed size whose order can be checked.
pub trait IndexEntry: Copy {
    /// Bytes of one entry.
    const SIZE: usize;
    /// Reads an entry from exactly [`SIZE`](Self::SIZE) bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Whether this may stand right behind `before`.
    fn follows(&self, before: &Self) -> bool;
    /// Whether it may stand anywhere.
    fn possible(&self) -> bool;
}

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let position = rest.first_chunk()?;
        Some(OffsetEntry { relative_offset: i32::from_be_bytes(*offset), position: i32::from_be_bytes(*position) })
    }

    fn follows(&self, before: &Self) -> bool {
        self.relative_offset > before.relative_offset && self.position > before.position
    }

    /// The first batch gets no entry, so no position is 0.
    fn possible(&self) -> bool {
        self.relative_offset >= 0 && self.position > 0
    }
}

impl OffsetEntry {
    /// The entry's bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        (((self.relative_offset as u32 as u64) << 32) | self.position as u32 as u64).to_be_bytes()
    }
}

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk()?;
        let offset = rest.first_chunk()?;
        Some(TimeEntry { timestamp: i64::from_be_bytes(*timestamp), relative_offset: i32::from_be_bytes(*offset) })
    }

    fn follows(&self, before: &Self) -> bool {
        self.timestamp > before.timestamp && self.relative_offset >= before.relative_offset
    }

    fn possible(&self) -> bool {
        self.timestamp >= 0 && self.relative_offset >= 0
    }
}

impl TimeEntry {
    /// The entry's bytes.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (timestamp, offset) = bytes.split_at_mut(8);
        timestamp.copy_from_slice(&self.timestamp.to_be_bytes());
        offset.copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes
    }
}

/// Why reading an index stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStop {
    /// At its end.
    End,
    /// Nothing but zeros follows: the file was preallocated and not trimmed.
    ZeroTail,
    /// The size is no multiple of an entry's.
    Misaligned,
    /// The next entry is negative or not above the one before it.
    Disorder,
}

/// A parsed index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedIndex<E> {
    /// The entries up to where it stops being valid, strictly ascending.
    pub entries: Vec<E>,
    /// Why it stopped there.
    pub stop: IndexStop,
}

impl<E: IndexEntry> ParsedIndex<E> {
    fn parse(bytes: &[u8]) -> Self {
        let mut entries: Vec<E> = Vec::new();
        let mut rest = bytes;
        let stop = loop {
            if rest.is_empty() {
                break IndexStop::End;
            }
            let Some((raw, after)) = rest.split_at_checked(E::SIZE) else { break stop_at(rest, IndexStop::Misaligned) };
            match E::read(raw).filter(|e| e.possible() && entries.last().is_none_or(|before| e.follows(before))) {
                // (0, 0) is a possible time entry, and at the same time what a zero tail looks like: 1970 loses.
                Some(_) if raw.iter().all(|b| *b == 0) && is_zero(after) => break IndexStop::ZeroTail,
                Some(entry) => entries.push(entry),
                None => break stop_at(rest, IndexStop::Disorder),
            }
            rest = after;
        };
        ParsedIndex { entries, stop }
    }

    /// Bytes of the valid entries.
    pub fn valid_bytes(&self) -> u64 {
        (self.entries.len() * E::SIZE) as u64
    }
}

fn stop_at(rest: &[u8], otherwise: IndexStop) -> IndexStop {
    if is_zero(rest) { IndexStop::ZeroTail } else { otherwise }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Reads an `.index` file, tolerating a zero tail.
pub fn parse_offset_index(bytes: &[u8]) -> ParsedIndex<OffsetEntry> {
    ParsedIndex::parse(bytes)
}

/// Reads a `.timeindex` file, tolerating a zero tail.
pub fn parse_time_index(bytes: &[u8]) -> ParsedIndex<TimeEntry> {
    ParsedIndex::parse(bytes)
}

/// The bytes of a segment's two index files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexBytes {
    /// `.index`
    pub offset: Vec<u8>,
    /// `.timeindex`
    pub time: Vec<u8>,
}

/// Builds both indexes of a segment from its batches, as Kafka writes them (`LogSegment.append`, `recover`).
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    base: i64,
    interval: u64,
    indexed_at: u64,
    bytes: IndexBytes,
    largest: Option<(i64, i64)>,
    last_time: i64,
}

impl IndexBuilder {
    /// For the segment with this base offset; `interval` is [`INDEX_INTERVAL`] unless the writer was told otherwise.
    pub fn new(base_offset: i64, interval: u32) -> Self {
        IndexBuilder {
            base: base_offset,
            interval: interval.into(),
            indexed_at: 0,
            bytes: IndexBytes::default(),
            largest: None,
            last_time: -1,
        }
    }

    /// Takes the next batch, which starts at `position`. An entry that 32 bits cannot hold is left out.
    pub fn add(&mut self, position: u64, header: &BatchHeader) {
        if header.max_timestamp > self.largest.map_or(-1, |(t, _)| t) {
            self.largest = Some((header.max_timestamp, header.last_offset()));
        }
        if position.saturating_sub(self.indexed_at) > self.interval {
            let relative = i32::try_from(header.last_offset().saturating_sub(self.base));
            if let (Ok(relative_offset), Ok(position)) = (relative, i32::try_from(position)) {
                self.bytes.offset.extend_from_slice(&OffsetEntry { relative_offset, position }.to_bytes());
            }
            self.add_time_entry();
            self.indexed_at = position;
        }
    }

    fn add_time_entry(&mut self) {
        if let Some((timestamp, offset)) = self.largest
            && timestamp > self.last_time
            && let Ok(relative_offset) = i32::try_from(offset.saturating_sub(self.base))
        {
            self.bytes.time.extend_from_slice(&TimeEntry { timestamp, relative_offset }.to_bytes());
            self.last_time = timestamp;
        }
    }

    /// The largest timestamp so far and the last offset of its batch.
    pub fn largest_timestamp(&self) -> Option<(i64, i64)> {
        self.largest
    }

    /// The entries so far, without the last time entry.
    pub fn so_far(&self) -> &IndexBytes {
        &self.bytes
    }

    /// Adds the last time entry, which rolling, closing and recovery write
    /// (`LogSegment.onBecomeInactiveSegment`), and gives both files.
    pub fn finish(mut self) -> IndexBytes {
        self.add_time_entry();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::BatchBuilder;

    fn header(base_offset: i64, last_offset_delta: i32, max_timestamp: i64) -> BatchHeader {
        let header = *BatchBuilder::new().record(0, None, None).build().unwrap().header();
        BatchHeader { base_offset, last_offset_delta, max_timestamp, ..header }
    }

    #[test]
    fn an_entry_is_due_when_more_than_the_interval_lies_behind() {
        let mut builder = IndexBuilder::new(1000, 4096);
        builder.add(0, &header(1000, 9, 50));
        builder.add(4096, &header(1010, 9, 70));
        assert_eq!(builder.so_far(), &IndexBytes::default());
        builder.add(4097, &header(1020, 9, 60));
        builder.add(8193, &header(1030, 9, 70));
        builder.add(8194, &header(1040, 9, 70));
        builder.add(8195, &header(1050, 9, 90));
        let bytes = builder.finish();
        let offsets = parse_offset_index(&bytes.offset);
        assert_eq!(offsets.stop, IndexStop::End);
        assert_eq!(
            offsets.entries,
            [OffsetEntry { relative_offset: 29, position: 4097 }, OffsetEntry { relative_offset: 49, position: 8194 }]
        );
        let times = parse_time_index(&bytes.time);
        assert_eq!(times.stop, IndexStop::End);
        assert_eq!(
            times.entries,
            [TimeEntry { timestamp: 70, relative_offset: 19 }, TimeEntry { timestamp: 90, relative_offset: 59 }]
        );
    }

    #[test]
    fn batches_without_a_timestamp_make_no_time_entry() {
        let mut builder = IndexBuilder::new(0, 10);
        builder.add(0, &header(0, 0, -1));
        builder.add(100, &header(1, 0, -1));
        let bytes = builder.finish();
        assert_eq!((bytes.offset.len(), bytes.time.len()), (8, 0));
    }

    #[test]
    fn what_does_not_fit_32_bits_is_left_out() {
        let mut builder = IndexBuilder::new(0, 10);
        builder.add(u64::MAX - 1, &header(1, 0, 5));
        builder.add(u64::MAX, &header(i64::MAX - 5, 0, 6));
        let bytes = builder.finish();
        assert_eq!(bytes.offset.len(), 0);
        assert_eq!(parse_time_index(&bytes.time).entries, [TimeEntry { timestamp: 5, relative_offset: 1 }]);
    }

    #[test]
    fn reading_stops_where_an_index_stops_being_one() {
        let a = OffsetEntry { relative_offset: 5, position: 5000 };
        let b = OffsetEntry { relative_offset: 9, position: 10_000 };
        let good = [a.to_bytes(), b.to_bytes()].concat();
        let with = |tail: &[u8]| [&good, tail].concat();
        for (bytes, stop) in [
            (good.clone(), IndexStop::End),
            (with(&[0; 800]), IndexStop::ZeroTail),
            (with(&[0; 3]), IndexStop::ZeroTail),
            (with(&[1, 2, 3]), IndexStop::Misaligned),
            (with(&b.to_bytes()), IndexStop::Disorder),
            (with(&[0xff; 8]), IndexStop::Disorder),
        ] {
            let parsed = parse_offset_index(&bytes);
            assert_eq!((parsed.entries.as_slice(), parsed.stop), ([a, b].as_slice(), stop));
            assert_eq!(parsed.valid_bytes(), 16);
        }
        assert_eq!(parse_offset_index(&[0; 8]).stop, IndexStop::ZeroTail);
        assert_eq!(parse_time_index(&[0; 24]).stop, IndexStop::ZeroTail);
        assert_eq!(parse_time_index(&[]).stop, IndexStop::End);
        let first = TimeEntry { timestamp: 0, relative_offset: 0 }.to_bytes();
        let second = TimeEntry { timestamp: 1, relative_offset: 0 }.to_bytes();
        assert_eq!(parse_time_index(&[first, second].concat()).entries.len(), 2);
    }
}
