//! Opening what was not closed.

use super::*;

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
fn committed_records_that_are_gone_are_no_torn_tail() {
    let temp = tempfile::tempdir().unwrap();
    let manual = LogConfig { high_watermark: HighWatermark::Manual, ..LogConfig::default() };
    let mut log = Log::open_with(path_of(&temp), manual.clone()).unwrap();
    fill(&mut log, 10);
    log.set_high_watermark(8).unwrap();
    log.close().unwrap();
    // As after a crash, nothing is known of the end.
    drop(Log::open_with(path_of(&temp), manual.clone()).unwrap());
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
fn what_was_durable_when_the_log_was_closed_is_no_torn_tail() {
    let (temp, log) = filled(20);
    let bases = log.segments().to_vec();
    log.close().unwrap();
    let before = support::contents(&path_of(&temp));
    let names = SegmentFile::ALL.map(|file| file.name(*bases.last().unwrap()));
    let active = path_of(&temp).join(&names[0]);
    let whole = fs::read(&active).unwrap();
    assert!(bases.len() > 2 && !whole.is_empty());
    let refuses = |what: &str| {
        let damaged = support::contents(&path_of(&temp));
        let error = Log::open_with(path_of(&temp), small()).unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity, "{what}: {error}");
        assert!(error.hint().unwrap().contains("accept_loss"));
        assert_eq!(support::contents(&path_of(&temp)), damaged, "{what}: nothing is changed");
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        // The base offset and the leader epoch are not below the CRC.
        let within = at % (whole.len() / 5);
        if (0..8).contains(&within) || (12..16).contains(&within) {
            continue;
        }
        fs::write(&active, flipped).unwrap();
        refuses(&format!("a flip at byte {at}"));
    }
    fs::write(&active, &whole[..whole.len() - 1]).unwrap();
    refuses("one byte too short");
    for name in &names {
        let _ = fs::remove_file(path_of(&temp).join(name));
    }
    refuses("the last segment is not there");
    for (name, bytes) in &before {
        fs::write(path_of(&temp).join(name), bytes).unwrap();
    }
    drop(Log::open_with(path_of(&temp), small()).unwrap());
    // From here on nobody closed it: what is not whole counts as never written.
    fs::write(&active, &whole[..whole.len() - 1]).unwrap();
    assert!(reopen(&temp).recovery().cut_bytes > 0);
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
fn a_missing_segment_is_a_loss_that_must_be_accepted() {
    let (temp, log) = filled(40);
    let bases = log.segments().to_vec();
    log.close().unwrap();
    let path = path_of(&temp);
    let files = [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex];
    for victim in [0, 2, bases.len() - 2] {
        let (from, to) = (bases[victim], bases[victim + 1]);
        let kept = files.map(|file| (path.join(file.name(from)), fs::read(path.join(file.name(from))).unwrap()));
        kept.iter().for_each(|(file, _)| fs::remove_file(file).unwrap());
        // With an index that has to be built anew as well.
        for broken in [false, true] {
            if broken && victim > 0 {
                fs::write(path.join(SegmentFile::Index.name(bases[victim - 1])), b"x").unwrap();
            }
            // All but the lock files.
            let files =
                || snapshot_of(&path).into_iter().filter(|(name, _)| !name.starts_with('.')).collect::<Vec<_>>();
            let before = files();
            let error = Log::open_with(&path, small()).unwrap_err();
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(error.to_string().contains(&format!("the offsets {from} to {} are missing", to - 1)), "{error}");
            assert!(error.hint().unwrap().contains("accept_loss"));
            assert_eq!(files(), before);
        }
        let left: Vec<_> = (0..40).filter(|n| !(from..to).contains(n)).collect();
        let reader = LogReader::open(&path).unwrap();
        assert_eq!(numbers(reader.read_from(0).map(Result::unwrap)), left);
        if victim > 0 {
            let accepting = LogConfig { accept_loss: true, ..small() };
            let log = Log::open_with(&path, accepting).unwrap();
            assert_eq!(all(&log), left);
            assert_eq!(log.offset_for_timestamp(T0 + from).unwrap(), Some(to));
            log.close().unwrap();
        }
        kept.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        assert_eq!(all(&reopen(&temp)), (0..40).collect::<Vec<_>>());
    }
}
