//! `.txnindex`: the aborted transactions of a segment.
//!
//! Entries of 34 bytes, big-endian: version i16 = 0, producer id, first offset, last offset, last stable offset, each
//! i64 (`storage: AbortedTxn`).

use super::Malformed;
use super::fields::Fields;

const ENTRY: usize = 34;
const VERSION: i16 = 0;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first offset, perhaps in an earlier segment.
    pub first_offset: i64,
    /// The offset of the marker that aborted it.
    pub last_offset: i64,
    /// The last stable offset of the log when it was aborted.
    pub last_stable_offset: i64,
}

/// Reads a `.txnindex`.
///
/// # Errors
///
/// What is wrong: a part of an entry, a version that is not known, an entry that ends before it begins, or not behind
/// the one before it (`storage: TransactionIndex.append`, `sanityCheck`).
pub fn parse_txn_index(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, Malformed> {
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / ENTRY);
    let chunks = bytes.chunks_exact(ENTRY);
    let left = chunks.remainder().len();
    for (i, chunk) in chunks.enumerate() {
        let entry = entry(chunk).map_err(|wrong| format!("entry {i}: {wrong}"))?;
        if entry.last_offset < entry.first_offset {
            let AbortedTransaction { first_offset, last_offset, .. } = entry;
            return Err(format!("entry {i}: it begins at offset {first_offset} and ends at {last_offset}"));
        }
        if let Some(before) = entries.last().filter(|before| before.last_offset >= entry.last_offset) {
            return Err(format!("entry {i}: offset {} is not above {}", entry.last_offset, before.last_offset));
        }
        entries.push(entry);
    }
    if left != 0 {
        return Err(format!("a part of an entry at byte {}", bytes.len() - left));
    }
    Ok(entries)
}

fn entry(bytes: &[u8]) -> Result<AbortedTransaction, Malformed> {
    let mut f = Fields::new(bytes);
    let short = || "it is short".to_owned();
    let version = f.i16().ok_or_else(short)?;
    if version != VERSION {
        return Err(format!("version {version} is not known"));
    }
    let mut field = || f.i64().ok_or_else(short);
    Ok(AbortedTransaction {
        producer_id: field()?,
        first_offset: field()?,
        last_offset: field()?,
        last_stable_offset: field()?,
    })
}

/// What is wrong with the `.txnindex` of the segment that begins at `base` and ends before `end`.
pub fn check_txn_index(bytes: &[u8], base: i64, end: i64) -> Result<(), Malformed> {
    match parse_txn_index(bytes)?.iter().find(|t| t.last_offset < base || t.last_offset >= end) {
        Some(stray) => Err(format!("offset {} is not in the segment from {base} to {end}", stray.last_offset)),
        None => Ok(()),
    }
}

/// The entries of transactions that ended in `kept`, for a segment of which that is left. A broker does the same at the
/// end (`storage: TransactionIndex.truncateTo`).
pub fn cut_txn_index(bytes: &[u8], kept: std::ops::Range<i64>) -> &[u8] {
    let below =
        |end: i64| bytes.chunks_exact(ENTRY).take_while(|e| entry(e).is_ok_and(|e| e.last_offset < end)).count();
    bytes.get(below(kept.start) * ENTRY..below(kept.end) * ENTRY).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first: i64, last: i64) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        for value in [7, first, last, last + 1] {
            bytes.extend_from_slice(&i64::to_be_bytes(value));
        }
        bytes
    }

    #[test]
    fn transactions_that_end_beyond_the_cut_are_dropped() {
        let bytes = [aborted(1, 10), aborted(1, 20), aborted(1, 30)].concat();
        assert_eq!(bytes.len(), 3 * ENTRY);
        assert_eq!(cut_txn_index(&bytes, 0..21).len(), 2 * ENTRY);
        assert_eq!(cut_txn_index(&bytes, 0..20).len(), ENTRY);
        assert_eq!(cut_txn_index(&bytes, 0..i64::MAX), bytes);
        assert_eq!(
            cut_txn_index(&bytes, 11..30),
            &bytes[ENTRY..2 * ENTRY],
            "also those that ended before the beginning"
        );
        assert_eq!(cut_txn_index(&bytes, 40..50), b"");
        assert_eq!(cut_txn_index(&bytes[..40], 0..i64::MAX).len(), ENTRY, "a torn entry is none");
    }

    #[test]
    fn entries_are_read_and_held_against_the_segment() {
        let bytes = [aborted(1, 10), aborted(12, 20)].concat();
        let read = parse_txn_index(&bytes).unwrap();
        assert_eq!(read.len(), 2);
        let second = AbortedTransaction { producer_id: 7, first_offset: 12, last_offset: 20, last_stable_offset: 21 };
        assert_eq!(read[1], second);
        assert_eq!(check_txn_index(&bytes, 10, 21), Ok(()), "it may begin in an earlier segment");
        assert!(check_txn_index(&bytes, 11, 21).is_err());
        assert!(check_txn_index(&bytes, 10, 20).is_err());
        assert_eq!(parse_txn_index(b""), Ok(Vec::new()));
    }

    #[test]
    fn what_no_broker_writes_is_refused() {
        let two = [aborted(1, 10), aborted(12, 20)].concat();
        assert!(parse_txn_index(&two[..67]).unwrap_err().contains("byte 34"));
        assert!(parse_txn_index(&[aborted(12, 20), aborted(1, 10)].concat()).unwrap_err().contains("above"));
        assert!(parse_txn_index(&aborted(11, 10)).is_err());
        let mut version = two;
        version[1] = 1;
        assert!(parse_txn_index(&version).unwrap_err().contains("version 1"));
    }
}
