//! The small files of a broker.
#![no_main]

use cowlog::kafka::checkpoints::{LeaderEpochs, OffsetCheckpoint};
use cowlog::kafka::{cut_txn_index, datadir, metadata, metadata_record, offset_record, producer_state};
use cowlog::kafka::{transaction_record, txn_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = OffsetCheckpoint::parse(data) {
        assert!(checkpoint.len() <= data.len());
    }
    if let Ok(epochs) = LeaderEpochs::parse(data) {
        let written = epochs.to_bytes();
        assert_eq!(LeaderEpochs::parse(&written).expect("what was written can be read").to_bytes(), written);
        let cut = epochs.cut(100).to_bytes();
        assert!(LeaderEpochs::parse(&cut).is_ok());
    }
    let below = cut_txn_index(data, i64::MIN..1000);
    assert!(data.starts_with(below) && below.ends_with(cut_txn_index(data, 500..1000)));
    if let Ok(aborted) = txn_index::parse_txn_index(data) {
        assert!(aborted.len() <= data.len() / 34);
    }
    if let Ok(producers) = producer_state::parse_producer_state(data) {
        assert!(producers.len() <= data.len() / 46);
    }
    if let Ok(Some(key)) = offset_record::parse_offset_key(data) {
        assert!(key.group.len() + key.topic.len() <= data.len());
    }
    let _ = offset_record::parse_offset_value(data);
    if let Ok(Some(id)) = transaction_record::parse_transaction_key(data) {
        assert!(id.len() <= data.len());
    }
    if let Ok(state) = transaction_record::parse_transaction_value(data) {
        assert!(state.partitions.len() <= data.len() / 4);
    }
    let _ = metadata_record::parse_metadata_record(data);
    let _ = metadata::parse_partition_metadata(data);
    let _ = metadata::parse_meta_properties(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(found) = datadir::parse_partition_name(text)
    {
        assert!(found.partition >= 0 && text.starts_with(&found.topic));
    }
});
