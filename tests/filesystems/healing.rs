//! Bits flip in files that snapshots share; a scrub finds them, a heal that is killed again and again mends them.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use super::*;
use crate::support::Random;
use crate::support::process::{Running, contents, cowlog};

/// Inode and bytes by path.
fn state_of(dir: &Path, prefix: &str, found: &mut BTreeMap<String, (u64, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.file_type().expect("a type").is_dir() {
            state_of(&entry.path(), &format!("{name}/"), found);
        } else {
            let ino = entry.metadata().expect("there").ino();
            found.insert(name, (ino, fs::read(entry.path()).expect("readable")));
        }
    }
}

/// Data files of snapshots, by path within the store.
fn files(store: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    state_of(store, "", &mut found);
    let own =
        ["state.json", "snapshots.json", ".lock", ".cowlog-healing.tmp", ".state.json.tmp", ".snapshots.json.tmp"];
    found.retain(|path, _| !own.iter().any(|own| path.rsplit('/').next() == Some(own)));
    found
}

fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).expect("writable");
    let at = file.metadata().expect("there").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 32], at).expect("written");
    file.sync_all().expect("synced");
}

fn healed_under_kills(what: &str, source: &Path, method: MethodChoice) {
    let ahead = cowlog::fs::Clock::new(|| {
        10_000 + i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis()).expect("a time")
    });
    let snaps = manager(source, |c| (c.method, c.clock) = (method, ahead));
    for _ in 0..3 {
        snaps.create().run().expect("a snapshot");
    }
    let store = snaps.store_path().expect("a place").expect("a store");
    let before = files(&store);
    let files_of_source = || {
        let mut live = contents(source);
        live.retain(|path, _| !path.starts_with(".snapshots/"));
        live
    };
    let live = files_of_source();
    // Every file that all of them share; so every name of it is damaged.
    let mut names: BTreeMap<u64, Vec<&String>> = BTreeMap::new();
    for (path, (ino, bytes)) in before.iter().filter(|(path, _)| path.ends_with(".log")) {
        if bytes.len() > 100 {
            names.entry(*ino).or_default().push(path);
        }
    }
    let shared: Vec<_> = names.values().filter(|names| names.len() == 3).collect();
    assert!(!shared.is_empty(), "{what}: nothing is shared: {names:?}");
    let damaged: Vec<&String> = shared.iter().flat_map(|names| names.iter().copied()).collect();
    shared.iter().for_each(|names| flip(&store.join(names[0])));
    let wrong = files(&store);

    let scrubbed = cowlog(["verify", "--json", "--budget", "100%"]).arg(source).output().expect("run");
    assert_eq!(scrubbed.status.code(), Some(4), "{what}");
    let report: serde_json::Value = serde_json::from_slice(&scrubbed.stdout).expect("JSON");
    assert_eq!(report["damage"].as_array().expect("a list").len(), damaged.len(), "{what}: {report}");
    let sizes: BTreeMap<u64, usize> =
        before.iter().filter(|(path, _)| !path.contains("/manifest.")).map(|(_, (ino, b))| (*ino, b.len())).collect();
    assert_eq!(report["bytes_read"].as_u64(), Some(sizes.values().sum::<usize>() as u64), "{what}: each inode once");

    let mut random = Random::new(what);
    let (mut usual, mut kills, mut partly) = (Duration::ZERO, 0, 0);
    for round in 0..13 {
        let begun = std::time::Instant::now();
        let mut heal = Running::start(cowlog(["repair", "--heal", "-q"]).arg(source));
        let ended = if round == 0 {
            // How long one takes that nobody kills.
            let ended = heal.wait().code();
            usual = begun.elapsed();
            ended
        } else {
            std::thread::sleep(Duration::from_micros(random.below(usual.as_micros() as u64)));
            heal.kill().code()
        };
        kills += u64::from(ended.is_none());
        let now = files(&store);
        assert!(now.keys().eq(before.keys()), "{what}: a name is gone or came");
        for (path, (ino, bytes)) in &now {
            if damaged.contains(&path) {
                assert!(*bytes == before[path].1 || *bytes == wrong[path].1, "{what}: {path} is worse than before");
            } else {
                assert!((ino, bytes) == (&before[path].0, &before[path].1), "{what}: {path} was intact, and touched");
            }
        }
        let still = damaged.iter().filter(|path| now[**path].1 != before[**path].1).count();
        partly += u64::from(still > 0 && still < damaged.len());
        if still == 0 {
            shared.iter().for_each(|names| flip(&store.join(names[0])));
        }
    }
    eprintln!("{what}: {kills} of 12 heals were killed, {partly} had mended a part");
    assert!(kills > 0, "{what}: all kills came too late");
    let healed = cowlog(["repair", "--heal", "--json"]).arg(source).output().expect("run");
    assert_eq!(healed.status.code(), Some(0), "{what}: {healed:?}");
    assert_eq!(whole(&snaps), 3);
    assert_eq!(
        files(&store).into_iter().map(|(p, (_, b))| (p, b)).collect::<Vec<_>>(),
        before.into_iter().map(|(p, (_, b))| (p, b)).collect::<Vec<_>>()
    );
    assert!(files_of_source() == live, "{what}: the source is as it was");
    for info in snaps.list().expect("a list") {
        assert!(info.verified.is_some_and(|v| v.ok), "{what}");
        match Command::new("b3sum").args(["--check", "--quiet", "manifest.b3"]).current_dir(&info.path).status() {
            Ok(status) => assert!(status.success(), "{what}: b3sum"),
            Err(e) => support::mounts::skip(&format!("b3sum: {e}")),
        }
        assert!(!info.path.join(".cowlog-healing.tmp").exists());
    }
}

#[test]
fn healed_under_kills_on_each_filesystem() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::new(kind) else { continue };
        let log = mount.path().join("native");
        make_log(&log, 300);
        // By copies on ext4, so that the log itself stays intact; by reflinks elsewhere.
        let method = if kind == Kind::Ext4 { MethodChoice::Copy } else { MethodChoice::Auto };
        healed_under_kills(&format!("{kind}, native"), &log, method);
        let (_temp, fixture) = fixtures::unpack("plain-clean");
        let data = mount.path().join("data");
        run(system("cp").arg("-a").arg(&fixture).arg(&data)).expect("copied");
        healed_under_kills(&format!("{kind}, kafka"), &data, method);
    }
}
