//! Stores and logs that somebody made to do harm: nothing is followed out of them, nothing waits for ever, nothing is
//! believed, and nothing outside is touched.

mod native;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use cowlog::error::{DamageKind, Kind};
use cowlog::log::{BatchHeader, Codec, Log, LogConfig, LogReader};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::{BatchBuilder, Error};
use native::{content, make_log, temp};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;
use support::process::contents;

fn manager(log: &Path) -> SnapshotManager {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::from_millis(300),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_with(log, config).expect("a manager")
}

/// Fails where something waits for ever.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(work())));
    wait.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
}

/// A directory that nobody may touch, and a look whether it is as it was.
struct Treasure(PathBuf);

impl Treasure {
    fn beside(log: &Path) -> Treasure {
        let path = log.with_file_name("treasure");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("gold"), b"gold").expect("written");
        Treasure(path)
    }

    fn check(&self, told: &str) {
        let all = contents(&self.0);
        assert!(all.len() == 1 && all["gold"] == b"gold", "{told}: {all:?}");
    }
}

/// Everything that can stand where a regular file is expected.
const STRANGERS: [&str; 5] = ["symlink", "dangling symlink", "fifo", "directory", "device"];

fn put_stranger(which: &str, at: &Path, treasure: &Treasure) -> bool {
    match which {
        "symlink" => symlink(treasure.0.join("gold"), at).expect("a link"),
        "dangling symlink" => symlink(treasure.0.join("nothing"), at).expect("a link"),
        "fifo" => fifo(at),
        "directory" => fs::create_dir(at).expect("a directory"),
        // `/dev/zero`, which has no end; only root may make it.
        _ => return mknod(at, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 5)).is_ok(),
    }
    true
}

#[test]
fn strangers_in_a_log() {
    let names = [
        "00000000000000000000.log",
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
        "checkpoint.json",
        "a-side-file",
        "00000000000000000000.snapshot",
        ".segments.lock",
    ];
    for name in names {
        for which in STRANGERS {
            let (_temp, log) = temp();
            make_log(&log, 60);
            let treasure = Treasure::beside(&log);
            let at = log.join(name);
            fs::remove_file(&at).ok();
            if !put_stranger(which, &at, &treasure) {
                continue;
            }
            let told = format!("{which} for {name}");
            let log = log.clone();
            in_time(&told.clone(), move || {
                let snaps = manager(&log);
                match snaps.create().run() {
                    Ok(made) => {
                        assert!(snaps.verify("latest", Level::Full).expect("a report").ok, "{told}");
                        let files = contents(&made.snapshot.path);
                        assert!(!files.values().any(|bytes| bytes == b"gold"), "{told}: it was followed");
                    }
                    Err(e) => {
                        assert_ne!(e.kind(), Kind::Interrupted, "{told}: {e}");
                        assert!(e.path().is_some() || e.to_string().contains('/'), "{told}: {e} names nothing");
                    }
                }
                // The writer and a reader too end, one way or the other.
                drop(LogReader::open(&log).map(|r| r.read_from(0).take_while(Result::is_ok).count()));
                drop(Log::open_with(&log, LogConfig { lock_timeout: Duration::ZERO, ..LogConfig::default() }));
            });
            treasure.check(name);
        }
    }
}

#[test]
fn strangers_in_a_snapshot() {
    let names = ["00000000000000000000.log", "manifest.json", "manifest.b3", "state.json", "checkpoint.json"];
    for name in names {
        for which in STRANGERS {
            let (_temp, log) = temp();
            make_log(&log, 60);
            let treasure = Treasure::beside(&log);
            let made = manager(&log).create().tag("t").run().expect("a snapshot").snapshot;
            let at = made.path.join(name);
            // The best disguise there is: the very bytes, elsewhere.
            fs::rename(&at, treasure.0.with_file_name("loot")).expect("moved");
            let disguised = which == "symlink";
            if disguised {
                symlink(treasure.0.with_file_name("loot"), &at).expect("a link");
            } else if !put_stranger(which, &at, &treasure) {
                continue;
            }
            let told = format!("{which} for {name}");
            let target = log.with_file_name("back");
            let (from, to) = (log.clone(), target.clone());
            in_time(&told.clone(), move || {
                let snaps = manager(&from);
                assert_eq!(snaps.list().unwrap_or_else(|e| panic!("{told}: {e}")).len(), 1, "{told}");
                let report = snaps.verify(&made.id, Level::Deep).unwrap_or_else(|e| panic!("{told}: {e}"));
                let restored = snaps.restore_id(&made.id, RestoreOptions::to(&to));
                if name == "state.json" {
                    restored.unwrap_or_else(|e| panic!("{told}: a state never blocks a restore: {e}"));
                } else {
                    assert!(report.damage.iter().any(|d| d.path == name), "{told}: {report:?}");
                    let refused = restored.err().unwrap_or_else(|| panic!("{told}: it was restored"));
                    assert_eq!(refused.kind(), Kind::Integrity, "{told}: {refused}");
                }
                snaps.repair(None).unwrap_or_else(|e| panic!("{told}: {e}"));
                snaps.create().run().unwrap_or_else(|e| panic!("{told}: the next create: {e}"));
                // One whose state cannot be read counts as pinned.
                snaps.delete_even_pinned(&made.id).unwrap_or_else(|e| panic!("{told}: {e}"));
            });
            assert_eq!(target.exists(), name == "state.json", "{which} for {name}");
            treasure.check(name);
            assert!(
                fs::metadata(treasure.0.with_file_name("loot")).is_ok(),
                "{which} for {name}: followed and deleted"
            );
        }
    }
}

#[test]
fn strangers_in_a_store() {
    let (_temp, log) = temp();
    make_log(&log, 60);
    let treasure = Treasure::beside(&log);
    let snaps = manager(&log);
    let made = snaps.create().run().expect("a snapshot").snapshot;
    let store = log.join(".snapshots");
    symlink(&treasure.0, store.join("snapshot-5")).expect("a link");
    symlink(&treasure.0, store.join(".staging-6")).expect("a link");
    symlink(&treasure.0, store.join(".trash-7")).expect("a link");
    fs::create_dir(store.join(".trash-8")).expect("a directory");
    symlink(&treasure.0, store.join(".trash-8/link")).expect("a link");
    fs::write(store.join("snapshot-9"), b"a file").expect("written");
    fs::create_dir(store.join("snapshot-../../x".replace('/', "_"))).expect("a directory");
    snaps.repair(None).expect("repaired");
    let listed = snaps.list().expect("a list");
    assert_eq!(listed.iter().map(|s| &s.id).collect::<Vec<_>>(), [&made.id]);
    snaps.create().run().expect("a snapshot");
    snaps.delete(&made.id).expect("deleted");
    treasure.check("a store of links");
    for (name, which) in
        [(".lock", "fifo"), ("snapshots.json", "fifo"), (".lock", "symlink"), ("snapshots.json", "symlink")]
    {
        let at = store.join(name);
        fs::remove_file(&at).expect("it goes");
        put_stranger(which, &at, &treasure);
        let from = log.clone();
        // An error or not, but no waiting and no following.
        let outcome = in_time(name, move || {
            let snaps = manager(&from);
            (snaps.list().map(|l| l.len()), snaps.create().run().map(drop))
        });
        assert!(outcome.0.is_ok() || name == ".lock", "{which} for {name}: {outcome:?}");
        treasure.check(name);
        fs::remove_file(&at).ok();
        fs::write(&at, b"").expect("written");
    }
    assert_eq!(snaps.list().expect("a list").len(), fs::read_dir(&store).expect("a store").filter(is_snapshot).count());
}

fn is_snapshot(entry: &std::io::Result<fs::DirEntry>) -> bool {
    let entry = entry.as_ref().expect("an entry");
    let name = entry.file_name().into_string().expect("UTF-8");
    entry.file_type().expect("a type").is_dir()
        && name.strip_prefix("snapshot-").is_some_and(|ms| ms.bytes().all(|b| b.is_ascii_digit()))
}

/// Manifests that hold in themselves and were made to do harm.
#[test]
fn manifests_that_lead_elsewhere() {
    let paths =
        ["../treasure/gold", "/etc/passwd", "a/../../treasure/gold", "..", "", "a//b", "./x", "new\nline/../.."];
    for path in paths {
        let (_temp, log) = temp();
        make_log(&log, 60);
        let treasure = Treasure::beside(&log);
        let snaps = manager(&log);
        let made = snaps.create().run().expect("a snapshot").snapshot;
        let manifest = made.path.join("manifest.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&manifest).expect("it is there")).expect("JSON");
        json["files"][0]["path"] = path.into();
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let list = made.path.join("manifest.b3");
        let old = blake3::hash(&fs::read(&manifest).expect("it is there")).to_hex();
        let listed =
            fs::read_to_string(&list).expect("it is there").replace(old.as_str(), &blake3::hash(&bytes).to_hex());
        fs::write(&manifest, bytes).expect("written");
        fs::write(&list, listed).expect("written");
        fs::remove_file(log.join(".snapshots/snapshots.json")).expect("the memory of the root goes too");
        let told = format!("a file at {path:?}");
        let target = log.with_file_name("back");
        assert!(!snaps.verify(&made.id, Level::Full).unwrap_or_else(|e| panic!("{told}: {e}")).ok, "{told}");
        let refused = snaps.restore_id(&made.id, RestoreOptions::to(&target)).expect_err(&told);
        assert_eq!(refused.kind(), Kind::Integrity, "{told}: {refused}");
        assert!(!target.exists(), "{told}");
        treasure.check(&told);
    }
}

#[test]
fn manifests_without_end() {
    let (_temp, log) = temp();
    make_log(&log, 60);
    let snaps = manager(&log);
    let made = snaps.create().run().expect("a snapshot").snapshot;
    for name in ["manifest.json", "manifest.b3", "state.json"] {
        let at = made.path.join(name);
        let old = fs::read(&at).unwrap_or_default();
        let huge = fs::File::create(&at).expect("a file");
        huge.set_len(3 << 30).expect("a hole");
        let report = snaps.verify(&made.id, Level::Quick).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(report.ok, name == "state.json", "{name}: {report:?}");
        for deep in [b"[".repeat(1 << 20), b"{\"a\":".repeat(1 << 18)] {
            fs::write(&at, deep).expect("written");
            let report = snaps.verify(&made.id, Level::Quick).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(report.ok == (name == "state.json") || report.damage[0].kind == DamageKind::Manifest, "{report:?}");
        }
        assert_eq!(snaps.list().expect("a list").len(), 1);
        if old.is_empty() { fs::remove_file(&at).expect("it goes") } else { fs::write(&at, old).expect("written") }
    }
    assert!(snaps.verify(&made.id, Level::Deep).expect("a report").ok);
    let peak = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = peak.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kib < 1 << 20, "{kib} KiB were used at the most");
}

/// One batch with its header changed and its CRC made to fit.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes =
        BatchBuilder::new().record(1, None, Some(b"a record")).build().expect("a batch").as_bytes().to_vec();
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn batches_that_promise_too_much() {
    let put = |at: usize, value: i32| move |b: &mut Vec<u8>| b[at..at + 4].copy_from_slice(&value.to_be_bytes());
    let bomb = || {
        let mut builder = BatchBuilder::new();
        let zeros = vec![0; 8 << 20];
        builder.codec(Codec::Zstd);
        for i in 0..40 {
            builder.record(i, None, Some(&zeros));
        }
        builder.build().expect("a batch").as_bytes().to_vec()
    };
    let cases: [(&str, Vec<u8>); 6] = [
        ("a length near i32::MAX", forged(put(8, i32::MAX))),
        ("a negative length", forged(put(8, -5))),
        ("records near i32::MAX", forged(put(57, i32::MAX))),
        ("a negative count", forged(put(57, i32::MIN))),
        ("an end before its beginning", forged(put(23, -9))),
        ("a bomb", bomb()),
    ];
    for (what, bytes) in cases {
        let (_temp, log) = temp();
        make_log(&log, 60);
        let before = content(&log);
        let active = fs::read_dir(&log).expect("a log").map(|e| e.expect("an entry").path());
        let active = active.filter(|p| p.extension().is_some_and(|e| e == "log")).max().expect("a segment");
        let base: i64 = LogReader::open(&log).expect("a log").log_end();
        let mut bytes = bytes;
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        let old = fs::read(&active).expect("it is there");
        fs::write(&active, [&old[..], &bytes].concat()).expect("written");
        let from = log.clone();
        let told = what.to_owned();
        in_time(what, move || {
            let snaps = manager(&from);
            let made = snaps.create().run().unwrap_or_else(|e| panic!("{told}: {e}"));
            let report = snaps.verify("latest", Level::Deep).unwrap_or_else(|e| panic!("{told}: {e}"));
            assert!(
                report.damage.is_empty() || told.contains("record") || told.contains("count"),
                "{told}: {report:?}"
            );
            let reader = LogReader::open(&made.snapshot.path).unwrap_or_else(|e| panic!("{told}: {e}"));
            for batch in reader.read_from(0).map_while(Result::ok) {
                // A bounded part of what it unpacks to, or an error.
                let _ = batch.records_within(64 << 20);
                assert!(batch.as_bytes().len() >= BatchHeader::SIZE);
            }
        });
        assert!(content_up_to(&log, base) == before, "{what}");
    }
}

fn content_up_to(log: &Path, end: i64) -> Vec<u8> {
    let reader = LogReader::open(log).expect("a log");
    let batches = reader.read_from(0).map_while(Result::ok).take_while(|b| b.header().base_offset < end);
    batches.flat_map(|b| b.as_bytes().to_vec()).collect()
}

/// Indexes are hints: what they say is looked at, and never believed.
#[test]
fn indexes_that_lie() {
    let (_temp, log) = temp();
    make_log(&log, 300);
    let before = content(&log);
    let index = log.join(format!("{:020}.index", 0));
    for entries in [[[0, i32::MAX], [1, 5]], [[1, 1 << 30], [2, i32::MAX]], [[i32::MIN, -1], [-1, -1]]] {
        let bytes: Vec<u8> = entries.iter().flatten().flat_map(|n| n.to_be_bytes()).collect();
        fs::write(&index, bytes).expect("written");
        assert_eq!(content(&log), before);
        let reader = LogReader::open(&log).expect("a log");
        let found = reader.read_from(7).next().expect("a batch").expect("whole");
        assert!(found.header().base_offset <= 7 && found.header().last_offset() >= 7);
        let made = manager(&log).create().run().expect("a snapshot").snapshot;
        assert_eq!(content(&made.path), before);
        assert!(matches!(reader.offset_for_timestamp(i64::MAX), Ok(None) | Err(Error::Integrity(_))));
    }
}
