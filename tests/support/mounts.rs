//! Loop-mounted ext4, XFS and btrfs for tests. Needs root, the mkfs programs and loop devices; where these are missing
//! the test says that it was skipped, or fails under `COWLOG_NO_SKIP=1`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// XFS refuses to be made smaller than 300 MiB.
const DEFAULT_MIB: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Btrfs];

    fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    fn mkfs(self) -> Command {
        let (program, options): (_, &[&str]) = match self {
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f", "-m", "reflink=1"]),
            Kind::Btrfs => ("mkfs.btrfs", &["-q", "-f"]),
        };
        let mut command = system(program);
        command.args(options);
        command
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mounted filesystem of its own; unmounted when dropped, also by a panic.
#[derive(Debug)]
pub struct Mount {
    kind: Kind,
    image: PathBuf,
    point: PathBuf,
    /// Last, so that it is removed after the unmount.
    _home: TempDir,
}

impl Mount {
    /// `None` where it cannot be had, after saying why.
    pub fn new(kind: Kind) -> Option<Mount> {
        Mount::sized(kind, DEFAULT_MIB)
    }

    pub fn sized(kind: Kind, mib: u64) -> Option<Mount> {
        Mount::made_in(kind, mib, home(), &[])
    }

    /// Of 300 MiB or little more than nothing: quickly filled. On btrfs bytes and metadata share what there is.
    pub fn small(kind: Kind) -> Option<Mount> {
        let (mib, options): (_, &[&str]) = match kind {
            Kind::Ext4 => (48, &[]),
            Kind::Xfs => (300, &[]),
            Kind::Btrfs => (128, &["--mixed"]),
        };
        Mount::made_in(kind, mib, home(), options)
    }

    /// With its image within another mount.
    pub fn within(kind: Kind, mib: u64, outer: &Mount) -> Option<Mount> {
        Mount::made_in(kind, mib, TempDir::new_in(outer.path()).expect("a directory in the outer mount"), &[])
    }

    fn made_in(kind: Kind, mib: u64, home: TempDir, options: &[&str]) -> Option<Mount> {
        if let Err(why) = can_mount(kind) {
            skip(&format!("{kind} cannot be mounted: {why}"));
            return None;
        }
        let image = home.path().join("image");
        fs::File::create(&image).and_then(|f| f.set_len(mib << 20)).expect("room for an image");
        Mount::of(kind, image, home, options)
    }

    /// On a file that somebody else keeps.
    pub fn on(kind: Kind, image: PathBuf) -> Option<Mount> {
        if let Err(why) = can_mount(kind) {
            skip(&format!("{kind} cannot be mounted: {why}"));
            return None;
        }
        Mount::of(kind, image, home(), &[])
    }

    fn of(kind: Kind, image: PathBuf, home: TempDir, options: &[&str]) -> Option<Mount> {
        let point = home.path().join("mnt");
        fs::create_dir(&point).expect("a directory");
        run(kind.mkfs().args(options).arg(&image)).unwrap_or_else(|e| panic!("{e}"));
        if let Err(why) = attach(&image, &point) {
            skip(&why);
            return None;
        }
        Some(Mount { kind, image, point, _home: home })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    /// The file that holds the filesystem.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Unmounts, waiting for whoever still has a file open.
    pub fn detach(&mut self) {
        detach(&self.point, Duration::from_secs(20)).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Mounts again what was unmounted: the same image or another one.
    pub fn attach(&mut self, image: Option<PathBuf>) {
        if let Some(image) = image {
            let old = std::mem::replace(&mut self.image, image);
            fs::remove_file(old).expect("the old image can go");
        }
        attach(&self.image, &self.point).unwrap_or_else(|e| panic!("{e}"));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(why) = detach(&self.point, Duration::from_secs(2)) {
            eprintln!("{why}; detaching lazily");
            let _ = run(system("umount").arg("-l").arg(&self.point));
        }
    }
}

/// Runs a test body in the temporary directory and on every filesystem that can be mounted.
pub fn each_filesystem(mut body: impl FnMut(&str, &Path)) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    body("tmp", temp.path());
    for kind in Kind::ALL {
        if let Some(mount) = Mount::new(kind) {
            body(kind.name(), mount.path());
        }
    }
}

/// Says that a test did not run, or fails where none may be left out.
pub fn skip(why: &str) {
    assert!(std::env::var_os("COWLOG_NO_SKIP").is_none_or(|v| v != "1"), "COWLOG_NO_SKIP=1, but {why}");
    eprintln!("skipped, because {why}");
}

/// Images live in memory where there is room: what they hold is only of use while a test runs.
fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = |dir: &Path| tempfile::Builder::new().prefix("cowlog-mount-").tempdir_in(dir);
    let roomy = nix::sys::statvfs::statvfs(memory)
        .is_ok_and(|s| s.blocks_available().saturating_mul(s.fragment_size()) > 4 << 30);
    match roomy.then(|| builder(memory)) {
        Some(Ok(home)) => home,
        _ => builder(&std::env::temp_dir()).expect("a temporary directory"),
    }
}

fn can_mount(kind: Kind) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there are no loop devices".into());
    }
    match kind.mkfs().arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("mkfs.{kind}: {e}")),
    }
}

/// `mount -o loop` frees the loop device by itself when the mount goes.
fn attach(image: &Path, point: &Path) -> Result<(), String> {
    run(system("mount").args(["-o", "loop"]).arg(image).arg(point))
}

fn detach(point: &Path, patience: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match run(system("umount").arg(point)) {
            Ok(()) => return Ok(()),
            Err(why) if begun.elapsed() > patience => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A system program, also where the path of an unprivileged login leaves out `sbin`.
pub fn system(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

pub fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
