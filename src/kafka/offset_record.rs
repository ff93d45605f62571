//! The records of `__consumer_offsets` that say what a group has committed.
//!
//! Big-endian (`group-coordinator: OffsetCommitKey.json`, `OffsetCommitValue.json`). Key: version i16 = 0 or 1, group, topic,
//! partition i32; other versions are keys of other records (`CoordinatorRecordType`). Value: version i16 = 0 to 4, offset
//! i64, leader epoch i32 (from 3 on), metadata, commit timestamp i64, expire timestamp i64 (in 1 only); version 4 is flexible.

use super::Malformed;
use super::fields::Fields;

/// Whose position it is, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// What a group committed for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// When: milliseconds since 1970 UTC, by the broker's clock.
    pub timestamp: i64,
}

/// Reads a key. `None` for that of another record.
///
/// # Errors
///
/// It is short, or has a name that is not UTF-8.
pub fn parse_offset_key(bytes: &[u8]) -> Result<Option<OffsetKey>, Malformed> {
    let mut f = Fields::new(bytes);
    let short = || "the key of a committed offset is short or no text".to_owned();
    if !matches!(f.i16().ok_or_else(short)?, 0 | 1) {
        return Ok(None);
    }
    let mut read = || Some(OffsetKey { group: f.string()?, topic: f.string()?, partition: f.i32()? });
    read().map(Some).ok_or_else(short)
}

/// Reads a value.
///
/// # Errors
///
/// It is short, or its version is not known.
pub fn parse_offset_value(bytes: &[u8]) -> Result<Committed, Malformed> {
    let mut f = Fields::new(bytes);
    let short = || "the value of a committed offset is short".to_owned();
    let version = f.i16().ok_or_else(short)?;
    if !(0..=4).contains(&version) {
        return Err(format!("version {version} of a committed offset is not known"));
    }
    let mut read = || {
        let offset = f.i64()?;
        if version >= 3 {
            f.i32()?;
        }
        if version >= 4 {
            f.compact_string()??;
        } else {
            f.string()?;
        }
        Some(Committed { offset, timestamp: f.i64()? })
    };
    read().ok_or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(version: i16) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(1234i64.to_be_bytes());
        if version >= 3 {
            bytes.extend(7i32.to_be_bytes());
        }
        if version >= 4 {
            bytes.extend(b"\x03hi")
        } else {
            bytes.extend(b"\0\x02hi")
        }
        bytes.extend(1_767_225_600_000i64.to_be_bytes());
        bytes
    }

    #[test]
    fn every_version_of_a_value() {
        for version in 0..=4 {
            let good = value(version);
            let expected = Committed { offset: 1234, timestamp: 1_767_225_600_000 };
            assert_eq!(parse_offset_value(&good), Ok(expected), "{version}");
            for end in 0..good.len() {
                assert!(parse_offset_value(&good[..end]).is_err(), "{version}: {end} bytes");
            }
        }
        assert!(parse_offset_value(&value(5)).unwrap_err().contains("version 5"));
    }

    #[test]
    fn keys() {
        let good = b"\0\x01\0\x01g\0\x02ab\0\0\0\x05";
        let expected = OffsetKey { group: "g".into(), topic: "ab".into(), partition: 5 };
        assert_eq!(parse_offset_key(good), Ok(Some(expected)));
        assert_eq!(parse_offset_key(b"\0\x02\0\x01g"), Ok(None), "of the group itself");
        for end in 0..good.len() {
            assert!(parse_offset_key(&good[..end]).is_err(), "{end} bytes");
        }
        assert!(parse_offset_key(b"\0\x01\xff\xff").is_err(), "a negative length");
    }
}
