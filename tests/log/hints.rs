//! Indexes are hints: whatever stands in them, what is read is the same.

use super::*;

/// A batch as it stands in a segment.
struct Placed {
    position: usize,
    last: i64,
    timestamp: i64,
}

/// Segments of many batches whose timestamps go up and down. Every value ends with a batch that claims to be the next.
fn jagged(path: &Path) -> Log {
    let config = LogConfig { segment_bytes: 9000, index_interval: 900, ..LogConfig::default() };
    let mut log = Log::open_with(path, config).unwrap();
    for n in 0..55i64 {
        let mut builder = BatchBuilder::new();
        let next = log.log_end_offset() + 1 + n % 2;
        let mut value = vec![b'x'; 150];
        value.extend(forged(next));
        for i in 0..=n % 2 {
            builder.record(T0 + 10 * n + (n * 29) % 83 + i, None, Some(&value));
        }
        log.append(builder.build().unwrap()).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(log.segments().len(), 3, "{:?}", log.segments());
    log
}

fn forged(offset: i64) -> Vec<u8> {
    let mut bytes = BatchBuilder::new().record(T0, None, Some(b"no record")).build().unwrap().as_bytes().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes
}

fn placed(path: &Path, base: i64) -> Vec<Placed> {
    let dir = Dir::open(path).unwrap();
    let log = dir.open_file(SegmentFile::Log.name(base), cowlog::fs::Open::Read).unwrap();
    let mut placed = Vec::new();
    cowlog::log::scan(&log, 0, u64::MAX, base, |b| {
        let (position, header) = (usize::try_from(b.position).unwrap(), b.header);
        placed.push(Placed { position, last: header.last_offset(), timestamp: header.max_timestamp });
        Ok(())
    })
    .unwrap();
    placed
}

/// What is found from every offset and at every timestamp.
#[derive(Debug, PartialEq)]
struct Found {
    by_offset: Vec<Option<i64>>,
    by_time: Vec<Option<i64>>,
}

const TIMES: std::ops::Range<i64> = T0 - 2..T0 + 640;

fn found_by_reader(path: &Path) -> Found {
    let reader = LogReader::open(path).unwrap();
    let first = |offset| reader.read_from(offset).next().map(|b| b.unwrap().header().base_offset);
    Found {
        by_offset: (0..=reader.log_end()).step_by(5).map(first).collect(),
        by_time: TIMES.step_by(31).map(|t| reader.offset_for_timestamp(t).unwrap()).collect(),
    }
}

fn found_by_log(log: &Log) -> Found {
    let first = |offset| log.read(offset, 0).unwrap().first().map(|b| b.header().base_offset);
    Found {
        by_offset: (0..=log.log_end_offset()).step_by(5).map(first).collect(),
        by_time: TIMES.step_by(31).map(|t| log.offset_for_timestamp(t).unwrap()).collect(),
    }
}

/// Every way to be wrong for the entry at `at`, which has `size` bytes: numbers that are off, and other batches' entries.
fn wrong_entries(right: &[u8], at: usize, size: usize, others: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let with = |entry: &[u8]| [&right[..at], entry, &right[at + size..]].concat();
    let mut wrong: Vec<Vec<u8>> = others.iter().map(|entry| with(entry)).collect();
    let entry = &right[at..at + size];
    let (first, second) = entry.split_at(size - 4);
    let (first_number, second_number) = (number(first), number(second));
    for off in [-1, 1, -17, 17, i64::from(i32::MAX) - second_number] {
        let second = i32::try_from(second_number + off).unwrap_or(-1).to_be_bytes();
        wrong.push(with(&[first, &second].concat()));
    }
    for off in [-1, 1, -17, 17, i64::MAX >> (64 - 8 * first.len())] {
        let bytes = first_number.saturating_add(off).to_be_bytes();
        wrong.push(with(&[&bytes[8 - first.len()..], second].concat()));
    }
    wrong.push(with(&vec![0; size]));
    wrong.push(with(&vec![0xff; size]));
    wrong.push([&right[..at], &right[at + size..]].concat());
    wrong.push(right[..at].to_vec());
    wrong.push(right[..at + 1].to_vec());
    wrong
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |n, b| n << 8 | i64::from(*b))
}

/// All wrong forms of the files of a segment.
fn wrong_files(path: &Path, base: i64) -> Vec<(PathBuf, Vec<u8>)> {
    let batches = placed(path, base);
    let log = fs::read(path.join(SegmentFile::Log.name(base))).unwrap();
    let relative = |b: &Placed| i32::try_from(b.last - base).unwrap().to_be_bytes();
    let mut files = Vec::new();
    let index = path.join(SegmentFile::Index.name(base));
    let right = fs::read(&index).unwrap();
    for at in (0..right.len()).step_by(8) {
        let mut others: Vec<_> =
            batches.iter().map(|b| [relative(b), i32::try_from(b.position).unwrap().to_be_bytes()].concat()).collect();
        // The same offset, at what looks like its batch.
        let offset = base + number(&right[at..at + 4]);
        let like = forged(offset);
        if let Some(position) = log.windows(like.len()).position(|w| w == like) {
            others.push([&right[at..at + 4], &i32::try_from(position).unwrap().to_be_bytes()].concat());
        }
        files.extend(wrong_entries(&right, at, 8, others).into_iter().map(|bytes| (index.clone(), bytes)));
    }
    let times = path.join(SegmentFile::TimeIndex.name(base));
    let right = fs::read(&times).unwrap();
    for at in (0..right.len()).step_by(12) {
        let others = batches.iter().map(|b| [&b.timestamp.to_be_bytes()[..], &relative(b)].concat()).collect();
        files.extend(wrong_entries(&right, at, 12, others).into_iter().map(|bytes| (times.clone(), bytes)));
    }
    files
}

#[test]
fn a_wrong_entry_anywhere_gives_no_wrong_answer() {
    let temp = tempfile::tempdir().unwrap();
    let path = path_of(&temp);
    let log = jagged(&path);
    let expected = found_by_log(&log);
    assert_eq!(found_by_reader(&path), expected);
    let sealed = log.segments()[0];
    assert!(fs::metadata(path.join(SegmentFile::TimeIndex.name(sealed))).unwrap().len() >= 12 * 6);
    for base in log.segments() {
        for (file, wrong) in wrong_files(&path, *base) {
            let right = fs::read(&file).unwrap();
            fs::write(&file, &wrong).unwrap();
            let before = snapshot_of(&path);
            let told = format!("{}: {right:?} became {wrong:?}", file.display());
            assert_eq!(found_by_reader(&path), expected, "reader, {told}");
            assert_eq!(snapshot_of(&path), before);
            assert_eq!(found_by_log(&log), expected, "{told}");
            fs::write(&file, &right).unwrap();
        }
    }
}

#[test]
fn a_right_index_leads_past_what_is_not_wanted() {
    let temp = tempfile::tempdir().unwrap();
    let path = path_of(&temp);
    let log = jagged(&path);
    let expected = found_by_log(&log);
    let base = log.segments()[1];
    let batches = placed(&path, base);
    // No header is left of the first fifth: whoever passes there stops.
    let name = path.join(SegmentFile::Log.name(base));
    let mut bytes = fs::read(&name).unwrap();
    for batch in &batches[..batches.len() / 5] {
        bytes[batch.position + 16] = 0;
    }
    fs::write(&name, bytes).unwrap();
    let far = &batches[batches.len() * 3 / 4];
    assert_eq!(log.read(far.last, 0).unwrap()[0].header().last_offset(), far.last);
    let reader = LogReader::open(&path).unwrap();
    let late = TIMES.step_by(31).zip(&expected.by_time).filter(|(_, found)| found.is_some_and(|o| o >= far.last));
    assert!(late.clone().count() >= 5);
    for (time, found) in late {
        assert_eq!(reader.offset_for_timestamp(time).unwrap(), *found);
    }
}

#[test]
fn retention_does_not_go_by_a_wrong_entry() {
    let temp = tempfile::tempdir().unwrap();
    let path = path_of(&temp);
    drop(jagged(&path));
    let config = LogConfig { retention_age: Some(Duration::from_millis(1000)), ..small() };
    let mut log = Log::open_with(&path, config).unwrap();
    let base = log.segments()[0];
    let largest = placed(&path, base).iter().map(|b| b.timestamp).max().unwrap();
    let times = path.join(SegmentFile::TimeIndex.name(base));
    let right = fs::read(&times).unwrap();
    let last = right.len() - 12;
    let older = (largest - 1).to_be_bytes();
    for wrong in [right[..last].to_vec(), [&right[..last], &older, &right[last + 8..]].concat()] {
        fs::write(&times, wrong).unwrap();
        assert_eq!(log.apply_retention(largest + 1000).unwrap(), [0; 0]);
    }
    fs::write(&times, right).unwrap();
    assert_eq!(log.apply_retention(largest + 1001).unwrap(), [base]);
}

#[test]
fn opening_builds_anew_what_ends_with_a_wrong_time() {
    let (temp, log) = filled(20);
    let base = log.segments()[0];
    log.close().unwrap();
    let times = path_of(&temp).join(SegmentFile::TimeIndex.name(base));
    let right = fs::read(&times).unwrap();
    let at = right.len() - 5;
    for off in [1, 0xff] {
        let mut wrong = right.clone();
        wrong[at] = wrong[at].wrapping_add(off);
        fs::write(&times, wrong).unwrap();
        assert_eq!(reopen(&temp).recovery().rebuilt_indexes, [base]);
        assert_eq!(fs::read(&times).unwrap(), right);
    }
}
