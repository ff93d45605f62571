//! How a file gets into a snapshot when the filesystem will not have it the first way, and what is no reason for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cowlog::error::Kind;
use cowlog::fs::mem::{Abilities, MemFs, Op};
use cowlog::fs::{Dir, Fs, Method, MethodChoice};
use cowlog::log::{BatchBuilder, Log, LogConfig};
use cowlog::snapshot::{Level, SnapshotConfig, SnapshotManager};
use nix::errno::Errno;

/// What means "not this way", and nothing else does.
const NOT_THIS_WAY: [Errno; 7] =
    [Errno::EXDEV, Errno::EMLINK, Errno::EOPNOTSUPP, Errno::ENOTTY, Errno::EPERM, Errno::EINVAL, Errno::EAGAIN];
const WRONG: [Errno; 7] =
    [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::EACCES, Errno::ENFILE, Errno::ENOMEM];

fn arc(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn manager(fs: &MemFs, method: MethodChoice) -> SnapshotManager {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::ZERO,
        clock: fs.clock(),
        method,
        max_copy: Some(u64::MAX),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_on(arc(fs), "/log", config).unwrap()
}

/// A closed log of several segments.
fn log(abilities: Abilities) -> MemFs {
    let fs = MemFs::with(abilities);
    let dir = Dir::open_on(arc(&fs), "/").unwrap().make_dir("log", 0o755).unwrap();
    let mut log = Log::open_on(dir, LogConfig { segment_bytes: 400, ..LogConfig::default() }).unwrap();
    for offset in 0..20 {
        log.append(BatchBuilder::new().record(offset, None, Some(b"a record")).build().unwrap()).unwrap();
    }
    log.close().unwrap();
    fs.advance(5000);
    fs
}

fn no_reflinks() -> Abilities {
    Abilities { reflink: false, ..Abilities::default() }
}

/// The methods by which the files of the newest snapshot came, and that all of them are right.
fn methods(fs: &MemFs) -> BTreeMap<Method, usize> {
    let manager = manager(fs, MethodChoice::Auto);
    let report = manager.verify("latest", Level::Deep).unwrap();
    assert!(report.ok && report.extra.is_empty(), "{report:#?}");
    let mut methods = BTreeMap::new();
    for file in &manager.manifest("latest").unwrap().manifest.files {
        *methods.entry(file.method).or_default() += 1;
        match file.method {
            Method::Hardlink => assert!(file.exposed, "{}", file.path),
            Method::Reflink | Method::Copy => assert!(!file.exposed, "{}", file.path),
            // As the one that it is inherited from.
            Method::Inherit => {}
        }
    }
    methods
}

#[test]
fn a_reflink_that_is_refused_becomes_a_link() {
    let usual = log(Abilities::default());
    manager(&usual, MethodChoice::Auto).create().run().unwrap();
    let clones = usual.count(Op::Clone);
    assert!(clones > 5 && !methods(&usual).contains_key(&Method::Hardlink));
    for errno in NOT_THIS_WAY {
        for nth in 1..=clones {
            let fs = log(Abilities::default());
            fs.fail(Op::Clone, nth, errno as i32);
            manager(&fs, MethodChoice::Auto).create().run().unwrap_or_else(|e| panic!("{errno}: {e}"));
            let methods = methods(&fs);
            // The first one is only a probe.
            assert!(nth == 1 || methods.get(&Method::Hardlink).is_some_and(|n| *n > 0), "{errno}, {nth}: {methods:?}");
        }
    }
}

#[test]
fn a_link_that_is_refused_becomes_a_copy() {
    let usual = log(no_reflinks());
    manager(&usual, MethodChoice::Auto).create().run().unwrap();
    let links = usual.count(Op::Link);
    let copies = methods(&usual)[&Method::Copy];
    assert!(links > 5);
    for errno in NOT_THIS_WAY {
        for nth in 2..=links {
            let fs = log(no_reflinks());
            fs.fail(Op::Link, nth, errno as i32);
            manager(&fs, MethodChoice::Auto).create().run().unwrap_or_else(|e| panic!("{errno}: {e}"));
            assert!(methods(&fs)[&Method::Copy] > copies, "{errno}, {nth}");
        }
    }
}

#[test]
fn an_inheritance_that_is_refused_is_shared_anew() {
    for errno in NOT_THIS_WAY {
        for nth in [1, 2, 5] {
            let fs = log(Abilities::default());
            manager(&fs, MethodChoice::Auto).create().run().unwrap();
            fs.advance(5000);
            fs.fail(Op::Link, nth, errno as i32);
            manager(&fs, MethodChoice::Auto).create().run().unwrap_or_else(|e| panic!("{errno}: {e}"));
            let methods = methods(&fs);
            let fresh = methods.get(&Method::Reflink).copied().unwrap_or(0) + methods.get(&Method::Copy).unwrap_or(&0);
            assert!(fresh > 0 && methods[&Method::Inherit] > 5, "{errno}, {nth}: {methods:?}");
        }
    }
}

#[test]
fn nothing_else_falls_back() {
    for errno in WRONG {
        for (op, abilities) in [(Op::Clone, Abilities::default()), (Op::Link, no_reflinks())] {
            for nth in [1, 2, 6] {
                let fs = log(abilities);
                fs.fail(op, nth, errno as i32);
                let error = manager(&fs, MethodChoice::Auto).create().run().unwrap_err();
                assert_eq!(error.kind(), Kind::Filesystem, "{errno}: {error}");
                assert!(error.path().is_some_and(|p| p.starts_with("/log")), "{error}");
                let left = Dir::open_on(arc(&fs), "/log").unwrap().try_stat(".snapshots").unwrap();
                assert!(left.is_none(), "{errno}: a store is left");
            }
        }
    }
}

#[test]
fn an_inode_with_all_the_names_it_can_have_is_copied_and_goes_on_from_there() {
    let fs = log(Abilities { max_links: 3, ..no_reflinks() });
    let mut seen = Vec::new();
    for _ in 0..7 {
        manager(&fs, MethodChoice::Auto).create().run().unwrap();
        fs.advance(5000);
        seen.push(methods(&fs));
    }
    // The log's own name and two snapshots; then a copy, which has room for two more.
    assert!(seen[0].contains_key(&Method::Hardlink) && seen[1][&Method::Inherit] > 5, "{seen:?}");
    assert!(seen[2][&Method::Copy] > 5 && seen[3][&Method::Inherit] > 5, "{seen:?}");
    let all = manager(&fs, MethodChoice::Auto).list().unwrap();
    for snapshot in &all {
        assert!(manager(&fs, MethodChoice::Auto).verify(&snapshot.id, Level::Deep).unwrap().ok);
    }
    assert_eq!(all.len(), 7);
}

#[test]
fn the_method_that_was_asked_for() {
    let asked = |choice, abilities| {
        let fs = log(abilities);
        manager(&fs, choice).create().run().unwrap();
        methods(&fs)
    };
    let all = Abilities::default();
    assert_eq!(asked(MethodChoice::Copy, all).keys().collect::<Vec<_>>(), [&Method::Copy]);
    assert!(!asked(MethodChoice::Hardlink, all).contains_key(&Method::Reflink));
    assert!(!asked(MethodChoice::Reflink, all).contains_key(&Method::Hardlink));
    assert_eq!(asked(MethodChoice::Reflink, no_reflinks()).keys().collect::<Vec<_>>(), [&Method::Copy]);
}

/// As on an XFS whose directory would have to grow for the new name, while what is unlinked is shared and frees nothing.
#[test]
fn a_delete_that_finds_no_room_for_any_rename() {
    let fs = log(Abilities::default());
    let manager = manager(&fs, MethodChoice::Auto);
    manager.create().run().unwrap();
    manager.create().run().unwrap();
    (1..=200).for_each(|nth| fs.fail(Op::Rename, nth, Errno::ENOSPC as i32));
    manager.delete("latest").unwrap();
    fs.heal();
    assert_eq!(manager.list().unwrap().len(), 1);
    assert!(manager.verify("latest", Level::Deep).unwrap().ok);
}
