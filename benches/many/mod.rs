//! Logs of many segments, and how large they are.

#![allow(dead_code)] // no bench uses all of it

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlog::log::{IndexBuilder, IndexBytes};
use cowlog::{Batch, BatchBuilder, Log, SnapshotConfig, SnapshotManager};
use criterion::Criterion;
use tempfile::TempDir;

/// Enough rounds to see a change, few enough to be done with in minutes.
pub fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_millis(500))
        .warm_up_time(Duration::from_millis(100))
}

/// `COWLOG_BENCH_LARGE=1` asks for sizes that show growth, and takes its time.
pub fn sizes(small: &[usize], large: &[usize]) -> Vec<usize> {
    let wanted = std::env::var_os("COWLOG_BENCH_LARGE").is_some_and(|v| v == "1");
    if wanted { large.to_vec() } else { small.to_vec() }
}

pub fn segments() -> Vec<usize> {
    sizes(&[100, 500], &[1_000, 5_000, 15_000, 50_000])
}

/// A directory below `COWLOG_BENCH_DIR`, or where temporary files go.
pub fn directory() -> TempDir {
    let parent = std::env::var_os("COWLOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix("cowlog-bench-").tempdir_in(parent).unwrap()
}

/// One record, about 1 KiB.
pub fn batch() -> Batch {
    batch_at(0)
}

/// The same at another offset, a millisecond later for each.
pub fn batch_at(offset: u64) -> Batch {
    let value: Vec<u8> = (0..940u32).map(|i| (i * 7 % 251) as u8).collect();
    let time = 1_735_998_123_000 + offset as i64;
    let built = BatchBuilder::new().record(time, Some(b"key"), Some(&value)).build().unwrap();
    let mut bytes = built.as_bytes().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes()); // the CRC does not cover it
    Batch::from_bytes(bytes).unwrap()
}

/// Of a segment of so many batches, with an entry for each.
pub fn indexes(batches: u64) -> IndexBytes {
    let (one, mut builder) = (batch(), IndexBuilder::new(0, 1));
    for offset in 0..batches {
        let mut header = *one.header();
        header.base_offset += offset as i64;
        header.max_timestamp += offset as i64;
        builder.add(offset * one.as_bytes().len() as u64, &header);
    }
    builder.finish()
}

/// Takes a snapshot from which the next one inherits everything: a file's younger times are not believed.
pub fn inheritable(snaps: &SnapshotManager) -> String {
    std::thread::sleep(Duration::from_millis(2_500));
    let first = snaps.create().run().unwrap().snapshot.id;
    let next = snaps.create().run().unwrap();
    assert_eq!(next.bytes_hashed, 0, "it inherits");
    snaps.delete(&next.snapshot.id).unwrap();
    first
}

/// A closed log of so many segments of one batch. Only the first is written by a log: it would sync each of them.
pub fn log_of(dir: &TempDir, segments: usize) -> PathBuf {
    let path = dir.path().join(format!("log-{segments}"));
    let mut log = Log::open(&path).unwrap();
    log.append(batch()).unwrap();
    log.close().unwrap();
    for base in 1..segments as u64 {
        write_segment(&path, base, batch_at(base).as_bytes());
    }
    path
}

/// A segment of one batch with empty indexes.
pub fn write_segment(log: &Path, base: u64, bytes: &[u8]) {
    fs::write(log.join(format!("{base:020}.log")), bytes).unwrap();
    fs::write(log.join(format!("{base:020}.index")), b"").unwrap();
    fs::write(log.join(format!("{base:020}.timeindex")), b"").unwrap();
}

/// A manager that never waits for an interval.
pub fn manager(log: &Path) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(log, config).unwrap()
}

/// The time of `measured` alone, over so many rounds; `undo` gets what it made.
pub fn rounds<T>(rounds: u64, mut measured: impl FnMut() -> T, mut undo: impl FnMut(T)) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let started = Instant::now();
        let made = measured();
        total += started.elapsed();
        undo(made);
    }
    total
}
