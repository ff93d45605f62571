//! What a snapshot manager promises, on a native log.

mod native;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use cowlog::error::{ConcurrencyError, Error, Kind, ValidationError};
use cowlog::fs::{Method, MethodChoice};
use cowlog::log::{Log, LogConfig};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Detach, Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use native::{Hands, NOON, append, content, make_log, manager, open_log, temp};

const HOUR: Duration = Duration::from_secs(3600);

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
fn concurrent_creates_by_threads() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let live = content(&log);
    let snaps = manager(&log);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| snaps.create().run().unwrap());
        }
    });
    let listed = snaps.list().unwrap();
    assert_eq!(listed.iter().map(|s| &s.id).collect::<BTreeSet<_>>().len(), 8);
    for snapshot in &listed {
        assert!(snaps.verify(&snapshot.id, Level::Deep).unwrap().ok);
        assert_eq!(content(&snapshot.path), live);
    }
}

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

#[test]
fn restore_takes_a_verified_snapshot_and_holds_it() {
    let (temp, log) = temp();
    make_log(&log, 100);
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::from_millis(50),
        ..SnapshotConfig::default()
    };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    snaps.create().run().unwrap();
    let verified = snaps.verified("latest").unwrap();
    let busy = snaps.delete("latest").unwrap_err();
    assert_eq!(busy.kind(), Kind::Concurrency);
    let target = temp.path().join("restored");
    snaps.restore(verified, RestoreOptions::to(&target).method(Detach::Copy)).unwrap();
    assert_eq!(content(&target), content(&log));
    snaps.delete("latest").unwrap();
}

#[test]
fn attributes_come_back() {
    let (temp, log) = temp();
    make_log(&log, 100);
    let sealed = log.join("00000000000000000000.log");
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&sealed, Some(12), Some(34)).unwrap();
    let has_xattrs = xattr::set(&sealed, "user.note", b"\x00\xff").is_ok();
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    for method in [Detach::Auto, Detach::Copy] {
        let target = temp.path().join(format!("{method:?}"));
        snaps.restore_id("latest", RestoreOptions::to(&target).method(method)).unwrap();
        let (a, b) = (fs::metadata(&sealed).unwrap(), fs::metadata(target.join("00000000000000000000.log")).unwrap());
        assert_eq!((b.mode() & 0o7777, b.uid(), b.gid()), (0o640, 12, 34));
        assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()));
        if has_xattrs {
            assert_eq!(xattr::get(target.join("00000000000000000000.log"), "user.note").unwrap().unwrap(), b"\x00\xff");
        }
    }
}

#[test]
fn damage_of_each_kind_is_named() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let path = snaps.create().run().unwrap().snapshot.path;
    let victim = path.join("00000000000000000000.log");
    let bytes = fs::read(&victim).unwrap();
    // A link may be shared with the live log: break it first.
    let put = |bytes: Option<&[u8]>| {
        fs::remove_file(&victim).ok();
        if let Some(bytes) = bytes {
            fs::write(&victim, bytes).unwrap();
        }
    };
    let kinds = |level| {
        let report = snaps.verify("latest", level).unwrap();
        assert_eq!(report.ok, report.damage.is_empty());
        report.damage.iter().map(|d| (d.path.clone(), d.kind.to_string())).collect::<Vec<_>>()
    };
    let named = |kind: &str| vec![("00000000000000000000.log".to_owned(), kind.to_owned())];
    put(None);
    assert_eq!(kinds(Level::Quick), named("missing"));
    put(Some(&bytes[1..]));
    assert_eq!(kinds(Level::Quick), named("size"));
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    put(Some(&flipped));
    assert_eq!(kinds(Level::Quick), []);
    assert_eq!(kinds(Level::Full), named("digest"));
    assert_eq!(kinds(Level::Deep), named("digest"));
    assert!(!snaps.get("latest").unwrap().verified.unwrap().ok);
    // The damaged file is not handed on, and the next snapshot is right.
    std::thread::sleep(Duration::from_millis(5));
    let next = snaps.create().run().unwrap().snapshot;
    assert!(snaps.verify(&next.id, Level::Deep).unwrap().ok);
    put(Some(&bytes));
    assert_eq!(kinds(Level::Deep), [], "right again is clean");
    fs::write(path.join("stranger"), b"").unwrap();
    let first = path.file_name().unwrap().to_str().unwrap();
    let report = snaps.verify(first, Level::Full).unwrap();
    assert!(report.ok && report.extra == ["stranger"], "told, and no damage");
}

#[test]
fn exchanged_manifests_are_damage_until_they_are_accepted() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let path = snaps.create().run().unwrap().snapshot.path;
    // Somebody rewrites a file and both manifests consistently.
    let list = fs::read_to_string(path.join("manifest.b3")).unwrap();
    let victim = path.join("00000000000000000000.index");
    let old = blake3::hash(&fs::read(&victim).unwrap()).to_hex().to_string();
    fs::remove_file(&victim).unwrap();
    let bytes = vec![0; 0];
    fs::write(&victim, &bytes).unwrap();
    let new = blake3::hash(&bytes).to_hex().to_string();
    if old == new {
        // The index was empty anyway: change the list in another way that holds in itself.
        let manifest = fs::read_to_string(path.join("manifest.json")).unwrap().replace("\"native\"", "\"kafka\"");
        let before = blake3::hash(&fs::read(path.join("manifest.json")).unwrap()).to_hex().to_string();
        let list = list.replace(&before, &blake3::hash(manifest.as_bytes()).to_hex());
        fs::write(path.join("manifest.json"), manifest).unwrap();
        fs::write(path.join("manifest.b3"), list).unwrap();
    } else {
        fs::write(path.join("manifest.b3"), list.replace(&old, &new)).unwrap();
    }
    let report = snaps.verify("latest", Level::Quick).unwrap();
    assert!(!report.ok && report.damage.iter().any(|d| d.path == "manifest.b3"), "{report:?}");
    assert!(snaps.list().unwrap()[0].damaged.is_some());
    assert!(snaps.repair(None).unwrap().damaged.len() == 1, "a plain repair does not overwrite it");
    assert_eq!(snaps.verified("latest").unwrap_err().kind(), Kind::Integrity);
    snaps.repair(Some("latest")).unwrap();
    assert!(snaps.list().unwrap()[0].damaged.is_none());
}

#[test]
fn an_unreadable_manifest_stays_listed() {
    let (temp, log) = temp();
    make_log(&log, 30);
    let snaps = manager(&log);
    let info = snaps.create().run().unwrap().snapshot;
    for name in ["manifest.json", "manifest.b3"] {
        let file = info.path.join(name);
        let bytes = fs::read(&file).unwrap();
        for bad in [None, Some(&b""[..]), Some(&bytes[..bytes.len() / 2])] {
            match bad {
                Some(bad) => fs::write(&file, bad).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let listed = snaps.list().unwrap();
            assert_eq!(listed.len(), 1);
            assert!(listed[0].damaged.is_some(), "{name}");
            assert_eq!(snaps.get("latest").unwrap_err().kind(), Kind::Integrity);
            let report = snaps.verify(&info.id, Level::Quick).unwrap();
            assert!(!report.ok && report.damage[0].path == name, "{report:?}");
            let target = RestoreOptions::to(temp.path().join("t"));
            assert_eq!(snaps.restore_id("latest", target).unwrap_err().kind(), Kind::Integrity);
        }
        fs::write(&file, &bytes).unwrap();
        assert!(snaps.list().unwrap()[0].damaged.is_none());
    }
    // The state never blocks a restore; unreadable it counts as pinned.
    fs::write(info.path.join("state.json"), b"{").unwrap();
    assert!(snaps.get("latest").unwrap().pinned);
    snaps.restore_id("latest", RestoreOptions::to(temp.path().join("t"))).unwrap();
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
    let left: Vec<_> = fs::read_dir(log.join(".snapshots")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
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
fn ten_thousand_segments() {
    let (temp, log) = native::fast_temp();
    fs::create_dir(&log).unwrap();
    let mut writer = Log::open_with(&log, LogConfig::default()).unwrap();
    writer.append(native::batch(0)).unwrap();
    writer.close().unwrap();
    let bytes = fs::read(log.join("00000000000000000000.log")).unwrap();
    for base in 1..10_000_i64 {
        let mut moved = bytes.clone();
        moved[..8].copy_from_slice(&base.to_be_bytes());
        fs::write(log.join(format!("{base:020}.log")), moved).unwrap();
        fs::write(log.join(format!("{base:020}.index")), b"").unwrap();
        fs::write(log.join(format!("{base:020}.timeindex")), b"").unwrap();
    }
    let snaps = manager(&log);
    let info = snaps.create().run().unwrap().snapshot;
    assert_eq!((info.num_segments, info.log_end_offset), (10_000, Some(10_000)));
    assert_eq!(info.segment_offsets, None, "too many to list");
    let again = snaps.create().run().unwrap().snapshot;
    assert_eq!(again.num_segments, 10_000);
    let report = snaps.verify("latest", Level::Deep).unwrap();
    assert!(report.ok, "{:?}", report.damage.first());
    let target = temp.path().join("restored");
    assert_eq!(snaps.restore_id("latest", RestoreOptions::to(&target)).unwrap().files, 30_001);
}

#[test]
fn a_thousand_snapshots() {
    let (_temp, log) = native::fast_temp();
    make_log(&log, 5);
    let snaps = manager(&log);
    for _ in 0..1000 {
        snaps.create().run().unwrap();
    }
    let listed = snaps.list().unwrap();
    assert_eq!(listed.len(), 1000);
    assert!(listed.windows(2).all(|w| w[0].id < w[1].id));
    let plan = snaps.plan_cleanup().unwrap();
    assert_eq!(plan.removals().count(), 995);
    assert_eq!(snaps.prune(&plan).unwrap().len(), 995);
    assert_eq!(snaps.list().unwrap().len(), 5);
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
    assert_eq!(fs::read_dir(&store).unwrap().count(), 1, "only the lock file");
}
