//! A source with snapshots, runs of the binary on it, and what a directory holds.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};
use serde_json::Value;

use crate::server::{AZURE_SECRET, Place, SECRET};

/// What a run printed, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it; no secret may be in what it prints.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let code = output.status.code().unwrap_or(-1);
    let ran = Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) };
    for secret in [SECRET, AZURE_SECRET, "AGE-SECRET-KEY-1"] {
        // A hint may say how such keys begin.
        let shown =
            |text: &str| text.match_indices(secret).any(|(at, _)| !text[at + secret.len()..].starts_with([';', ' ']));
        assert!(!shown(&ran.stdout) && !shown(&ran.stderr), "{command:?} shows a secret: {ran:?}");
    }
    ran
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The one JSON value on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Place {
    /// Runs the binary with `--from` this place.
    #[track_caller]
    pub fn from(&self, args: &[&str]) -> Ran {
        run(self.cowlog().args(args).args(["--from", &self.url]))
    }

    /// The same, with one JSON value for an answer.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.from(&[args, &["--json"]].concat()).expect(0).json()
    }

    /// Pushes from a machine of this name, with `--json`.
    #[track_caller]
    pub fn push(&self, host: &str, source: &Source, args: &[&str]) -> Ran {
        let mut command = self.cowlog();
        command.arg("push").arg(&source.dir).args(["--to", &self.url, "--host", host, "--json"]);
        run(command.args(args))
    }
}

/// A log or a broker's data directory.
pub struct Source {
    temp: tempfile::TempDir,
    pub dir: PathBuf,
    /// What its records are made of.
    word: &'static str,
}

impl Source {
    /// A native log of several segments. All that are made like this begin with the same bytes.
    pub fn native(records: i64) -> Source {
        Source::of(records, "value")
    }

    pub fn of(records: i64, word: &'static str) -> Source {
        let temp = tempfile::tempdir().unwrap();
        let source = Source { dir: temp.path().join("orders-0"), temp, word };
        source.append(records);
        source
    }

    pub fn fixture(name: &str) -> Source {
        let (temp, dir) = crate::fixtures::unpack(name);
        Source { temp, dir, word: "" }
    }

    /// Appends to a native log.
    pub fn append(&self, records: i64) {
        let config = LogConfig { segment_bytes: 8 << 10, ..LogConfig::default() };
        let mut log = Log::open_with(&self.dir, config).unwrap();
        for _ in 0..records {
            let at = log.log_end_offset();
            let value = format!("{} {at} ", self.word).repeat(20);
            let (time, value) = (1_700_000_000_000 + at, Some(value.as_bytes()));
            log.append(BatchBuilder::new().record(time, Some(b"key"), value).build().unwrap()).unwrap();
        }
        log.close().unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// What it is called elsewhere.
    pub fn name(&self) -> &str {
        self.dir.file_name().unwrap().to_str().unwrap()
    }

    /// Runs `cowlog VERB SRC ARGS`, here.
    #[track_caller]
    pub fn run(&self, verb: &str, args: &[&str]) -> Ran {
        run(Place::nowhere().arg(verb).arg(&self.dir).args(args))
    }

    /// Takes a snapshot and gives its id.
    #[track_caller]
    pub fn create(&self) -> String {
        self.run("create", &["--force", "-q"]).expect(0).stdout.trim().to_owned()
    }

    /// The digests of a snapshot's files, in hexadecimal digits.
    pub fn digests(&self, id: &str) -> BTreeMap<String, String> {
        let shown = self.run("show", &[id, "--json"]);
        let json = shown.expect(0).json();
        let files = json["files"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        files.iter().map(|file| (text(&file["path"]), text(&file["digest"]))).collect()
    }
}

/// One entry of a tree.
#[derive(PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    /// Of files, to the nanosecond.
    modified: Option<(i64, i64)>,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = blake3::hash(&self.bytes).to_hex();
        write!(f, "{:o} {:?} {} bytes {:.8}", self.mode, self.modified, self.bytes.len(), digest)
    }
}

/// Everything below a directory: bytes, modes, times.
pub fn tree(dir: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        let meta = std::fs::symlink_metadata(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        let name = at.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let (mut modified, mut bytes) = (None, Vec::new());
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            modified = Some((meta.mtime(), meta.mtime_nsec()));
            bytes = std::fs::read(&at).unwrap();
        }
        found.insert(name, Entry { mode: meta.mode(), modified, bytes });
    }
    found
}

/// That two trees are the same.
#[track_caller]
pub fn assert_same(here: &Path, there: &Path, told: &str) {
    let (here, there) = (tree(here), tree(there));
    let names: std::collections::BTreeSet<_> = here.keys().chain(there.keys()).collect();
    assert!(here.len() > 1, "{told}: nothing is there");
    for name in names {
        assert_eq!(here.get(name), there.get(name), "{told}: {name:?}");
    }
}

/// What lies directly in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
