//! Ids, paths, clocks: what may be asked for.

use super::*;

#[test]
fn min_interval_force_and_a_clock_that_goes_back() {
    let (_temp, log) = temp();
    make_log(&log, 10);
    let hands = Hands::at(NOON);
    let config = SnapshotConfig { clock: hands.clock(), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let first = snaps.create().run().unwrap().snapshot;
    assert_eq!(first.id, format!("snapshot-{NOON}"));
    assert_eq!(first.timestamp, "2025-01-15T12:00:00.000Z");
    let refused = snaps.create().run().unwrap_err();
    assert!(matches!(&refused, Error::Concurrency(ConcurrencyError::TooSoon { .. })), "{refused}");
    assert!(refused.hint().unwrap().contains("--force"));
    // Two within a millisecond.
    let second = snaps.create().force(true).run().unwrap().snapshot;
    assert_eq!(second.id, format!("snapshot-{}", NOON + 1));
    hands.advance(HOUR);
    assert!(snaps.create().run().is_ok());
    hands.set(NOON - 1_000_000);
    let past = snaps.create().run().unwrap().snapshot;
    assert_eq!(past.id, format!("snapshot-{}", NOON + 3_600_001), "ids never go back");
    assert_eq!(snaps.get("latest").unwrap().id, past.id);
}

/// One that begins later and is published first: neither finds the other before its own end.
#[test]
fn of_two_that_overlap_only_one_is_published() {
    for (apart, both) in [(Duration::from_secs(1), false), (HOUR, true)] {
        let (_temp, log) = temp();
        make_log(&log, 10);
        let hands = Hands::at(NOON);
        let (other, other_log) = (hands.clone(), log.clone());
        let meanwhile = Observer::new(move |event| {
            if let Event::Publishing { .. } = event {
                other.advance(Duration::from_secs(1));
                let config = SnapshotConfig { clock: other.clock(), ..SnapshotConfig::default() };
                SnapshotManager::open_with(&other_log, config).unwrap().create().run().unwrap();
                other.advance(apart);
            }
        });
        let config = SnapshotConfig { clock: hands.clock(), observer: meanwhile, ..SnapshotConfig::default() };
        let outcome = SnapshotManager::open_with(&log, config).unwrap().create().run();
        match both {
            true => assert!(outcome.is_ok(), "by then it is old enough"),
            false => {
                assert!(matches!(outcome, Err(Error::Concurrency(ConcurrencyError::TooSoon { .. }))), "{outcome:?}")
            }
        }
        assert_eq!(manager(&log).list().unwrap().len(), 1 + usize::from(both));
    }
}

#[test]
fn ids_prefixes_and_nonsense() {
    let (temp, log) = temp();
    make_log(&log, 10);
    let hands = Hands::at(NOON);
    let config = SnapshotConfig { clock: hands.clock(), min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let no_store = snaps.get("latest").unwrap_err();
    assert!(matches!(no_store, Error::Validation(ValidationError::NoSuchStore { .. })) && no_store.is_not_found());
    let a = snaps.create().run().unwrap().snapshot.id;
    hands.advance(100 * HOUR);
    let b = snaps.create().run().unwrap().snapshot.id;
    assert_eq!(snaps.get(&a).unwrap().id, a);
    assert_eq!(snaps.get(a.trim_start_matches("snapshot-")).unwrap().id, a);
    assert_eq!(snaps.get("17369").unwrap().id, a);
    assert_eq!(snaps.get("snapshot-1737").unwrap().id, b);
    assert!(matches!(snaps.get("17"), Err(Error::Validation(ValidationError::AmbiguousId { .. }))));
    let long = "1".repeat(1 << 20);
    for bad in ["", "../x", "snapshot-", "latest ", "snapshot-x", "/etc", ".", &long] {
        for result in [
            snaps.get(bad).map(drop),
            snaps.verify(bad, Level::Quick).map(drop),
            snaps.restore_id(bad, RestoreOptions::to(temp.path().join("t"))).map(drop),
            snaps.delete(bad).map(drop),
        ] {
            let e = result.unwrap_err();
            assert!(matches!(e, Error::Validation(ValidationError::InvalidId { .. })), "{bad:.9}: {e:.200}");
        }
    }
    for missing in ["9", "snapshot-99"] {
        let e = snaps.restore_id(missing, RestoreOptions::to(temp.path().join("t"))).unwrap_err();
        assert!(matches!(e, Error::Validation(ValidationError::NoSuchSnapshot { .. })) && e.is_not_found(), "{e}");
    }
    assert!(!temp.path().join("t").exists());
}

#[test]
fn odd_paths() {
    for name in ["ünïcode ✓", "with space", "new\nline", "quo'te\"s", "-dash", "tab\tname"] {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join(name);
        make_log(&log, 30);
        fs::write(log.join(format!("side {name}")), b"kept").unwrap();
        let snaps = manager(&log);
        snaps.create().run().unwrap();
        assert!(snaps.verify("latest", Level::Deep).unwrap().ok, "{name:?}");
        let target = temp.path().join(format!("{name} restored"));
        snaps.restore_id("latest", RestoreOptions::to(&target)).unwrap();
        assert_eq!(content(&target), content(&log));
        assert_eq!(fs::read(target.join(format!("side {name}"))).unwrap(), b"kept");
    }
    let (_temp, log) = temp();
    make_log(&log, 3);
    fs::write(log.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8")), b"").unwrap();
    let e = manager(&log).create().run().unwrap_err();
    assert!(e.kind() == Kind::Validation && e.to_string().contains("UTF-8"), "{e}");
}

#[test]
fn what_is_no_source() {
    let temp = tempfile::tempdir().unwrap();
    let e = manager(&temp.path().join("missing")).create().run().unwrap_err();
    assert!(matches!(e, Error::Validation(ValidationError::NoSuchSource { .. })) && e.is_not_found());
    let e = manager(temp.path()).create().run().unwrap_err();
    assert!(matches!(e, Error::Validation(ValidationError::NotALog { .. })), "{e}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_target_that_exists_is_refused() {
    let (temp, log) = temp();
    make_log(&log, 20);
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, b"precious").unwrap();
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for target in [&file, &empty, &log] {
        let e = snaps.restore_id("latest", RestoreOptions::to(target)).unwrap_err();
        assert!(matches!(e, Error::Validation(ValidationError::TargetExists { .. })), "{e}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let e = snaps.restore_id("latest", RestoreOptions::to(temp.path().join("no/such/parent"))).unwrap_err();
    assert_eq!(e.kind(), Kind::Filesystem);
    let names: BTreeSet<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}
