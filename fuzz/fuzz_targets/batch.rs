//! One batch, and a stream of batches in chunks. With an even first byte the length and the CRC are mended, so that
//! what lies behind them is reached.
#![no_main]

use cowlog::log::{Batch, BatchHeader, BatchScanner};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let mut bytes = data.to_vec();
    if mode % 2 == 0 && bytes.len() >= BatchHeader::SIZE {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    if let Ok(batch) = Batch::from_bytes(bytes.clone()) {
        assert_eq!(batch.as_bytes(), bytes);
        assert_eq!(batch.header().total_size(), bytes.len() as u64);
        if let Ok(records) = batch.records_within(LIMIT) {
            assert_eq!(records.len(), batch.header().record_count as usize);
            for record in &records {
                assert!(record.offset >= batch.header().base_offset && record.offset <= batch.header().last_offset());
            }
        }
    }

    // However it is cut into chunks, a stream of batches ends at the same place.
    let mut whole = BatchScanner::new(0);
    whole.feed(&bytes);
    let mut parts = BatchScanner::new(0);
    for chunk in bytes.chunks(usize::from(*mode) + 1) {
        parts.feed(chunk);
        assert!(parts.valid_end() <= bytes.len() as u64);
    }
    assert_eq!(parts.valid_end(), whole.valid_end());
    assert_eq!(parts.indexes(), whole.indexes());
    assert_eq!(parts.next_offset(), whole.next_offset());
});
