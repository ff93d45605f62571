//! Any single bit of any data file or manifest that changes is found, named, and refused. `COWLOG_FLIPS` says how many are
//! tried on each of two snapshots, 300 if not set.

mod fixtures;
mod native;
mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::error::{DamageKind, Kind};
use cowlog::fs::MethodChoice;
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use support::{Random, env_number};

/// By copy: a flip in a file that the source shares would change the source too.
fn manager(source: &Path) -> SnapshotManager {
    let config =
        SnapshotConfig { method: MethodChoice::Copy, min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(source, config).expect("a manager")
}

/// Every file below, relative.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = support::process::contents(dir).into_keys().map(PathBuf::from).collect();
    found.sort();
    found
}

/// What is wrong with the newest snapshot, by path and kind, and that it is refused if anything is.
fn damage(snaps: &SnapshotManager, told: &str) -> Vec<(String, DamageKind)> {
    let report = snaps.verify("latest", Level::Full).unwrap_or_else(|e| panic!("{told}: {e}"));
    assert_eq!(report.ok, report.damage.is_empty(), "{told}");
    let target = tempfile::tempdir().expect("a temporary directory");
    let options = RestoreOptions::to(target.path().join("back"));
    match snaps.restore_id("latest", options) {
        Ok(_) => assert!(report.ok, "{told}: it was restored"),
        Err(e) => assert!(!report.ok && e.kind() == Kind::Integrity, "{told}: {e}"),
    }
    assert_eq!(fs::read_dir(target.path()).expect("a directory").count(), usize::from(report.ok), "{told}");
    report.damage.into_iter().map(|d| (d.path, d.kind)).collect()
}

fn flip_often(source: &Path, what: &str) {
    let snaps = manager(source);
    let snapshot = snaps.create().run().expect("a snapshot").snapshot.path;
    let mut all = files(&snapshot);
    all.retain(|f| fs::metadata(snapshot.join(f)).expect("it is there").len() > 0);
    assert!(all.len() > 10);
    let mut random = Random::new(what);
    for _ in 0..env_number("COWLOG_FLIPS", 300) {
        let file = &all[random.below(all.len() as u64) as usize];
        let open = File::options().read(true).write(true).open(snapshot.join(file)).expect("it opens");
        let at = random.below(open.metadata().expect("a length").len());
        let mut byte = [0];
        open.read_exact_at(&mut byte, at).expect("a byte");
        let bit = 1u8 << random.below(8);
        open.write_all_at(&[byte[0] ^ bit], at).expect("written");
        let told = format!("{what}: {}, byte {at}, bit {bit}", file.display());
        let found = damage(&snaps, &told);
        assert!(found.iter().any(|(path, _)| Path::new(path) == file), "{told}: {found:?}");
        open.write_all_at(&byte, at).expect("written");
    }
    assert_eq!(damage(&snaps, what), [], "all as it was");
}

#[test]
fn of_a_native_log() {
    let (_temp, log) = native::temp();
    native::make_log(&log, 300);
    flip_often(&log, "native");
}

#[test]
fn of_a_brokers_data_directory() {
    let (_temp, root) = fixtures::unpack("codecs-live");
    flip_often(&root, "kafka");
}

/// A state or a catalogue that changed is told of, blocks nothing, and is rebuilt.
#[test]
fn of_what_can_be_rebuilt() {
    let (_temp, log) = native::temp();
    native::make_log(&log, 300);
    let snaps = manager(&log);
    let made = snaps.create().tag("kept").run().expect("a snapshot").snapshot;
    let mut random = Random::new("state and catalogue");
    for name in [made.path.join("state.json"), log.join(".snapshots/snapshots.json")] {
        let bytes = fs::read(&name).expect("it is there");
        for _ in 0..100 {
            let mut flipped = bytes.clone();
            let at = random.below(bytes.len() as u64) as usize;
            flipped[at] ^= 1 << random.below(8);
            fs::write(&name, &flipped).expect("written");
            let told = format!("{}, byte {at}", name.display());
            assert_eq!(damage(&snaps, &told), [], "{told}");
            let listed = snaps.list().unwrap_or_else(|e| panic!("{told}: {e}"));
            assert_eq!((listed.len(), &listed[0].root), (1, &made.root), "{told}");
            // A state that cannot be read may have been a pin.
            assert!(name.ends_with("snapshots.json") || listed[0].pinned, "{told}");
            snaps.repair(None).unwrap_or_else(|e| panic!("{told}: {e}"));
            fs::write(&name, &bytes).expect("written");
        }
    }
    assert!(!snaps.list().expect("a list")[0].pinned);
}

#[test]
fn files_cut_extended_exchanged_and_from_elsewhere() {
    let (_temp, log) = native::temp();
    native::make_log(&log, 300);
    let snaps = manager(&log);
    let older = snaps.create().run().expect("a snapshot").snapshot.path;
    native::append(&mut native::open_log(&log), 100);
    let newer = snaps.create().run().expect("a snapshot").snapshot.path;
    let logs: Vec<PathBuf> = files(&newer).into_iter().filter(|f| f.extension().is_some_and(|e| e == "log")).collect();
    let (first, second, last) = (&logs[0], &logs[1], &logs[logs.len() - 1]);
    let replace = |name: &Path, bytes: &[u8]| {
        let old = fs::read(newer.join(name)).expect("it is there");
        // The older snapshot may share the inode.
        fs::remove_file(newer.join(name)).expect("it goes");
        fs::write(newer.join(name), bytes).expect("written");
        old
    };
    let named = |path: &Path, kind| (path.to_str().expect("UTF-8").to_owned(), kind);

    let whole = fs::read(newer.join(first)).expect("it is there");
    replace(first, &whole[..whole.len() - 1]);
    assert_eq!(damage(&snaps, "cut"), [named(first, DamageKind::Size)]);
    replace(first, &[&whole[..], b"\0"].concat());
    assert_eq!(damage(&snaps, "extended"), [named(first, DamageKind::Size)]);
    replace(first, &whole);
    assert_eq!(damage(&snaps, "right again"), []);

    let other = replace(second, &whole);
    replace(first, &other);
    let found = damage(&snaps, "exchanged");
    assert_eq!(found.iter().map(|(path, _)| Path::new(path)).collect::<Vec<_>>(), [first, second]);
    replace(first, &whole);
    replace(second, &other);

    // The active segment of the older snapshot: the same log, every CRC valid, another moment.
    let active = fs::read_dir(&older).expect("a directory").map(|e| e.expect("one").path());
    let active = active.filter(|p| p.extension().is_some_and(|e| e == "log")).max().expect("one");
    let grown = newer.join(active.file_name().expect("a name"));
    assert_ne!(fs::read(&active).expect("one"), fs::read(&grown).expect("the other"));
    replace(Path::new(grown.file_name().expect("a name")), &fs::read(&active).expect("it is there"));
    assert_eq!(damage(&snaps, "of the older one").len(), 1);

    // Manifests of another snapshot do not fit either.
    for name in ["manifest.json", "manifest.b3"] {
        let mine = replace(Path::new(name), &fs::read(older.join(name)).expect("it is there"));
        assert!(damage(&snaps, name).iter().any(|(path, _)| path.starts_with("manifest")), "{name}");
        replace(Path::new(name), &mine);
    }
    assert!(last > first);
}
