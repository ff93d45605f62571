//! Many at once.

use super::*;

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
