//! What each operation does.

use super::*;

#[test]
fn the_default_configuration() {
    let config = SnapshotConfig::default();
    assert_eq!(config.max_snapshots, 5);
    assert_eq!(config.retention_time, 24 * HOUR);
    assert_eq!(config.min_interval, HOUR);
    assert_eq!(config.method, MethodChoice::Auto);
}

#[test]
fn create_list_get_restore_delete() {
    let (temp, log) = temp();
    make_log(&log, 200);
    let live = content(&log);
    let snaps = manager(&log);
    assert!(snaps.list().unwrap().is_empty());
    let created = snaps.create().tag("first").run().unwrap();
    let info = &created.snapshot;
    assert_eq!((info.base_offset, info.high_watermark, info.log_end_offset), (Some(0), Some(200), Some(200)));
    assert!(info.num_segments > 3);
    assert_eq!(info.segment_offsets.as_ref().unwrap().len() as u64, info.num_segments);
    let on_disk: u64 = fs::read_dir(&info.path)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| !["manifest.json", "manifest.b3", "state.json"].contains(&e.file_name().to_str().unwrap()))
        .map(|e| e.metadata().unwrap().len())
        .sum();
    assert_eq!(info.total_size, on_disk);
    assert_eq!(info.bytes_copied + info.bytes_shared, info.total_size);
    assert_eq!(info.path, fs::canonicalize(&log).unwrap().join(".snapshots").join(&info.id));
    assert_eq!(info.tags, ["first"]);
    assert_eq!(snaps.list().unwrap(), vec![info.clone()]);
    assert_eq!(snaps.get("latest").unwrap(), *info);
    assert_eq!(content(&info.path), live, "a snapshot is a log that can be read in place");

    let target = temp.path().join("restored");
    let restored = snaps.restore_id(&info.id, RestoreOptions::to(&target)).unwrap();
    assert_eq!(restored.end_offset, Some(200));
    assert_eq!(content(&target), live);
    let mut again = open_log(&target);
    append(&mut again, 20);
    assert_eq!(again.log_end_offset(), 220);
    drop(again);
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok, "the restored log shares nothing that it writes to");

    let deleted = snaps.delete(&info.id).unwrap();
    assert_eq!(deleted.bytes, info.total_size);
    assert!(snaps.list().unwrap().is_empty());
    assert!(!info.path.exists());
    assert_eq!(content(&log), live);
}

#[test]
fn a_snapshot_that_was_copied_away_is_a_source_like_any_other() {
    let (temp, log) = temp();
    make_log(&log, 200);
    let first = manager(&log).create().tag("kept").run().unwrap().snapshot;
    let copy = temp.path().join("copy");
    let status = std::process::Command::new("cp").arg("-r").args([&first.path, &copy]).status().unwrap();
    assert!(status.success());

    let snaps = manager(&copy);
    let created = snaps.create().run().unwrap();
    let left_out: BTreeSet<_> = created.left_out.iter().map(|l| l.path.as_str()).collect();
    assert_eq!(left_out, BTreeSet::from(["manifest.json", "manifest.b3", "state.json"]));
    for _ in 0..2 {
        let report = snaps.verify("latest", Level::Deep).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{report:#?}");
    }
    assert!(snaps.create().run().is_ok(), "the next one inherits from it");
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok);
    let target = temp.path().join("restored");
    snaps.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert_eq!(content(&target), content(&log));
}

#[test]
fn an_empty_log() {
    let (temp, log) = temp();
    make_log(&log, 0);
    let snaps = manager(&log);
    let info = snaps.create().run().unwrap().snapshot;
    assert_eq!((info.base_offset, info.log_end_offset, info.num_segments), (Some(0), Some(0), 1));
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok);
    let target = temp.path().join("restored");
    snaps.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    let mut back = open_log(&target);
    append(&mut back, 3);
    assert_eq!(back.log_end_offset(), 3);
}

#[test]
fn unchanged_files_are_inherited_and_only_the_active_segment_is_copied() {
    let (_temp, log) = temp();
    make_log(&log, 300);
    let snaps = manager(&log);
    let first = snaps.create().run().unwrap();
    // Identities are trusted once the files' change times have settled.
    std::thread::sleep(Duration::from_millis(2_100));
    snaps.create().run().unwrap();
    std::thread::sleep(Duration::from_millis(2_100));
    let idle = snaps.create().run().unwrap();
    assert_eq!(idle.snapshot.methods.keys().collect::<Vec<_>>(), [&Method::Inherit], "nothing changed");
    assert_eq!((idle.snapshot.bytes_copied, idle.bytes_hashed), (0, 0));
    let mut writer = open_log(&log);
    append(&mut writer, 1);
    drop(writer);
    let grown = snaps.create().run().unwrap();
    let active = fs::metadata(log.join(format!("{:020}.log", first.snapshot.segment_offsets.unwrap().last().unwrap())));
    assert!(grown.snapshot.bytes_copied < active.unwrap().len() + 200);
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok);
}

#[test]
fn cleanup_by_count_and_by_age() {
    let (_temp, log) = temp();
    make_log(&log, 10);
    let hands = Hands::at(NOON);
    let config = SnapshotConfig { clock: hands.clock(), min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    for _ in 0..8 {
        snaps.create().run().unwrap();
        hands.advance(HOUR);
    }
    assert_eq!(snaps.list().unwrap().len(), 8, "create never prunes");
    let plan = snaps.plan_cleanup().unwrap();
    assert_eq!(snaps.list().unwrap().len(), 8, "a plan changes nothing");
    assert_eq!(snaps.prune(&plan).unwrap().len(), 3);
    hands.advance(22 * HOUR);
    let gone = snaps.prune(&snaps.plan_cleanup().unwrap()).unwrap();
    assert_eq!(gone.len(), 3, "27, 26 and 25 hours old; 24 hours is not older than 24 hours");
    assert!(gone.iter().all(|d| d.reason.contains("older")));
    hands.advance(1000 * HOUR);
    snaps.prune(&snaps.plan_cleanup().unwrap()).unwrap();
    assert_eq!(snaps.list().unwrap().len(), 1, "the last one never goes by age");
}

#[test]
fn snapshots_persist_over_reopening_and_without_a_catalogue() {
    let (_temp, log) = temp();
    make_log(&log, 50);
    let before = {
        let snaps = manager(&log);
        snaps.create().run().unwrap();
        snaps.create().tag("x").run().unwrap();
        snaps.list().unwrap()
    };
    assert_eq!(manager(&log).list().unwrap(), before);
    let catalogue = log.join(".snapshots/snapshots.json");
    for bytes in [None, Some(&b""[..]), Some(b"{}"), Some(b"garbage \xff"), Some(b"{\"checksum\":\"\",\"body\":{}}")] {
        match bytes {
            Some(bytes) => fs::write(&catalogue, bytes).unwrap(),
            None => fs::remove_file(&catalogue).unwrap(),
        }
        assert_eq!(manager(&log).list().unwrap(), before);
        let repaired = manager(&log).repair(None).unwrap();
        assert!(repaired.catalogue_rebuilt && repaired.snapshots == 2);
        assert_eq!(manager(&log).list().unwrap(), before);
    }
}

#[test]
fn a_cancelled_create_leaves_nothing() {
    let (_temp, log) = temp();
    make_log(&log, 300);
    let observer = std::sync::Arc::new(std::sync::OnceLock::<Observer>::new());
    let hook = observer.clone();
    let cancelling = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "share" | "hash" | "sync", .. }) {
            hook.get().unwrap().cancel();
        }
    });
    observer.set(cancelling.clone()).unwrap();
    let config = SnapshotConfig { observer: cancelling, ..SnapshotConfig::default() };
    let e = SnapshotManager::open_with(&log, config).unwrap().create().run().unwrap_err();
    assert!(matches!(e, Error::Interrupted));
    assert!(!log.join(".snapshots").exists(), "it was made for this snapshot");
    // A store that was there stays.
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    snaps.delete(&id).unwrap();
    assert!(log.join(".snapshots").is_dir());
}

#[test]
fn what_a_dead_process_left_is_swept() {
    let (_temp, log) = temp();
    make_log(&log, 30);
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    let store = log.join(".snapshots");
    fs::create_dir_all(store.join(".staging-99/sub")).unwrap();
    fs::create_dir(store.join(".trash-98")).unwrap();
    fs::write(store.join(".staging-99/sub/file"), b"x").unwrap();
    assert_eq!(manager(&log).list().unwrap().len(), 1);
    assert!(!store.join(".staging-99").exists() && !store.join(".trash-98").exists());
}

#[test]
fn a_store_elsewhere() {
    let (temp, log) = temp();
    make_log(&log, 50);
    let store = temp.path().join("elsewhere");
    let config =
        SnapshotConfig { store: Some(store.clone()), min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    assert!(snaps.list().unwrap().is_empty());
    snaps.create().run().unwrap();
    assert!(store.join("snapshots.json").is_file() && !log.join(".snapshots").exists());
    assert_eq!(snaps.list().unwrap().len(), 1);
    fs::remove_dir_all(&log).unwrap();
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok, "the source may be gone");
    snaps.restore_id("latest", RestoreOptions::to(&log)).unwrap();
}

#[test]
fn attributes_come_back() {
    let (temp, log) = temp();
    make_log(&log, 100);
    let sealed = log.join("00000000000000000000.log");
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&sealed, Some(12), Some(34)).unwrap();
    let has_xattrs = xattr::set(&sealed, "user.note", b"\x00\xff").is_ok();
    const LABEL: &[u8] = b"system_u:object_r:kafka_data_t:s0\0";
    // As `struct posix_acl_xattr_header` and its entries: the owner all, user 12 and the group reading.
    const ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x05\0\x0c\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x05\0\xff\xff\xff\xff\x20\0\x00\0\xff\xff\xff\xff";
    let labelled = [&log, &sealed].iter().all(|path| xattr::set(path, "security.selinux", LABEL).is_ok());
    let listed = xattr::set(&log, "system.posix_acl_access", ACL).is_ok();
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    for method in [Detach::Auto, Detach::Copy] {
        let target = temp.path().join(format!("{method:?}"));
        snaps.restore_id("latest", RestoreOptions::to(&target).method(method)).unwrap();
        let (a, b) = (fs::metadata(&sealed).unwrap(), fs::metadata(target.join("00000000000000000000.log")).unwrap());
        assert_eq!((b.mode() & 0o7777, b.uid(), b.gid()), (0o640, 12, 34));
        assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()));
        for path in [target.clone(), target.join("00000000000000000000.log")] {
            let label = xattr::get(&path, "security.selinux").unwrap();
            assert!(!labelled || label.as_deref() == Some(LABEL), "{path:?}: {label:?}");
        }
        let acl = xattr::get(&target, "system.posix_acl_access").unwrap();
        assert!(!listed || acl.as_deref() == Some(ACL), "{acl:?}");
        if has_xattrs {
            assert_eq!(xattr::get(target.join("00000000000000000000.log"), "user.note").unwrap().unwrap(), b"\x00\xff");
        }
    }
}

#[test]
fn pins_outlive_the_catalogue() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let pinned = snaps.create().run().unwrap().snapshot;
    for _ in 0..3 {
        snaps.create().run().unwrap();
    }
    let state = State { pinned: true, ..State::default() };
    fs::write(pinned.path.join("state.json"), state.to_bytes().unwrap()).unwrap();
    for catalogue in [None, Some(&b"{"[..]), Some(b"")] {
        let path = log.join(".snapshots/snapshots.json");
        match catalogue {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let plan = snaps.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).unwrap();
        assert!(plan.removals().all(|step| step.id.to_string() != pinned.id), "{catalogue:?}");
        snaps.repair(None).unwrap();
    }
    let plan = snaps.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).unwrap();
    assert_eq!(snaps.prune(&plan).unwrap().len(), 2);
    assert!(snaps.list().unwrap()[0].pinned && snaps.list().unwrap().len() == 2);
}
