//! What is damaged is mended, and only that.

use std::process::Command;

use cowlog::snapshot::{HealOptions, Healed, NotMended};

use super::*;

const VICTIM: &str = "00000000000000000000.log";

/// A log with three snapshots that share its segments, each sealed file of them one inode that the log does not name.
struct Shared {
    _temp: tempfile::TempDir,
    log: PathBuf,
    snaps: SnapshotManager,
    paths: Vec<PathBuf>,
}

fn shared(method: MethodChoice) -> Shared {
    let (temp, log) = temp();
    make_log(&log, 100);
    // Files whose times have settled are inherited.
    let clock = cowlog::fs::Clock::new(|| {
        10_000 + i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
    });
    let config = SnapshotConfig { min_interval: Duration::ZERO, method, clock, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let paths = (0..3).map(|_| snaps.create().run().unwrap().snapshot.path).collect();
    Shared { _temp: temp, log, snaps, paths }
}

/// Inode and bytes of every file below a directory, but for what is no part of snapshots.
fn inodes(dir: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(inodes(&path));
        } else if !["state.json", "snapshots.json", ".lock"].contains(&path.file_name().unwrap().to_str().unwrap()) {
            found.insert(path.clone(), (fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap()));
        }
    }
    found
}

fn ino(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn all_right(snaps: &SnapshotManager) {
    for info in snaps.list().unwrap() {
        let report = snaps.verify(&info.id, Level::Deep).unwrap();
        assert!(report.ok && report.extra.is_empty(), "{report:?}");
    }
}

fn mended(healed: &Healed) -> Vec<(&str, &str)> {
    healed.mended.iter().map(|m| (m.id.as_str(), m.path.as_str())).collect()
}

fn heal(snaps: &SnapshotManager, options: HealOptions) -> Healed {
    snaps.heal(&options).unwrap()
}

#[test]
fn a_bit_that_flipped_in_a_shared_file_is_mended_in_every_snapshot() {
    let s = shared(MethodChoice::Copy);
    let victims: Vec<PathBuf> = s.paths.iter().map(|p| p.join(VICTIM)).collect();
    assert!(ino(&victims[0]) == ino(&victims[2]) && ino(&victims[0]) != ino(&s.log.join(VICTIM)));
    let before = inodes(&s.log);
    flip(&victims[1]);
    let damaged = ino(&victims[0]);
    let foreseen = heal(&s.snaps, HealOptions::all().dry_run(true));
    assert_eq!(ino(&victims[0]), damaged, "a dry run changes nothing");
    let healed = heal(&s.snaps, HealOptions::all());
    assert_eq!(mended(&healed), mended(&foreseen));
    let ids: Vec<String> = s.snaps.list().unwrap().into_iter().map(|i| i.id).collect();
    let wanted: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), VICTIM)).collect();
    assert_eq!((mended(&healed), healed.not_mended.len()), (wanted, 0));
    assert_eq!(healed.mended[0].from, s.log.canonicalize().unwrap().join(VICTIM), "from the live log");
    // One new inode for all three, and nobody else's was touched.
    assert!(victims.iter().all(|v| ino(v) == ino(&victims[0])) && ino(&victims[0]) != damaged);
    let after = inodes(&s.log);
    assert_eq!(before.len(), after.len());
    for (path, (inode, bytes)) in before {
        assert_eq!(after[&path].1, bytes, "{}", path.display());
        assert!(after[&path].0 == inode || victims.iter().any(|v| path.ends_with(v.strip_prefix(&s.log).unwrap())));
    }
    for info in s.snaps.list().unwrap() {
        assert!(info.verified.unwrap().ok, "it was read in full");
    }
    all_right(&s.snaps);
    assert_eq!(heal(&s.snaps, HealOptions::all()).mended, [], "nothing is left to do");
    // The digests hold for a judge of another house.
    if let Ok(status) =
        Command::new("b3sum").args(["--check", "--quiet", "manifest.b3"]).current_dir(&s.paths[1]).status()
    {
        assert!(status.success());
    }
    // Attributes are the manifest's.
    let of = |path: &Path| {
        let m = fs::metadata(path).unwrap();
        (m.uid(), m.gid(), m.mode(), m.mtime(), m.mtime_nsec())
    };
    assert_eq!(of(&victims[0]), of(&s.log.join(VICTIM)));
}

#[test]
fn one_snapshot_is_mended_with_what_shares_its_damage() {
    let s = shared(MethodChoice::Copy);
    flip(&s.paths[1].join(VICTIM));
    let other = "00000000000000000000.index";
    fs::remove_file(s.paths[2].join(other)).unwrap();
    let first = s.paths[0].file_name().unwrap().to_str().unwrap();
    let healed = heal(&s.snaps, HealOptions::one(first));
    assert_eq!(healed.snapshots, 1);
    assert!(healed.mended.len() == 3 && healed.mended.iter().all(|m| m.path == VICTIM), "{healed:?}");
    assert!(s.paths[1].join(VICTIM).exists() && !s.paths[2].join(other).exists(), "that was not asked for");
    let healed = heal(&s.snaps, HealOptions::all());
    // Of another snapshot's own inode a hard link, as a new snapshot would take one.
    assert_eq!(
        healed.mended.iter().map(|m| (m.path.as_str(), m.method)).collect::<Vec<_>>(),
        [(other, Some(Method::Inherit))]
    );
    assert_eq!(ino(&s.paths[2].join(other)), ino(&s.paths[1].join(other)));
    all_right(&s.snaps);
}

#[test]
fn a_hard_link_to_the_live_log_is_mended_without_touching_the_log() {
    let s = shared(MethodChoice::Hardlink);
    let live = s.log.join(VICTIM);
    assert_eq!(ino(&live), ino(&s.paths[2].join(VICTIM)), "exposed");
    let backup = s.log.parent().unwrap().join("elsewhere/deep");
    fs::create_dir_all(&backup).unwrap();
    // By another name; and one of the right name and size with the wrong bytes.
    fs::copy(&live, backup.join("saved")).unwrap();
    flip(&live);
    fs::copy(&live, backup.join(VICTIM)).unwrap();
    let damaged = (ino(&live), fs::read(&live).unwrap());
    let healed = heal(&s.snaps, HealOptions::all());
    assert!(healed.mended.is_empty() && healed.not_mended.len() == 3, "{healed:?}");
    assert!(healed.not_mended.iter().all(|n: &NotMended| n.why.contains("no intact copy")));
    assert!(!s.snaps.list().unwrap()[0].verified.as_ref().unwrap().ok);
    let healed = heal(&s.snaps, HealOptions::all().from(s.log.parent().unwrap().join("elsewhere")));
    assert!(healed.mended.len() == 3 && healed.not_mended.is_empty(), "{healed:?}");
    assert!(healed.mended[0].from.ends_with("elsewhere/deep/saved"));
    all_right(&s.snaps);
    assert_eq!((ino(&live), fs::read(&live).unwrap()), damaged, "the log is its writer's");
    assert!(s.paths.iter().all(|p| ino(&p.join(VICTIM)) != damaged.0));
}

#[test]
fn an_inode_of_the_live_log_is_never_linked_into_a_snapshot_by_a_heal() {
    let s = shared(MethodChoice::Hardlink);
    let path = s.paths[1].join(VICTIM);
    fs::remove_file(&path).unwrap();
    let healed = heal(&s.snaps, HealOptions::all());
    assert_eq!(healed.mended.len(), 1);
    assert_ne!(healed.mended[0].method, Some(Method::Inherit));
    assert_ne!(ino(&path), ino(&s.log.join(VICTIM)));
    all_right(&s.snaps);
}

#[test]
fn an_active_segment_is_mended_from_the_log_that_has_grown() {
    let s = shared(MethodChoice::Auto);
    let active = {
        let mut log = open_log(&s.log);
        let base = *log.segments().last().unwrap();
        append(&mut log, 1);
        log.close().unwrap();
        format!("{base:020}.log")
    };
    let mut victims: Vec<PathBuf> = s.paths.iter().map(|p| p.join(&active)).collect();
    victims.dedup_by_key(|v| ino(v));
    assert!(fs::metadata(&victims[0]).unwrap().len() < fs::metadata(s.log.join(&active)).unwrap().len());
    for victim in &victims {
        flip(victim);
    }
    let healed = heal(&s.snaps, HealOptions::all());
    assert!(healed.mended.len() == 3 && healed.not_mended.is_empty(), "{healed:?}");
    all_right(&s.snaps);
}

#[test]
fn damage_of_each_kind_is_mended() {
    let s = shared(MethodChoice::Copy);
    let at = |name: &str| s.paths[2].join(name);
    let bytes = fs::read(at(VICTIM)).unwrap();
    let broken: [&dyn Fn(&Path); 5] = [
        &|p| fs::remove_file(p).unwrap(),
        &|p| fs::write(p, &bytes[1..]).unwrap(),
        &|p| fs::write(p, [&bytes[..], b"more"].concat()).unwrap(),
        &|p| {
            fs::remove_file(p).unwrap();
            std::os::unix::fs::symlink(s.log.join(VICTIM), p).unwrap();
        },
        &|p| {
            fs::remove_file(p).unwrap();
            nix::unistd::mkfifo(p, nix::sys::stat::Mode::S_IRUSR).unwrap();
        },
    ];
    for damage in broken {
        damage(&at(VICTIM));
        let healed = heal(&s.snaps, HealOptions::one("latest"));
        assert!(!healed.mended.is_empty() && healed.not_mended.is_empty(), "{healed:?}");
        all_right(&s.snaps);
    }
    // What cannot be renamed over stays as it is.
    fs::remove_file(at(VICTIM)).unwrap();
    fs::create_dir(at(VICTIM)).unwrap();
    let healed = heal(&s.snaps, HealOptions::all());
    assert!(healed.mended.is_empty() && healed.not_mended.len() == 1, "{healed:?}");
    assert!(!at(".cowlog-healing.tmp").exists());
}

#[test]
fn manifests_are_mended_from_a_copy_that_fits_what_is_remembered() {
    let s = shared(MethodChoice::Copy);
    let copy = s.log.parent().unwrap().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["manifest.json", "manifest.b3"] {
        fs::copy(s.paths[1].join(name), copy.join(name)).unwrap();
        let other = copy.join("other");
        fs::create_dir_all(&other).unwrap();
        fs::copy(s.paths[0].join(name), other.join(name)).unwrap();
        flip(&s.paths[1].join(name));
        let id = s.paths[1].file_name().unwrap().to_str().unwrap();
        let healed = heal(&s.snaps, HealOptions::all());
        assert!(healed.mended.is_empty() && healed.not_mended.len() == 1, "{healed:?}");
        assert_eq!((healed.not_mended[0].id.as_str(), healed.not_mended[0].path.as_str()), (id, name));
        assert_eq!(mended(&heal(&s.snaps, HealOptions::all().from(&copy))), [(id, name)]);
        all_right(&s.snaps);
    }
}

#[test]
fn a_snapshot_in_use_is_not_mended_meanwhile() {
    let s = shared(MethodChoice::Copy);
    fs::remove_file(s.paths[0].join(VICTIM)).unwrap();
    let config = SnapshotConfig { lock_timeout: Duration::from_millis(50), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&s.log, config).unwrap();
    let held = fs::File::open(&s.paths[0]).unwrap();
    fs2::FileExt::lock_shared(&held).unwrap();
    assert_eq!(snaps.heal(&HealOptions::all()).unwrap_err().kind(), Kind::Concurrency);
    assert!(!s.paths[0].join(VICTIM).exists());
    drop(held);
    assert_eq!(heal(&snaps, HealOptions::all()).mended.len(), 1);
    // Two heals at once would undo each other's locks.
    let store = fs::File::open(s.log.join(".snapshots")).unwrap();
    fs2::FileExt::lock_exclusive(&store).unwrap();
    assert_eq!(snaps.heal(&HealOptions::all()).unwrap_err().kind(), Kind::Concurrency);
}

#[test]
fn what_a_dead_heal_left_is_swept() {
    let s = shared(MethodChoice::Copy);
    let left = s.paths[1].join(".cowlog-healing.tmp");
    fs::write(&left, "half").unwrap();
    let swept = s.snaps.repair(None).unwrap().swept;
    assert!(swept.len() == 1 && swept[0].ends_with("/.cowlog-healing.tmp"), "{swept:?}");
    assert!(!left.exists());
}
