//! Transactions that their coordinators know, from the records of `__transaction_state` in their order.

use std::collections::{BTreeMap, BTreeSet};

use super::Malformed;
use super::transaction_record::{TransactionState, parse_transaction_key, parse_transaction_value};
use crate::log::{Batch, Record};

/// The last state of every transactional id.
#[derive(Debug, Default)]
pub struct Transactions {
    states: BTreeMap<String, TransactionState>,
}

impl Transactions {
    /// Takes the next batch of a partition of `__transaction_state`. The last record of a key counts, one without a value
    /// removes it (`core: TransactionStateManager.loadTransactionMetadata`).
    ///
    /// # Errors
    ///
    /// What of it cannot be read. The records before that have been taken.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), Malformed> {
        if batch.header().is_control() {
            return Ok(());
        }
        for record in batch.records().map_err(|e| e.to_string())? {
            self.record(&record).map_err(|why| format!("offset {}: {why}", record.offset))?;
        }
        Ok(())
    }

    /// What the coordinators are going to end, by producer and partition.
    pub fn known(&self) -> BTreeSet<(i64, &str, i32)> {
        let under_way = self.states.values().filter(|state| state.ends);
        under_way
            .flat_map(|s| s.partitions.iter().map(|(topic, partition)| (s.producer_id, topic.as_str(), *partition)))
            .collect()
    }

    fn record(&mut self, record: &Record) -> Result<(), Malformed> {
        let Some(id) = parse_transaction_key(record.key.as_deref().unwrap_or_default())? else { return Ok(()) };
        match &record.value {
            Some(value) => drop(self.states.insert(id, parse_transaction_value(value)?)),
            None => drop(self.states.remove(&id)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u8, producer: u8, status: Option<u8>) -> Record {
        let value = status.map(|status| {
            let head = [b"\0\0\0\0\0\0\0\0\0".as_slice(), &[producer], b"\0\0\0\0\0\0", &[status]].concat();
            [&head, b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03".as_slice(), &[0; 16]].concat()
        });
        Record { key: Some(vec![0, 0, 0, 1, id]), value, ..Record::default() }
    }

    #[test]
    fn the_last_record_of_an_id_counts() {
        let mut read = Transactions::default();
        for (taken, known) in [
            (record(b'a', 7, Some(1)), vec![(7, "t", 3)]),
            (record(b'b', 8, Some(2)), vec![(7, "t", 3), (8, "t", 3)]),
            (record(b'a', 7, Some(4)), vec![(8, "t", 3)]),
            (record(b'b', 8, None), vec![]),
        ] {
            read.record(&taken).unwrap();
            assert_eq!(read.known().into_iter().collect::<Vec<_>>(), known);
        }
        assert!(read.record(&Record { key: Some(vec![0]), ..Record::default() }).is_err());
    }
}
