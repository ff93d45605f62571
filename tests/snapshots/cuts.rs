//! Where a snapshot ends, and what cannot move it.

use super::*;

#[test]
fn a_cut_named_by_the_writer_is_exact() {
    let (temp, log) = temp();
    fs::create_dir(&log).unwrap();
    let mut writer = open_log(&log);
    append(&mut writer, 95);
    let cut = writer.cut().unwrap();
    let at = cut.cut().log_end_offset;
    for _ in 0..100 {
        writer.append(native::batch(writer.log_end_offset())).unwrap();
    }
    let snaps = manager(&log);
    let info = snaps.create().at(cut).run().unwrap().snapshot;
    assert_eq!((info.log_end_offset, info.high_watermark), (Some(at), Some(at)));
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok);
    let target = temp.path().join("restored");
    snaps.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert_eq!(open_log(&target).log_end_offset(), at);
    // Truncation waits while a cut is held, and goes on when it is not.
    let held = writer.cut().unwrap();
    drop(writer);
    let mut impatient =
        Log::open_with(&log, LogConfig { lock_timeout: Duration::from_millis(50), ..LogConfig::default() }).unwrap();
    assert_eq!(impatient.truncate_to(10).unwrap_err().kind(), Kind::Concurrency);
    drop(held);
    impatient.truncate_to(10).unwrap();
}

#[test]
fn a_cut_of_another_log_is_refused() {
    let (temp, log) = temp();
    make_log(&log, 10);
    let other = temp.path().join("other-0");
    fs::create_dir(&other).unwrap();
    let mut writer = open_log(&other);
    let e = manager(&log).create().at(writer.cut().unwrap()).run().unwrap_err();
    assert_eq!(e.kind(), Kind::Validation);
}

#[test]
fn truncation_and_retention_never_reach_a_snapshot() {
    for method in [MethodChoice::Auto, MethodChoice::Hardlink] {
        let (_temp, log) = temp();
        make_log(&log, 300);
        let live = content(&log);
        let config = SnapshotConfig { method, min_interval: Duration::ZERO, ..SnapshotConfig::default() };
        let snaps = SnapshotManager::open_with(&log, config).unwrap();
        let info = snaps.create().run().unwrap().snapshot;
        let mut writer = Log::open_with(
            &log,
            LogConfig { segment_bytes: 2_000, retention_bytes: Some(4_000), ..LogConfig::default() },
        )
        .unwrap();
        writer.truncate_to(info.segment_offsets.as_ref().unwrap()[2] + 5).unwrap();
        append(&mut writer, 100);
        writer.apply_retention(NOON).unwrap();
        writer.truncate_to(writer.log_start_offset() + 1).unwrap();
        append(&mut writer, 7);
        assert!(snaps.verify("latest", Level::Deep).unwrap().ok, "{method:?}");
        assert_eq!(content(&info.path), live);
    }
}

#[test]
fn a_log_that_vanishes_is_an_error_and_leaves_nothing() {
    let (temp, log) = temp();
    make_log(&log, 300);
    let store = temp.path().join("store");
    let path = log.clone();
    let observer = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "share", .. }) {
            fs::remove_dir_all(&path).unwrap();
        }
    });
    let config = SnapshotConfig { observer, store: Some(store.clone()), ..SnapshotConfig::default() };
    let e = SnapshotManager::open_with(&log, config).unwrap().create().run().unwrap_err();
    assert!(e.kind() == Kind::Filesystem && e.is_not_found(), "{e}");
    assert!(!store.exists(), "it was made for this snapshot");
}
