//! The records inside a batch (`clients: DefaultRecord`).
//!
//! Read and written here and not by the `kafka-protocol` crate, which allocates by the counts that a record
//! claims, keeps one of several headers with the same key, and overlooks LogAppendTime. Tests hold the two against each other.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::header::{BatchError, BatchHeader};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Its place in the log.
    pub offset: i64,
    /// Milliseconds since 1970 UTC, by the producer's clock or, where the batch says so, by the broker's.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone in a compacted log.
    pub value: Option<Vec<u8>>,
    /// In their order; keys may repeat. Keys that are not UTF-8 are read as Kafka reads them, with U+FFFD.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The same, borrowed.
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            header_count: self.headers.len(),
            headers: Headers::Apart(&self.headers),
        }
    }
}

/// One record where it stands in its batch: nothing is copied. As [`Record`] otherwise.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// See [`Record::offset`].
    pub offset: i64,
    /// See [`Record::timestamp`].
    pub timestamp: i64,
    /// See [`Record::key`].
    pub key: Option<&'a [u8]>,
    /// See [`Record::value`].
    pub value: Option<&'a [u8]>,
    header_count: usize,
    headers: Headers<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Headers<'a> {
    Packed(Input<'a>),
    Apart(&'a [(String, Option<Vec<u8>>)]),
}

impl<'a> RecordView<'a> {
    /// See [`Record::headers`].
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (Cow<'a, str>, Option<&'a [u8]>)> + use<'a> {
        let mut headers = self.headers;
        (0..self.header_count).map(move |index| match &mut headers {
            // They were read once, when the record was.
            Headers::Packed(input) => {
                let (name, value) = input.header().unwrap_or_default();
                (String::from_utf8_lossy(name), value)
            }
            Headers::Apart(all) => {
                let header = all.get(index).map(|(name, value)| (Cow::Borrowed(name.as_str()), value.as_deref()));
                header.unwrap_or_default()
            }
        })
    }

    /// A copy that outlives the batch.
    pub fn to_record(&self) -> Record {
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self.headers().map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// Size, attributes, two deltas, two lengths, header count: one byte each.
const LEAST_RECORD: usize = 7;
/// Two lengths.
const LEAST_HEADER: usize = 2;

/// Decodes the (decompressed) records of a batch.
pub(super) fn decode(header: &BatchHeader, plain: &[u8]) -> Result<Vec<Record>, BatchError> {
    let mut records = Vec::with_capacity(count_in(header, plain)? as usize);
    walk(header, plain, |_, raw| {
        records.push(raw.view(header).to_record());
        Ok(())
    })?;
    Ok(records)
}

/// Shows the (decompressed) records of a batch one by one, with their index. Takes no memory.
pub(super) fn walk<'a>(
    header: &BatchHeader,
    plain: &'a [u8],
    mut show: impl FnMut(u32, Raw<'a>) -> Result<(), &'static str>,
) -> Result<(), BatchError> {
    let walked = walk_until(header, plain, |index, raw| match show(index, raw) {
        Ok(()) => ControlFlow::Continue(()),
        Err(why) => ControlFlow::Break(BatchError::Record { index, why }),
    })?;
    match walked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

/// The same until the visitor breaks off: what is behind that is not looked at.
pub(super) fn walk_until<'a, B>(
    header: &BatchHeader,
    plain: &'a [u8],
    mut show: impl FnMut(u32, Raw<'a>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, BatchError> {
    let broken = |index: u32, why| BatchError::Record { index, why };
    let count = count_in(header, plain)?;
    let mut input = Input(plain);
    for index in 0..count {
        let raw = Raw::read(header, &mut input).map_err(|why| broken(index, why))?;
        if let ControlFlow::Break(with) = show(index, raw) {
            return Ok(ControlFlow::Break(with));
        }
    }
    if input.0.is_empty() { Ok(ControlFlow::Continue(())) } else { Err(broken(count, "bytes follow the last record")) }
}

fn count_in(header: &BatchHeader, plain: &[u8]) -> Result<u32, BatchError> {
    let broken = |why| BatchError::Record { index: 0, why };
    let count = u32::try_from(header.record_count).map_err(|_| broken("the record count is negative"))?;
    if count as usize > plain.len() / LEAST_RECORD {
        return Err(broken("the record count does not fit the bytes"));
    }
    Ok(count)
}

/// One record as it stands in its batch, sound.
pub(super) struct Raw<'a> {
    /// Its offset minus the batch's base offset.
    pub delta: i32,
    pub timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: usize,
    headers: Input<'a>,
}

impl<'a> Raw<'a> {
    fn read(header: &BatchHeader, input: &mut Input<'a>) -> Result<Raw<'a>, &'static str> {
        let size = usize::try_from(input.varint()?).map_err(|_| "its size is negative")?;
        let mut body = Input(input.bytes(size)?);
        body.bytes(1)?;
        let timestamp = header.base_timestamp.checked_add(body.varlong()?).ok_or("its timestamp overflows")?;
        let delta = body.varint()?;
        if delta < 0 || delta > header.last_offset_delta {
            return Err("its offset lies outside the batch");
        }
        let (key, value) = (body.optional_bytes()?, body.optional_bytes()?);
        let header_count = usize::try_from(body.varint()?).map_err(|_| "its header count is negative")?;
        if header_count > body.0.len() / LEAST_HEADER {
            return Err("its header count does not fit the bytes");
        }
        let headers = body;
        for _ in 0..header_count {
            body.header()?;
        }
        if !body.0.is_empty() {
            return Err("it is longer than its fields");
        }
        let timestamp = if header.is_log_append_time() { header.max_timestamp } else { timestamp };
        Ok(Raw { delta, timestamp, key, value, header_count, headers })
    }

    pub(super) fn view(&self, header: &BatchHeader) -> RecordView<'a> {
        RecordView {
            offset: header.base_offset.saturating_add(self.delta.into()),
            timestamp: self.timestamp,
            key: self.key,
            value: self.value,
            header_count: self.header_count,
            headers: Headers::Packed(self.headers),
        }
    }
}

/// Appends one record to the plain bytes of a batch.
pub(super) fn encode(
    record: &Record,
    base_timestamp: i64,
    offset_delta: i32,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    scratch.clear();
    scratch.push(0);
    put_varlong(scratch, record.timestamp.wrapping_sub(base_timestamp));
    put_varlong(scratch, offset_delta.into());
    put_bytes(scratch, record.key.as_deref());
    put_bytes(scratch, record.value.as_deref());
    put_varlong(scratch, record.headers.len() as i64);
    for (name, value) in &record.headers {
        put_bytes(scratch, Some(name.as_bytes()));
        put_bytes(scratch, value.as_deref());
    }
    put_varlong(out, scratch.len() as i64);
    out.extend_from_slice(scratch);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |b| b.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Zigzag, then seven bits a byte, lowest first (`ByteUtils.writeVarlong`); a varint is the same for its range.
fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[derive(Debug, Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn optional_bytes(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        match self.varint()? {
            -1 => Ok(None),
            count => self.bytes(usize::try_from(count).map_err(|_| "a length is negative")?).map(Some),
        }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
        Ok((self.optional_bytes()?.ok_or("a header has no key")?, self.optional_bytes()?))
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let (mut value, mut shift) = (0u64, 0);
        while shift < u64::BITS {
            let (&byte, rest) = self.0.split_first().ok_or("it is cut short")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
        Err("a number is too long")
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        i32::try_from(self.varlong()?).map_err(|_| "a number is too large")
    }
}
