//! The log that the demo writes itself.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cowlog::log::{Batch, BatchBuilder, Log, LogConfig};

use super::report::Report;
use super::stage::Stage;
use super::{check, interruptible};
use crate::failure::Failure;
use crate::session::Session;
use crate::units::{bytes, count, duration};

/// Small enough that the demo's log has many segments.
pub const SEGMENT_BYTES: u64 = 8 << 20;
const RECORDS_PER_BATCH: u64 = 64;
const VALUE_BYTES: usize = 1000;

/// Opens the log to append to it.
pub fn open(path: &Path) -> Result<Log, Failure> {
    Ok(Log::open_with(path, LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() })?)
}

/// Writes the log, and says how large it is and how fast that went.
pub fn write_log(stage: &Stage, session: &Session, report: &mut Report) -> Result<(), Failure> {
    let started = Instant::now();
    let mut log = open(&stage.log())?;
    let written = Batches::new(1).fill(&mut log, stage.log_bytes, RECORDS_PER_BATCH, session)?;
    log.flush()?;
    let (records, segments) = (log.log_end_offset(), log.segments().len());
    log.close()?;
    check(records > 0 && segments > 1, || format!("{records} records in {segments} segments"))?;
    let took = started.elapsed();
    let rate = written as f64 / took.as_secs_f64();
    report.figure(
        "a log of our own",
        format!(
            "{} in {segments} segments, {} records, written in {} ({}/s)",
            bytes(written),
            count(records.unsigned_abs()),
            duration(took),
            bytes(rate as u64)
        ),
    )
}

/// Batches of records that no filesystem could compress or share by accident.
#[derive(Debug)]
pub struct Batches {
    state: u64,
}

impl Batches {
    pub fn new(seed: u64) -> Self {
        Batches { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub fn next_batch(&mut self, records: u64) -> Result<Batch, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let mut builder = BatchBuilder::new();
        let mut value = Vec::with_capacity(VALUE_BYTES + 8);
        for _ in 0..records {
            value.clear();
            while value.len() < VALUE_BYTES {
                value.extend_from_slice(&self.next().to_le_bytes());
            }
            let key = format!("order-{:08}", self.next() % 100_000_000);
            builder.record(now, Some(key.as_bytes()), Some(&value));
        }
        Ok(builder.build()?)
    }

    /// Appends batches of so many records until they are `bytes` bytes, or a little more; gives how many they are.
    pub fn fill(&mut self, log: &mut Log, bytes: u64, records: u64, session: &Session) -> Result<u64, Failure> {
        let mut written = 0;
        while written < bytes {
            interruptible(session)?;
            let batch = self.next_batch(records)?;
            written += batch.as_bytes().len() as u64;
            log.append(batch)?;
        }
        Ok(written)
    }

    /// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
