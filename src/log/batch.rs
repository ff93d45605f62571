//! One record batch, version 2 (`clients: DefaultRecordBatch`).

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::codec::Codec;
use super::header::{BatchError, BatchHeader};
use super::record::{self, Record, RecordView};
use crate::error::{Error, Result, ValidationError};

/// One whole batch whose CRC holds.
#[derive(Debug, Clone)]
pub struct Batch {
    header: BatchHeader,
    bytes: Vec<u8>,
    /// Made by a [`BatchBuilder`], so that [`check_produced`](Self::check_produced) would find nothing.
    produced: bool,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Batch) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Batch {}

impl Batch {
    /// What [`records`](Self::records) unpacks at most, in bytes: 64 times the largest batch that a broker takes
    /// by default (`message.max.bytes`, 1 MiB).
    pub const UNPACKED_LIMIT: u64 = 64 << 20;

    /// Takes the bytes of exactly one batch and checks length, magic, offsets and CRC.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let (have, need) = (bytes.len() as u64, header.total_size());
        if have < need {
            return Err(BatchError::Short { have, need });
        }
        if have > need {
            return Err(BatchError::Trailing(have - need));
        }
        header.check_crc(&bytes)?;
        Ok(Batch { header, bytes, produced: false })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes as they stand in a `.log` file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records. Compressed ones are unpacked up to [`UNPACKED_LIMIT`](Self::UNPACKED_LIMIT).
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        self.records_within(Self::UNPACKED_LIMIT)
    }

    /// The records, unpacked up to `limit` bytes; where they take more, that is the error.
    pub fn records_within(&self, limit: u64) -> Result<Vec<Record>, BatchError> {
        record::decode(&self.header, &unpacked(&self.header, self.packed(), limit)?)
    }

    /// Shows the records one by one, where they stand, until the visitor breaks off. It takes memory for compressed ones
    /// alone, which are unpacked up to [`UNPACKED_LIMIT`](Self::UNPACKED_LIMIT). What is in front of a broken one was shown.
    pub fn visit<B>(
        &self,
        mut show: impl FnMut(RecordView<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, BatchError> {
        let plain = unpacked(&self.header, self.packed(), Self::UNPACKED_LIMIT)?;
        record::walk_until(&self.header, &plain, |_, raw| show(raw.view(&self.header)))
    }

    /// Whether it is as a producer makes it: a record for every offset, in their order, the largest timestamp in the header,
    /// unpacked no larger than [`UNPACKED_LIMIT`](Self::UNPACKED_LIMIT). Brokers ask for the same (`storage: LogValidator`).
    pub(crate) fn check_produced(&self) -> Result<(), BatchError> {
        if self.produced {
            return Ok(());
        }
        let (count, delta) = (self.header.record_count, self.header.last_offset_delta);
        if count <= 0 || delta != count - 1 {
            return Err(BatchError::Count { count, delta });
        }
        let mut largest = -1;
        record::walk(&self.header, &unpacked(&self.header, self.packed(), Self::UNPACKED_LIMIT)?, |index, raw| {
            largest = raw.timestamp.max(largest);
            if i64::from(raw.delta) == i64::from(index) { Ok(()) } else { Err("its offset is not the next one") }
        })?;
        if largest != self.header.max_timestamp {
            return Err(BatchError::MaxTimestamp { stored: self.header.max_timestamp, largest });
        }
        Ok(())
    }

    fn packed(&self) -> &[u8] {
        self.bytes.get(BatchHeader::SIZE..).unwrap_or_default()
    }

    /// Gives the batch its place. Neither field is covered by the CRC.
    pub(crate) fn place(&mut self, base_offset: i64, leader_epoch: i32) -> Result<(), BatchError> {
        let header = BatchHeader { base_offset, leader_epoch, ..self.header };
        if base_offset < 0 || base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return Err(BatchError::Offsets { base: base_offset, delta: header.last_offset_delta });
        }
        write_at(&mut self.bytes, 0, base_offset.to_be_bytes());
        write_at(&mut self.bytes, 12, leader_epoch.to_be_bytes());
        self.header = header;
        Ok(())
    }
}

/// Whether the records of a batch, which stand behind its header, can be decoded.
pub(super) fn check_records(header: &BatchHeader, packed: &[u8]) -> Result<(), BatchError> {
    record::walk(header, &unpacked(header, packed, Batch::UNPACKED_LIMIT)?, |_, _| Ok(()))
}

fn unpacked<'a>(header: &BatchHeader, packed: &'a [u8], limit: u64) -> Result<Cow<'a, [u8]>, BatchError> {
    Ok(match header.codec()? {
        Codec::None => Cow::Borrowed(packed),
        // A batch emptied by compaction keeps its codec and has no compressed stream.
        _ if header.record_count == 0 && packed.is_empty() => Cow::Borrowed(packed),
        codec => Cow::Owned(codec.decompress(packed, limit)?),
    })
}

fn write_at<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}

/// Collects records into a [`Batch`].
///
/// ```
/// use cowlog::BatchBuilder;
/// let batch = BatchBuilder::new().record(1_735_998_123_000, Some(b"key"), Some(b"value")).header("from", Some(b"docs")).build()?;
/// assert_eq!(batch.records()?[0].value.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    records: Vec<Record>,
    codec: Codec,
    producer: (i64, i16, i32),
    misuse: Option<&'static str>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder { records: Vec::new(), codec: Codec::None, producer: (-1, -1, -1), misuse: None }
    }
}

impl BatchBuilder {
    /// No record yet, no compression, no producer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. `timestamp` is milliseconds since 1970 UTC, not negative.
    pub fn record(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> &mut Self {
        if timestamp < 0 {
            self.misuse = Some("a record's timestamp is before 1970");
        }
        self.records.push(Record {
            offset: 0,
            timestamp,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        });
        self
    }

    /// Adds a header to the record added last.
    pub fn header(&mut self, key: &str, value: Option<&[u8]>) -> &mut Self {
        match self.records.last_mut() {
            Some(record) => record.headers.push((key.to_owned(), value.map(<[u8]>::to_vec))),
            None => self.misuse = Some("a header needs a record before it"),
        }
        self
    }

    /// Compresses the records.
    pub fn codec(&mut self, codec: Codec) -> &mut Self {
        self.codec = codec;
        self
    }

    /// Names the producer: id, epoch, and the sequence number of the first record.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) -> &mut Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Makes the batch, with base offset 0 until a log gives it its place. A validation error where there is no
    /// record, a misuse as the methods above name it, or more than 2 GiB.
    pub fn build(&self) -> Result<Batch> {
        let refuse = |what: &str| Error::from(ValidationError::refused(format!("cannot build a batch: {what}")));
        if let Some(misuse) = self.misuse {
            return Err(refuse(misuse));
        }
        let first = self.records.first().ok_or_else(|| refuse("it has no record"))?;
        let count = i32::try_from(self.records.len()).map_err(|_| refuse("too many records"))?;
        let mut plain = Vec::new();
        let mut scratch = Vec::new();
        for (delta, record) in (0..count).zip(&self.records) {
            record::encode(record, first.timestamp, delta, &mut scratch, &mut plain);
            if plain.len() > i32::MAX as usize {
                return Err(refuse("its records take more than 2 GiB"));
            }
        }
        let mut bytes = vec![0; BatchHeader::SIZE];
        self.codec.compress(&plain, &mut bytes).map_err(|e| refuse(&e.to_string()))?;
        let length = i32::try_from(bytes.len() - BatchHeader::LOG_OVERHEAD);
        let length = length.map_err(|_| refuse("it takes more than 2 GiB"))?;
        let max_timestamp = self.records.iter().map(|r| r.timestamp).max().unwrap_or(-1);
        let (id, epoch, sequence) = self.producer;
        write_at(&mut bytes, 8, length.to_be_bytes());
        write_at(&mut bytes, 12, (-1i32).to_be_bytes());
        write_at(&mut bytes, 16, [2]);
        write_at(&mut bytes, 21, self.codec.bits().to_be_bytes());
        write_at(&mut bytes, 23, (count - 1).to_be_bytes());
        write_at(&mut bytes, 27, first.timestamp.to_be_bytes());
        write_at(&mut bytes, 35, max_timestamp.to_be_bytes());
        write_at(&mut bytes, 43, id.to_be_bytes());
        write_at(&mut bytes, 51, epoch.to_be_bytes());
        write_at(&mut bytes, 53, sequence.to_be_bytes());
        write_at(&mut bytes, 57, count.to_be_bytes());
        let crc = crc32c::crc32c(bytes.get(BatchHeader::CRC_START..).unwrap_or_default());
        write_at(&mut bytes, 17, crc.to_be_bytes());
        let mut batch = Batch::from_bytes(bytes).map_err(|e| refuse(&e.to_string()))?;
        batch.produced = self.codec == Codec::None || plain.len() as u64 <= Batch::UNPACKED_LIMIT;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    fn sample(codec: Codec) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.codec(codec).producer(77, 3, 40);
        for i in 0..100i64 {
            let (key, value) = (format!("key-{i}"), format!("value {i} ").repeat(i as usize));
            builder.record(1_700_000_000_000 - i, Some(key.as_bytes()), (i % 7 != 0).then_some(value.as_bytes()));
            if i % 3 == 0 {
                builder.header("a", Some(b"1")).header("b", None);
            }
        }
        builder.build().unwrap()
    }

    #[test]
    fn an_independent_decoder_reads_the_same_records() {
        for codec in Codec::ALL {
            let mut batch = sample(codec);
            batch.place(5_000, 9).unwrap();
            let theirs = RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch.as_bytes())).unwrap().records;
            let ours = batch.records().unwrap();
            assert_eq!(ours.len(), 100);
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!((ours.offset, ours.timestamp), (theirs.offset, theirs.timestamp));
                assert_eq!(ours.key.as_deref(), theirs.key.as_deref());
                assert_eq!(ours.value.as_deref(), theirs.value.as_deref());
                let headers: Vec<_> =
                    theirs.headers.iter().map(|(k, v)| (k.to_string(), v.as_deref().map(<[u8]>::to_vec))).collect();
                assert_eq!(ours.headers, headers);
                assert_eq!((theirs.producer_id, theirs.producer_epoch, theirs.partition_leader_epoch), (77, 3, 9));
            }
        }
    }

    #[test]
    fn headers_with_the_same_key_are_all_kept() {
        let batch = BatchBuilder::new()
            .record(1, None, None)
            .header("k", Some(b"1"))
            .header("k", None)
            .header("k", Some(b""))
            .build()
            .unwrap();
        let k = || "k".to_owned();
        let records = batch.records().unwrap();
        assert_eq!(records[0].headers, [(k(), Some(b"1".to_vec())), (k(), None), (k(), Some(Vec::new()))]);
    }

    #[test]
    fn placing_keeps_the_crc() {
        let mut batch = sample(Codec::Lz4);
        batch.place(i64::MAX - 100, 12).unwrap();
        let again = Batch::from_bytes(batch.as_bytes().to_vec()).unwrap();
        assert_eq!(again, batch);
        assert_eq!(again.header().last_offset(), i64::MAX - 1);
        assert!(batch.place(i64::MAX - 99, 0).is_err());
        assert!(batch.place(-1, 0).is_err());
    }

    #[test]
    fn every_flipped_bit_under_the_crc_is_noticed() {
        let bytes = BatchBuilder::new().record(5, Some(b"k"), Some(b"v")).build().unwrap().as_bytes().to_vec();
        for bit in 8 * 8..bytes.len() * 8 {
            if (12 * 8..16 * 8).contains(&bit) {
                continue; // leader epoch
            }
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::from_bytes(bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn too_few_or_too_many_bytes_are_no_batch() {
        let bytes = sample(Codec::None).as_bytes().to_vec();
        for cut in [0, 1, 11, 60, 61, bytes.len() - 1] {
            assert!(matches!(Batch::from_bytes(bytes[..cut].to_vec()), Err(BatchError::Short { .. })), "{cut}");
        }
        let mut long = bytes;
        long.push(0);
        assert_eq!(Batch::from_bytes(long), Err(BatchError::Trailing(1)));
    }

    /// Changes fields and mends the CRC, as a hostile file would.
    fn forged(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Batch {
        change(&mut bytes);
        let length = (bytes.len() - 12) as i32;
        write_at(&mut bytes, 8, length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        write_at(&mut bytes, 17, crc.to_be_bytes());
        Batch::from_bytes(bytes).unwrap()
    }

    #[test]
    fn lying_counts_neither_allocate_nor_panic() {
        let bytes = BatchBuilder::new().record(5, None, Some(b"v")).build().unwrap().as_bytes().to_vec();
        for count in [i32::MAX, 2, 0, -1, i32::MIN] {
            let batch = forged(bytes.clone(), |b| write_at(b, 57, count.to_be_bytes()));
            assert!(matches!(batch.records(), Err(BatchError::Record { .. })), "{count}");
        }
        // The header count is the last byte: 2^31 - 1 of them.
        let batch = forged(bytes.clone(), |b| {
            b.pop();
            b.extend_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
            b[61] += 8;
        });
        assert!(matches!(batch.records(), Err(BatchError::Record { .. })));
        let batch = forged(bytes.clone(), |b| write_at(b, 27, i64::MAX.to_be_bytes()));
        assert_eq!(batch.records().unwrap()[0].timestamp, i64::MAX);
        let unknown = forged(bytes, |b| b[22] = 7);
        assert_eq!(unknown.records(), Err(BatchError::Codec(7)));
    }

    #[test]
    fn log_append_time_is_the_time_of_every_record() {
        let bytes = sample(Codec::None).as_bytes().to_vec();
        let batch = forged(bytes, |b| b[22] |= 0x08);
        assert!(batch.records().unwrap().iter().all(|r| r.timestamp == 1_700_000_000_000));
    }

    #[test]
    fn a_batch_emptied_by_compaction_has_no_records() {
        for codec in Codec::ALL {
            let batch = forged(sample(codec).as_bytes().to_vec(), |b| {
                b.truncate(61);
                write_at(b, 57, 0i32.to_be_bytes());
            });
            assert_eq!(batch.records(), Ok(Vec::new()), "{codec}");
            assert_eq!(batch.header().last_offset(), 99);
        }
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        let batch = BatchBuilder::new().codec(Codec::Zstd).record(0, None, Some(&vec![0; 1 << 20])).build().unwrap();
        assert!(batch.as_bytes().len() < 1000);
        assert_eq!(batch.records_within(1 << 16), Err(BatchError::TooLarge(1 << 16)));
        assert_eq!(batch.records().unwrap().len(), 1);
    }

    #[test]
    fn misuse_is_told() {
        assert!(BatchBuilder::new().build().is_err());
        assert!(BatchBuilder::new().header("k", None).build().is_err());
        assert!(BatchBuilder::new().record(-1, None, None).build().is_err());
    }
}
