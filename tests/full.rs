//! Every verb of the real binary on a disk that becomes full, and under a quota that runs out, at every moment of it: so
//! little room is left that it fails early, late, or just not. `COWLOG_SCARCE` says how often on each filesystem, 40 times
//! if not set.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::attacked::{Stage, VERBS, check};
use support::mounts::{Kind, Mount, run, skip, system};
use support::{Random, env_number};

const SEGMENTS: usize = 8;
/// btrfs reserves far more than it writes.
const PIECE: u64 = 32 << 10;
/// What a verb may need at the most.
const PIECES: u64 = 70;
/// Beyond it the disk stays full for good; within it there is room for what comes between the attacks.
const SLACK: u64 = 12 << 20;
const FULL: i32 = 1;

/// Takes room away and gives it back.
trait Scarce {
    /// Leaves about so many pieces.
    fn leave(&self, pieces: u64);
    fn relieve(&self);
}

struct FullDisk {
    dir: PathBuf,
    piece: u64,
}

impl FullDisk {
    fn new(mount: &Mount) -> FullDisk {
        let dir = mount.path().join("filler");
        fs::create_dir(&dir).expect("a directory");
        let piece = if mount.kind() == Kind::Btrfs { PIECE } else { 4 << 10 };
        let disk = FullDisk { dir, piece };
        let room = || {
            let stat = nix::sys::statvfs::statvfs(&disk.dir).expect("a filesystem");
            stat.blocks_available() * stat.fragment_size()
        };
        let mut n = 0;
        while room() > SLACK && disk.put(&format!("for-good-{n}"), 1 << 20) {
            n += 1;
        }
        disk
    }

    fn put(&self, name: &str, size: u64) -> bool {
        let made = File::create(self.dir.join(name)).and_then(|mut file| {
            file.write_all(&vec![0xa5; size as usize])?;
            file.sync_all()
        });
        made.is_ok()
    }

    fn take(&self, size: u64) {
        let mut n = 0;
        while self.put(&format!("for-now-{size}-{n}"), size) {
            n += 1;
        }
    }
}

impl Scarce for FullDisk {
    fn leave(&self, pieces: u64) {
        for n in 0..pieces {
            self.put(&format!("spare-{n}"), self.piece);
        }
        for size in [256 << 10, 16 << 10, 4 << 10, 100] {
            self.take(size);
        }
        for n in 0..pieces {
            fs::remove_file(self.dir.join(format!("spare-{n}"))).expect("it goes");
        }
        sync(&self.dir);
    }

    fn relieve(&self) {
        for entry in fs::read_dir(&self.dir).expect("a directory") {
            let entry = entry.expect("an entry");
            if !entry.file_name().to_string_lossy().starts_with("for-good") {
                fs::remove_file(entry.path()).expect("it goes");
            }
        }
        sync(&self.dir);
    }
}

fn sync(dir: &Path) {
    nix::unistd::syncfs(File::open(dir).expect("a directory")).expect("synced");
}

/// The group of one volume of a btrfs, which binds root too. Changing it is a change of the whole filesystem, whose own
/// group has no limit.
struct Quota {
    mount: PathBuf,
    group: String,
}

impl Quota {
    fn of(mount: &Path, volume: &Path) -> Quota {
        let shown = btrfs(&["inspect-internal", "rootid"], volume);
        Quota { mount: mount.into(), group: format!("0/{}", shown.trim()) }
    }

    fn limit(&self, bytes: &str) {
        btrfs(&["qgroup", "limit", bytes, &self.group], &self.mount);
    }
}

fn btrfs(args: &[&str], path: &Path) -> String {
    let output = system("btrfs").args(args).arg(path).stderr(Stdio::inherit()).output().expect("btrfs");
    assert!(output.status.success(), "btrfs {args:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

impl Scarce for Quota {
    fn leave(&self, pieces: u64) {
        let shown = btrfs(&["qgroup", "show", "--raw", "--sync"], &self.mount);
        let line = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|l| l[0] == self.group);
        let used: u64 = line.and_then(|l| l.get(1)?.parse().ok()).unwrap_or_else(|| panic!("{shown}"));
        self.limit(&(used + pieces * PIECE).to_string());
    }

    fn relieve(&self) {
        self.limit("none");
    }
}

fn attack(what: &str, stage: &Stage, scarce: &impl Scarce) {
    let mut random = Random::new(what);
    let mut ended: BTreeMap<&str, BTreeMap<i32, u64>> = BTreeMap::new();
    for round in 0..env_number("COWLOG_SCARCE", 40) {
        stage.refill();
        let before = stage.ids();
        let verb = VERBS[random.below(VERBS.len() as u64) as usize];
        // The last pieces are what matters; what takes more of them fails later.
        let pieces = random.below(PIECES).min(random.below(PIECES));
        let mut command = stage.command(verb);
        scarce.leave(pieces);
        let output = command.stderr(Stdio::piped()).output().expect("it starts");
        scarce.relieve();
        let said = String::from_utf8_lossy(&output.stderr);
        let told = format!("{what}, round {round}, {verb} with {pieces} pieces left: {}: {said}", output.status);
        let code = output.status.code().unwrap_or_else(|| panic!("{told}"));
        // A heal tells of each file that it could not mend: it has done a part, or all damage is still there.
        let healed_less = verb == "heal" && [3, 4].contains(&code);
        assert!([0, FULL].contains(&code) || healed_less, "{told}");
        // It frees space, so it needs none.
        assert!(code == 0 || !["delete", "prune"].contains(&verb), "{told}");
        *ended.entry(verb).or_default().entry(code).or_default() += 1;
        check(stage, verb, &before, code == 0, &told);
    }
    eprintln!("{what}: {ended:?}");
    let failed = ended.values().filter(|codes| codes.contains_key(&FULL)).count();
    assert!(failed > 0, "{what}: there was always room");
}

#[test]
fn full_at_every_moment() {
    for kind in Kind::ALL {
        let Some(mount) = Mount::small(kind) else { continue };
        let stage = Stage::new(mount.path(), SEGMENTS);
        attack(&format!("full {kind}"), &stage, &FullDisk::new(&mount));
    }
}

/// Only btrfs: its groups are part of it, while quotas of ext4 and XFS may be left out of a kernel. What they would say,
/// EDQUOT, is tried at every call by `syscalls`.
#[test]
fn a_quota_that_runs_out_at_every_moment() {
    let Some(mount) = Mount::new(Kind::Btrfs) else { return };
    // A volume of its own: the group of the whole filesystem pays for its own changes as well.
    let volume = mount.path().join("volume");
    let made = run(system("btrfs").args(["quota", "enable"]).arg(mount.path()))
        .and_then(|()| run(system("btrfs").args(["subvolume", "create"]).arg(&volume)));
    if let Err(why) = made {
        return skip(&why);
    }
    let stage = Stage::new(&volume, SEGMENTS);
    attack("quota of btrfs", &stage, &Quota::of(mount.path(), &volume));
}
