//! A log in a temporary directory, and the binary to run on it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig, LogReader, Record};
use serde_json::Value;

pub struct Stage {
    temp: tempfile::TempDir,
    pub log: PathBuf,
}

/// What a run printed, and its exit code.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Stage {
    /// A native log of a few segments.
    pub fn new() -> Self {
        Stage::named("orders-0")
    }

    pub fn named(name: impl AsRef<OsStr>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join(name.as_ref());
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        append(&log, 100);
        Stage { temp, log }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.log.join(".snapshots")
    }

    /// Runs `cowlog VERB SRC ARGS`.
    pub fn run(&self, verb: &str, args: &[&str]) -> Ran {
        run(cowlog().arg(verb).arg(&self.log).args(args))
    }

    /// Takes a snapshot whenever the last was, and gives its id.
    pub fn create(&self) -> String {
        let ran = self.run("create", &["--force", "-q"]).expect_code(0);
        ran.stdout.trim().to_owned()
    }

    pub fn snapshot(&self, id: &str) -> PathBuf {
        self.store().join(id)
    }
}

/// Appends records, in segments of a few of them.
pub fn append(log: &Path, records: i64) {
    let config = LogConfig { segment_bytes: 4 << 10, ..LogConfig::default() };
    let mut log = Log::open_with(log, config).unwrap();
    for i in 0..records {
        let value = format!("value {i} ").repeat(20);
        let batch = BatchBuilder::new().record(1_700_000_000_000 + i, Some(b"key"), Some(value.as_bytes())).build();
        log.append(batch.unwrap()).unwrap();
    }
    log.close().unwrap();
}

pub fn records(log: &Path) -> Vec<Record> {
    LogReader::open(log).unwrap().read_from(0).flat_map(|batch| batch.unwrap().records().unwrap()).collect()
}

/// The binary, with nothing of this environment that it would heed.
pub fn cowlog() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cowlog"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("COWLOG_")) {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR");
    command
}

pub fn run(command: &mut Command) -> Ran {
    Ran::from(command.output().unwrap())
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The one JSON value on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {:?}", self.stdout))
    }

    /// Checks the error under `--json`; gives its message.
    #[track_caller]
    pub fn expect_error(self, code: i32, kind: &str) -> String {
        let ran = self.expect_code(code);
        let json = ran.json();
        assert_eq!(json["error"]["kind"], kind, "{json}");
        assert_eq!(json.as_object().unwrap().len(), 1);
        json["error"]["message"].as_str().unwrap().to_owned()
    }
}
