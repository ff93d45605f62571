//! The native log: what it promises, over reopening, crashes of its process and other processes.

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

#[test]
fn what_is_appended_is_read_back() {
    let (temp, log) = filled(20);
    assert_eq!(all(&log), (0..20).collect::<Vec<_>>());
    assert!(log.segments().len() >= 4, "{:?}", log.segments());
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 20));
    for from in 0..20 {
        assert_eq!(numbers(log.read(from, u64::MAX).unwrap()), (from..20).collect::<Vec<_>>());
        assert_eq!(numbers(log.read(from, 0).unwrap()), [from]);
    }
    assert_eq!(log.read(20, 100).unwrap(), []);
    assert_eq!(numbers(log.read(3, 1000).unwrap()), [3, 4]);
    let reader = LogReader::open(path_of(&temp)).unwrap();
    assert_eq!(numbers(reader.read_from(7).map(Result::unwrap)), (7..20).collect::<Vec<_>>());
    assert_eq!((reader.log_end(), reader.segments().len()), (20, log.segments().len()));
}

#[test]
fn batches_of_many_records_and_every_codec() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Log::open_with(path_of(&temp), LogConfig { segment_bytes: 5000, ..small() }).unwrap();
    let mut written = Vec::new();
    for round in 0..40i64 {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new();
            builder.codec(codec);
            for _ in 0..1 + round % 5 {
                let value = format!("{:050}", written.len());
                builder.record(T0 + written.len() as i64, None, Some(value.as_bytes()));
                written.push(value);
            }
            log.append(builder.build().unwrap()).unwrap();
        }
    }
    assert_eq!(all(&log), (0..written.len() as i64).collect::<Vec<_>>());
    // In the middle of a batch, the whole batch comes.
    let middle = log.read(13, 0).unwrap();
    let header = *middle[0].header();
    assert!(header.base_offset <= 13 && header.last_offset() >= 13);
    assert!(log.segments().len() > 2);
    log.close().unwrap();
    assert_sound(&path_of(&temp), true);
}

#[test]
fn reading_by_timestamp() {
    let (temp, mut log) = filled(20);
    let reader = LogReader::open(path_of(&temp)).unwrap();
    for number in 0..20 {
        assert_eq!(log.offset_for_timestamp(T0 + number).unwrap(), Some(number));
        assert_eq!(reader.offset_for_timestamp(T0 + number).unwrap(), Some(number));
    }
    assert_eq!(log.offset_for_timestamp(0).unwrap(), Some(0));
    assert_eq!(log.offset_for_timestamp(T0 + 20).unwrap(), None);
    log.set_log_start_offset(0).unwrap();
    log.flush().unwrap();
    log.set_log_start_offset(9).unwrap();
    assert_eq!(log.offset_for_timestamp(0).unwrap(), Some(9));
    // Timestamps need not ascend: the first offset that is late enough counts.
    let late = BatchBuilder::new().record(T0 + 3, None, None).record(T0 + 90, None, None).build().unwrap();
    log.append(late).unwrap();
    log.append(BatchBuilder::new().record(T0 + 50, None, None).build().unwrap()).unwrap();
    assert_eq!(log.offset_for_timestamp(T0 + 40).unwrap(), Some(21));
    assert_eq!(log.offset_for_timestamp(T0 + 91).unwrap(), None);
}

#[test]
fn without_indexes_a_reader_finds_the_same() {
    let (temp, log) = filled(20);
    log.close().unwrap();
    for entry in fs::read_dir(path_of(&temp)).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with("index") {
            fs::remove_file(path).unwrap();
        }
    }
    let reader = LogReader::open(path_of(&temp)).unwrap();
    for number in 0..20 {
        assert_eq!(numbers(reader.read_from(number).take(1).map(Result::unwrap)), [number]);
        assert_eq!(reader.offset_for_timestamp(T0 + number).unwrap(), Some(number));
    }
}

#[test]
fn a_wrong_offset_index_costs_time_and_no_record() {
    let (temp, log) = filled(60);
    log.close().unwrap();
    // One segment of 60 records, so that the index has entries.
    let path = temp.path().join("one");
    let mut one = Log::open(&path).unwrap();
    fill(&mut one, 60);
    one.close().unwrap();
    let index = path.join(SegmentFile::Index.name(0));
    let right = fs::read(&index).unwrap();
    assert!(right.len() >= 24);
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 0x55;
        fs::write(&index, &wrong).unwrap();
        let reader = LogReader::open(&path).unwrap();
        for number in [0, 13, 14, 30, 59] {
            assert_eq!(numbers(reader.read_from(number).take(1).map(Result::unwrap)), [number], "{at}");
        }
    }
}

#[test]
fn reading_changes_nothing() {
    let (temp, log) = filled(20);
    log.close().unwrap();
    let before = snapshot_of(&path_of(&temp));
    let reader = LogReader::open(path_of(&temp)).unwrap();
    assert_eq!(reader.read_from(0).count(), 20);
    assert_eq!(reader.offset_for_timestamp(T0 + 5).unwrap(), Some(5));
    assert_eq!(snapshot_of(&path_of(&temp)), before);
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

#[test]
fn a_segment_is_rolled_by_age() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_age: Duration::from_secs(60), ..LogConfig::default() };
    let mut log = Log::open_with(path_of(&temp), config.clone()).unwrap();
    let at = |ms: i64| BatchBuilder::new().record(T0 + ms, None, None).build().unwrap();
    for ms in [0, 30_000, 60_000] {
        log.append(at(ms)).unwrap();
    }
    assert_eq!(log.segments(), [0]);
    log.close().unwrap();
    let mut log = Log::open_with(path_of(&temp), config).unwrap();
    log.append(at(60_001)).unwrap();
    log.append(at(0)).unwrap();
    assert_eq!(log.segments(), [0, 3]);
}

#[test]
fn rolling_an_empty_segment_does_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Log::open(path_of(&temp)).unwrap();
    log.roll().unwrap();
    assert_eq!(log.segments(), [0]);
    fill(&mut log, 1);
    log.roll().unwrap();
    log.roll().unwrap();
    assert_eq!(log.segments(), [0, 1]);
    assert_eq!(all(&log), [0]);
    drop(log);
    assert_eq!(Log::open(path_of(&temp)).unwrap().log_end_offset(), 1);
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let (temp, log) = filled(7);
    let (base, records) = (*log.segments().last().unwrap(), all(&log));
    log.close().unwrap();
    let active = path_of(&temp).join(SegmentFile::Log.name(base));
    let whole = fs::read(&active).unwrap();
    let mut next = batch(7).as_bytes().to_vec();
    next[7] = 7;
    let mut flipped = next.clone();
    flipped[100] ^= 4;
    let tails: [&[u8]; 6] = [&next[..1], &next[..61], &next[..next.len() - 1], &flipped, &[0; 5000], &[0xab; 300]];
    for tail in tails {
        fs::write(&active, [&whole, tail].concat()).unwrap();
        let warned = Arc::new(Mutex::new(String::new()));
        let hook = warned.clone();
        let observer = Observer::new(move |e| {
            if let Event::Warning(text) = e {
                hook.lock().unwrap().push_str(text);
            }
        });
        let mut log = Log::open_with(path_of(&temp), LogConfig { observer, ..small() }).unwrap();
        assert_eq!(log.recovery().cut_bytes, tail.len() as u64);
        assert!(warned.lock().unwrap().contains(&format!("cut {} bytes", tail.len())));
        assert_eq!((all(&log), log.log_end_offset()), (records.clone(), 7));
        assert_eq!(fs::read(&active).unwrap(), whole);
        log.flush().unwrap();
    }
}

#[test]
fn after_a_cut_appending_goes_on_where_it_ended() {
    let (temp, log) = filled(7);
    let base = *log.segments().last().unwrap();
    drop(log);
    let active = path_of(&temp).join(SegmentFile::Log.name(base));
    let whole = fs::read(&active).unwrap();
    fs::write(&active, &whole[..whole.len() - 1]).unwrap();
    let mut log = reopen(&temp);
    assert_eq!(log.log_end_offset(), 6);
    fill(&mut log, 10);
    assert_eq!(all(&log), (0..16).collect::<Vec<_>>());
    log.close().unwrap();
    assert_sound(&path_of(&temp), true);
}

#[test]
fn indexes_that_are_missing_or_wrong_are_built_anew() {
    let (temp, log) = filled(20);
    let bases = log.segments().to_vec();
    log.close().unwrap();
    let right = snapshot_of(&path_of(&temp));
    let damages: [fn(&Path); 4] = [
        |p| fs::remove_file(p).unwrap(),
        |p| fs::write(p, b"").unwrap(),
        |p| fs::write(p, [fs::read(p).unwrap(), vec![1, 2, 3]].concat()).unwrap(),
        |p| fs::write(p, [fs::read(p).unwrap(), vec![0; 4096 * 12]].concat()).unwrap(),
    ];
    for damage in damages {
        for &base in &bases {
            for file in [SegmentFile::Index, SegmentFile::TimeIndex] {
                damage(&path_of(&temp).join(file.name(base)));
            }
        }
        let log = reopen(&temp);
        assert!(log.recovery().rebuilt_indexes.len() >= bases.len() - 1, "{:?}", log.recovery());
        assert_eq!(all(&log), (0..20).collect::<Vec<_>>());
        log.close().unwrap();
        for (name, (_, _, bytes)) in &right {
            assert_eq!(&fs::read(path_of(&temp).join(name)).unwrap(), bytes, "{name}");
        }
    }
    let log = reopen(&temp);
    assert_eq!(log.recovery(), &Default::default());
}

#[test]
fn a_damaged_sealed_segment_is_reported_and_never_cut() {
    let (temp, log) = filled(20);
    let bases = log.segments().to_vec();
    log.close().unwrap();
    let victim = path_of(&temp).join(SegmentFile::Log.name(bases[1]));
    let whole = fs::read(&victim).unwrap();
    // Cut short: opening finds it.
    fs::write(&victim, &whole[..whole.len() - 5]).unwrap();
    let error = Log::open_with(path_of(&temp), small()).unwrap_err();
    assert_eq!((error.kind(), error.path()), (Kind::Integrity, Some(victim.as_path())));
    assert_eq!(fs::read(&victim).unwrap().len(), whole.len() - 5);
    // A flipped bit: reading finds it, and opening does when it has to rebuild the indexes.
    let mut flipped = whole.clone();
    flipped[400] ^= 1;
    fs::write(&victim, &flipped).unwrap();
    let log = reopen(&temp);
    let error = log.read(bases[1], u64::MAX).unwrap_err();
    assert_eq!((error.kind(), error.path()), (Kind::Integrity, Some(victim.as_path())));
    assert_eq!(numbers(log.read(bases[2], u64::MAX).unwrap()), (bases[2]..20).collect::<Vec<_>>());
    let mut read = log.read(0, 1).unwrap();
    assert_eq!(numbers(read.drain(..)), [0]);
    drop(log);
    fs::remove_file(path_of(&temp).join(SegmentFile::Index.name(bases[1]))).unwrap();
    assert_eq!(Log::open_with(path_of(&temp), small()).unwrap_err().kind(), Kind::Integrity);
    assert_eq!(fs::read(&victim).unwrap(), flipped);
    let reader = LogReader::open(path_of(&temp)).unwrap();
    let read: Vec<_> = reader.read_from(0).collect();
    assert!(read.last().unwrap().is_err(), "nothing comes after an error");
    assert_eq!(read.len() as i64, bases[1] + 2);
}

#[test]
fn one_writer_at_a_time() {
    let (temp, log) = filled(3);
    let error = Log::open_with(path_of(&temp), small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Concurrency);
    assert!(error.hint().unwrap().contains(&std::process::id().to_string()), "{error}: {:?}", error.hint());
    drop(log);
    reopen(&temp);
}

/// The other process of `one_writer_over_processes`, which runs this very test binary.
#[test]
fn child_that_holds_the_log() {
    let Ok(path) = std::env::var("COWLOG_TEST_HOLD") else { return };
    let mut log = Log::open_with(&path, small()).unwrap();
    fill(&mut log, 5);
    log.flush().unwrap();
    fs::write(Path::new(&path).with_extension("held"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn one_writer_over_processes() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_log"])
        .env("COWLOG_TEST_HOLD", path_of(&temp))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !path_of(&temp).with_extension("held").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = Log::open_with(path_of(&temp), small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Concurrency);
    assert!(error.hint().unwrap().contains(&child.id().to_string()), "{:?}", error.hint());
    // Reading needs no lock, and a killed writer leaves none behind.
    assert_eq!(LogReader::open(path_of(&temp)).unwrap().log_end(), 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(all(&reopen(&temp)), (0..5).collect::<Vec<_>>());
}

#[test]
fn log_start_and_high_watermark_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let manual = LogConfig { high_watermark: HighWatermark::Manual, ..small() };
    let mut log = Log::open_with(path_of(&temp), manual.clone()).unwrap();
    fill(&mut log, 20);
    log.flush().unwrap();
    assert_eq!(log.high_watermark(), 0);
    log.set_high_watermark(15).unwrap();
    assert_eq!(log.set_high_watermark(21).unwrap_err().kind(), Kind::Validation);
    log.set_log_start_offset(9).unwrap();
    assert_eq!(log.set_log_start_offset(16).unwrap_err().kind(), Kind::Validation);
    assert_eq!(log.set_log_start_offset(8).unwrap_err().kind(), Kind::Validation);
    log.close().unwrap();
    let log = Log::open_with(path_of(&temp), manual).unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark(), log.log_end_offset()), (9, 15, 20));
    assert_eq!(numbers(log.read(0, u64::MAX).unwrap()), (9..20).collect::<Vec<_>>());
    let reader = LogReader::open(path_of(&temp)).unwrap();
    assert_eq!((reader.log_start(), reader.high_watermark()), (9, 15));
    drop(log);
    // What follows the flush does not look at what another mode kept.
    let mut log = reopen(&temp);
    assert_eq!(log.high_watermark(), 20);
    fill(&mut log, 1);
    assert_eq!(log.high_watermark(), 20);
    log.flush().unwrap();
    assert_eq!(log.high_watermark(), 21);
    assert_eq!(log.set_high_watermark(20).unwrap_err().kind(), Kind::Validation);
}

#[test]
fn committed_records_that_are_gone_are_no_torn_tail() {
    let temp = tempfile::tempdir().unwrap();
    let manual = LogConfig { high_watermark: HighWatermark::Manual, ..LogConfig::default() };
    let mut log = Log::open_with(path_of(&temp), manual.clone()).unwrap();
    fill(&mut log, 10);
    log.set_high_watermark(8).unwrap();
    log.close().unwrap();
    let file = path_of(&temp).join(SegmentFile::Log.name(0));
    let whole = fs::read(&file).unwrap();
    let record = whole.len() / 10;
    fs::write(&file, &whole[..record * 8]).unwrap();
    drop(Log::open_with(path_of(&temp), manual.clone()).unwrap());
    fs::write(&file, &whole[..record * 8 - 1]).unwrap();
    let error = Log::open_with(path_of(&temp), manual.clone()).unwrap_err();
    assert_eq!(error.kind(), Kind::Integrity);
    assert_eq!(fs::read(&file).unwrap().len(), record * 8 - 1);
    let log = Log::open_with(path_of(&temp), LogConfig { accept_loss: true, ..manual.clone() }).unwrap();
    assert_eq!((log.log_end_offset(), log.high_watermark()), (7, 7));
    drop(log);
    Log::open_with(path_of(&temp), manual.clone()).unwrap();
    for file in SegmentFile::ALL {
        let _ = fs::remove_file(path_of(&temp).join(file.name(0)));
    }
    assert_eq!(Log::open_with(path_of(&temp), manual).unwrap_err().kind(), Kind::Integrity);
}

#[test]
fn truncation_ends_the_log_anywhere() {
    for to in 0..=20 {
        let (temp, mut log) = filled(20);
        let expected: Vec<_> = (0..to).collect();
        assert_eq!(log.truncate_to(to).unwrap(), to);
        assert_eq!((all(&log), log.log_end_offset()), (expected.clone(), to));
        assert!(log.high_watermark() <= to);
        drop(log);
        let mut log = reopen(&temp);
        assert_eq!((all(&log), log.log_end_offset()), (expected, to));
        fill(&mut log, 9);
        assert_eq!(all(&log), (0..to + 9).collect::<Vec<_>>());
        log.close().unwrap();
        assert_sound(&path_of(&temp), true);
    }
}

#[test]
fn truncation_into_a_batch_takes_all_of_it() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Log::open_with(path_of(&temp), small()).unwrap();
    let three = |n: i64| {
        let mut builder = BatchBuilder::new();
        for i in n..n + 3 {
            builder.record(T0 + i, None, Some(format!("{i}").as_bytes()));
        }
        builder.build().unwrap()
    };
    for n in [0, 3, 6] {
        log.append(three(n)).unwrap();
    }
    log.flush().unwrap();
    log.set_log_start_offset(7).unwrap();
    assert_eq!(log.truncate_to(3).unwrap_err().kind(), Kind::Validation);
    assert_eq!(log.truncate_to(8).unwrap(), 6);
    assert_eq!((log.log_start_offset(), log.high_watermark()), (6, 6));
    drop(log);
    let mut log = reopen(&temp);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (6, 6));
    assert_eq!(log.append(three(6)).unwrap(), 6);
    assert_eq!(log.log_end_offset(), 9);
    assert_eq!(log.truncate_to(100).unwrap(), 9);
}

#[test]
fn truncation_does_not_cut_a_damaged_segment_at_the_damage() {
    let (temp, mut log) = filled(20);
    let second = log.segments()[1];
    let victim = path_of(&temp).join(SegmentFile::Log.name(second));
    let mut bytes = fs::read(&victim).unwrap();
    bytes[100] ^= 1;
    fs::write(&victim, &bytes).unwrap();
    assert_eq!(log.truncate_to(second + 2).unwrap_err().kind(), Kind::Integrity);
    assert_eq!(log.log_end_offset(), 20);
    fill(&mut log, 1);
}

#[test]
fn retention_by_size() {
    let (temp, log) = filled(40);
    let bases = log.segments().to_vec();
    drop(log);
    let config = LogConfig { retention_bytes: Some(5000), ..small() };
    let mut log = Log::open_with(path_of(&temp), config.clone()).unwrap();
    let size = |log: &Log| -> u64 {
        let files = log.segments().iter().map(|b| path_of(&temp).join(SegmentFile::Log.name(*b)));
        files.map(|p| p.metadata().unwrap().len()).sum()
    };
    let removed = log.apply_retention(T0).unwrap();
    assert!(!removed.is_empty() && bases.starts_with(&removed));
    let start = bases[removed.len()];
    assert_eq!((log.log_start_offset(), log.segments()[0]), (start, start));
    assert!(size(&log) >= 5000 && size(&log) < 5000 + 2000, "{}", size(&log));
    assert_eq!(all(&log), (start..40).collect::<Vec<_>>());
    assert_eq!(log.apply_retention(T0).unwrap(), [0i64; 0]);
    drop(log);
    let log = Log::open_with(path_of(&temp), config).unwrap();
    assert_eq!(all(&log), (start..40).collect::<Vec<_>>());
    log.close().unwrap();
    assert_sound(&path_of(&temp), true);
}

#[test]
fn retention_by_age_and_below_the_log_start() {
    let (temp, log) = filled(40);
    let bases = log.segments().to_vec();
    drop(log);
    let config = LogConfig { retention_age: Some(Duration::from_millis(1000)), ..small() };
    let mut log = Log::open_with(path_of(&temp), config).unwrap();
    // The newest record of segment i is the one before segment i + 1.
    let newest = T0 + bases[2] - 1;
    assert_eq!(log.apply_retention(newest + 1000).unwrap(), [bases[0]]);
    assert_eq!(log.apply_retention(newest + 1001).unwrap(), [bases[1]]);
    log.set_log_start_offset(bases[4]).unwrap();
    assert_eq!(log.apply_retention(0).unwrap(), [bases[2], bases[3]]);
    // Never the active segment.
    assert_eq!(log.apply_retention(i64::MAX).unwrap(), bases[4..bases.len() - 1]);
    assert_eq!(log.segments(), [*bases.last().unwrap()]);
    drop(log);
    assert_eq!(reopen(&temp).log_start_offset(), *bases.last().unwrap());
}

#[test]
fn retention_stops_at_the_high_watermark() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { high_watermark: HighWatermark::Manual, retention_bytes: Some(0), ..small() };
    let mut log = Log::open_with(path_of(&temp), config).unwrap();
    fill(&mut log, 30);
    let bases = log.segments().to_vec();
    log.set_high_watermark(bases[2] + 1).unwrap();
    assert_eq!(log.apply_retention(T0).unwrap(), [bases[0], bases[1]]);
}

#[test]
fn an_interrupted_retention_is_finished_by_opening() {
    let (temp, mut log) = filled(40);
    log.flush().unwrap();
    let bases = log.segments().to_vec();
    log.set_log_start_offset(bases[3] + 1).unwrap();
    drop(log);
    // As if the names had reached the disk in any order.
    fs::remove_file(path_of(&temp).join(SegmentFile::Log.name(bases[1]))).unwrap();
    let log = reopen(&temp);
    assert_eq!(log.recovery().removed, [bases[0], bases[2]]);
    assert_eq!(log.segments(), &bases[3..]);
    assert_eq!(all(&log), (bases[3] + 1..40).collect::<Vec<_>>());
    log.close().unwrap();
    assert_sound(&path_of(&temp), true);
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

#[test]
fn a_sealed_inode_is_never_written_again() {
    for to in 0..=20 {
        let (temp, mut log) = filled(20);
        let links = Links::take(&temp, &log);
        log.truncate_to(to).unwrap();
        fill(&mut log, 12);
        links.assert_untouched();
        drop(log);
        links.assert_untouched();
        let mut log = reopen(&temp);
        fill(&mut log, 12);
        log.flush().unwrap();
        log.apply_retention(i64::MAX).unwrap();
        assert_eq!(all(&log), (0..to + 24).collect::<Vec<_>>());
        log.close().unwrap();
        links.assert_untouched();
    }
}

#[test]
fn retention_leaves_linked_inodes_alone() {
    let (temp, log) = filled(40);
    drop(log);
    let config = LogConfig { retention_bytes: Some(0), ..small() };
    let mut log = Log::open_with(path_of(&temp), config).unwrap();
    let links = Links::take(&temp, &log);
    assert!(log.apply_retention(T0).unwrap().len() > 3);
    fill(&mut log, 12);
    log.close().unwrap();
    links.assert_untouched();
}

#[test]
fn an_active_segment_with_other_names_is_made_private_before_it_is_written() {
    for tail in [&b""[..], b"torn"] {
        let (temp, log) = filled(7);
        let base = *log.segments().last().unwrap();
        log.close().unwrap();
        let names = [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex].map(|f| f.name(base));
        let active = path_of(&temp).join(&names[0]);
        fs::write(&active, [&fs::read(&active).unwrap(), tail].concat()).unwrap();
        for name in &names {
            fs::hard_link(path_of(&temp).join(name), temp.path().join(name)).unwrap();
        }
        let before = names.clone().map(|n| fs::read(temp.path().join(n)).unwrap());
        let mut log = reopen(&temp);
        fill(&mut log, 9);
        assert_eq!(all(&log), (0..16).collect::<Vec<_>>());
        log.close().unwrap();
        assert_eq!(names.clone().map(|n| fs::read(temp.path().join(n)).unwrap()), before);
        assert_eq!(temp.path().join(&names[0]).metadata().unwrap().nlink(), 1);
    }
}

#[test]
fn a_held_cut_keeps_truncation_and_retention_away_and_nothing_else() {
    let (temp, mut log) = filled(10);
    let held = log.cut().unwrap();
    let cut = held.cut().clone();
    assert_eq!((cut.log_start_offset, cut.high_watermark, cut.log_end_offset), (0, 10, 10));
    assert_eq!((cut.active_base, cut.leader_epoch), (*log.segments().last().unwrap(), Some(0)));
    let active = path_of(&temp).join(SegmentFile::Log.name(cut.active_base));
    assert_eq!(active.metadata().unwrap().len(), cut.active_bytes);
    fill(&mut log, 20);
    log.flush().unwrap();
    assert_eq!(log.truncate_to(3).unwrap_err().kind(), Kind::Concurrency);
    log.set_log_start_offset(9).unwrap();
    assert_eq!(log.apply_retention(0).unwrap_err().kind(), Kind::Concurrency);
    let again = log.cut().unwrap();
    drop(held);
    assert_eq!(log.truncate_to(20).unwrap_err().kind(), Kind::Concurrency);
    drop(again);
    assert_eq!(log.truncate_to(20).unwrap(), 20);
    assert!(!log.apply_retention(0).unwrap().is_empty());
    assert_eq!(all(&log), (9..20).collect::<Vec<_>>());
}

#[test]
fn leftovers_are_swept_and_foreign_files_are_not() {
    let (temp, log) = filled(10);
    log.close().unwrap();
    let names = || {
        sorted(fs::read_dir(path_of(&temp)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
    };
    let clean = names();
    for name in [".00000000000000000000.log.tmp", ".checkpoint.json.tmp", "00000000000000000010.index"] {
        fs::write(path_of(&temp).join(name), b"left over").unwrap();
    }
    drop(reopen(&temp));
    assert_eq!(names(), clean);
    fs::write(path_of(&temp).join("notes.txt"), b"mine").unwrap();
    fs::write(path_of(&temp).join(".notes.tmp"), b"mine").unwrap();
    drop(reopen(&temp));
    assert_eq!(names().len(), clean.len() + 2);
}

#[test]
fn a_broker_s_directory_is_refused() {
    for name in ["partition.metadata", "leader-epoch-checkpoint"] {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(name), b"").unwrap();
        assert_eq!(Log::open(temp.path()).unwrap_err().kind(), Kind::Validation);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_cannot_be_opened_is_told() {
    let temp = tempfile::tempdir().unwrap();
    assert!(Log::open(temp.path().join("no/parent")).unwrap_err().is_not_found());
    assert_eq!(LogReader::open(temp.path()).unwrap_err().kind(), Kind::Validation);
    assert!(LogReader::open(temp.path().join("nothing")).unwrap_err().is_not_found());
    for segment_bytes in [0, 1 << 31] {
        let config = LogConfig { segment_bytes, ..LogConfig::default() };
        assert_eq!(Log::open_with(path_of(&temp), config).unwrap_err().kind(), Kind::Validation);
    }
    let (temp, log) = filled(3);
    log.close().unwrap();
    fs::write(path_of(&temp).join("checkpoint.json"), b"{").unwrap();
    assert_eq!(Log::open(path_of(&temp)).unwrap_err().kind(), Kind::Integrity);
}

#[test]
fn ten_thousand_segments_open_quickly() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 1, ..LogConfig::default() };
    let mut log = Log::open_with(path_of(&temp), config).unwrap();
    fill(&mut log, 3);
    log.close().unwrap();
    // The other segments without the syncs of rolling.
    for base in 3..10_000i64 {
        let mut bytes = batch(base).as_bytes().to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        fs::write(path_of(&temp).join(SegmentFile::Log.name(base)), &bytes).unwrap();
        fs::write(path_of(&temp).join(SegmentFile::Index.name(base)), b"").unwrap();
        let time = [&(T0 + base).to_be_bytes()[..], &[0; 4]].concat();
        fs::write(path_of(&temp).join(SegmentFile::TimeIndex.name(base)), time).unwrap();
    }
    let begun = std::time::Instant::now();
    let mut log = Log::open_with(path_of(&temp), small()).unwrap();
    let took = begun.elapsed();
    assert_eq!((log.recovery(), log.segments().len()), (&Default::default(), 10_000));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(numbers(log.read(7777, 0).unwrap()), [7777]);
    assert_eq!(log.offset_for_timestamp(T0 + 9000).unwrap(), Some(9000));
    fill(&mut log, 1);
    println!("opened in {took:?}");
}
