//! Create, verify deep and restore over directories that a real broker wrote.

mod fixtures;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cowlog::fs::{Method, MethodChoice};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};

fn config(method: MethodChoice) -> SnapshotConfig {
    SnapshotConfig { method, min_interval: std::time::Duration::ZERO, ..SnapshotConfig::default() }
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                out.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

/// What must be equal, what may be cut: the table of `tests/data/README.md`.
fn compare(name: &str, original: &Path, restored: &Path) {
    let (before, after) = (files(original), files(restored));
    for (path, bytes) in &before {
        let dropped = path.ends_with(".deleted") || path.ends_with(".cleaned") || path.ends_with(".tmp");
        let Some(now) = after.get(path) else {
            assert!(dropped, "{name}: {path} is missing");
            continue;
        };
        assert!(!dropped, "{name}: {path} should have been left out");
        if now == bytes {
            continue;
        }
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
        let active = before
            .keys()
            .filter_map(|p| p.strip_prefix(dir)?.strip_prefix('/')?.strip_suffix(".log"))
            .max()
            .unwrap_or_default();
        let of_active = file.starts_with(active) && [".log", ".index", ".timeindex"].iter().any(|e| file.ends_with(e));
        assert!(of_active, "{name}: {path} is sealed and differs");
        assert!(now.len() <= bytes.len() && bytes.starts_with(now), "{name}: {path} is no prefix");
    }
    let added: Vec<_> = after.keys().filter(|p| !before.contains_key(*p)).collect();
    assert!(added.is_empty(), "{name}: {added:?}");
}

#[test]
fn every_fixture_survives_a_snapshot() {
    for name in fixtures::NAMES {
        for method in [MethodChoice::Auto, MethodChoice::Copy] {
            let (temp, root) = fixtures::unpack(name);
            let manager = SnapshotManager::open_with(&root, config(method)).unwrap();
            let before = files(&root);
            let created = manager.create().run().unwrap();
            assert_eq!(files(&root), before, "{name}: the source is not touched");
            assert_eq!(manager.store_path().unwrap().unwrap(), PathBuf::from(format!("{}.snapshots", root.display())));
            let report = manager.verify("latest", Level::Deep).unwrap();
            assert!(report.ok, "{name} {method:?}: {:?}", report.damage);
            assert!(report.extra.is_empty());
            let target = temp.path().join("restored");
            let restored = manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
            assert_eq!(restored.files, created.snapshot.methods.values().sum::<u64>());
            compare(name, &root, &target);
            let status = std::process::Command::new("b3sum")
                .args(["--check", "--quiet", "manifest.b3"])
                .current_dir(&created.snapshot.path)
                .status();
            match status {
                Ok(status) => assert!(status.success(), "{name}: b3sum --check"),
                Err(_) if std::env::var_os("COWLOG_NO_SKIP").is_some() => panic!("b3sum is not installed"),
                Err(_) => println!("b3sum --check skipped, because b3sum is not installed"),
            }
            // Nothing changed: everything is inherited, nothing read, nothing copied.
            std::thread::sleep(std::time::Duration::from_millis(5));
            let again = manager.create().run().unwrap();
            assert!(manager.verify("latest", Level::Deep).unwrap().ok);
            let inherited = again.snapshot.methods.get(&Method::Inherit).copied().unwrap_or(0);
            println!(
                "{name} {method:?}: {:?}, again {:?}, {inherited} inherited",
                created.snapshot.methods, again.snapshot.methods
            );
        }
    }
}

#[test]
fn files_named_like_a_snapshots_own_are_left_out_at_the_root() {
    const NAMES: [&str; 3] = ["manifest.b3", "manifest.json", "state.json"];
    let (temp, root) = fixtures::unpack("compacted-clean");
    for name in NAMES {
        fs::write(root.join(name), "not ours").unwrap();
        fs::write(root.join("ledger-0").join(name), "a partition's").unwrap();
    }
    let manager = SnapshotManager::open_with(&root, config(MethodChoice::Auto)).unwrap();
    let created = manager.create().run().unwrap();
    let left_out: BTreeSet<_> = created.left_out.iter().map(|l| l.path.as_str()).collect();
    assert!(NAMES.iter().all(|name| left_out.contains(name)), "{left_out:?}");
    for _ in 0..2 {
        let report = manager.verify("latest", Level::Deep).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{report:#?}");
    }
    let target = temp.path().join("restored");
    manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    for name in NAMES {
        assert!(!target.join(name).exists());
        assert_eq!(fs::read(target.join("ledger-0").join(name)).unwrap(), b"a partition's");
    }
}

#[test]
fn offsets_and_segments_are_those_of_the_table() {
    let expected: &[(&str, &str, i64, i64, u64)] = &[
        ("plain-clean", "orders-0", 0, 10000, 4),
        ("plain-clean", "orders-1", 0, 10000, 4),
        ("codecs-live", "events-gzip-0", 0, 6000, 4),
        ("codecs-live", "events-snappy-0", 0, 6000, 6),
        ("codecs-live", "events-lz4-0", 0, 6000, 7),
        ("codecs-live", "events-zstd-0", 0, 6000, 4),
        ("txn-killed", "payments-0", 0, 3629, 8),
        ("txn-killed", "payments-1", 0, 3629, 8),
        ("txn-killed", "clicks-0", 0, 5678, 6),
        ("txn-killed", "bulk-0", 0, 59, 1),
        ("compacted-clean", "users-0", 0, 5612, 3),
        ("compacted-clean", "ledger-0", 777, 2000, 3),
        ("compacted-clean", "ledger-1", 2000, 2000, 1),
        ("compacted-clean", "rolling-0", 3468, 5000, 3),
        ("compacted-clean", "stamped-0", 0, 2000, 4),
    ];
    for name in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(name);
        let manager = SnapshotManager::open_with(&root, config(MethodChoice::Auto)).unwrap();
        let created = manager.create().run().unwrap();
        let mut seen = BTreeSet::new();
        for (fixture, partition, start, end, segments) in expected.iter().filter(|e| e.0 == name) {
            let log = created
                .snapshot
                .logs
                .iter()
                .find(|l| format!("{}-{}", l.topic, l.partition) == **partition)
                .unwrap_or_else(|| panic!("{fixture}: no {partition}"));
            assert_eq!(
                (log.log_start_offset, log.log_end_offset, log.num_segments),
                (*start, *end, *segments),
                "{fixture} {partition}"
            );
            assert!(log.log_start_offset <= log.high_watermark && log.high_watermark <= log.log_end_offset);
            seen.insert(*partition);
        }
        assert!(!seen.is_empty());
    }
}

#[test]
fn one_partition_goes_to_the_store_beside_its_data_directory() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let partition = root.join("orders-1");
    let manager = SnapshotManager::open_with(&partition, config(MethodChoice::Auto)).unwrap();
    let created = manager.create().run().unwrap();
    assert_eq!(created.snapshot.scope, "orders-1");
    assert_eq!(created.snapshot.log_end_offset, Some(10_000));
    assert!(created.snapshot.path.join("orders-1/00000000000000000000.log").is_file());
    assert!(created.snapshot.path.starts_with(format!("{}.snapshots", root.display())));
    assert!(!partition.join(".snapshots").exists() && !root.join(".snapshots").exists());
    let target = temp.path().join("back");
    assert_eq!(manager.restore_id("latest", RestoreOptions::to(&target)).unwrap().end_offset, Some(10_000));
    compare("orders-1", &partition, &target);
    // The scopes are counted apart, and found again when the source is gone.
    let all = SnapshotManager::open_with(&root, config(MethodChoice::Auto)).unwrap();
    all.create().run().unwrap();
    assert_eq!((manager.list().unwrap().len(), all.list().unwrap().len()), (1, 2));
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(manager.get("latest").unwrap().id, created.snapshot.id);
    assert!(manager.verify("latest", Level::Deep).unwrap().ok);
}

#[test]
fn the_latest_is_that_of_the_scope_in_a_store_of_any_place() {
    let (temp, root) = fixtures::unpack("plain-clean");
    for store in [None, Some(temp.path().join("elsewhere"))] {
        let of = |path: &Path| {
            let config =
                SnapshotConfig { store: store.clone(), max_copy: Some(u64::MAX), ..config(MethodChoice::Auto) };
            SnapshotManager::open_with(path, config).unwrap()
        };
        let (all, zero, one) = (of(&root), of(&root.join("orders-0")), of(&root.join("orders-1")));
        let [all_id, zero_id, one_id] = [&all, &zero, &one].map(|m| m.create().run().unwrap().snapshot.id);
        assert_eq!([&all, &zero, &one].map(|m| m.get("latest").unwrap().id), [all_id, zero_id.clone(), one_id.clone()]);
        assert_eq!(zero.list().unwrap().iter().map(|s| &s.id).collect::<Vec<_>>(), [&zero_id]);
        let policy = cowlog::Policy { max_snapshots: 1, ..cowlog::Policy::default() };
        zero.create().run().unwrap();
        let gone = zero.plan_prune(&policy).unwrap().removals().map(|s| s.id.to_string()).collect::<Vec<_>>();
        assert_eq!(gone, [zero_id]);
        assert_eq!(one.get("latest").unwrap().id, one_id);
        // An older one is not passed off as the latest.
        let newest = one.create().run().unwrap().snapshot;
        fs::write(newest.path.join("manifest.json"), "{").unwrap();
        assert_eq!(one.get("latest").unwrap_err().kind(), cowlog::error::Kind::Integrity);
    }
}

#[test]
fn a_store_is_not_shared_by_two_sources() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let (_other, twin) = fixtures::unpack("plain-clean");
    let of = |path: &Path| {
        let store = Some(temp.path().join("elsewhere"));
        let config = SnapshotConfig { store, max_copy: Some(u64::MAX), ..config(MethodChoice::Auto) };
        SnapshotManager::open_with(path, config).unwrap()
    };
    of(&root).create().run().unwrap();
    let refused = of(&twin).create().run().unwrap_err();
    assert!(refused.to_string().contains("holds the snapshots of"), "{refused}");
    // One that was moved goes on.
    fs::rename(&root, temp.path().join("moved")).unwrap();
    of(&temp.path().join("moved")).create().run().unwrap();
}

#[test]
fn a_partition_names_only_its_own_snapshots() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let of = |path: &Path| SnapshotManager::open_with(path, config(MethodChoice::Auto)).unwrap();
    let (all, one) = (of(&root), of(&root.join("orders-1")));
    let id = all.create().run().unwrap().snapshot.id;
    let own = one.create().run().unwrap().snapshot.id;
    let target = temp.path().join("back");
    assert_eq!(one.delete(&id).unwrap_err().kind(), cowlog::error::Kind::Validation);
    assert_eq!(one.restore_id(&id, RestoreOptions::to(&target)).unwrap_err().kind(), cowlog::error::Kind::Validation);
    assert!(one.verify(&own, Level::Full).unwrap().ok && all.verify(&own, Level::Full).unwrap().ok);
    // All of a data directory is no partition of it.
    let inside = root.join("back-0");
    let refused = all.restore_id(&id, RestoreOptions::to(&inside)).unwrap_err();
    assert!(refused.to_string().contains("would lie in a data directory"), "{refused}");
    one.restore_id(&own, RestoreOptions::to(&inside)).unwrap();
}

#[test]
fn what_a_broker_set_aside_gets_no_store_in_its_data_directory() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let aside = root.join("orders-1.0123456789abcdef-stray");
    fs::rename(root.join("orders-1"), &aside).unwrap();
    let before = fs::read_dir(&root).unwrap().count();
    let refused = SnapshotManager::open_with(&aside, config(MethodChoice::Auto)).unwrap().create().run().unwrap_err();
    assert_eq!(refused.kind(), cowlog::error::Kind::Validation, "{refused}");
    assert_eq!(fs::read_dir(&root).unwrap().count(), before);
}

#[test]
fn damage_below_what_a_broker_had_flushed_is_no_torn_tail() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let log = root.join("orders-1/00000000000000000000.log");
    let active = fs::read_dir(root.join("orders-1")).unwrap().map(|e| e.unwrap().path());
    let active = active.filter(|p| p.extension().is_some_and(|e| e == "log")).max().unwrap_or(log);
    let whole = fs::read(&active).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&active, &flipped).unwrap();
    for source in [root.clone(), root.join("orders-1")] {
        let manager = SnapshotManager::open_with(&source, config(MethodChoice::Auto)).unwrap();
        let refused = manager.create().run().unwrap_err();
        assert_eq!(refused.kind(), cowlog::error::Kind::Integrity, "{refused}");
        assert!(refused.hint().is_some() && refused.to_string().contains("orders-1"), "{refused}");
        assert_eq!(manager.list().unwrap().len(), 0);
    }
    // A high watermark says only what the replicas have in memory.
    let name = root.join("recovery-point-offset-checkpoint");
    let flushed = fs::read_to_string(&name).unwrap();
    let lower: Vec<String> = flushed
        .lines()
        .map(|l| if l.starts_with("orders 1 ") { "orders 1 0".to_owned() } else { l.to_owned() })
        .collect();
    fs::write(&name, lower.join("\n") + "\n").unwrap();
    SnapshotManager::open_with(root.join("orders-1"), config(MethodChoice::Auto)).unwrap().create().run().unwrap();
    fs::write(&name, flushed).unwrap();
    // What a broker's checkpoints do not vouch for may be torn.
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    SnapshotManager::open_with(&root, config(MethodChoice::Auto)).unwrap().create().run().unwrap();
}

#[test]
fn a_restored_log_can_be_cut_at_an_offset() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let manager = SnapshotManager::open_with(root.join("orders-0"), config(MethodChoice::Auto)).unwrap();
    manager.create().run().unwrap();
    for (i, until) in [0, 1, 2500, 9_999, 10_000, 20_000].into_iter().enumerate() {
        let target = temp.path().join(format!("cut-{i}"));
        let done = manager.restore_id("latest", RestoreOptions::to(&target).until_offset(until)).unwrap();
        let end = done.end_offset.unwrap();
        assert!(end <= until.min(10_000), "{end} {until}");
        let dir = cowlog::fs::Dir::open(&target).unwrap();
        let listing = cowlog::log::list_log(&dir).unwrap();
        let mut reached = 0;
        let bases: Vec<i64> = listing.segments.iter().map(|s| s.base()).collect();
        for (base, next) in bases.iter().zip(bases.iter().skip(1).map(|b| Some(*b)).chain([None])) {
            let read = |ext| fs::read(target.join(format!("{base:020}.{ext}"))).unwrap();
            let file = dir.open_file(format!("{base:020}.log"), cowlog::fs::Open::Read).unwrap();
            let check =
                cowlog::log::check_segment(&file, Some(&read("index")), Some(&read("timeindex")), *base, next).unwrap();
            assert!(check.problems.is_empty(), "{until}: {:?}", check.problems);
            reached = check.end.next_offset;
        }
        assert_eq!(reached, end);
    }
}

#[test]
fn a_flipped_bit_is_found_and_nothing_is_restored_from_it() {
    let (temp, root) = fixtures::unpack("compacted-clean");
    let manager = SnapshotManager::open_with(&root, config(MethodChoice::Copy)).unwrap();
    let snapshot = manager.create().run().unwrap().snapshot;
    let mut checked = 0;
    for (path, bytes) in files(&snapshot.path) {
        if bytes.is_empty() || path == "state.json" {
            continue;
        }
        let file = snapshot.path.join(&path);
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            fs::write(&file, &bad).unwrap();
            let report = manager.verify("latest", Level::Full).unwrap();
            assert!(!report.ok, "{path} at {at}");
            let named = report.damage.iter().any(|d| d.path == path || d.path.starts_with("manifest."));
            assert!(named, "{path} at {at}: {:?}", report.damage);
            let target = temp.path().join("never");
            let refused = manager.restore_id("latest", RestoreOptions::to(&target)).unwrap_err();
            assert_eq!(refused.kind(), cowlog::error::Kind::Integrity, "{path} at {at}: {refused}");
            assert!(!target.exists());
            checked += 1;
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(checked > 100);
    assert!(manager.verify("latest", Level::Deep).unwrap().ok, "right again is clean");
    let leftovers: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(leftovers.len(), 2, "{leftovers:?}");
}

#[test]
fn owner_mode_and_mtime_come_back() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let odd = root.join("orders-0/leader-epoch-checkpoint");
    fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let manager = SnapshotManager::open_with(&root, config(MethodChoice::Auto)).unwrap();
    manager.create().run().unwrap();
    let target = temp.path().join("back");
    let restored = manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert!(restored.not_restored.is_empty());
    for path in files(&target).keys() {
        let (a, b) = (fs::metadata(root.join(path)).unwrap(), fs::metadata(target.join(path)).unwrap());
        assert_eq!(
            (a.uid(), a.gid(), a.mode(), a.mtime(), a.mtime_nsec()),
            (b.uid(), b.gid(), b.mode(), b.mtime(), b.mtime_nsec()),
            "{path}"
        );
    }
    for dir in ["", "orders-0", "__consumer_offsets-1"] {
        let (a, b) = (fs::metadata(root.join(dir)).unwrap(), fs::metadata(target.join(dir)).unwrap());
        assert_eq!((a.mode(), a.mtime()), (b.mode(), b.mtime()), "{dir:?}");
    }
}
