//! What is being done, and what was: by requests and by the scheduler.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::broadcast;

pub(super) use super::job::{Job, JobState, JobTask, Progress};
use super::journal::{Asked, Journal, Kept, Staged, surplus};
use super::problem::Problem;
use crate::fs::{Clock, Dir};
use crate::observe::{Event, Observer};
use crate::schedule::Running;

/// What came of a job.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) result: Option<Value>,
    pub(super) error: Option<Problem>,
}

/// A job that is about to begin.
pub(super) struct New<'a> {
    pub(super) task: JobTask,
    pub(super) source: &'a str,
    pub(super) snapshot: Option<String>,
    pub(super) target: Option<String>,
    pub(super) by: &'a str,
    /// What the request called itself, to be known again.
    pub(super) asked: Option<Asked>,
}

/// Who asks for what the scheduler does; no token is called so.
pub(super) const SCHEDULE: &str = "schedule";
/// Of so many that have ended something is known: of the scheduler's, and of the others.
const REMEMBERED: usize = 500;
const MOST_WARNINGS: usize = 100;
/// A watcher is told of a running job this often at most, in milliseconds.
const TELL_EVERY: i64 = 200;

pub(super) struct Jobs {
    inner: Mutex<Inner>,
    journal: Journal,
    changes: broadcast::Sender<Arc<Job>>,
    clock: Clock,
    ended: Box<dyn Fn(&Job) + Send + Sync>,
    /// Of creates of before that did not end: what they were about to publish.
    unsettled: Vec<(u64, String, Staged)>,
    /// What had not ended when this server began.
    found_running: Vec<u64>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    running: BTreeMap<u64, Arc<Live>>,
    ended: BTreeMap<u64, Arc<Job>>,
    asked: HashMap<String, (Asked, u64)>,
    stopping: bool,
}

/// A job that is being done.
pub(super) struct Live {
    number: u64,
    now: Mutex<Now>,
    cancel: Cancel,
}

struct Now {
    job: Job,
    told: i64,
    /// Somebody asked for that.
    cancelled: bool,
}

enum Cancel {
    Observer(Observer),
    Scheduled(Running),
}

/// Why a job was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// The server is about to end.
    Stopping,
    /// A request of the same name has begun one.
    Known,
    /// Another one takes a snapshot of the source.
    Busy,
}

/// What an earlier request of the same name came to.
pub(super) enum Earlier {
    /// There was none.
    None,
    /// It was another request.
    Another,
    /// This is its job.
    Job(Arc<Job>),
}

impl Jobs {
    /// Reads what is known of earlier jobs: those that had not ended were interrupted. `ended` is told of each that ends.
    pub(super) fn open(
        state: Dir,
        clock: Clock,
        ended: impl Fn(&Job) + Send + Sync + 'static,
    ) -> crate::error::Result<Jobs> {
        let (journal, kept) = Journal::open(state, REMEMBERED, clock.now())?;
        let mut inner = Inner::default();
        let (mut unsettled, mut found_running) = (Vec::new(), Vec::new());
        for Kept { number, job, asked, staged, found_running: was_running } in kept {
            if was_running {
                found_running.push(number);
            }
            if let Some(staged) = staged.filter(|_| job.state == JobState::Interrupted) {
                unsettled.push((number, job.source.clone(), staged));
            }
            inner.last = inner.last.max(number);
            if let Some(asked) = asked {
                inner.asked.insert(asked.key.clone(), (asked, number));
            }
            inner.ended.insert(number, Arc::new(job));
        }
        let changes = broadcast::Sender::new(1024);
        let (inner, ended) = (Mutex::new(inner), Box::new(ended));
        Ok(Jobs { inner, journal, changes, clock, ended, unsettled, found_running })
    }

    /// Creates of before that did not end, with the source's name and what they were about to publish.
    pub(super) fn unsettled(&self) -> Vec<(u64, String, Staged)> {
        self.unsettled.clone()
    }

    /// What such a create was about to publish is there.
    pub(super) fn settle(&self, number: u64, id: String, result: Option<Value>) {
        let mut inner = self.lock();
        let Some(job) = inner.ended.get(&number) else { return };
        let mut job = Job::clone(job);
        (job.state, job.snapshot, job.result) = (JobState::Done, Some(id), result);
        let job = Arc::new(job);
        inner.ended.insert(number, job.clone());
        drop(inner);
        self.journal.ended(number, &job);
    }

    /// What had not ended when this server began, as it is known now.
    pub(super) fn found_interrupted(&self) -> Vec<Arc<Job>> {
        let inner = self.lock();
        self.found_running.iter().filter_map(|number| inner.ended.get(number).cloned()).collect()
    }

    /// Begins a job that a request asked for.
    pub(super) fn begin(&self, new: New<'_>) -> Result<(Arc<Live>, Observer), NotBegun> {
        let observer = Observer::default();
        let live = self.enter(new, Cancel::Observer(observer.clone()))?;
        Ok((live, observer))
    }

    /// Notes that the scheduler has begun one.
    pub(super) fn scheduled(&self, running: &Running) -> Option<Arc<Live>> {
        let new = New {
            task: running.task.into(),
            source: &running.source,
            snapshot: None,
            target: None,
            by: SCHEDULE,
            asked: None,
        };
        self.enter(new, Cancel::Scheduled(running.clone())).ok()
    }

    fn enter(&self, new: New<'_>, cancel: Cancel) -> Result<Arc<Live>, NotBegun> {
        let mut inner = self.lock();
        if inner.stopping {
            return Err(NotBegun::Stopping);
        }
        let taken = |live: &Arc<Live>| {
            let job = &live.lock().job;
            job.task == JobTask::Create && job.source == new.source
        };
        // Two at once would both find the last one old enough.
        let busy = new.task == JobTask::Create && new.by != SCHEDULE && inner.running.values().any(taken);
        // Of two that come at once with one name only one is to begin.
        let earlier = new.asked.as_ref().and_then(|asked| inner.asked.get(&asked.key)).map(|(_, number)| *number);
        let state = earlier.and_then(|number| self.numbered(&inner, number)).map(|job| job.state);
        if matches!(state, Some(JobState::Running | JobState::Done)) {
            return Err(NotBegun::Known);
        }
        if busy {
            return Err(NotBegun::Busy);
        }
        inner.last += 1;
        let number = inner.last;
        let job = Job {
            id: format!("j{number}"),
            source: new.source.to_owned(),
            task: new.task,
            snapshot: new.snapshot,
            target: new.target,
            by: new.by.to_owned(),
            state: JobState::Running,
            began_ms: self.clock.now(),
            ended_ms: None,
            progress: Progress::default(),
            warnings: Vec::new(),
            result: None,
            error: None,
        };
        let live =
            Arc::new(Live { number, now: Mutex::new(Now { job: job.clone(), told: 0, cancelled: false }), cancel });
        inner.running.insert(number, live.clone());
        if let Some(asked) = &new.asked {
            inner.asked.insert(asked.key.clone(), (asked.clone(), number));
        }
        drop(inner);
        self.journal.begun(number, &job, new.asked.as_ref());
        let _ = self.changes.send(Arc::new(job));
        Ok(live)
    }

    /// A running job tells of itself.
    pub(super) fn tell(&self, live: &Live, event: Event<'_>) {
        let mut now = live.lock();
        let progress = &mut now.job.progress;
        match event {
            Event::Phase { name, files, bytes } => {
                let phase = name.to_owned();
                *progress = Progress { phase, files: 0, files_total: files, bytes: 0, bytes_total: bytes };
            }
            Event::Advance { files, bytes } => {
                progress.files = progress.files.saturating_add(files);
                progress.bytes = progress.bytes.saturating_add(bytes);
            }
            Event::Warning(text) if now.job.warnings.len() < MOST_WARNINGS => now.job.warnings.push(text.to_owned()),
            Event::Warning(_) => {}
            Event::Publishing { id, root } => {
                let job = now.job.clone();
                drop(now);
                self.journal.staged(live.number, &job, Staged { id: id.to_owned(), root: root.to_owned() });
                return;
            }
        }
        let time = self.clock.now();
        if (time - now.told).abs() >= TELL_EVERY {
            now.told = time;
            let _ = self.changes.send(Arc::new(now.job.clone()));
        }
    }

    /// A job has ended.
    pub(super) fn end(&self, live: &Live, outcome: Outcome) -> Arc<Job> {
        let mut job = live.lock().job.clone();
        let interrupted = outcome.error.as_ref().is_some_and(|e| e.kind == "interrupted");
        job.state = match &outcome.error {
            None => JobState::Done,
            Some(_) if interrupted && live.is_cancelled() => JobState::Cancelled,
            Some(_) if interrupted => JobState::Interrupted,
            Some(_) => JobState::Failed,
        };
        if job.snapshot.is_none() {
            let id = outcome.result.as_ref().and_then(|result| result.get("id")).and_then(Value::as_str);
            job.snapshot = id.map(str::to_owned);
        }
        (job.result, job.error) = (outcome.result, outcome.error);
        job.ended_ms = Some(self.clock.now().max(job.began_ms));
        // Nobody is to hear that it has ended before that would be known after a crash.
        self.journal.ended(live.number, &job);
        let job = Arc::new(job);
        let mut inner = self.lock();
        inner.running.remove(&live.number);
        inner.ended.insert(live.number, job.clone());
        for gone in surplus(inner.ended.iter().map(|(number, job)| (*number, &**job)), REMEMBERED) {
            inner.ended.remove(&gone);
            inner.asked.retain(|_, (_, number)| *number != gone);
        }
        drop(inner);
        (self.ended)(&job);
        let _ = self.changes.send(job.clone());
        job
    }

    /// All that are known, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        let inner = self.lock();
        let running = inner.running.iter().map(|(n, live)| (*n, Arc::new(live.lock().job.clone())));
        let mut all: Vec<(u64, Arc<Job>)> =
            running.chain(inner.ended.iter().map(|(n, job)| (*n, job.clone()))).collect();
        all.sort_unstable_by_key(|(n, _)| std::cmp::Reverse(*n));
        all.into_iter().map(|(_, job)| job).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Job>> {
        let number = id.strip_prefix('j')?.parse().ok()?;
        self.numbered(&self.lock(), number).filter(|job| job.id == id)
    }

    fn numbered(&self, inner: &Inner, number: u64) -> Option<Arc<Job>> {
        let running = inner.running.get(&number).map(|live| Arc::new(live.lock().job.clone()));
        running.or_else(|| inner.ended.get(&number).cloned())
    }

    /// What a request came to that called itself the same.
    pub(super) fn earlier(&self, asked: &Asked) -> Earlier {
        let inner = self.lock();
        match inner.asked.get(&asked.key) {
            None => Earlier::None,
            Some((earlier, _)) if earlier.what != asked.what => Earlier::Another,
            Some((_, number)) => self.numbered(&inner, *number).map_or(Earlier::None, Earlier::Job),
        }
    }

    /// Asks a job to stop. `false` where it is not running.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let inner = self.lock();
        let number = id.strip_prefix('j').and_then(|n| n.parse::<u64>().ok());
        match number.and_then(|number| inner.running.get(&number)) {
            Some(live) => {
                // First: it may end at once.
                live.lock().cancelled = true;
                match &live.cancel {
                    Cancel::Observer(observer) => observer.cancel(),
                    Cancel::Scheduled(running) => running.cancel(),
                }
                true
            }
            None => false,
        }
    }

    /// Lets no other begin, and stops those that requests asked for.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        for live in inner.running.values() {
            if let Cancel::Observer(observer) = &live.cancel {
                observer.cancel();
            }
        }
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running.len()
    }

    /// Every change from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<Job>> {
        self.changes.subscribe()
    }

    /// Whether what happens can be written down.
    pub(super) fn check(&self) -> crate::error::Result<()> {
        self.journal.check()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn job(&self) -> Job {
        self.lock().job.clone()
    }

    fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }
}
