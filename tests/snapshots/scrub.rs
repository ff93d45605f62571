//! Everything is read, a piece at a time, the oldest first, each inode once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cowlog::snapshot::{Budget, ScrubReport};
use cowlog::store::DigestList;

use super::*;

const VICTIM: &str = "00000000000000000000.log";

/// Three snapshots of a log that grows, by a clock that is moved; `read` counts the bytes that pass.
struct Store {
    _temp: tempfile::TempDir,
    log: PathBuf,
    hands: Hands,
    read: Arc<AtomicU64>,
    snaps: SnapshotManager,
    paths: Vec<PathBuf>,
}

fn store() -> Store {
    let (temp, log) = temp();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let hands = Hands::at(now + 10_000);
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let observer = Observer::new(move |event| {
        if let Event::Advance { bytes, .. } = event {
            counted.fetch_add(bytes, Ordering::SeqCst);
        }
    });
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        method: MethodChoice::Copy,
        clock: hands.clock(),
        observer,
        ..SnapshotConfig::default()
    };
    make_log(&log, 60);
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let mut paths = Vec::new();
    for _ in 0..3 {
        let mut writer = open_log(&log);
        append(&mut writer, 40);
        writer.close().unwrap();
        hands.advance(HOUR);
        paths.push(snaps.create().run().unwrap().snapshot.path);
    }
    hands.advance(HOUR);
    read.store(0, Ordering::SeqCst);
    Store { _temp: temp, log, hands, read, snaps, paths }
}

/// Inode, size, and the time that the manifests give, of all files of snapshots.
fn inodes(paths: &[PathBuf]) -> BTreeMap<u64, (u64, String)> {
    let mut found: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for path in paths {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
        for file in manifest["files"].as_array().unwrap() {
            let m = fs::metadata(path.join(file["path"].as_str().unwrap())).unwrap();
            found.insert(m.ino(), (m.len(), format!("{:020}", file["read_at"].as_i64().unwrap())));
        }
    }
    found
}

fn state(path: &Path) -> State {
    State::parse(&fs::read(path.join("state.json")).unwrap()).unwrap()
}

fn percent(percent: f64) -> Budget {
    Budget::Percent(percent)
}

#[test]
fn a_pass_reads_each_inode_once_in_as_many_runs_as_the_budget_says() {
    let s = store();
    let wanted = inodes(&s.paths);
    let total: u64 = wanted.values().map(|(size, _)| size).sum();
    let logical: u64 = s.snaps.list().unwrap().iter().map(|i| i.total_size).sum();
    assert!(total < logical, "some are shared");
    let oldest = |s: &Store| s.snaps.list().unwrap().into_iter().map(|i| i.oldest_read.unwrap()).collect::<Vec<_>>();
    let (before, mut runs, mut left) = (oldest(&s), 0, total);
    loop {
        let so_far = s.read.load(Ordering::SeqCst);
        let report: ScrubReport = s.snaps.scrub(percent(10.0)).unwrap();
        runs += 1;
        assert!(report.ok && report.bytes_total == total, "{report:?}");
        assert!(report.bytes_read <= total.div_ceil(10) || report.files_read == 1, "{report:?}");
        assert_eq!(s.read.load(Ordering::SeqCst) - so_far, report.bytes_read);
        assert_eq!(report.bytes_left, left - report.bytes_read, "it goes on where it ended");
        left = report.bytes_left;
        s.hands.advance(HOUR);
        if report.through {
            break;
        }
    }
    assert_eq!((left, s.read.load(Ordering::SeqCst)), (0, total), "each inode once");
    assert!((10..=25).contains(&runs), "{runs}");
    let after = oldest(&s);
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
    for info in s.snaps.list().unwrap() {
        let verified = info.verified.unwrap();
        assert!(verified.ok && verified.level == "scrub");
    }
    // The next one begins anew.
    let report = s.snaps.scrub(percent(100.0)).unwrap();
    assert!(report.through && report.bytes_read == total);
    for path in &s.paths {
        assert!(fs::metadata(path.join("state.json")).unwrap().len() < 600);
    }
}

#[test]
fn a_budget_is_used_up_as_far_as_files_fit() {
    let s = store();
    let sizes: Vec<u64> = inodes(&s.paths).into_values().map(|(size, _)| size).collect();
    let total: u64 = sizes.iter().sum();
    for share in [7, 3, 2] {
        let budget = total / share;
        let report = s.snaps.scrub(Budget::Bytes(budget)).unwrap();
        s.hands.advance(HOUR);
        assert!(report.bytes_read <= budget, "{report:?}");
        let left = budget - report.bytes_read;
        let larger = sizes.iter().filter(|size| **size > left).count();
        // What was not read is larger than what was left; of this pass, some were read before.
        assert!(sizes.len() - usize::try_from(report.files_read).unwrap() <= larger, "{report:?}, {left} left");
        assert!(s.snaps.scrub(percent(100.0)).unwrap().through);
        s.hands.advance(HOUR);
    }
}

#[test]
fn what_was_read_the_longest_ago_comes_first() {
    let s = store();
    let by_time: BTreeSet<String> = inodes(&s.paths).into_values().map(|(_, at)| at).collect();
    let first = by_time.first().unwrap();
    let of_first: u64 = inodes(&s.paths).values().filter(|(_, at)| at == first).map(|(size, _)| size).sum();
    let report = s.snaps.scrub(Budget::Bytes(of_first)).unwrap();
    assert_eq!(report.bytes_read, of_first);
    // Exactly these: of no snapshot anything is as old as that now.
    let second = by_time.iter().nth(1).unwrap();
    let oldest = |path: &Path| state(path).reads.unwrap().oldest;
    assert_eq!(format!("{:020}", oldest(&s.paths[1])), *second);
    // A snapshot that is read in full is left out then.
    s.hands.advance(HOUR);
    s.snaps.verify("latest", Level::Full).unwrap();
    let rest: u64 = inodes(&s.paths).values().map(|(size, _)| size).sum::<u64>() - of_first;
    let newest: u64 = inodes(&s.paths[2..]).into_values().filter(|(_, at)| at != first).map(|(size, _)| size).sum();
    let report = s.snaps.scrub(percent(100.0)).unwrap();
    assert!(report.through);
    assert_eq!(report.bytes_read, rest - newest);
}

#[test]
fn a_new_snapshot_does_not_forget_what_was_read() {
    let s = store();
    assert!(s.snaps.scrub(percent(100.0)).unwrap().through);
    s.hands.advance(HOUR);
    let new = s.snaps.create().run().unwrap().snapshot;
    assert_eq!(new.oldest_read, s.snaps.list().unwrap()[0].oldest_read, "its digests are those that were read");
}

#[test]
fn a_bit_that_flipped_is_marked_wherever_it_is_shared() {
    let s = store();
    let victim = s.paths[0].join(VICTIM);
    assert_eq!(fs::metadata(&victim).unwrap().ino(), fs::metadata(s.paths[2].join(VICTIM)).unwrap().ino());
    flip(&victim);
    let mut found = None;
    for _ in 0..40 {
        let report = s.snaps.scrub(percent(5.0)).unwrap();
        if !report.ok {
            found = Some(report);
            break;
        }
        assert!(!report.through, "it was missed");
    }
    let found = found.unwrap().damage;
    let ids: Vec<&str> = s.paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(found.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ids);
    assert!(found.iter().all(|f| f.damage.path == VICTIM && f.damage.kind == DamageKind::Digest), "{found:?}");
    let infos = s.snaps.list().unwrap();
    assert!(infos.iter().all(|i| i.verified.as_ref().is_some_and(|v| !v.ok && v.level == "scrub")));
    // Not counted, so that nothing is pruned for it; not inherited.
    let plan = s.snaps.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).unwrap();
    assert!(s.snaps.prune(&plan).unwrap().is_empty(), "{:?}", plan.steps());
    let refused = s.snaps.restore_id("latest", RestoreOptions::to(s.log.with_extension("back"))).unwrap_err();
    let hint = refused.hint().unwrap();
    let copy = s.log.canonicalize().unwrap().join(VICTIM);
    assert!(
        hint.contains("repair --heal")
            && hint.contains(&format!("the live log has an intact {VICTIM}: {}", copy.display())),
        "{hint}"
    );
    s.hands.advance(HOUR);
    let new = s.snaps.create().run().unwrap().snapshot;
    assert_ne!(fs::metadata(new.path.join(VICTIM)).unwrap().ino(), fs::metadata(&victim).unwrap().ino());
    assert!(s.snaps.verify(&new.id, Level::Deep).unwrap().ok);
    fs::remove_file(s.log.join(VICTIM)).unwrap();
    let refused = s.snaps.restore_id(ids[0], RestoreOptions::to(s.log.with_extension("back"))).unwrap_err();
    assert!(refused.hint().unwrap().contains(&format!("{} has an intact {VICTIM}", new.id)));
    // Mended, the pass goes on and finds nothing more.
    let healed = s.snaps.heal(&cowlog::snapshot::HealOptions::all()).unwrap();
    assert_eq!((healed.mended.len(), healed.not_mended.len()), (3, 0), "{healed:?}");
    assert!(s.snaps.list().unwrap().iter().all(|i| i.verified.as_ref().is_some_and(|v| v.ok)));
    s.hands.advance(HOUR);
    assert!(s.snaps.scrub(percent(100.0)).unwrap().ok);
}

#[test]
fn a_verification_of_one_marks_all_that_share_the_damage() {
    let s = store();
    flip(&s.paths[1].join(VICTIM));
    assert!(!s.snaps.verify("latest", Level::Full).unwrap().ok);
    for path in &s.paths {
        let verified = state(path).verified.unwrap();
        assert!(!verified.ok && verified.damage.iter().any(|d| d.path == VICTIM), "{}", path.display());
    }
    // Right again, and read again, it is no damage any more.
    flip(&s.paths[1].join(VICTIM));
    s.hands.advance(HOUR);
    assert!(s.snaps.scrub(percent(100.0)).unwrap().ok);
    let verified = s.snaps.list().unwrap().into_iter().map(|i| i.verified.unwrap().ok);
    assert!(verified.eq([true, true, true]));
}

#[test]
fn damage_that_needs_no_reading_is_found_at_once() {
    let s = store();
    fs::remove_file(s.paths[1].join(VICTIM)).unwrap();
    flip(&s.paths[2].join("manifest.json"));
    let report = s.snaps.scrub(Budget::Bytes(1)).unwrap();
    let found: BTreeSet<(String, String)> =
        report.damage.iter().map(|f| (f.damage.path.clone(), f.damage.kind.to_string())).collect();
    assert!(!report.ok && found.contains(&(VICTIM.into(), "missing".into())), "{found:?}");
    assert!(found.contains(&("manifest.json".into(), "manifest".into())), "{found:?}");
}

#[test]
fn a_budget_of_time_is_kept_also_within_a_large_file() {
    let (_temp, log) = fast();
    let mut writer = Log::open_with(&log, LogConfig { segment_bytes: 64 << 20, ..LogConfig::default() }).unwrap();
    let value = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        writer.append(cowlog::BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()).unwrap();
    }
    writer.close().unwrap();
    manager(&log).create().run().unwrap();
    // A disk that gives 256 KiB in 20 ms: the segment alone takes 3 s.
    let slow = Observer::new(|event| {
        if matches!(event, Event::Advance { bytes: 1.., .. }) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let config = SnapshotConfig { observer: slow, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let begun = Instant::now();
    let report = snaps.scrub(Budget::Time(Duration::from_millis(600))).unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1600), "{took:?}");
    assert!(report.ok && !report.through && report.bytes_read < 1 << 20, "in part is not read: {report:?}");
    // The rest counted: it is not read again.
    let rest = manager(&log).scrub(percent(100.0)).unwrap();
    assert!(rest.through && rest.bytes_read >= 40 << 20);
}

fn fast() -> (tempfile::TempDir, PathBuf) {
    native::fast_temp()
}

#[test]
fn an_interruption_keeps_what_was_read_and_a_deletion_meanwhile_does_no_harm() {
    let s = store();
    let wanted: u64 = inodes(&s.paths).values().map(|(size, _)| size).sum();
    let stopping = |after: u64| {
        let (seen, cancel) = (AtomicU64::new(0), Arc::new(std::sync::OnceLock::<Observer>::new()));
        let handle = cancel.clone();
        let observer = Observer::new(move |event| {
            if let Event::Advance { files, .. } = event
                && seen.fetch_add(files, Ordering::SeqCst) + files == after
                && let Some(observer) = handle.get()
            {
                observer.cancel();
            }
        });
        cancel.set(observer.clone()).unwrap();
        observer
    };
    let config = SnapshotConfig { observer: stopping(4), clock: s.hands.clock(), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&s.log, config).unwrap();
    assert_eq!(snaps.scrub(percent(100.0)).unwrap_err().kind(), Kind::Interrupted);
    let report = s.snaps.scrub(percent(100.0)).unwrap();
    assert!(report.through && report.bytes_read < wanted, "{} of {wanted}", report.bytes_read);
    // A snapshot goes while it is read.
    let (log, oldest) = (s.log.clone(), s.paths[0].file_name().unwrap().to_str().unwrap().to_owned());
    let once = AtomicU64::new(0);
    let observer = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "verify", .. }) && once.fetch_add(1, Ordering::SeqCst) == 0 {
            manager(&log).delete(&oldest).unwrap();
        }
    });
    s.hands.advance(HOUR);
    let config = SnapshotConfig { observer, clock: s.hands.clock(), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&s.log, config).unwrap();
    assert!(snaps.scrub(percent(100.0)).unwrap().ok);
    assert_eq!(snaps.list().unwrap().len(), 2);
    assert!(snaps.scrub(percent(100.0)).unwrap().ok);
    let digests = DigestList::parse(&fs::read(s.paths[2].join("manifest.b3")).unwrap()).unwrap();
    assert!(digests.len() > 3);
}
