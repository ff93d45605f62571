//! A server on sources of its own, and a client.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};
use serde_json::{Value, json};

pub const READ: &str = "token-of-somebody-who-reads";
pub const OPERATE: &str = "token-of-somebody-who-operates";
pub const ADMIN: &str = "token-of-an-administrator";

/// The files that a server works on.
pub struct Place {
    temp: tempfile::TempDir,
}

/// A running server. Dropping it kills it.
pub struct Served {
    child: Child,
    pub url: String,
    /// What it wrote on standard error.
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Place {
    /// A directory with a file of tokens; the digest of one of them stands there, not the token.
    pub fn new() -> Place {
        let temp = tempfile::tempdir().unwrap();
        let digest = blake3::hash(OPERATE.as_bytes()).to_hex();
        let tokens =
            format!("# who may what\nread reader {READ}\noperate operator blake3:{digest}\nadmin boss {ADMIN}\n");
        std::fs::write(temp.path().join("tokens"), tokens).unwrap();
        std::fs::set_permissions(temp.path().join("tokens"), std::os::unix::fs::PermissionsExt::from_mode(0o640))
            .unwrap();
        std::fs::create_dir(temp.path().join("restored")).unwrap();
        Place { temp }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A native log, which becomes longer each time.
    pub fn append(&self, name: &str, count: i64) -> PathBuf {
        let path = self.path(name);
        let mut log = Log::open_with(&path, LogConfig { segment_bytes: 2000, ..LogConfig::default() }).unwrap();
        for _ in 0..count {
            let value = format!("record {} of {name}", log.log_end_offset());
            let offset = log.log_end_offset();
            log.append(BatchBuilder::new().record(offset, None, Some(value.as_bytes())).build().unwrap()).unwrap();
        }
        log.close().unwrap();
        path
    }

    /// A native log so large that what is done with it has a middle: so many records of so many bytes.
    pub fn fill(&self, name: &str, segment_bytes: u64, records: usize, bytes: usize) {
        let config = LogConfig { segment_bytes, ..LogConfig::default() };
        let mut log = Log::open_with(self.append(name, 10), config).unwrap();
        let value = vec![7; bytes];
        for _ in 0..records {
            log.append(BatchBuilder::new().record(0, None, Some(&value)).build().unwrap()).unwrap();
        }
        log.close().unwrap();
    }

    /// `sources`: names of logs, with what else stands in their tables.
    pub fn configure(&self, serve: &str, sources: &[(&str, &str)]) -> PathBuf {
        let mut text = format!("state = {:?}\n[serve]\n", self.path("state"));
        if !serve.contains("restore_dirs") {
            text += &format!("restore_dirs = [{:?}]\n", self.path("restored"));
        }
        if !serve.contains("tokens") {
            text += &format!("tokens = {:?}\n", self.path("tokens"));
        }
        text += &format!("{serve}\n");
        for (name, settings) in sources {
            text += &format!("[[source]]\nname = {name:?}\n{settings}\n");
            if !settings.contains("path") {
                text += &format!("path = {:?}\n", self.path(name));
            }
        }
        let file = self.path("cowlog.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn serve(&self) -> Served {
        Served::start(
            Command::new(env!("CARGO_BIN_EXE_cowlog")).args(["serve", "--config"]).arg(self.path("cowlog.toml")),
        )
    }
}

impl Served {
    pub fn start(command: &mut Command) -> Served {
        Served::start_as_configured(command.args(["--listen", "127.0.0.1:0"]))
    }

    /// Where it listens is not changed.
    pub fn start_as_configured(command: &mut Command) -> Served {
        let command = command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let mut url = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            *log.lock().unwrap() += &format!("{line}\n");
            if let Some((_, at)) = line.split_once("listening address=") {
                let scheme = if line.contains("tls=true") { "https" } else { "http" };
                url = Some(format!("{scheme}://{}", at.split_whitespace().next().unwrap()));
                break;
            }
        }
        let url = url.unwrap_or_else(|| panic!("it does not listen: {}", log.lock().unwrap()));
        let writing = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *writing.lock().unwrap() += &format!("{line}\n");
            }
        });
        Served { child, url, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end; gives its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it has not ended after {limit:?}: {}", self.log());
    }

    /// Asks as somebody, with headers and perhaps a body.
    pub fn ask(&self, method: &str, path: &str, token: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answered = match body {
            Some(body) => agent.run(request.header("Content-Type", "application/json").body(body.to_string()).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let mut answered = answered.unwrap_or_else(|e| panic!("{method} {path}: {e}; {}", self.log()));
        Answer {
            status: answered.status().as_u16(),
            headers: answered.headers().clone(),
            body: answered.body_mut().read_to_string().unwrap(),
        }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, READ, &[], None).expect(200)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, OPERATE, &[], Some(&body))
    }

    /// Takes a snapshot; gives its id.
    #[track_caller]
    pub fn create(&self, source: &str) -> String {
        let made = self.post("/api/snapshots", json!({ "source": source, "force": true })).expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Waits for the end of a job that was begun.
    #[track_caller]
    pub fn ended(&self, job: &Value) -> Value {
        let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let job = self.get(&path);
            if job["state"] != "running" {
                return job;
            }
            assert!(Instant::now() < until, "{job}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The problem that it is: as RFC 9457 wants it, with the word that names its sort.
    #[track_caller]
    pub fn problem(&self, status: u16, word: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["type"], format!("urn:cowlog:problem:{word}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        if [409, 429, 503].contains(&status) {
            let seconds: u64 = self.header("retry-after").parse().unwrap();
            assert!(seconds >= 1);
        }
        problem
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is no {name}")).to_str().unwrap()
    }
}

/// Damages a file: its first bytes become others.
pub fn damage(file: &Path) {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(b"bit rot", 64).unwrap();
}
