//! Native logs for tests.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cowlog::fs::Clock;
use cowlog::log::{Batch, BatchBuilder, Log, LogConfig, LogReader};
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};

/// A batch of one record whose content depends on its offset only.
pub fn batch(offset: i64) -> Batch {
    let value = format!("record {offset} {}", "x".repeat(usize::try_from(offset % 50).unwrap()));
    BatchBuilder::new().record(offset * 1000, Some(b"key"), Some(value.as_bytes())).build().unwrap()
}

pub fn open_log(path: &Path) -> Log {
    Log::open_with(path, LogConfig { segment_bytes: 2_000, ..LogConfig::default() }).unwrap()
}

pub fn append(log: &mut Log, count: usize) {
    for _ in 0..count {
        log.append(batch(log.log_end_offset())).unwrap();
    }
    log.flush().unwrap();
}

/// A closed log of `count` records in several segments.
pub fn make_log(path: &Path, count: usize) {
    std::fs::create_dir_all(path).unwrap();
    let mut log = open_log(path);
    append(&mut log, count);
    log.close().unwrap();
}

/// All batches of a log, a snapshot or a restored log, one after the other.
pub fn content(path: &Path) -> Vec<u8> {
    let reader = LogReader::open(path).unwrap();
    reader.read_from(0).flat_map(|b| b.unwrap().as_bytes().to_vec()).collect()
}

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    pub fn at(ms: i64) -> Self {
        Hands(Arc::new(AtomicI64::new(ms)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::new(move || hands.load(Ordering::SeqCst))
    }
}

/// 2025-01-15 12:00 UTC
pub const NOON: i64 = 1_736_942_400_000;

/// A manager that never waits for an interval.
pub fn manager(path: &Path) -> SnapshotManager {
    SnapshotManager::open_with(path, SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() })
        .unwrap()
}

pub fn temp() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("orders-0");
    (temp, log)
}

/// In memory where there is such a place: for tests of numbers, which would otherwise measure the disk.
pub fn fast_temp() -> (tempfile::TempDir, PathBuf) {
    let shm = Path::new("/dev/shm");
    let temp = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let log = temp.path().join("orders-0");
    (temp, log)
}
