//! `.snapshot`: what a broker knows of the producers at an offset.
//!
//! Big-endian: version i16 = 1, CRC-32C u32 over all that follows it, count i32, then entries of 46 bytes: producer id
//! i64, epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp i64, coordinator epoch i32, first
//! offset of the open transaction i64 (`storage: ProducerStateManager.readSnapshot`, `ProducerSnapshot.json`).

use super::Malformed;
use super::fields::Fields;

const VERSION: i16 = 1;
const ENTRY: usize = 46;
/// The CRC covers everything behind itself.
const CRC_END: usize = 6;

/// One producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of its last record; -1 where it has none here.
    pub last_sequence: i32,
    /// The offset of its last record; -1 where it has none here.
    pub last_offset: i64,
    /// How many offsets before the last one its last batch begins.
    pub offset_delta: i32,
    /// Of its last batch or marker: milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker; -1 where there was none.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub open_since: Option<i64>,
}

/// Reads a `.snapshot`. The count is held against the size before anything is allocated.
///
/// # Errors
///
/// What is wrong: size, version, CRC or count.
pub fn parse_producer_state(bytes: &[u8]) -> Result<Vec<Producer>, Malformed> {
    let mut fields = Fields::new(bytes);
    let (Some(version), Some(crc)) = (fields.i16(), fields.u32()) else {
        return Err(format!("{} bytes are too few for a producer snapshot", bytes.len()));
    };
    if version != VERSION {
        return Err(format!("version {version} is not known"));
    }
    let computed = crc32c::crc32c(bytes.get(CRC_END..).unwrap_or_default());
    if computed != crc {
        return Err(format!("its CRC is {computed:#010x}, not {crc:#010x}"));
    }
    let count = fields.i32().ok_or("it ends before its count")?;
    let rest = fields.rest();
    if usize::try_from(count).ok().and_then(|n| n.checked_mul(ENTRY)) != Some(rest.len()) {
        return Err(format!("{} bytes of entries where the count is {count}", rest.len()));
    }
    rest.chunks_exact(ENTRY).map(|entry| producer(entry).ok_or_else(|| "an entry is short".to_owned())).collect()
}

/// A `.snapshot` that knows of no producer.
pub fn no_producers() -> Vec<u8> {
    let count = 0_i32.to_be_bytes();
    let crc = crc32c::crc32c(&count).to_be_bytes();
    [VERSION.to_be_bytes().as_slice(), crc.as_slice(), count.as_slice()].concat()
}

fn producer(entry: &[u8]) -> Option<Producer> {
    let mut f = Fields::new(entry);
    Some(Producer {
        id: f.i64()?,
        epoch: f.i16()?,
        last_sequence: f.i32()?,
        last_offset: f.i64()?,
        offset_delta: f.i32()?,
        timestamp: f.i64()?,
        coordinator_epoch: f.i32()?,
        open_since: Some(f.i64()?).filter(|offset| *offset >= 0),
    })
}

/// What is wrong with the `.snapshot` that is named after `at`: besides its form, an entry at or beyond that offset.
pub fn check_producer_state(bytes: &[u8], at: i64) -> Result<(), Malformed> {
    for producer in parse_producer_state(bytes)? {
        let reached = producer.last_offset.max(producer.open_since.unwrap_or(-1));
        if reached >= at {
            return Err(format!("producer {} wrote at offset {reached}, which is not below {at}", producer.id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_no_producer() {
        // Accepted by a broker.
        assert_eq!(no_producers(), [0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0]);
        assert_eq!(parse_producer_state(&no_producers()), Ok(Vec::new()));
    }

    fn snapshot(producers: &[(i64, i64)]) -> Vec<u8> {
        let mut body = i32::try_from(producers.len()).unwrap().to_be_bytes().to_vec();
        for (id, last_offset) in producers {
            body.extend(id.to_be_bytes());
            body.extend(3i16.to_be_bytes());
            body.extend(77i32.to_be_bytes());
            body.extend(last_offset.to_be_bytes());
            body.extend(4i32.to_be_bytes());
            body.extend(1_767_225_600_000i64.to_be_bytes());
            body.extend((-1i32).to_be_bytes());
            body.extend((-1i64).to_be_bytes());
        }
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend(crc32c::crc32c(&body).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_empty_snapshot_is_the_one_that_kafka_writes() {
        assert_eq!(snapshot(&[]), [0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0]);
        assert_eq!(parse_producer_state(&snapshot(&[])), Ok(Vec::new()));
    }

    #[test]
    fn an_entry_is_read() {
        let read = parse_producer_state(&snapshot(&[(5, 99), (6, 100)])).unwrap();
        assert_eq!(read.len(), 2);
        let expected = Producer {
            id: 5,
            epoch: 3,
            last_sequence: 77,
            last_offset: 99,
            offset_delta: 4,
            timestamp: 1_767_225_600_000,
            coordinator_epoch: -1,
            open_since: None,
        };
        assert_eq!(read[0], expected);
        assert_eq!(check_producer_state(&snapshot(&[(5, 99), (6, 100)]), 101), Ok(()));
        assert!(check_producer_state(&snapshot(&[(5, 99), (6, 100)]), 100).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_no_count_is_believed() {
        let good = snapshot(&[(5, 99), (6, 100)]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_producer_state(&bad).is_err(), "bit {bit}");
        }
        for end in 0..good.len() {
            assert!(parse_producer_state(&good[..end]).is_err(), "{end} bytes");
        }
        for count in [i32::MAX, -1, i32::MIN, 1, 3] {
            let mut body = count.to_be_bytes().to_vec();
            body.extend(&good[10..]);
            let bytes = [&[0, 1][..], &crc32c::crc32c(&body).to_be_bytes(), &body].concat();
            assert!(parse_producer_state(&bytes).unwrap_err().contains("count"), "{count}");
        }
    }
}
