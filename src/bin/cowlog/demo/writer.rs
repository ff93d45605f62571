//! The second process of the demo: it appends until its standard input ends.

use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::synthetic::{self, Batches};
use super::{check, interruptible, io};
use crate::failure::{DONE, Failure};
use crate::session::Session;

const RECORDS_PER_BATCH: u64 = 16;
const BATCHES_PER_FLUSH: u64 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// In the second process: appends, and prints the log's end after each batch.
pub fn run(path: &Path) -> Result<u8, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let watched = ended.clone();
    // Also when the first process was killed: the pipe closes.
    thread::spawn(move || {
        let _ = stdin().lock().read_to_end(&mut Vec::new());
        watched.store(true, Ordering::SeqCst);
    });
    let mut log = synthetic::open(path)?;
    let mut made = Batches::new(2);
    let mut out = stdout().lock();
    for n in 1u64.. {
        if ended.load(Ordering::SeqCst) {
            break;
        }
        log.append(made.next_batch(RECORDS_PER_BATCH)?)?;
        if n.is_multiple_of(BATCHES_PER_FLUSH) {
            log.flush()?;
        }
        // Nobody listens any more: the end of standard input says the same.
        let _ = writeln!(out, "{}", log.log_end_offset()).and_then(|()| out.flush());
        thread::sleep(PAUSE);
    }
    log.close()?;
    Ok(DONE)
}

/// In the first process: the second one. Dropping it ends it.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    input: Option<ChildStdin>,
    end: Arc<AtomicI64>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts this very program once more, to append to the log.
    pub fn start(log: &Path) -> Result<Writer, Failure> {
        let me = std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?;
        let mut child = Command::new(&me)
            .arg("demo-writer")
            .arg(log)
            .env_remove("COWLOG_JSON")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io("start", &me))?;
        let input = child.stdin.take();
        let end = Arc::new(AtomicI64::new(-1));
        let told = end.clone();
        let reader = child.stdout.take().map(|out| {
            thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if let Ok(offset) = line.parse() {
                        told.store(offset, Ordering::SeqCst);
                    }
                }
            })
        });
        Ok(Writer { child, input, end, reader })
    }

    /// The end of the log as the writer last said; -1 before its first append.
    pub fn end(&self) -> i64 {
        self.end.load(Ordering::SeqCst)
    }

    /// Waits until the writer has gone beyond an offset.
    pub fn wait_beyond(&mut self, offset: i64, session: &Session) -> Result<i64, Failure> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let started = Instant::now();
        loop {
            interruptible(session)?;
            let end = self.end();
            if end > offset {
                return Ok(end);
            }
            let gone = self.child.try_wait().ok().flatten();
            check(gone.is_none(), || format!("the writer ended: {gone:?}"))?;
            check(started.elapsed() < PATIENCE, || format!("the writer is still at offset {end} after {PATIENCE:?}"))?;
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets it finish in order.
    pub fn stop(mut self) -> Result<i64, Failure> {
        drop(self.input.take());
        let status = self.child.wait().map_err(io("wait for", Path::new("the writer")))?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        check(status.success(), || format!("the writer failed: {status}"))?;
        Ok(self.end())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.input.take());
        // Already ended and reaped after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
