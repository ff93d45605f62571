//! What each filesystem can do, and what happens when it is full, read-only or another one.

mod fixtures;
#[path = "filesystems/healing.rs"]
mod healing;
mod native;
mod support;

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::Error;
use cowlog::error::{Kind as ErrorKind, ValidationError};
use cowlog::fs::{Method, MethodChoice};
use cowlog::snapshot::{
    At, Bound, Change, Detach, ForkOptions, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager,
};
use native::{content, make_log};
use support::mounts::{Kind, Mount, run, system};
use support::process::strays;

fn manager(log: &Path, change: impl FnOnce(&mut SnapshotConfig)) -> SnapshotManager {
    let mut config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    change(&mut config);
    SnapshotManager::open_with(log, config).expect("a manager")
}

fn usual(log: &Path) -> SnapshotManager {
    manager(log, |_| {})
}

/// What the doctor says about something, with the advice.
fn doctor(source: &Path, about: &str) -> String {
    let found = usual(source).doctor().expect("a checkup").findings;
    let of_it = found.into_iter().filter(|f| f.about == about);
    of_it.map(|f| format!("{} {}\n", f.what, f.advice.unwrap_or_default())).collect()
}

fn whole(snaps: &SnapshotManager) -> usize {
    let all = snaps.list().expect("a list");
    for snapshot in &all {
        let report = snaps.verify(&snapshot.id, Level::Deep).expect("a report");
        assert!(report.ok && report.extra.is_empty(), "{report:#?}");
    }
    all.len()
}

/// A log that nobody has changed for a while: only then do its times say for certain that it is as it was.
fn make_old_log(log: &Path, count: usize) {
    make_log(log, count);
    std::thread::sleep(Duration::from_millis(2500));
}

#[test]
fn reflinks_where_there_are_any_and_hard_links_elsewhere() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let log = mount.path().join("orders-0");
        make_old_log(&log, 300);
        let said = doctor(&log, "methods");
        let by = if kind == Kind::Ext4 { "shared by hard link; no reflinks" } else { "shared by reflink" };
        assert!(said.contains(by), "{kind}: {said}");
        let made = usual(&log).create().run().expect("a snapshot").snapshot;
        let sealed = (made.num_segments - 1) * 3;
        let expected = if kind == Kind::Ext4 { Method::Hardlink } else { Method::Reflink };
        assert_eq!(made.methods.get(&expected), Some(&sealed), "{kind}: {:?}", made.methods);
        assert_eq!(made.exposed, if kind == Kind::Ext4 { sealed } else { 0 }, "{kind}");
        let links = manager(&log, |c| c.method = MethodChoice::Hardlink).create().force(true).run();
        assert!(links.expect("a snapshot").snapshot.methods[&Method::Inherit] >= sealed, "{kind}");

        // Out of it again: shared where that leaves the snapshot independent, copied elsewhere.
        let target = mount.path().join("back");
        let restored = usual(&log).restore_id("latest", RestoreOptions::to(&target)).expect("restored");
        let expected = if kind == Kind::Ext4 { Method::Copy } else { Method::Reflink };
        assert_eq!(restored.methods.keys().collect::<Vec<_>>(), [&expected], "{kind}");
        assert_eq!(content(&target), content(&log));
        let between = RestoreOptions::to(mount.path().join("between"));
        let between = between.since(Bound::Time(20_500)).until(Bound::Time(250_000));
        let cut = usual(&log).restore_id("latest", between).expect("restored").cuts.remove(0);
        assert_eq!((cut.start_offset, cut.end_offset), (21, 250), "{kind}");
        let all = content(&log);
        let part = content(&mount.path().join("between"));
        assert!(part.len() < all.len() && all.windows(part.len()).any(|bytes| bytes == part), "{kind}");
        let mut goes_on = native::open_log(&mount.path().join("between"));
        native::append(&mut goes_on, 10);
        assert_eq!((goes_on.log_start_offset(), goes_on.log_end_offset()), (21, 260), "{kind}");
        let forks = usual(&log).fork("latest", &ForkOptions::to(mount.path().join("fork")).count(2)).expect("forks");
        for (fork, made) in &forks {
            assert_eq!(made.methods.keys().collect::<Vec<_>>(), [&expected], "{kind}");
            assert_eq!(content(fork.path()), all);
            native::append(&mut native::open_log(fork.path()), 5);
        }
        assert_eq!(whole(&usual(&log)), 2, "{kind}");
        drop(forks);
        assert!(!mount.path().join("fork-1").exists() && !mount.path().join("fork-2").exists(), "{kind}");
        let asked = RestoreOptions::to(mount.path().join("again")).method(Detach::Reflink);
        assert_eq!(usual(&log).restore_id("latest", asked).is_ok(), kind != Kind::Ext4, "{kind}");
    }
}

/// By reflink or by hard link: what is equal is told so without being read, and what was appended is read where it lies.
#[test]
fn a_snapshot_is_looked_into_and_compared_where_it_lies() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let log = mount.path().join("orders-0");
        make_old_log(&log, 300);
        let snaps = usual(&log);
        let first = snaps.create().run().expect("a snapshot").snapshot.id;
        let compare = |b: At<'_>| snaps.compare(At::Snapshot(&first), b, None).expect("compared");
        assert!(compare(At::Live).diff().equal, "{kind}: {:?}", compare(At::Live).diff());
        let mut writer = native::open_log(&log);
        native::append(&mut writer, 50);
        let second = snaps.create().force(true).run().expect("a snapshot").snapshot.id;
        for b in [At::Live, At::Snapshot(&second)] {
            let comparison = compare(b);
            let (mut added, diff) = (Vec::new(), comparison.diff());
            let shown: cowlog::Result<_> = comparison.records(|_, record| {
                assert!(record.a.is_none());
                added.push(record.b.expect("one side has it").1.offset);
                Ok(ControlFlow::Continue(()))
            });
            assert!(shown.expect("read").is_continue());
            assert_eq!(added, (300..350).collect::<Vec<_>>(), "{kind}: {diff:?}");
            let (log, sealed) = (&diff.logs[0], diff.logs[0].segments.iter().filter(|s| s.change == Change::Changed));
            assert_eq!((sealed.count(), log.files.len()), (0, 0), "{kind}: {diff:?}");
        }
        let opened = snaps.logs_at(At::Snapshot(&first), None).expect("opened");
        let mut seen = Vec::new();
        let read: cowlog::Result<_> = opened.logs()[0].read(10..i64::MAX, |_, record| {
            let expected = native::batch(record.offset).records().expect("records").remove(0);
            assert_eq!((record.key, record.value), (expected.key.as_deref(), expected.value.as_deref()));
            seen.push(record.offset);
            Ok(ControlFlow::Continue(()))
        });
        assert!(read.expect("read").is_continue());
        assert_eq!(seen, (10..300).collect::<Vec<_>>(), "{kind}");
        let busy = manager(&log, |c| c.lock_timeout = Duration::ZERO).delete(&first).expect_err("it is being read");
        assert_eq!(busy.kind(), ErrorKind::Concurrency, "{kind}: {busy}");
    }
}

#[test]
fn a_store_or_a_target_on_another_filesystem() {
    let (Some(ext4), Some(xfs)) = (Mount::new(Kind::Ext4), Mount::new(Kind::Xfs)) else { return };
    let log = xfs.path().join("orders-0");
    make_old_log(&log, 300);
    let store = ext4.path().join("store");
    let with = |max_copy| manager(&log, |c| (c.store, c.max_copy) = (Some(store.clone()), max_copy));

    let refused = with(Some(1000)).create().run().expect_err("too much");
    let Error::Validation(ValidationError::TooMuchToCopy { bytes, limit, .. }) = refused else { panic!("{refused}") };
    assert!(bytes > limit && limit == 1000);
    assert!(!store.exists() && with(None).list().expect("a list").is_empty());

    let made = with(Some(1 << 20)).create().run().expect("allowed").snapshot;
    assert_eq!((made.bytes_shared, made.methods.keys().collect::<Vec<_>>()), (0, vec![&Method::Copy]));
    // Only what is new has to be copied then.
    let again = with(Some(1000)).create().run().expect("nothing to copy").snapshot;
    assert!(again.methods[&Method::Inherit] >= (made.num_segments - 1) * 3, "{:?}", again.methods);
    assert_eq!(whole(&with(None)), 2);

    for target in [xfs.path().join("back"), ext4.path().join("back")] {
        with(None).restore_id("latest", RestoreOptions::to(&target)).expect("restored");
        assert_eq!(content(&target), content(&log));
    }
}

#[test]
fn a_source_that_is_a_mount_point_is_told_what_to_do() {
    let Some(xfs) = Mount::new(Kind::Xfs) else { return };
    make_old_log(&xfs.path().join("orders-0"), 30);
    fs::write(xfs.path().join("meta.properties"), "version=1\n").expect("written");
    let said = doctor(xfs.path(), "store");
    assert!(said.contains("one level down"), "{said}");
    let refused = manager(xfs.path(), |c| c.max_copy = Some(1)).create().run().expect_err("nothing is shared");
    assert!(refused.hint().is_some_and(|hint| hint.contains("below the mount point")), "{refused:?}");
}

#[test]
fn an_inode_with_all_its_names() {
    let Some(mount) = Mount::new(Kind::Ext4) else { return };
    let log = mount.path().join("orders-0");
    make_log(&log, 60);
    let first = log.join(format!("{:020}.log", 0));
    let names = mount.path().join("names");
    fs::create_dir(&names).expect("a directory");
    let mut left = 0;
    while fs::hard_link(&first, names.join(left.to_string())).is_ok() {
        left += 1;
    }
    assert!(left > 60_000, "ext4 allows 65,000 names");
    let made = usual(&log).create().run().expect("a snapshot").snapshot;
    let manifest = usual(&log).manifest("latest").expect("a manifest").manifest;
    let copied = manifest.files.iter().find(|f| f.path.starts_with("00000000000000000000.log")).expect("the segment");
    assert_eq!(copied.method, Method::Copy);
    assert!(made.methods[&Method::Hardlink] > 3, "the others are linked: {:?}", made.methods);
    let next = usual(&log).create().run().expect("a snapshot").snapshot;
    assert_eq!(next.methods.get(&Method::Hardlink), None, "the copy is inherited: {:?}", next.methods);
    assert_eq!(whole(&usual(&log)), 2);
}

/// Takes all space that there is, by one large file and smaller and smaller ones.
fn fill(mount: &Path) -> PathBuf {
    let filler = mount.join("filler");
    fs::create_dir_all(&filler).expect("a directory");
    let mut n = 0;
    for size in [4 << 20, 64 << 10, 4 << 10, 100] {
        let bytes = vec![0xa5u8; size];
        loop {
            n += 1;
            let Ok(mut file) = File::create(filler.join(n.to_string())) else { break };
            if file.write_all(&bytes).and_then(|()| file.sync_all()).is_err() {
                break;
            }
        }
    }
    filler
}

#[test]
fn a_full_disk_loses_nothing() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let log = mount.path().join("orders-0");
        make_log(&log, 3000);
        let snaps = usual(&log);
        let by_copy = manager(&log, |c| (c.method, c.max_copy) = (MethodChoice::Copy, Some(u64::MAX)));
        snaps.create().run().expect("a snapshot");
        by_copy.create().run().expect("a snapshot");
        let store = log.join(".snapshots");
        let before = content(&log);

        fill(mount.path());
        let copied = by_copy.create().run();
        let Err(full) = copied else { panic!("{kind}: there was room") };
        assert_eq!(full.kind(), ErrorKind::Filesystem, "{kind}: {full}");
        assert!(full.to_string().contains("full") || full.hint().is_some(), "{kind}: {full}");
        let target = mount.path().join("back");
        let options = RestoreOptions::to(&target).method(Detach::Copy);
        let full = snaps.restore_id("latest", options).expect_err("no room");
        assert_eq!(full.kind(), ErrorKind::Filesystem, "{kind}: {full}");
        assert!(!target.exists(), "{kind}");
        let beside: Vec<_> =
            fs::read_dir(mount.path()).expect("a directory").map(|e| e.expect("one").file_name()).collect();
        assert!(beside.iter().all(|n| !n.to_string_lossy().contains("restor")), "{kind}: {beside:?}");
        // A snapshot by links may find the little room that it needs, or not; it says which.
        let linked = snaps.create().run();
        let there = snaps.list().expect("a list").len();
        assert_eq!(there, if linked.is_ok() { 3 } else { 2 }, "{kind}: {linked:?}");
        assert_eq!(whole(&snaps), there, "{kind}");
        assert_eq!(content(&log), before, "{kind}");
        assert_eq!(strays(&store), [""; 0], "{kind}");

        // Deleting works, and frees what it should.
        let oldest = snaps.list().expect("a list").remove(0).id;
        snaps.delete(&oldest).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let plan = snaps.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).expect("a plan");
        snaps.prune(&plan).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(whole(&snaps) <= 2, "{kind}");
        fs::remove_dir_all(mount.path().join("filler")).expect("it goes");
        by_copy.create().run().unwrap_or_else(|e| panic!("{kind}: there is room again: {e}"));
        whole(&snaps);
        assert_eq!(strays(&store), [""; 0], "{kind}");
    }
}

#[test]
fn no_inodes_are_left() {
    let Some(mount) = Mount::sized(Kind::Ext4, 64) else { return };
    let log = mount.path().join("orders-0");
    make_log(&log, 300);
    let snaps = usual(&log);
    snaps.create().run().expect("a snapshot");
    let filler = mount.path().join("filler");
    fs::create_dir(&filler).expect("a directory");
    let mut n = 0;
    while File::create(filler.join(n.to_string())).is_ok() {
        n += 1;
    }
    let full = snaps.create().run().expect_err("no inode");
    assert_eq!(full.kind(), ErrorKind::Filesystem, "{full}");
    assert_eq!(whole(&snaps), 1);
    snaps.delete("latest").expect("deleting needs none");
    assert_eq!(snaps.list().expect("a list").len(), 0);
    assert_eq!(strays(&log.join(".snapshots")), [""; 0]);
}

#[test]
fn a_source_that_may_only_be_read() {
    for kind in Kind::ALL {
        let (Some(mount), Some(other)) = (Mount::new(kind), Mount::new(Kind::Ext4)) else { continue };
        let log = mount.path().join("orders-0");
        make_log(&log, 300);
        usual(&log).create().run().expect("a snapshot");
        let before = content(&log);
        // What was restored has no lock files yet.
        let restored = mount.path().join("restored");
        usual(&log).restore_id("latest", RestoreOptions::to(&restored)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(!restored.join(".segments.lock").exists());
        run(system("mount").args(["-o", "remount,ro"]).arg(mount.path())).unwrap_or_else(|e| panic!("{e}"));

        let refused = usual(&log).create().run().expect_err("it is read-only");
        assert_eq!(refused.kind(), ErrorKind::Filesystem, "{kind}: {refused}");
        assert!(refused.path().is_some_and(|p| p.starts_with(mount.path())), "{kind}: {refused}");
        // Reading, verifying and restoring elsewhere need not write here.
        assert_eq!(whole(&usual(&log)), 1, "{kind}");
        let target = other.path().join("back");
        usual(&log).restore_id("latest", RestoreOptions::to(&target)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(content(&target), before, "{kind}");
        // So does a snapshot in a store elsewhere.
        let elsewhere = manager(&log, |c| (c.store, c.max_copy) = (Some(other.path().join("store")), Some(1 << 30)));
        elsewhere.create().run().unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(whole(&elsewhere), 1, "{kind}");
        let again = manager(&restored, |c| (c.store, c.max_copy) = (Some(other.path().join("again")), Some(1 << 30)));
        again.create().run().unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(whole(&again), 1, "{kind}");
        assert!(usual(&log).delete("latest").is_err(), "{kind}");
        assert_eq!(whole(&usual(&log)), 1, "{kind}");
    }
}
