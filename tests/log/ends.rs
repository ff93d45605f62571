//! Truncation and retention.

use super::*;

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
