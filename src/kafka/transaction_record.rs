//! The records of `__transaction_state` that say how far a transaction has come.
//!
//! Big-endian (`transaction-coordinator: TransactionLogKey.json`, `TransactionLogValue.json`). Key: version i16 = 0,
//! transactional id. Value: version i16 = 0 or 1, producer id i64, producer epoch i16, timeout in ms i32, status i8, the
//! partitions (topics, each with its name and partitions i32; none where the count is negative), time of the last update i64,
//! time of the start i64; version 1 is flexible and has more in tagged fields.

use super::Malformed;
use super::fields::Fields;

/// A transaction, as its coordinator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionState {
    /// Whose it is.
    pub producer_id: i64,
    /// Whether the coordinator is going to end it: it is under way, or its end is being told to the partitions.
    pub ends: bool,
    /// Topics and partitions that it has written to.
    pub partitions: Vec<(String, i32)>,
}

/// Reads a key: the transactional id. `None` for that of another record.
///
/// # Errors
///
/// It is short, or has a name that is not UTF-8.
pub fn parse_transaction_key(bytes: &[u8]) -> Result<Option<String>, Malformed> {
    let mut f = Fields::new(bytes);
    let short = || "the key of a transaction is short or no text".to_owned();
    if f.i16().ok_or_else(short)? != 0 {
        return Ok(None);
    }
    f.string().map(Some).ok_or_else(short)
}

/// Reads a value.
///
/// # Errors
///
/// It is short, or its version is not known.
pub fn parse_transaction_value(bytes: &[u8]) -> Result<TransactionState, Malformed> {
    let mut f = Fields::new(bytes);
    let short = || "the value of a transaction is short".to_owned();
    let version = f.i16().ok_or_else(short)?;
    if !(0..=1).contains(&version) {
        return Err(format!("version {version} of a transaction is not known"));
    }
    value(&mut f, version == 1).ok_or_else(short)
}

fn value(f: &mut Fields<'_>, flexible: bool) -> Option<TransactionState> {
    let producer_id = f.i64()?;
    f.i16()?;
    f.i32()?;
    // `TransactionState`: Ongoing 1, PrepareCommit 2, PrepareAbort 3, PrepareEpochFence 7. Of all others no marker follows.
    let ends = matches!(f.i8()?, 1 | 2 | 3 | 7);
    let mut partitions = Vec::new();
    for _ in 0..f.count(flexible)? {
        let topic = if flexible { f.compact_string()?? } else { f.string()? };
        for _ in 0..f.count(flexible)? {
            partitions.push((topic.clone(), f.i32()?));
        }
        if flexible {
            f.tagged()?;
        }
    }
    f.i64()?;
    f.i64()?;
    Some(TransactionState { producer_id, ends, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: i16) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(4711i64.to_be_bytes());
        bytes.extend(b"\0\x03\0\0\xea\x60\x01");
        match version {
            0 => bytes.extend(b"\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x02bc\0\0\0\x01\0\0\0\x01"),
            _ => bytes.extend(b"\x03\x02a\x03\0\0\0\0\0\0\0\x05\0\x03bc\x02\0\0\0\x01\x01\x09\x01x"),
        }
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn every_version_of_a_value() {
        for version in 0..=1 {
            let good = encoded(version);
            let partitions = vec![("a".to_owned(), 0), ("a".to_owned(), 5), ("bc".to_owned(), 1)];
            let expected = TransactionState { producer_id: 4711, ends: true, partitions };
            assert_eq!(parse_transaction_value(&good), Ok(expected), "{version}");
            for end in 0..good.len() {
                assert!(parse_transaction_value(&good[..end]).is_err(), "{version}: {end} bytes");
            }
        }
        assert!(parse_transaction_value(&encoded(2)).unwrap_err().contains("version 2"));
    }

    #[test]
    fn one_without_partitions_and_one_that_has_ended() {
        for (status, ends) in
            [(0, false), (1, true), (2, true), (3, true), (4, false), (5, false), (6, false), (7, true)]
        {
            let mut bytes = b"\0\0\0\0\0\0\0\0\0\x07\0\x03\0\0\xea\x60".to_vec();
            bytes.push(status);
            bytes.extend(b"\xff\xff\xff\xff");
            bytes.extend([0; 16]);
            let expected = TransactionState { producer_id: 7, ends, partitions: Vec::new() };
            assert_eq!(parse_transaction_value(&bytes), Ok(expected));
        }
    }

    #[test]
    fn keys() {
        assert_eq!(parse_transaction_key(b"\0\0\0\x02tx"), Ok(Some("tx".into())));
        assert_eq!(parse_transaction_key(b"\0\x01\0\x02tx"), Ok(None), "of another record");
        assert!(parse_transaction_key(b"\0\0\0\x02t").is_err());
        assert!(parse_transaction_key(b"\0").is_err());
    }
}
