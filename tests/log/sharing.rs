//! One writer, and inodes that have other names.

use super::*;

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
        .args(["--exact", "sharing::child_that_holds_the_log"])
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
