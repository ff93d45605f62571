//! Data to push, a server to push to, and the programs.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};

/// 2026-11-23 13:00 UTC.
const BEGIN: i64 = 1_795_438_800_000;

pub fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A broker's data directory, at rest.
pub fn broker_data(to: &Path) {
    let packed = std::fs::File::open(tree().join("tests/data/plain-clean.tar.zst")).unwrap();
    let beside = tempfile::tempdir_in(to.parent().unwrap()).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(beside.path()).unwrap();
    std::fs::rename(beside.path().join("plain-clean"), to).unwrap();
}

/// A log of so many records, a minute between them, each of so many bytes that do not shrink; in segments of 12 MiB.
pub fn log(to: &Path, records: i64, bytes: usize) {
    let mut log = Log::open_with(to, LogConfig { segment_bytes: 12 << 20, ..LogConfig::default() }).unwrap();
    let mut noise = vec![0; bytes];
    for minute in 0..records {
        blake3::Hasher::new().update(&minute.to_le_bytes()).finalize_xof().fill(&mut noise);
        let batch = BatchBuilder::new().record(BEGIN + minute * 60_000, Some(b"key"), Some(&noise)).build();
        log.append(batch.unwrap()).unwrap();
    }
    log.close().unwrap();
}

/// A command without what this process was told about cowlog.
pub fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("COWLOG_") || name.starts_with("AWS_") {
            command.env_remove(name.as_ref());
        }
    }
    command.stdin(Stdio::null());
    command
}

pub fn cowlog(args: &[&str], dir: &Path) -> Output {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_cowlog")));
    command.args(args).current_dir(dir).output().unwrap()
}

/// Standard output of a run that has to end with this code.
#[track_caller]
pub fn told(ran: Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(code), "{out}\n{err}");
    out.into_owned()
}

/// Every file below a directory, by path, but for a snapshot's manifests.
pub fn files(root: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name() != "manifest.json" && entry.file_name() != "manifest.b3" {
                all.insert(entry.path().strip_prefix(root).unwrap().to_owned(), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

fn absent(what: &str, why: &str) {
    assert!(std::env::var_os("COWLOG_NO_SKIP").is_none(), "{what} cannot be had: {why}");
    eprintln!("skipped, because {what} cannot be had: {why}");
}

/// Whether the `age` program is there.
pub fn has_age() -> bool {
    match Command::new("age").arg("--version").output() {
        Ok(_) => true,
        Err(e) => {
            absent("age", &e.to_string());
            false
        }
    }
}

/// The directory with a Python that has what `tools/verify_offsite.py` needs. It is installed below `target` where it is
/// missing.
pub fn python() -> Option<PathBuf> {
    const PACKAGES: [&str; 2] = ["blake3==1.0.11", "zstandard==0.25.0"];
    // Several tests ask at the same time.
    static HOME: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = tree().join("target/offsite-reader");
        let run = |command: &mut Command| match command.output() {
            Ok(ran) if ran.status.success() => Ok(()),
            Ok(ran) => Err(String::from_utf8_lossy(&ran.stderr).into_owned()),
            Err(e) => Err(e.to_string()),
        };
        let python = home.join("bin/python3");
        if run(Command::new(&python).args(["-c", "import blake3, zstandard"])).is_err() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
            run(Command::new(python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        }
        Ok(home.join("bin"))
    });
    home.as_ref().map_err(|why| absent("Python with blake3 and zstandard", why)).ok().cloned()
}

/// An S3 server on loopback, over a directory in which each bucket is one.
pub struct Server {
    child: Child,
    pub endpoint: String,
    pub root: tempfile::TempDir,
}

pub const KEY: &str = "test";
pub const SECRET: &str = "testsecret";

impl Server {
    pub fn start(bucket: &str) -> Option<Server> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(bucket)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Where `tests/run` and `go install` put it.
        let home = std::env::home_dir().unwrap_or_default();
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let installed = [cache.join("cowlog-tests/bin/versitygw"), home.join("go/bin/versitygw")];
        let program = installed.into_iter().find(|path| path.exists()).unwrap_or_else(|| "versitygw".into());
        let mut command = Command::new(program);
        command.args(["--access", KEY, "--secret", SECRET, "--port", &format!("127.0.0.1:{port}"), "--quiet", "posix"]);
        let started = command.arg(root.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = started.map_err(|e| absent("versitygw", &e.to_string())).ok()?;
        let server = Server { child, endpoint: format!("http://127.0.0.1:{port}"), root };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "versitygw does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
