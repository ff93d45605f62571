//! What `space` says would become free, held against what the filesystem says before and after.

mod native;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::BatchBuilder;
use cowlog::fs::MethodChoice;
use cowlog::log::{Log, LogConfig};
use cowlog::snapshot::{Bounds, RestoreOptions, SnapshotConfig, SnapshotManager, Space};
use native::make_log;
use support::mounts::{Kind, Mount};

const MIB: u64 = 1 << 20;

/// What the filesystem's own bookkeeping may differ by: directories, inodes, extent trees, the catalogue.
const TOLERANCE: u64 = MIB;

fn config(retention: Option<u64>) -> LogConfig {
    LogConfig { segment_bytes: 2 * MIB, retention_bytes: retention, ..LogConfig::default() }
}

/// Bytes that no filesystem makes smaller.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = support::Random::seeded(seed);
    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(len).collect()
}

/// Appends so many MiB, in segments of two.
fn append(log: &Path, mib: u64) {
    let mut log = Log::open_with(log, config(None)).expect("a log");
    for _ in 0..mib * 8 {
        let offset = log.log_end_offset();
        let value = noise(offset.unsigned_abs(), 128 << 10);
        log.append(BatchBuilder::new().record(offset, None, Some(&value)).build().expect("a batch")).expect("appended");
    }
    log.close().expect("closed");
}

/// Leaves little more than so many MiB of the log.
fn retain(log: &Path, mib: u64) {
    let mut log = Log::open_with(log, config(Some(mib * MIB))).expect("a log");
    assert!(!log.apply_retention(0).expect("retention").is_empty(), "nothing was let go of");
    log.close().expect("closed");
}

fn manager(log: &Path, method: MethodChoice) -> SnapshotManager {
    let config = SnapshotConfig { min_interval: Duration::ZERO, method, ..SnapshotConfig::default() };
    SnapshotManager::open_with(log, config).expect("a manager")
}

fn create(snaps: &SnapshotManager) -> String {
    snaps.create().run().expect("a snapshot").snapshot.id
}

/// Free bytes once nothing is under way.
fn free(mount: &Mount) -> u64 {
    let point = fs::File::open(mount.path()).expect("the mount point");
    // Freed extents come back with a commit; XFS frees inodes in the background.
    let mut last = 0;
    for _ in 0..40 {
        nix::unistd::syncfs(&point).expect("synced");
        let stat = nix::sys::statvfs::statvfs(mount.path()).expect("statvfs");
        let now = stat.blocks_free() * stat.fragment_size();
        if now == last {
            break;
        }
        last = now;
        std::thread::sleep(Duration::from_millis(250));
    }
    last
}

/// Deletes, and holds what became free against both bounds.
#[track_caller]
fn delete(mount: &Mount, snaps: &SnapshotManager, ids: &[&str]) -> Bounds {
    free(mount);
    let space = snaps.space().expect("a survey");
    let told = space.freed_by(ids);
    assert_eq!(snaps.freed_by(ids).expect("the same"), told);
    if let [id] = ids {
        let alone = space.snapshots.iter().find(|s| s.id == *id).expect("it is there");
        assert_eq!(alone.frees, told);
    }
    let before = free(mount);
    let mut said = Bounds::default();
    for id in ids {
        said = said + snaps.delete(id).expect("deleted").frees.expect("what it freed");
    }
    let freed = free(mount).saturating_sub(before);
    let kind = mount.kind();
    // What a deletion says of itself.
    assert!(freed + TOLERANCE >= said.least && freed <= said.most + TOLERANCE, "{kind}: {freed}, {said:?} was said");
    assert!(freed + TOLERANCE >= told.least, "{kind}: {freed} became free, {told:?} was told");
    assert!(freed <= told.most + TOLERANCE, "{kind}: {freed} became free, {told:?} was told");
    told
}

fn close_to(bytes: u64, mib: u64) -> bool {
    bytes.abs_diff(mib * MIB) <= MIB + MIB / 2
}

fn each(mut body: impl FnMut(&Mount, &Path)) {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let log: PathBuf = mount.path().join("orders-0");
        append(&log, 16);
        std::thread::sleep(Duration::from_millis(2500));
        body(&mount, &log);
    }
}

#[test]
fn what_retention_lets_go_of_is_held_until_the_last_snapshot_goes() {
    for method in [MethodChoice::Auto, MethodChoice::Hardlink] {
        each(|mount, log| {
            let kind = mount.kind();
            let snaps = manager(log, method);
            let first = create(&snaps);
            append(log, 8);
            let second = create(&snaps);
            let space = snaps.space().expect("a survey");
            assert!(close_to(space.logical, 16 + 24), "{kind}: {space:?}");
            assert!(close_to(space.physical, 24 + 2), "{kind}: {space:?}");
            assert!(space.held.most < 4 * MIB, "{kind}: only active segments are held: {space:?}");
            let linked = kind == Kind::Ext4 || method == MethodChoice::Hardlink;
            assert_eq!(space.exposed > 0, linked, "{kind}: {space:?}");
            assert_eq!(space.exposed_bytes > 20 * MIB, linked, "{kind}: {space:?}");

            retain(log, 8);
            let space = snaps.space().expect("a survey");
            assert!(space.held.most > 15 * MIB && space.held.most < 20 * MIB, "{kind}: {space:?}");
            // Both have it, so neither alone frees it.
            assert!(
                space.snapshots.iter().all(|s| s.held.most > 13 * MIB && s.frees.most < 3 * MIB),
                "{kind}: {space:?}"
            );
            assert!(delete(mount, &snaps, &[&first]).most < 3 * MIB, "{kind}");
            let last = delete(mount, &snaps, &[&second]);
            assert!(last.most > 15 * MIB, "{kind}: {last:?}");
            assert!(last.exact(), "{kind}: {last:?}");
        });
    }
}

#[test]
fn a_set_frees_more_than_its_members_and_copies_free_all_they_are() {
    each(|mount, log| {
        let kind = mount.kind();
        let snaps = manager(log, MethodChoice::Copy);
        let first = create(&snaps);
        append(log, 2);
        let second = create(&snaps);
        let third = create(&snaps);
        let space = snaps.space().expect("a survey");
        assert!(space.snapshots.iter().all(|s| s.frees.most < 5 * MIB), "{kind}: {space:?}");
        assert_eq!((space.exposed, space.elsewhere), (0, 0), "{kind}");
        assert!(close_to(space.with_source, 0), "{kind}: {space:?}");
        let told = delete(mount, &snaps, &[&first, &second, &third]);
        assert!(told.exact() && told.least > 16 * MIB, "{kind}: {told:?}");
        assert!(told.least > space.snapshots.iter().map(|s| s.frees.most).sum::<u64>() + 8 * MIB, "{kind}");
        assert_eq!(snaps.space().expect("a survey").physical, 0);
    });
}

#[test]
fn what_others_keep_does_not_become_free_and_is_not_promised() {
    each(|mount, log| {
        let kind = mount.kind();
        let snaps = manager(log, MethodChoice::Auto);
        let id = create(&snaps);
        // A restored copy shares blocks by reflink, a link of somebody's the inode.
        let back = mount.path().join("back");
        snaps.restore_id(&id, RestoreOptions::to(&back)).expect("restored");
        let name = format!("{:020}.log", 0);
        fs::hard_link(
            snaps.store_path().expect("a store").expect("one").join(&id).join(&name),
            mount.path().join("link"),
        )
        .expect("a link");
        retain(log, 4);
        let space = snaps.space().expect("a survey");
        assert!(close_to(space.elsewhere, 2), "{kind}: {space:?}");
        let told = delete(mount, &snaps, &[&id]);
        if kind == Kind::Ext4 {
            assert!(told.exact() && told.most > 7 * MIB && told.most < 12 * MIB, "{told:?}");
        } else {
            assert!(told.least < 3 * MIB && told.most > 7 * MIB, "{kind}: {told:?}");
        }
    });
}

#[test]
fn copies_of_a_segment_are_counted() {
    each(|mount, log| {
        let kind = mount.kind();
        let auto = manager(log, MethodChoice::Auto);
        for _ in 0..7 {
            create(&auto);
        }
        let space = auto.space_by_segment().expect("a survey");
        let sealed = &space.segments[0];
        assert_eq!((sealed.path.as_str(), sealed.snapshots), (format!("{:020}.log", 0).as_str(), 7), "{kind}");
        assert_eq!((sealed.copies, sealed.source), (1, true), "{kind}: one physical copy, seven snapshots");
        let active = space.segments.last().expect("segments");
        assert!(active.copies >= 2, "{kind}: {active:?}");

        let store = mount.path().join("copies");
        let config = SnapshotConfig {
            min_interval: Duration::ZERO,
            method: MethodChoice::Copy,
            store: Some(store),
            ..SnapshotConfig::default()
        };
        let copied = SnapshotManager::open_with(log, config).expect("a manager");
        create(&copied);
        let space = copied.space_by_segment().expect("a survey");
        assert_eq!(space.segments[0].copies, 2, "{kind}: the source's and the snapshot's");
    });
}

#[test]
fn a_source_that_is_gone_holds_nothing() {
    let (temp, log) = native::fast_temp();
    make_log(&log, 100);
    let snaps = manager(&log, MethodChoice::Copy);
    let id = create(&snaps);
    let told = snaps.freed_by(&[&id]).expect("told");
    assert!(told.most > 0, "{told:?}");
    // The source is gone: the snapshots are not, and all of theirs is held.
    let away = SnapshotManager::open_with(
        temp.path().join("gone"),
        SnapshotConfig { store: snaps.store_path().expect("a store"), ..SnapshotConfig::default() },
    );
    let space: Space = away.expect("a manager").space().expect("a survey");
    assert_eq!(space.with_source, 0);
    assert!(space.held.most >= told.most);
    assert!(snaps.freed_by(&["snapshot-9"]).is_err());
    assert!(snaps.freed_by(&["nonsense!"]).is_err());
}
