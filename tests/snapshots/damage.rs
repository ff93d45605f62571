//! What is found, and what is refused.

use super::*;

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
fn damage_of_the_source_is_no_torn_tail() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let active = {
        let log = cowlog::Log::open(&log).unwrap();
        let base = *log.segments().last().unwrap();
        log.close().unwrap();
        base
    };
    let active = log.join(format!("{active:020}.log"));
    let whole = fs::read(&active).unwrap();
    let mut flipped = whole.clone();
    flipped[70] ^= 1;
    for bytes in [&flipped[..], &whole[..whole.len() - 1], b""] {
        fs::write(&active, bytes).unwrap();
        let refused = snaps.create().run().unwrap_err();
        assert_eq!(refused.kind(), Kind::Integrity, "{refused}");
    }
    fs::remove_file(&active).unwrap();
    assert_eq!(snaps.create().run().unwrap_err().kind(), Kind::Integrity);
    assert_eq!(snaps.list().unwrap().len(), 0);
    // Of a log that nobody closed, what is not whole counts as never written.
    fs::write(&active, &whole).unwrap();
    drop(cowlog::Log::open(&log).unwrap());
    fs::write(&active, &flipped).unwrap();
    let cut = snaps.create().run().unwrap().snapshot;
    assert!(snaps.verify(&cut.id, Level::Deep).unwrap().ok);
}

#[test]
fn a_source_with_missing_segments_is_taken_only_if_the_loss_is_accepted() {
    for victim in [0, 1] {
        let (_temp, log) = temp();
        make_log(&log, 100);
        let base = cowlog::LogReader::open(&log).unwrap().segments()[victim].base();
        for extension in ["log", "index", "timeindex"] {
            fs::remove_file(log.join(format!("{base:020}.{extension}"))).unwrap();
        }
        let snaps = manager(&log);
        let refused = snaps.create().run().unwrap_err();
        assert_eq!(refused.kind(), Kind::Integrity, "{refused}");
        assert!(refused.hint().unwrap().contains("--accept-loss") && refused.to_string().contains("missing"));
        snaps.create().accept_loss(true).run().unwrap();
    }
    // A segment that was cut between two batches, or emptied.
    let (_temp, log) = temp();
    make_log(&log, 100);
    fs::write(log.join("00000000000000000000.log"), "").unwrap();
    assert_eq!(manager(&log).create().run().unwrap_err().kind(), Kind::Integrity);
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
    let info = snaps.create().run().unwrap().snapshot;
    let (path, root) = (info.path, info.root);
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
    let accepted = snaps.list().unwrap().remove(0);
    assert!(accepted.damaged.is_none() && accepted.root != root);
    // Whoever kept the root elsewhere still sees it.
    assert!(snaps.verify_expecting("latest", Level::Full, &accepted.root).unwrap().ok);
    let report = snaps.verify_expecting("latest", Level::Full, &root).unwrap();
    assert!(!report.ok && report.damage[0].path == "manifest.b3", "{report:?}");
    assert!(snaps.list().unwrap()[0].verified.as_ref().unwrap().ok, "what was expected is no property of the store");
    assert_eq!(snaps.verify_expecting("latest", Level::Full, "12").unwrap_err().kind(), Kind::Validation);
}

#[test]
fn an_intact_copy_is_named() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let [first, second, third] = [(); 3].map(|()| snaps.create().run().unwrap().snapshot);
    let name = "00000000000000000000.log";
    let bytes = fs::read(log.join(name)).unwrap();
    let replace = |dir: &std::path::Path, bytes: &[u8]| {
        fs::remove_file(dir.join(name)).ok();
        fs::write(dir.join(name), bytes).unwrap();
    };
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    let intact = || snaps.verify(&second.id, Level::Full).unwrap().intact.get(name).cloned();
    replace(&second.path, &flipped);
    assert_eq!(intact(), Some(log.join(name)));
    // What has the name and the size, but not the bytes, is none.
    replace(&log, &flipped);
    assert_eq!(intact(), Some(third.path.join(name)));
    replace(&third.path, &bytes[1..]);
    assert_eq!(intact(), Some(first.path.join(name)));
    fs::remove_file(first.path.join(name)).unwrap();
    assert_eq!(intact(), None);
    // The index's digest holds: no copy is better.
    replace(&second.path, &bytes);
    assert!(snaps.verify(&second.id, Level::Deep).unwrap().intact.is_empty());
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
fn records_that_nobody_can_decode_are_found_by_a_deep_verification() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let mut batch = native::batch(100).as_bytes().to_vec();
    batch[..8].copy_from_slice(&100i64.to_be_bytes());
    batch[61] += 2;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    let logs =
        fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "log"));
    let active = logs.max().unwrap();
    fs::write(&active, [fs::read(&active).unwrap(), batch].concat()).unwrap();
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    assert!(snaps.verify("latest", Level::Full).unwrap().ok);
    let damage = snaps.verify("latest", Level::Deep).unwrap().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(
        (damage[0].path.as_str(), damage[0].kind),
        (active.file_name().unwrap().to_str().unwrap(), DamageKind::Batch)
    );
    assert!(damage[0].detail.contains("its records cannot be decoded: record 0"), "{damage:?}");
}

#[test]
fn a_missing_segment_is_found_by_a_deep_verification() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    assert!(snaps.verify("latest", Level::Deep).unwrap().ok);
    let writer = open_log(&log);
    let bases = writer.segments().to_vec();
    writer.close().unwrap();
    fs::remove_file(log.join(SegmentFile::Log.name(bases[1]))).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    snaps.create().run().unwrap();
    let damage = snaps.verify("latest", Level::Deep).unwrap().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!((damage[0].path.clone(), damage[0].kind), (SegmentFile::Log.name(bases[0]), DamageKind::Batch));
    assert!(
        damage[0].detail.contains(&format!("the offsets {} to {} are missing", bases[1], bases[2] - 1)),
        "{damage:?}"
    );
}

/// What only a deep verification finds stands in all snapshots that have the very bytes, older and newer ones.
#[test]
fn what_makes_no_sense_is_marked_wherever_its_bytes_are() {
    for method in [MethodChoice::Auto, MethodChoice::Copy] {
        let (_temp, log) = temp();
        make_log(&log, 100);
        let victim = "00000000000000000000.log";
        flip_in_a_batch(&log.join(victim));
        let config = SnapshotConfig { min_interval: Duration::ZERO, method, ..SnapshotConfig::default() };
        let snaps = SnapshotManager::open_with(&log, config).unwrap();
        let first = snaps.create().run().unwrap().snapshot;
        let second = snaps.create().run().unwrap().snapshot;
        assert!(snaps.verify(&second.id, Level::Full).unwrap().ok, "it has its digest");
        let report = snaps.verify(&second.id, Level::Deep).unwrap();
        assert!(report.damage.iter().any(|d| d.path == victim && d.kind == DamageKind::Batch), "{report:?}");
        let third = snaps.create().run().unwrap().snapshot;
        assert!(!third.verified.unwrap().ok, "what it reports itself");
        let fourth = snaps.create().run().unwrap().snapshot;
        for id in [&first.id, &second.id, &third.id, &fourth.id] {
            let verified = snaps.get(id).unwrap().verified.unwrap();
            assert!(!verified.ok, "{id}");
            assert!(!snaps.verify(id, Level::Full).unwrap().damage.iter().any(|_| true));
            assert!(!snaps.get(id).unwrap().verified.unwrap().ok, "{id}: that does not look for it");
        }
        // Once the log is whole, so are the new ones.
        let bytes = fs::read(log.join(victim)).unwrap();
        fs::remove_file(log.join(victim)).unwrap();
        fs::write(log.join(victim), bytes).unwrap();
        flip_in_a_batch(&log.join(victim));
        let whole = snaps.create().run().unwrap().snapshot;
        assert!(whole.verified.is_none());
        assert!(snaps.verify(&whole.id, Level::Deep).unwrap().ok);
        assert!(!snaps.verify(&first.id, Level::Deep).unwrap().ok);
        assert!(snaps.get(&whole.id).unwrap().verified.unwrap().ok);
    }
}

/// In what the first batch's CRC covers.
fn flip_in_a_batch(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[40] ^= 1;
    fs::write(path, bytes).unwrap();
}
