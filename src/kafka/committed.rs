//! What the groups have committed, from the records of `__consumer_offsets` in their order.
//!
//! The last record of a key counts, one without a value removes it, and what a transaction commits counts once the
//! transaction is committed, unless a record behind it came first (`group-coordinator: OffsetMetadataManager.replay`,
//! `replayEndTransactionMarker`).

use std::collections::{BTreeMap, HashMap};

use super::Malformed;
use super::offset_record::{Committed, OffsetKey, parse_offset_key, parse_offset_value};
use crate::log::{Batch, Record};

/// The committed offsets of the records that were taken.
#[derive(Debug, Default)]
pub struct CommittedOffsets {
    committed: BTreeMap<OffsetKey, Placed>,
    /// By producer: of transactions that have not ended.
    pending: HashMap<i64, HashMap<OffsetKey, Placed>>,
    /// Records that could not be read.
    wrong: u64,
    why: Option<Malformed>,
}

/// A committed offset, and the offset of the record that says so.
#[derive(Debug, Clone, Copy)]
struct Placed {
    at: i64,
    committed: Committed,
}

impl CommittedOffsets {
    /// Takes the next batch of a partition of `__consumer_offsets`. A record that cannot be read is counted and passed over.
    ///
    /// # Errors
    ///
    /// The batch's records cannot be decoded.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), Malformed> {
        let header = batch.header();
        let records = batch.records().map_err(|e| e.to_string())?;
        if header.is_control() {
            let commits = records.first().and_then(|r| r.key.as_deref()).and_then(is_commit);
            if let Some(commits) = commits {
                self.end(header.producer_id, commits);
            }
            return Ok(());
        }
        let producer = header.is_transactional().then_some(header.producer_id);
        for record in records {
            if let Err(why) = self.record(&record, producer) {
                self.wrong += 1;
                self.why.get_or_insert(format!("offset {}: {why}", record.offset));
            }
        }
        Ok(())
    }

    /// Behind the last batch of a partition: transactions that are still open do not count.
    pub fn end_of_log(&mut self) {
        self.pending.clear();
    }

    /// Every committed offset, by group, topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&OffsetKey, Committed)> {
        self.committed.iter().map(|(key, placed)| (key, placed.committed))
    }

    /// How many records could not be read, and what was wrong with the first.
    pub fn unread(&self) -> Option<(u64, &str)> {
        self.why.as_deref().map(|why| (self.wrong, why))
    }

    fn end(&mut self, producer: i64, commits: bool) {
        let pending = self.pending.remove(&producer).filter(|_| commits);
        for (key, placed) in pending.into_iter().flatten() {
            self.put(key, placed);
        }
    }

    fn record(&mut self, record: &Record, producer: Option<i64>) -> Result<(), Malformed> {
        let Some(key) = parse_offset_key(record.key.as_deref().unwrap_or_default())? else { return Ok(()) };
        let Some(value) = &record.value else {
            self.committed.remove(&key);
            for of_one in self.pending.values_mut() {
                of_one.remove(&key);
            }
            return Ok(());
        };
        let placed = Placed { at: record.offset, committed: parse_offset_value(value)? };
        if let Some(id) = producer {
            self.pending.entry(id).or_default().insert(key, placed);
        } else {
            self.put(key, placed);
        }
        Ok(())
    }

    fn put(&mut self, key: OffsetKey, placed: Placed) {
        let known = self.committed.entry(key).or_insert(placed);
        if known.at < placed.at {
            *known = placed;
        }
    }
}

/// Whether a marker commits; `None` where it does not end a transaction (`clients: ControlRecordType`: version i16, type i16).
fn is_commit(key: &[u8]) -> Option<bool> {
    match key {
        [_, _, 0, 0, ..] => Some(false),
        [_, _, 0, 1, ..] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: Option<i64>) -> Record {
        let value = value.map(|v| [b"\0\x03".as_slice(), &v.to_be_bytes(), b"\0\0\0\0\0\0", &[0; 8]].concat());
        Record { offset, key: Some(b"\0\x01\0\x01g\0\x01t\0\0\0\0".to_vec()), value, ..Record::default() }
    }

    fn offset(read: &CommittedOffsets) -> Option<i64> {
        read.iter().next().map(|(_, committed)| committed.offset)
    }

    #[test]
    fn the_last_record_counts_and_one_without_a_value_removes() {
        let mut read = CommittedOffsets::default();
        for (at, value, then) in [(0, Some(5), Some(5)), (1, Some(3), Some(3)), (2, None, None), (3, Some(9), Some(9))]
        {
            read.record(&record(at, value), None).unwrap();
            assert_eq!(offset(&read), then);
        }
    }

    #[test]
    fn what_a_transaction_commits_waits_for_its_end() {
        let mut read = CommittedOffsets::default();
        read.record(&record(0, Some(5)), Some(7)).unwrap();
        assert_eq!(offset(&read), None);
        read.end(7, true);
        assert_eq!(offset(&read), Some(5));
        read.record(&record(2, Some(6)), Some(7)).unwrap();
        read.end(7, false);
        assert_eq!(offset(&read), Some(5), "it was aborted");
        read.record(&record(4, Some(7)), Some(7)).unwrap();
        read.record(&record(5, Some(8)), None).unwrap();
        read.end(7, true);
        assert_eq!(offset(&read), Some(8), "the record behind it came first");
        read.record(&record(7, Some(9)), Some(7)).unwrap();
        read.record(&record(8, None), None).unwrap();
        read.end(7, true);
        assert_eq!(offset(&read), None, "the group was deleted meanwhile");
        read.record(&record(10, Some(1)), Some(7)).unwrap();
        read.end_of_log();
        read.end(7, true);
        assert_eq!(offset(&read), None, "of another log");
    }
}
