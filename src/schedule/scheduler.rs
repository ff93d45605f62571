//! Doing what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Config, SourceConfig};
use super::job::{self, Outcome};
use super::memory::{Memory, SourceMemory};
use super::plan::{self, Task};
use crate::error::{Error, Result};
use crate::fs::{Deadline, Dir, Guard, LockMode, lock_file};
use crate::observe::{Event, Observer};
use crate::snapshot::SnapshotConfig;
use crate::store::Scope;

/// Not `.lock`: that is the name in a log and in a store.
const LOCK: &str = ".schedule.lock";
/// A clock that jumps is noticed after this at the latest.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Does what a [`Config`] says, one job per source at a time, and remembers what was done.
///
/// A source that fails is tried again after pauses that grow, and stops no other. What was begun when the process died is
/// reported as interrupted and done again. One scheduler at a time works with a state directory.
pub struct Scheduler {
    base: SnapshotConfig,
    state: Dir,
    _lock: Guard,
    inner: Mutex<Inner>,
    changed: Condvar,
    hook: Arc<Hook>,
}

type Hook = dyn Fn(Told<'_>) + Send + Sync;

/// What a scheduler tells while it works. Whoever is told must not call the scheduler.
pub enum Told<'a> {
    /// A job begins.
    Began(&'a Running),
    /// A job tells of its progress.
    Progress(&'a Running, Event<'a>),
    /// A job has ended.
    Ended(&'a Ran),
    /// Something is wrong that concerns no job.
    Warning(&'a str),
}

struct Inner {
    config: Config,
    memory: Memory,
    running: BTreeMap<String, Running>,
    stopping: bool,
}

/// A job that is being done.
#[derive(Debug, Clone)]
pub struct Running {
    /// The source's name.
    pub source: String,
    /// What is done with it.
    pub task: Task,
    /// Since when, in milliseconds since 1970 UTC.
    pub since: i64,
    path: PathBuf,
    part: Scope,
    observer: Observer,
    /// Somebody does not want it done now.
    unwanted: Arc<AtomicBool>,
}

impl Running {
    /// Cancels it, which undoes what it has begun. It is done again when it comes round.
    pub fn cancel(&self) {
        self.unwanted.store(true, Ordering::SeqCst);
        self.observer.cancel();
    }

    /// Whether somebody cancelled it.
    pub fn is_cancelled(&self) -> bool {
        self.unwanted.load(Ordering::SeqCst)
    }
}

/// A job that was done.
#[derive(Debug)]
pub struct Ran {
    /// The source's name.
    pub source: String,
    /// What was done with it.
    pub task: Task,
    /// How long it took.
    pub took: Duration,
    /// Whether somebody had it cancelled; it may have ended well all the same.
    pub cancelled: bool,
    /// What came of it.
    pub result: Result<Outcome>,
}

impl Scheduler {
    /// Takes over a state directory, which is made where it is missing. `base` has what all sources share: the clock, and
    /// how long to wait for locks.
    ///
    /// # Errors
    ///
    /// `Concurrency` where another process works with it; `Integrity` where what it remembers is not understood;
    /// `Filesystem` where it cannot be written to.
    pub fn new(
        config: Config,
        base: SnapshotConfig,
        hook: impl Fn(Told<'_>) + Send + Sync + 'static,
    ) -> Result<Scheduler> {
        let state = open_or_make(&config.state)?;
        let now = Deadline::after(Duration::ZERO, &Observer::default());
        let lock = lock_file(&state, LOCK, LockMode::Exclusive, &now, "another scheduler")?;
        let mut memory = Memory::read(&state)?;
        for (source, task) in memory.interrupted(base.clock.now()) {
            hook(Told::Warning(&format!("{source}: {task} was interrupted when the last process ended")));
        }
        memory.keep(&config);
        // Where nothing can be remembered, everything would be done again and again.
        memory.write(&state)?;
        let inner = Inner { config, memory, running: BTreeMap::new(), stopping: false };
        let scheduler = Scheduler {
            base,
            state,
            _lock: lock,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            hook: Arc::new(hook),
        };
        Ok(scheduler)
    }

    /// Does what is due until [`stop`](Self::stop) is called.
    pub fn run(&self) {
        self.work(None, None);
    }

    /// The same by a clock that does not go by itself: whenever nothing is being done, `pass` lets so much time pass as would
    /// be slept.
    pub fn run_by(&self, mut pass: impl FnMut(Duration)) {
        self.work(None, Some(&mut pass));
    }

    /// Does once what is due now, and what becomes due by that.
    pub fn run_once(&self) {
        self.work(Some(BTreeSet::new()), None);
    }

    /// Cancels what is being done, which undoes what it had begun, and lets [`run`](Self::run) end.
    pub fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        inner.running.values().for_each(|running| running.observer.cancel());
        drop(inner);
        self.changed.notify_all();
    }

    /// Goes on with another configuration. What is being done ends as it was begun. A state directory is not exchanged.
    pub fn reload(&self, config: Config) {
        let mut inner = self.lock();
        let state = inner.config.state.clone();
        let moved = config.state != state;
        inner.memory.keep(&config);
        inner.config = Config { state, ..config };
        drop(inner);
        if moved {
            (self.hook)(Told::Warning("`state` has changed, which is heeded after a new start only"));
        }
        self.changed.notify_all();
    }

    /// Tells that somebody else has taken a snapshot of a source: what follows every snapshot is due.
    pub fn taken(&self, source: &str) {
        let now = self.base.clock.now();
        let mut inner = self.lock();
        if inner.config.sources.iter().any(|known| known.name == source) {
            inner.memory.sources.entry(source.to_owned()).or_default().taken = Some(now);
            self.remember(&inner.memory);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// What is being done.
    pub fn running(&self) -> Vec<Running> {
        self.lock().running.values().cloned().collect()
    }

    /// What was done.
    pub fn memory(&self) -> Memory {
        self.lock().memory.clone()
    }

    /// What is to be done.
    pub fn config(&self) -> Config {
        self.lock().config.clone()
    }

    fn work(&self, mut once: Option<BTreeSet<(String, Task)>>, mut pass: Option<&mut dyn FnMut(Duration)>) {
        std::thread::scope(|threads| {
            let mut inner = self.lock();
            loop {
                let now = self.base.clock.now();
                inner.memory.normalise(now);
                while let Some((source, task)) = inner.pick(now, once.as_ref()) {
                    if let Some(tried) = &mut once {
                        tried.insert((source.name.clone(), task));
                    }
                    let running = self.begin(&mut inner, &source, task, now);
                    threads.spawn(move || self.do_it(&source, running));
                }
                let idle = inner.running.is_empty();
                if idle && (inner.stopping || once.is_some()) {
                    return;
                }
                let wait = match inner.next(now) {
                    // In one go nothing is waited for but what is being done.
                    _ if once.is_some() => LONGEST_SLEEP,
                    Some(next) => Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or(0)),
                    None => LONGEST_SLEEP,
                };
                let wait = wait.clamp(Duration::from_millis(1), LONGEST_SLEEP);
                inner = match &mut pass {
                    // It may call the scheduler.
                    Some(pass) if idle => {
                        drop(inner);
                        pass(wait);
                        self.lock()
                    }
                    _ => self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0,
                };
            }
        });
    }

    fn begin(&self, inner: &mut Inner, source: &SourceConfig, task: Task, now: i64) -> Running {
        let memory = &mut inner.memory;
        memory.sources.entry(source.name.clone()).or_default().tasks.entry(task).or_default().begin(now);
        // Before it begins: if the process dies now, the next one knows.
        self.remember(&inner.memory);
        let observer = Observer::default();
        let unwanted = Arc::default();
        let (path, part) = (source.path.clone(), source.part.clone());
        let running = Running { source: source.name.clone(), task, since: now, path, part, observer, unwanted };
        inner.running.insert(source.name.clone(), running.clone());
        running
    }

    fn do_it(&self, source: &SourceConfig, running: Running) {
        let started = Instant::now();
        (self.hook)(Told::Began(&running));
        let (hook, telling) = (self.hook.clone(), running.clone());
        let observer = running.observer.listening(move |event| hook(Told::Progress(&telling, event)));
        let config = SnapshotConfig { observer, ..self.base.clone() };
        let before = self.lock().memory.sources.get(&source.name).cloned().unwrap_or_default();
        // Whatever happens to a job, its source is let go of.
        let job = std::panic::AssertUnwindSafe(|| job::run(source, running.task, &config, &before));
        let result = std::panic::catch_unwind(job).unwrap_or_else(|_| {
            let fault = std::io::Error::other("this is a fault of cowlog: the job panicked");
            Err(Error::io("work on", &source.path, fault))
        });
        let cancelled = running.is_cancelled();
        let ran = Ran { source: running.source, task: running.task, took: started.elapsed(), cancelled, result };
        (self.hook)(Told::Ended(&ran));
        let now = self.base.clock.now();
        let mut inner = self.lock();
        inner.note(&ran, now);
        inner.running.remove(&ran.source);
        self.remember(&inner.memory);
        drop(inner);
        self.changed.notify_all();
    }

    /// A failure keeps nothing from being done; what is forgotten is done once more.
    fn remember(&self, memory: &Memory) {
        if let Err(e) = memory.write(&self.state) {
            (self.hook)(Told::Warning(&format!("what was done could not be remembered: {e}")));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The idle source that has been due for longest, and what is due of it.
    fn pick(&self, now: i64, tried: Option<&BTreeSet<(String, Task)>>) -> Option<(SourceConfig, Task)> {
        if self.stopping || self.running.len() >= self.config.workers {
            return None;
        }
        let nothing = SourceMemory::default();
        let idle = self.idle();
        let due = idle.filter_map(|source| {
            let memory = self.memory.sources.get(&source.name).unwrap_or(&nothing);
            let untried = |task: &Task| tried.is_none_or(|tried| !tried.contains(&(source.name.clone(), *task)));
            let (at, task) = plan::due_of(source, Task::ALL.into_iter().filter(untried), memory, now)?;
            Some((at, source, task))
        });
        due.min_by_key(|(at, _, task)| (*at, *task)).map(|(_, source, task)| (source.clone(), task))
    }

    /// When something of an idle source is due; `None` where nothing can be begun then.
    fn next(&self, now: i64) -> Option<i64> {
        if self.stopping || self.running.len() >= self.config.workers {
            return None;
        }
        let nothing = SourceMemory::default();
        let next =
            |source: &SourceConfig| plan::next(source, self.memory.sources.get(&source.name).unwrap_or(&nothing), now);
        let idle = self.idle();
        idle.filter_map(next).min()
    }

    /// The sources with which nothing is being done, also not under the name that they had before a reload.
    fn idle(&self) -> impl Iterator<Item = &SourceConfig> {
        let busy = |source: &SourceConfig, running: &Running| {
            running.source == source.name || (&running.path, &running.part) == (&source.path, &source.part)
        };
        self.config.sources.iter().filter(move |source| !self.running.values().any(|running| busy(source, running)))
    }

    fn note(&mut self, ran: &Ran, now: i64) {
        let source = self.memory.sources.entry(ran.source.clone()).or_default();
        let past = source.tasks.entry(ran.task).or_default();
        match &ran.result {
            Ok(outcome) => {
                past.succeed(now);
                match outcome {
                    Outcome::Drill { report } => source.drill = Some(report.clone()),
                    Outcome::Push { report: Some(report) } => source.push = Some(report.clone()),
                    _ => {}
                }
            }
            // It comes round again; what it failed with before is as true as it was.
            Err(Error::Interrupted) if ran.cancelled => past.skip(),
            Err(e) => {
                let kind = serde_json::to_value(e.kind()).ok().and_then(|kind| kind.as_str().map(str::to_owned));
                past.fail(now, &kind.unwrap_or_default(), e.to_string());
                if matches!(e, Error::Interrupted) {
                    // Not its fault: it is done again as soon as somebody is there.
                    past.retry_at = Some(now);
                }
            }
        }
    }
}

fn open_or_make(path: &Path) -> Result<Dir> {
    match Dir::open(path) {
        Err(e) if e.is_not_found() => {}
        other => return other?.for_its_owner(),
    }
    let parent = Dir::open(path.parent().unwrap_or(Path::new("/")))?.for_its_owner()?;
    let made = parent.make_dir(path.file_name().unwrap_or_default(), 0o700)?;
    parent.sync()?;
    Ok(made)
}
