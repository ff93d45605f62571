//! What is appended is read back.

use super::*;

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

#[test]
fn segments_that_overlap_are_damage_and_never_read_twice() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("log");
    let mut log = Log::open(&dir).unwrap();
    let mut batch = BatchBuilder::new();
    for n in 0..10 {
        batch.record(n, None, Some(b"a value"));
    }
    log.append(batch.build().unwrap()).unwrap();
    log.close().unwrap();
    // The offset is not covered by the batch's CRC.
    let mut bytes = std::fs::read(dir.join("00000000000000000000.log")).unwrap();
    bytes[..8].copy_from_slice(&5i64.to_be_bytes());
    std::fs::write(dir.join("00000000000000000005.log"), bytes).unwrap();
    let reader = LogReader::open(&dir).unwrap();
    let read: Vec<_> = reader.read_from(0).collect();
    assert!(matches!(read.as_slice(), [Ok(_), Err(cowlog::Error::Integrity(_))]), "{read:?}");
    assert_eq!(reader.read_from(7).next().unwrap().unwrap().header().base_offset, 5);
}
