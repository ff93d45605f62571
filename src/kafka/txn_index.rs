//! `.txnindex`: the aborted transactions of a segment.
//!
//! Entries of 34 bytes, big-endian: version i16, producer id, first offset, last offset, last stable offset, each i64
//! (`storage: AbortedTxn`).

const ENTRY: usize = 34;
const LAST_OFFSET_AT: usize = 18;

/// The entries of transactions that ended below `end`, for a segment that is cut there. A broker does the same
/// (`storage: TransactionIndex.truncateTo`).
pub fn cut_txn_index(bytes: &[u8], end: i64) -> &[u8] {
    let kept = bytes
        .chunks_exact(ENTRY)
        .take_while(|entry| {
            let last = entry.get(LAST_OFFSET_AT..).and_then(|rest| rest.first_chunk()).map(|b| i64::from_be_bytes(*b));
            last.is_some_and(|last| last < end)
        })
        .count();
    bytes.get(..kept * ENTRY).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_that_end_beyond_the_cut_are_dropped() {
        let entry = |last: i64| {
            let mut bytes = vec![0, 0];
            for value in [7, 1, last, 0] {
                bytes.extend_from_slice(&i64::to_be_bytes(value));
            }
            bytes
        };
        let bytes = [entry(10), entry(20), entry(30)].concat();
        assert_eq!(bytes.len(), 3 * ENTRY);
        assert_eq!(cut_txn_index(&bytes, 21).len(), 2 * ENTRY);
        assert_eq!(cut_txn_index(&bytes, 20).len(), ENTRY);
        assert_eq!(cut_txn_index(&bytes, i64::MAX), bytes);
        assert_eq!(cut_txn_index(&bytes[..40], i64::MAX).len(), ENTRY, "a torn entry is none");
    }
}
