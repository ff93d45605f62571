//! The 61 bytes before the records of a batch (`clients: DefaultRecordBatch`).

use crc32c::crc32c;

use super::codec::Codec;

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There are fewer bytes than the batch needs.
    #[error("{have} of {need} bytes")]
    Short {
        /// Bytes that are there.
        have: u64,
        /// Bytes that the batch claims.
        need: u64,
    },
    /// The length field cannot be.
    #[error("length field is {0}")]
    Length(i32),
    /// Not record batch version 2.
    #[error("magic is {0}, not 2")]
    Magic(i8),
    /// The CRC does not hold.
    #[error("CRC is {computed:08x}, should be {stored:08x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Negative offsets, or a last offset beyond what 63 bits hold.
    #[error("offsets {base} + {delta} cannot be")]
    Offsets {
        /// The base offset.
        base: i64,
        /// The last offset's delta.
        delta: i32,
    },
    /// Bytes follow the batch.
    #[error("{0} bytes too many")]
    Trailing(u64),
    /// A codec that this library does not know.
    #[error("unknown compression codec {0}")]
    Codec(u8),
    /// The compressed records cannot be read.
    #[error("cannot decompress {codec}: {why}")]
    Decompress {
        /// The codec.
        codec: Codec,
        /// What the decoder said.
        why: String,
    },
    /// The records would take more than the limit.
    #[error("records take more than {0} bytes")]
    TooLarge(u64),
    /// Not as many records as offsets, or none.
    #[error("{count} records, but the last one's offset delta is {delta}")]
    Count {
        /// The record count.
        count: i32,
        /// The last offset's delta.
        delta: i32,
    },
    /// The largest timestamp is not that of the records.
    #[error("largest timestamp is {largest}, but the header says {stored}")]
    MaxTimestamp {
        /// What the header says.
        stored: i64,
        /// What the records have.
        largest: i64,
    },
    /// The records do not have the form of records.
    #[error("record {index}: {why}")]
    Record {
        /// Which, from 0.
        index: u32,
        /// What is wrong.
        why: &'static str,
    },
}

/// A parsed batch header. Being parsed says nothing about the CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record as it was written; compaction may have removed that record since.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that wrote the batch, -1 where there is none. Outside the CRC.
    pub leader_epoch: i32,
    /// The format's version, always 2 here.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags; see the methods.
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas are added to; the delete horizon where that flag is set. Milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, milliseconds since 1970 UTC, -1 where there is none.
    pub max_timestamp: i64,
    /// Producer id, -1 where there is none.
    pub producer_id: i64,
    /// Producer epoch, -1 where there is none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 where there is none.
    pub base_sequence: i32,
    /// Records in the batch; compaction may leave 0.
    pub record_count: i32,
}

impl BatchHeader {
    /// Bytes before the records (`DefaultRecordBatch.RECORD_BATCH_OVERHEAD`).
    pub const SIZE: usize = 61;
    /// Bytes that the length field does not count (`Records.LOG_OVERHEAD`).
    pub const LOG_OVERHEAD: usize = 12;
    /// Where the CRC's coverage begins: the attributes.
    pub const CRC_START: usize = 21;

    /// Reads a header; more bytes may follow. The offsets are sound afterwards: not negative, no overflow.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let short = || BatchError::Short { have: bytes.len() as u64, need: Self::SIZE as u64 };
        let mut fields = Fields(bytes.get(..Self::SIZE).ok_or_else(short)?);
        let mut read = || -> Option<BatchHeader> {
            Some(BatchHeader {
                base_offset: i64::from_be_bytes(fields.take()?),
                batch_length: i32::from_be_bytes(fields.take()?),
                leader_epoch: i32::from_be_bytes(fields.take()?),
                magic: i8::from_be_bytes(fields.take()?),
                crc: u32::from_be_bytes(fields.take()?),
                attributes: i16::from_be_bytes(fields.take()?),
                last_offset_delta: i32::from_be_bytes(fields.take()?),
                base_timestamp: i64::from_be_bytes(fields.take()?),
                max_timestamp: i64::from_be_bytes(fields.take()?),
                producer_id: i64::from_be_bytes(fields.take()?),
                producer_epoch: i16::from_be_bytes(fields.take()?),
                base_sequence: i32::from_be_bytes(fields.take()?),
                record_count: i32::from_be_bytes(fields.take()?),
            })
        };
        let header = read().ok_or_else(short)?;
        const LEAST: usize = BatchHeader::SIZE - BatchHeader::LOG_OVERHEAD;
        if usize::try_from(header.batch_length).map_or(true, |l| l < LEAST) {
            return Err(BatchError::Length(header.batch_length));
        }
        if header.magic != 2 {
            return Err(BatchError::Magic(header.magic));
        }
        let (base, delta) = (header.base_offset, header.last_offset_delta);
        // The next offset must exist as well.
        if base < 0 || delta < 0 || base.checked_add(i64::from(delta) + 1).is_none() {
            return Err(BatchError::Offsets { base, delta });
        }
        Ok(header)
    }

    /// Offset of the last record as it was written.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Bytes of the whole batch, header included, as the length field claims.
    pub fn total_size(&self) -> u64 {
        u64::try_from(self.batch_length).unwrap_or(0) + Self::LOG_OVERHEAD as u64
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        Codec::from_bits((self.attributes & 0x07) as u8)
    }

    /// Whether the timestamp of every record is [`max_timestamp`](Self::max_timestamp), set by the broker.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether it holds a control record (a commit or abort marker) and no data.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether [`base_timestamp`](Self::base_timestamp) is a delete horizon.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 0x40 != 0
    }

    /// Checks the CRC of a whole batch whose header this is.
    pub(crate) fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let computed = crc32c(batch.get(Self::CRC_START..).unwrap_or_default());
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
