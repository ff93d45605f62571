//! `MemFs` answers as ext4, XFS and btrfs do: the same operations on each give the same outcomes, errors included.
//! What tests in memory prove is worth as much as this.

mod support;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cowlog::fs::mem::{Abilities, MemFs};
use cowlog::fs::{Attributes, FileKind, Fs, Handle, LockMode, Open, OsFs, Rename, Sync};
use support::mounts::each_filesystem;
use support::{Random, env_number};

const DIRS: [&str; 3] = ["", "d", "e"];
const NAMES: [&str; 6] = ["d", "e", "f", "g", "new\nline", "\u{fc}ber"];

#[derive(Debug, Clone, Copy)]
struct Place {
    dir: &'static str,
    name: &'static str,
}

#[derive(Debug, Clone)]
enum Act {
    MakeDir(Place),
    Open(Place, Open),
    Write(Place, u64, usize),
    Read(Place, u64),
    SetLen(Place, u64),
    Link(Place, Place),
    Clone(Place, Place),
    Rename(Place, Place, Rename),
    Unlink(Place),
    RemoveDir(Place),
    List(&'static str),
    Stat(Place),
    SetAttributes(Place, u32, i64),
    Sync(Place),
}

fn text<T>(outcome: io::Result<T>, say: impl FnOnce(T) -> String) -> String {
    match outcome {
        Ok(value) => say(value),
        Err(e) => match e.raw_os_error() {
            Some(code) => format!("{}", nix::errno::Errno::from_raw(code)),
            None => format!("{:?}", e.kind()),
        },
    }
}

fn none(_: impl Sized) -> String {
    "ok".into()
}

struct World<'a> {
    fs: &'a dyn Fs,
    root: &'a Handle,
}

impl World<'_> {
    fn dir(&self, name: &str) -> io::Result<Handle> {
        let here = if name.is_empty() { "." } else { name };
        match name {
            "" => self.fs.open_dir(None, &self.fs.canonical(Path::new(&path_of(self.root)))),
            _ => self.fs.open_dir(Some(self.root), Path::new(here)),
        }
    }

    fn act(&self, act: &Act) -> String {
        let told = text(self.perform(act), |told| told);
        match act {
            // POSIX leaves the choice: XFS says one, the others say the other.
            Act::Rename(_, _, Rename::Replace) if told.starts_with("EEXIST") => "ENOTEMPTY: Directory not empty".into(),
            _ => told,
        }
    }

    fn perform(&self, act: &Act) -> io::Result<String> {
        let fs = self.fs;
        let open = |at: &Place, how| fs.open(&self.dir(at.dir)?, OsStr::new(at.name), how);
        Ok(match act {
            Act::MakeDir(at) => none(fs.make_dir(&self.dir(at.dir)?, OsStr::new(at.name), 0o755)?),
            Act::Open(at, how) => none(open(at, *how)?),
            Act::Write(at, offset, len) => {
                let bytes: Vec<u8> = (0..*len).map(|i| (i % 251) as u8).collect();
                format!("{}", fs.write_at(&open(at, Open::Write)?, &bytes, *offset)?)
            }
            Act::Read(at, offset) => {
                let mut bytes = vec![0; 10_000];
                let read = fs.read_at(&open(at, Open::Read)?, &mut bytes, *offset)?;
                format!("{read} bytes, {}", blake3::hash(&bytes[..read]))
            }
            Act::SetLen(at, len) => none(fs.set_len(&open(at, Open::Write)?, *len)?),
            Act::Link(from, to) => {
                none(fs.link(&self.dir(from.dir)?, OsStr::new(from.name), &self.dir(to.dir)?, OsStr::new(to.name))?)
            }
            Act::Clone(from, to) => {
                let from = open(from, Open::Read)?;
                match fs.fstat(&from)?.kind {
                    FileKind::File => none(fs.clone_file(&from, &open(to, Open::CreateNew(0o644))?)?),
                    _ => "not a file".into(),
                }
            }
            Act::Rename(from, to, how) => none(fs.rename(
                &self.dir(from.dir)?,
                OsStr::new(from.name),
                &self.dir(to.dir)?,
                OsStr::new(to.name),
                *how,
            )?),
            Act::Unlink(at) => none(fs.unlink(&self.dir(at.dir)?, OsStr::new(at.name))?),
            Act::RemoveDir(at) => none(fs.remove_dir(&self.dir(at.dir)?, OsStr::new(at.name))?),
            Act::List(dir) => {
                let mut names: Vec<String> =
                    fs.list(&self.dir(dir)?)?.iter().map(|e| format!("{:?} {:?}", e.name, e.kind)).collect();
                names.sort();
                names.join(", ")
            }
            Act::Stat(at) => {
                let stat = fs.stat(&self.dir(at.dir)?, OsStr::new(at.name))?;
                match stat.kind {
                    FileKind::File => format!("file, {} bytes, {} names, mode {:o}", stat.size, stat.nlink, stat.mode),
                    _ => format!("{:?}, mode {:o}", stat.kind, stat.mode),
                }
            }
            Act::SetAttributes(at, mode, mtime) => {
                let file = open(at, Open::Read)?;
                let old = fs.attributes(&file)?;
                let xattrs = [("user.cowlog".into(), b"x".to_vec())].into();
                let denied = fs.set_attributes(&file, &Attributes { mode: *mode, mtime: *mtime, xattrs, ..old })?;
                let now = fs.attributes(&file)?;
                let xattr = now.xattrs.get("user.cowlog").cloned();
                let stat = fs.fstat(&file)?;
                format!("{denied:?}, {:o}, {}, {}, {xattr:?}", now.mode, now.mtime, stat.mtime)
            }
            Act::Sync(at) => none(fs.sync(&open(at, Open::Read)?, Sync::Node)?),
        })
    }
}

/// Where a world was made; `/` in memory.
fn path_of(root: &Handle) -> String {
    match root {
        Handle::Os(fd) => {
            use std::os::fd::AsRawFd;
            std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
                .expect("a directory has a path")
                .to_str()
                .expect("UTF-8")
                .to_owned()
        }
        Handle::Mem(_) => "/".into(),
    }
}

fn any_act(random: &mut Random) -> Act {
    fn place(random: &mut Random) -> Place {
        let mut any = |of: &[&'static str]| of[random.below(of.len() as u64) as usize];
        Place { dir: any(&DIRS), name: any(&NAMES) }
    }
    let at = place(random);
    match random.below(22) {
        0..2 => Act::MakeDir(at),
        2..4 => Act::Open(at, Open::CreateNew(0o644)),
        4 => Act::Open(at, Open::OpenOrCreate(0o600)),
        5 => Act::Open(at, Open::Read),
        6..9 => Act::Write(at, random.below(5000), random.below(4000) as usize + 1),
        9 => Act::Read(at, random.below(3000)),
        10 => Act::SetLen(at, random.below(6000)),
        11..13 => Act::Link(at, place(random)),
        13 => Act::Clone(at, place(random)),
        14..17 => {
            let how = [Rename::NoReplace, Rename::Replace, Rename::Exchange][random.below(3) as usize];
            Act::Rename(at, place(random), how)
        }
        17 => Act::Unlink(at),
        18 => Act::RemoveDir(at),
        19 => Act::List(at.dir),
        20 => Act::Stat(at),
        _ => match random.below(2) {
            0 => Act::SetAttributes(at, 0o600 + (random.below(64) as u32), random.below(1 << 60) as i64),
            _ => Act::Sync(at),
        },
    }
}

fn reflinks(dir: &Path) -> bool {
    std::fs::write(dir.join("from"), "x").expect("a file");
    let works = reflink_copy::reflink(dir.join("from"), dir.join("to")).is_ok();
    let _ = std::fs::remove_file(dir.join("to"));
    std::fs::remove_file(dir.join("from")).expect("it goes");
    works
}

#[test]
fn any_sequence_has_the_same_outcomes() {
    each_filesystem(|filesystem, dir| {
        let mut random = Random::new(filesystem);
        let abilities = Abilities { reflink: reflinks(dir), ..Abilities::default() };
        let mut outcomes = std::collections::BTreeMap::<String, u64>::new();
        for round in 0..env_number("COWLOG_ROUNDS", 200) {
            let home = dir.join(format!("round-{round}"));
            std::fs::create_dir(&home).expect("a directory");
            let real = OsFs.open_dir(None, &home).expect("it opens");
            let mem = MemFs::with(abilities);
            let root = mem.open_dir(None, Path::new("/")).expect("it opens");
            let (real, mem) = (World { fs: &OsFs, root: &real }, World { fs: &mem, root: &root });
            let mut acts = Vec::new();
            for _ in 0..150 {
                let act = any_act(&mut random);
                let (is, modelled) = (real.act(&act), mem.act(&act));
                acts.push(act);
                *outcomes.entry(is.split([',', ' ']).next().unwrap_or_default().to_owned()).or_default() += 1;
                assert_eq!(modelled, is, "{filesystem}, round {round}: {:#?}", &acts[acts.len().saturating_sub(12)..]);
            }
            std::fs::remove_dir_all(&home).expect("it goes");
        }
        assert!(outcomes.len() > 8 && outcomes["ok"] > 500, "{outcomes:?}");
    });
}

/// The same steps on both; what they give must not differ.
fn on_both(steps: impl Fn(&dyn Fs, &Handle) -> Vec<String>) {
    each_filesystem(|filesystem, dir| {
        let mem = MemFs::new();
        let root = mem.open_dir(None, Path::new("/")).expect("it opens");
        let real = OsFs.open_dir(None, dir).expect("it opens");
        assert_eq!(steps(&mem, &root), steps(&OsFs, &real), "{filesystem}");
    });
}

#[test]
fn locks_are_those_of_flock() {
    on_both(|fs, root| {
        fs.make_dir(root, OsStr::new("locked"), 0o755).expect("made");
        let dir = || fs.open_dir(Some(root), Path::new("locked")).expect("opened");
        let (a, b, c) = (dir(), dir(), dir());
        let mut told = Vec::new();
        let mut lock =
            |who: &str, handle: &Handle, mode| told.push(format!("{who} {:?}", fs.try_lock(handle, mode).ok()));
        lock("a", &a, LockMode::Shared);
        lock("b", &b, LockMode::Shared);
        lock("c", &c, LockMode::Exclusive);
        // To change the mode a lock is given up first, also when the change does not work.
        lock("a", &a, LockMode::Exclusive);
        fs.unlock(&b).expect("unlocked");
        lock("c", &c, LockMode::Exclusive);
        lock("a", &a, LockMode::Shared);
        lock("c", &c, LockMode::Shared);
        lock("a", &a, LockMode::Shared);
        drop(c);
        lock("a", &a, LockMode::Exclusive);
        drop(a);
        lock("b", &b, LockMode::Exclusive);
        told
    });
}

#[test]
fn what_is_open_outlives_its_name() {
    on_both(|fs, root| {
        let name = OsStr::new("file");
        let file = fs.open(root, name, Open::CreateNew(0o644)).expect("made");
        fs.write_at(&file, b"abc", 0).expect("written");
        fs.unlink(root, name).expect("unlinked");
        let mut told = vec![format!("{} names", fs.fstat(&file).expect("a stat").nlink)];
        fs.write_at(&file, b"def", 5).expect("written");
        let mut bytes = [1; 10];
        told.push(text(fs.read_at(&file, &mut bytes, 0), |n| format!("{:?}", &bytes[..n])));
        let sub = OsStr::new("sub");
        fs.make_dir(root, sub, 0o755).expect("made");
        let dir = fs.open_dir(Some(root), Path::new("sub")).expect("opened");
        fs.rename(root, sub, root, OsStr::new("other"), Rename::NoReplace).expect("renamed");
        told.push(text(fs.open(&dir, name, Open::CreateNew(0o644)), none));
        fs.unlink(&dir, name).expect("unlinked");
        fs.remove_dir(root, OsStr::new("other")).expect("removed");
        told.push(text(fs.open(&dir, name, Open::CreateNew(0o644)), none));
        told.push(text(fs.make_dir(&dir, name, 0o755), none));
        told.push(text(fs.list(&dir), |names| format!("{}", names.len())));
        told
    });
}

#[test]
fn names_that_are_too_long_or_no_text() {
    on_both(|fs, root| {
        let long = "n".repeat(255);
        let longer = "n".repeat(256);
        let odd = OsStr::from_bytes(b"\xff\xfe");
        let mut told = Vec::new();
        for name in [OsStr::new(&long), OsStr::new(&longer), odd] {
            told.push(text(fs.open(root, name, Open::CreateNew(0o644)), none));
            told.push(text(fs.stat(root, name), |s| format!("{} names", s.nlink)));
            told.push(text(fs.link(root, name, root, OsStr::new("link")), none));
            told.push(text(fs.unlink(root, OsStr::new("link")), none));
            told.push(text(fs.rename(root, name, root, OsStr::new("renamed"), Rename::Replace), none));
            told.push(text(fs.unlink(root, OsStr::new("renamed")), none));
            told.push(text(fs.make_dir(root, name, 0o755), none));
            told.push(text(fs.remove_dir(root, name), none));
        }
        told
    });
}

#[test]
fn filesystems_in_memory_are_apart() {
    use cowlog::fs::{Dir, Fs, MemFs, Rename};
    let (one, other) = (MemFs::new(), MemFs::new());
    let root = |fs: &MemFs| Dir::open_on(std::sync::Arc::new(fs.clone()), "/").unwrap();
    root(&one).make_dir("a", 0o755).unwrap();
    let e = root(&one).rename("a", &root(&other), "a", Rename::NoReplace).unwrap_err();
    assert_eq!(e.os_code(), Some(18), "{e}");
    let foreign = other.open_dir(None, "/".as_ref()).unwrap();
    assert_eq!(one.list(&foreign).unwrap_err().raw_os_error(), Some(18));
}
