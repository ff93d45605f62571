//! Copies of a snapshot for a moment: whole, their own, gone afterwards, and had quickly enough for a fuzzer.

mod native;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cowlog::fs::{Dir, Fs, MemFs};
use cowlog::snapshot::{ForkOptions, SnapshotConfig, SnapshotManager};
use cowlog::{BatchBuilder, Log, LogConfig, LogReader};
use native::{append, content, make_log, manager, open_log, temp};
use support::mounts::{Kind, Mount};
use support::process::contents;

fn names(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn it_is_whole_and_its_own() {
    let (temp, log) = temp();
    make_log(&log, 40);
    let manager = manager(&log);
    let made = manager.create().run().unwrap().snapshot;
    let before = contents(&made.path);
    let verified = manager.verified("latest").unwrap();
    let place = temp.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let open = Dir::open(&place).unwrap();
    {
        let (one, other) = (verified.scratch(&open).unwrap(), verified.scratch(&open).unwrap());
        assert_eq!(names(&place), 2);
        let mut files = contents(one.dir().path());
        files.retain(|name, _| name != "checkpoint.json");
        for (name, bytes) in &files {
            assert!(before[name] == *bytes, "{name}");
        }
        append(&mut open_log(one.dir().path()), 5);
        assert!(content(one.dir().path()).len() > content(&made.path).len());
        assert_eq!(content(other.dir().path()), content(&made.path));
    }
    assert_eq!(names(&place), 0);
    assert_eq!(contents(&made.path), before, "the snapshot was written to");
    // One that is kept stands in nobody's way.
    let kept = verified.scratch(&open).unwrap().keep();
    assert!(kept.path().exists());
    drop(verified.scratch(&open).unwrap());
    assert_eq!(names(&place), 1);
}

#[test]
fn of_what_changed_since_there_is_none() {
    let (temp, log) = temp();
    make_log(&log, 40);
    let manager = manager(&log);
    let made = manager.create().run().unwrap().snapshot;
    let verified = manager.verified("latest").unwrap();
    let file = made.path.join("00000000000000000000.log");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let place = temp.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let e = verified.scratch(&Dir::open(&place).unwrap()).unwrap_err();
    assert_eq!(e.kind(), cowlog::error::Kind::Integrity, "{e}");
    assert_eq!(names(&place), 0);
}

/// Ten files: three segments and the checkpoint.
fn ten_files(path: &Path) -> SnapshotManager {
    make_log(path, 1);
    let mut log = open_log(path);
    while log.segments().len() < 3 {
        append(&mut log, 1);
    }
    log.close().unwrap();
    let manager = manager(path);
    let made = manager.create().run().unwrap().snapshot;
    assert_eq!(contents(&made.path).len(), 10 + 2, "ten files and the manifests");
    manager
}

#[test]
fn forks_are_all_there_or_none_and_go_when_they_are_dropped() {
    let (temp, log) = temp();
    make_log(&log, 40);
    let manager = manager(&log);
    let made = manager.create().run().unwrap().snapshot;
    let before = contents(&made.path);
    let place = temp.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let to = ForkOptions::to(place.join("fork"));
    let forks = manager.fork("latest", &to.clone().count(3).verify(true)).unwrap();
    assert_eq!(
        forks.iter().map(|(fork, _)| fork.path().to_owned()).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| place.join(format!("fork-{n}")))
    );
    for (fork, restored) in &forks {
        assert_eq!((restored.end_offset, restored.target.as_path()), (Some(40), fork.path()));
        append(&mut open_log(fork.path()), 5);
    }
    assert_eq!(contents(&made.path), before, "the snapshot was written to");
    drop(forks);
    assert_eq!(names(&place), 0);
    let kept = manager.fork("latest", &to).unwrap().remove(0).0.keep();
    assert_eq!(content(kept.path()), content(&made.path));
    // The second one is in the way of its name.
    std::fs::create_dir(place.join("fork-2")).unwrap();
    let e = manager.fork("latest", &to.clone().count(2)).unwrap_err();
    assert_eq!(e.kind(), cowlog::error::Kind::Validation, "{e}");
    assert_eq!(names(&place), 2, "the first one is gone again");
    assert!(manager.fork("latest", &to.clone().count(0)).is_err());

    // A byte that changed: with the same size it is found by who reads, and by who has to copy.
    let file = made.path.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let again = ForkOptions::to(place.join("again"));
    let e = manager.fork("latest", &again.clone().verify(true)).unwrap_err();
    assert_eq!(e.kind(), cowlog::error::Kind::Integrity, "{e}");
    std::fs::write(&file, &bytes[1..]).unwrap();
    let e = manager.fork("latest", &again).unwrap_err();
    assert_eq!(e.kind(), cowlog::error::Kind::Integrity, "{e}");
    assert_eq!(names(&place), 2);
}

/// For the figures of docs/testing.md: `cargo test --test scratch -- --ignored --nocapture`.
#[test]
#[ignore = "it measures, and asks for nothing"]
fn how_long_a_fork_takes() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let manager = ten_files(&mount.path().join("orders-0"));
        let to = ForkOptions::to(mount.path().join("fork"));
        let time = median(|| drop(manager.fork("latest", &to).unwrap()));
        eprintln!("{kind}: {time:?} for a fork of ten files and its removal");
        let data = mount.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for partition in 0..50 {
            let path = data.join(format!("orders-{partition}"));
            std::fs::create_dir(&path).unwrap();
            let mut log = open_log(&path);
            while log.segments().len() < 6 {
                append(&mut log, 1);
            }
            log.close().unwrap();
        }
        let manager = crate::manager(&data);
        let made = manager.create().run().unwrap().snapshot;
        let files = manager.manifest(&made.id).unwrap().manifest.files.len();
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let forks = manager.fork("latest", &ForkOptions::to(mount.path().join("all"))).unwrap();
            times.push(begun.elapsed());
            drop(forks);
        }
        times.sort_unstable();
        eprintln!("{kind}: {:?} for a fork of {files} files in 50 logs", times[10]);
    }
}

fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            round();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn ten_files_take_less_than_a_millisecond() {
    for kind in [Kind::Xfs, Kind::Btrfs] {
        let Some(mount) = Mount::new(kind) else { continue };
        let manager = ten_files(&mount.path().join("orders-0"));
        let verified = manager.verified("latest").unwrap();
        let place = Dir::open(mount.path()).unwrap();
        let time = median(|| drop(verified.scratch(&place).unwrap()));
        eprintln!("{kind}: {time:?} for a copy of ten files by reflink and its removal");
        // Debug builds and busy machines are slower; the figure of docs/testing.md is of a release build.
        let limit = if cfg!(debug_assertions) { 5 } else { 1 };
        assert!(time < Duration::from_millis(limit), "{kind}: {time:?}");
    }
}

#[test]
fn a_fork_of_a_filesystem_in_memory_takes_less_than_100_microseconds() {
    let fs = MemFs::new();
    let arc: Arc<dyn Fs> = Arc::new(fs.clone());
    let config = LogConfig { segment_bytes: 300, ..LogConfig::default() };
    let mut log = Log::open_in(arc.clone(), "/log", config.clone()).unwrap();
    while log.segments().len() < 3 {
        let value = [0; 100];
        log.append(BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()).unwrap();
    }
    log.flush().unwrap();
    let snaps = SnapshotManager::open_on(arc, "/log", SnapshotConfig::default()).unwrap();
    snaps.create().run().unwrap();
    let time = median(|| drop(fs.fork()));
    eprintln!("{time:?} for a fork in memory");
    assert!(time < Duration::from_micros(if cfg!(debug_assertions) { 500 } else { 100 }), "{time:?}");

    // It goes its own way; the writer of the other one holds nothing here.
    let fork = fs.fork();
    let own: Arc<dyn Fs> = Arc::new(fork.clone());
    let mut second = Log::open_in(own.clone(), "/log", config).unwrap();
    let end = second.log_end_offset();
    second.append(BatchBuilder::new().record(1, None, Some(b"more")).build().unwrap()).unwrap();
    second.close().unwrap();
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(LogReader::open_on(Dir::open_on(own, "/log").unwrap()).unwrap().log_end(), end + 1);
    let first: Arc<dyn Fs> = Arc::new(fs);
    assert_eq!(LogReader::open_on(Dir::open_on(first, "/log").unwrap()).unwrap().log_end(), end);
}

/// What a dead one left goes with the next to the same name, which makes fewer; what is held, or is another's, stays.
#[test]
fn what_a_fork_that_died_left_is_swept_by_the_next() {
    let (temp, log) = temp();
    make_log(&log, 40);
    let manager = manager(&log);
    manager.create().run().unwrap();
    let place = temp.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let left = |name: &str| {
        let left = place.join(name);
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("x"), "x").unwrap();
        left
    };
    let [second, seventh, other, held] =
        [".fork-2.restoring", ".fork-7.restoring", ".forks-7.restoring", ".fork-8.restoring"].map(left);
    let holder = std::fs::File::open(&held).unwrap();
    fs2::FileExt::lock_exclusive(&holder).unwrap();
    let made = manager.fork("latest", &ForkOptions::to(place.join("fork")).count(1)).unwrap();
    assert!(!second.exists() && !seventh.exists(), "nobody holds them");
    assert!(other.exists() && held.exists(), "of another name, and alive");
    drop(made);
    assert_eq!(names(&place), 2);
    // One that is in the way is found after the others were made: none of them remains.
    std::fs::create_dir(place.join("fork-3")).unwrap();
    manager.fork("latest", &ForkOptions::to(place.join("fork")).count(3)).unwrap_err();
    assert_eq!(names(&place), 3);
}
