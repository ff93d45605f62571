//! A large log whose machine is lost while a writer holds it.
//!
//! `COWLOG_OFFSITE_MIB` is how large; 64.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};

use crate::server::Place;
use crate::stage::{Source, run};

const MIB: u64 = 1 << 20;
/// What no command may take, however large the log is.
const MEMORY: u64 = 256 * MIB;

/// Appends batches of which half is noise, until there are so many bytes.
fn fill(log: &mut Log, bytes: u64) {
    let mut noise = blake3::Hasher::new_keyed(&[7; 32]).finalize_xof();
    let mut value = vec![b'x'; 256 << 10];
    let mut written = 0;
    while written < bytes {
        noise.fill(&mut value[..128 << 10]);
        log.append(BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()).unwrap();
        written += value.len() as u64;
    }
    log.flush().unwrap();
}

/// Size and digest of every file directly in a directory whose name fits.
fn sums(dir: &Path, fits: impl Fn(&str) -> bool) -> BTreeMap<String, (u64, blake3::Hash)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter(|e| e.file_type().unwrap().is_file());
    let sum = |path: &Path| {
        let mut hasher = blake3::Hasher::new();
        let bytes = std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
        (bytes, hasher.finalize())
    };
    let named = files.map(|e| (e.file_name().into_string().unwrap(), e.path())).filter(|(name, _)| fits(name));
    named.map(|(name, path)| (name, sum(&path))).collect()
}

/// Runs it to its end, and gives the most memory that it had.
fn memory_of(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0) << 10);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{command:?}: {ended}");
    assert!(most > MIB && most < MEMORY, "{command:?} took {} MiB", most / MIB);
    most
}

#[test]
fn a_large_log_whose_machine_is_lost() {
    let Some(place) = Place::s3("a-machine") else { return };
    let mib: u64 = std::env::var("COWLOG_OFFSITE_MIB").map_or(64, |mib| mib.parse().expect("a number"));
    let source = Source::fixture("plain-clean");
    let (dir, key) = (source.path("held"), source.path("key"));
    let recipient = run(Place::nowhere().arg("keygen").arg(&key).arg("-q")).expect(0).stdout;
    let key = key.to_str().unwrap();
    let segment_bytes = (mib * MIB / 4).min(64 * MIB);
    let mut log = Log::open_with(&dir, LogConfig { segment_bytes, ..LogConfig::default() }).unwrap();
    fill(&mut log, mib * MIB);

    // Taken and carried away while the writer has it.
    run(Place::nowhere().arg("create").arg(&dir).arg("-q")).expect(0);
    let mut push = place.cowlog();
    push.arg("push").arg(&dir).args(["--to", &place.url, "--host", "lost", "-q", "--recipient", recipient.trim()]);
    let pushing = memory_of(push.args(["--identity", key]));
    let of_the_log = |name: &str| name.ends_with(".log");
    let written = sums(&dir, of_the_log);
    assert!(written.len() >= 4, "{written:?}");
    let store = fs::read_dir(dir.join(".snapshots")).unwrap().map(|entry| entry.unwrap());
    let snapshot = store.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path());
    let snapshot = snapshot.filter(|path| path.join("manifest.b3").exists()).last().unwrap();
    let kept = sums(&snapshot, |name| !matches!(name, "manifest.json" | "manifest.b3" | "state.json"));
    drop(log);
    fs::remove_dir_all(&dir).unwrap();

    let target = source.path("new-machine");
    let mut restore = place.cowlog();
    restore.args(["restore", "lost/held", "latest", "--from", &place.url, "-q", "--identity", key, "--to"]);
    let restoring = memory_of(restore.arg(&target));
    assert_eq!(sums(&target, of_the_log), written, "not what its writer had");
    assert_eq!(sums(&target, |name| kept.contains_key(name)), kept, "not what the snapshot had");
    let end = Log::open(&target).unwrap().log_end_offset();
    assert_eq!(end as u64, (mib * MIB).div_ceil(256 << 10));
    println!("{mib} MiB: pushed in {} MiB of memory, restored in {} MiB", pushing / MIB, restoring / MIB);
}
