//! Sample data to look at: a broker's files, a log that is being written, and one with a damaged snapshot.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cowlog::console::new_token;
use cowlog::schedule::Config;
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};

use crate::demo::report::Report;
use crate::demo::stage::Stage;
use crate::demo::synthetic::{self, Batches};
use crate::demo::{io, kafka};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::session::Session;

const LOG_BYTES: u64 = 32 << 20;
const PAUSE: Duration = Duration::from_millis(250);

pub struct Demo {
    stage: Stage,
    writer: Option<Writer>,
    pub config: Config,
    pub token: String,
}

/// Appends to the log until it is told to end.
struct Writer {
    end: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Demo {
    pub fn prepare(
        base: &SnapshotConfig,
        output: Output,
        listen: Option<std::net::SocketAddr>,
    ) -> Result<Demo, Failure> {
        let silent = Output { quiet: true, json: true, ..output };
        let session = Session { output: silent, progress: Progress::new(silent), config: base.clone() };
        let stage = Stage::set(None, LOG_BYTES, &session)?;
        let mut report = Report::new(silent);
        kafka::unpack_data(&stage, &session, &mut report)?;
        synthetic::write_log(&stage, &session, &mut report)?;
        damaged(&stage, base)?;
        let listen = listen.map_or_else(|| "127.0.0.1:0".to_owned(), |listen| listen.to_string());
        let text = configuration(stage.path(), &stage.kafka(), &stage.log(), &archive(&stage), &listen);
        for dir in ["state", "restored"] {
            let path = stage.path().join(dir);
            fs::create_dir(&path).map_err(io("make", &path))?;
        }
        let config = Config::parse(&text, Path::new("the demonstration"))?;
        let writer = Some(Writer::start(&stage.log())?);
        Ok(Demo { stage, writer, config, token: new_token()? })
    }

    /// Ends the writer and removes everything.
    pub fn end(mut self) -> Result<(), Failure> {
        if let Some(writer) = self.writer.take() {
            writer.end.store(true, Ordering::SeqCst);
            let _ = writer.thread.join();
        }
        self.stage.strike().map(drop)
    }
}

fn configuration(root: &Path, kafka: &Path, log: &Path, archive: &Path, listen: &str) -> String {
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    format!(
        r#"state = {state}
[serve]
listen = "{listen}"
restore_dirs = [{restored}]
[[source]]
name = "broker"
path = {kafka}
every = "1m"
keep = {{ max_snapshots = 20, retention = "1d" }}
verify = {{ every = "5m", level = "deep" }}
[[source]]
name = "orders"
path = {log}
every = "20s"
keep = {{ max_snapshots = 12, retention = "1h" }}
verify = {{ every = "1m" }}
drill = {{ every = "2m", into = {restored} }}
[[source]]
name = "archive"
path = {archive}
"#,
        state = quoted(&root.join("state")),
        restored = quoted(&root.join("restored")),
        kafka = quoted(kafka),
        log = quoted(log),
        archive = quoted(archive),
    )
}

fn archive(stage: &Stage) -> PathBuf {
    stage.path().join("archive-0")
}

/// A log with two snapshots, one of which will be found damaged when it is verified.
fn damaged(stage: &Stage, base: &SnapshotConfig) -> Result<(), Failure> {
    let path = archive(stage);
    let mut log = synthetic::open(&path)?;
    let mut made = Batches::new(3);
    for _ in 0..200 {
        log.append(made.next_batch(64)?)?;
    }
    log.close()?;
    let snapshots = SnapshotManager::open_with(&path, base.clone())?;
    snapshots.create().tag("spring").run()?;
    let second = snapshots.create().force(true).tag("summer").run()?;
    let segments = fs::read_dir(&second.snapshot.path).map_err(io("list", &second.snapshot.path))?;
    let mut segments: Vec<PathBuf> = segments.filter_map(|entry| Some(entry.ok()?.path())).collect();
    segments.retain(|path| path.extension().is_some_and(|e| e == "log"));
    segments.sort();
    // The last is a copy of its own: the log and the other snapshot stay whole.
    let Some(last) = segments.last() else { return Ok(()) };
    let file = fs::OpenOptions::new().write(true).open(last).map_err(io("open", last))?;
    file.write_all_at(b"bit rot", 4096).map_err(io("write", last))
}

impl Writer {
    fn start(path: &Path) -> Result<Writer, Failure> {
        let mut log = synthetic::open(path)?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = thread::spawn(move || {
            let mut made = Batches::new(4);
            while !ended.load(Ordering::SeqCst) {
                let appended = made.next_batch(32).map(|batch| log.append(batch));
                if !matches!(appended, Ok(Ok(_))) {
                    tracing::warn!("the demonstration's writer has ended");
                    return;
                }
                thread::sleep(PAUSE);
            }
            let _ = log.close();
        });
        Ok(Writer { end, thread })
    }
}
