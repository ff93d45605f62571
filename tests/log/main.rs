//! The native log: what it promises, over reopening, crashes of its process and other processes.

mod ends;
mod hints;
mod reading;
mod recovery;
mod refusing;
mod sharing;
#[path = "../support/process.rs"]
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowlog::error::Kind;
use cowlog::fs::Dir;
use cowlog::log::{Codec, HighWatermark, SegmentFile, check_segment, list_log, parse_time_index};
use cowlog::observe::{Event, Observer};
use cowlog::{Batch, BatchBuilder, Log, LogConfig, LogReader};
use tempfile::TempDir;

const T0: i64 = 1_735_998_123_000;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, lock_timeout: Duration::from_millis(50), ..LogConfig::default() }
}

/// One record of about 300 bytes that says its own number.
fn batch(number: i64) -> Batch {
    let value = format!("{number:0300}");
    BatchBuilder::new().record(T0 + number, Some(b"key"), Some(value.as_bytes())).build().unwrap()
}

fn fill(log: &mut Log, records: i64) {
    for _ in 0..records {
        let number = log.log_end_offset();
        assert_eq!(log.append(batch(number)).unwrap(), number);
    }
}

fn filled(records: i64) -> (TempDir, Log) {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Log::open_with(temp.path().join("log"), small()).unwrap();
    fill(&mut log, records);
    (temp, log)
}

fn path_of(temp: &TempDir) -> PathBuf {
    temp.path().join("log")
}

fn reopen(temp: &TempDir) -> Log {
    Log::open_with(path_of(temp), small()).unwrap()
}

/// The records of a log, each of which must say its own offset.
fn numbers(batches: impl IntoIterator<Item = Batch>) -> Vec<i64> {
    let records = batches.into_iter().flat_map(|b| b.records().unwrap());
    records
        .map(|r| {
            let said: i64 = std::str::from_utf8(r.value.as_deref().unwrap()).unwrap().parse().unwrap();
            assert_eq!((said, r.timestamp), (r.offset, T0 + r.offset));
            said
        })
        .collect()
}

fn all(log: &Log) -> Vec<i64> {
    numbers(log.read(0, u64::MAX).unwrap())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Every segment passes the check, its indexes included; `whole`: the active one's as well.
fn assert_sound(path: &Path, whole: bool) {
    let dir = Dir::open(path).unwrap();
    let listing = list_log(&dir).unwrap();
    assert_eq!(listing.unattached, []);
    for (i, segment) in listing.segments.iter().enumerate() {
        let next = listing.segments.get(i + 1).map(|s| s.base());
        let read = |file: SegmentFile| fs::read(path.join(file.name(segment.base()))).unwrap();
        let (index, times) = (read(SegmentFile::Index), read(SegmentFile::TimeIndex));
        let log = dir.open_file(SegmentFile::Log.name(segment.base()), cowlog::fs::Open::Read).unwrap();
        let check = check_segment(&log, Some(&index), Some(&times), segment.base(), next).unwrap();
        assert_eq!(check.problems, [], "{}", segment.base());
        assert_eq!(next.unwrap_or(check.end.next_offset), check.end.next_offset);
        if next.is_some() || whole {
            let last = parse_time_index(&times).entries.last().map(|e| e.timestamp);
            assert_eq!(last, check.end.max_timestamp);
        }
    }
}

/// Name to inode, mtime and bytes.
fn snapshot_of(path: &Path) -> BTreeMap<String, (u64, i64, Vec<u8>)> {
    let files = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    files
        .map(|p| {
            let m = p.metadata().unwrap();
            let name = p.file_name().unwrap().to_str().unwrap().to_owned();
            (name, (m.ino(), m.mtime_nsec(), fs::read(p).unwrap()))
        })
        .collect()
}

/// Links to all sealed segments' files, with their bytes, as a snapshot by hard links holds them.
struct Links {
    _temp: TempDir,
    held: Vec<(PathBuf, u64, Vec<u8>)>,
}

impl Links {
    fn take(temp: &TempDir, log: &Log) -> Links {
        let store = tempfile::tempdir_in(temp.path()).unwrap();
        let mut held = Vec::new();
        for base in &log.segments()[..log.segments().len() - 1] {
            for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
                let link = store.path().join(file.name(*base));
                fs::hard_link(path_of(temp).join(file.name(*base)), &link).unwrap();
                held.push((link.clone(), link.metadata().unwrap().ino(), fs::read(&link).unwrap()));
            }
        }
        assert!(!held.is_empty());
        Links { _temp: store, held }
    }

    fn assert_untouched(&self) {
        for (path, ino, bytes) in &self.held {
            assert_eq!(path.metadata().unwrap().ino(), *ino);
            assert!(&fs::read(path).unwrap() == bytes, "{} was written", path.display());
        }
    }
}
