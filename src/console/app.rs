//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use super::audit::{Audit, Deed};
use super::auth::{Caller, Tokens};
use super::held::HeldBytes;
use super::jobs::{Job, JobState, JobTask, Jobs, Live, New, NotBegun, Outcome};
use super::limits::Limits;
use super::metrics::Metrics;
use super::problem::Problem;
use super::refusals::Refusals;
use crate::error::Error;
use crate::observe::Event;
use crate::schedule::Scheduler;
use crate::snapshot::SnapshotConfig;

pub(super) type Shared = Arc<App>;

pub(super) struct App {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) held: Arc<HeldBytes>,
    pub(super) audit: Arc<Audit>,
    pub(super) refusals: Refusals,
    pub(super) limits: Limits,
    pub(super) base: SnapshotConfig,
    pub(super) demo: bool,
    /// Whoever watches is told of others.
    pub(super) tokens: watch::Sender<Arc<Tokens>>,
    pub(super) restore_dirs: RwLock<Arc<[std::path::PathBuf]>>,
    pub(super) stopping: watch::Sender<bool>,
    /// Whether the scheduler still runs.
    pub(super) scheduling: AtomicBool,
}

/// What is to be done for whom.
pub(super) struct Order<'a> {
    pub(super) who: &'a Caller,
    pub(super) new: New<'a>,
    /// What was asked for, for the audit log.
    pub(super) body: Value,
}

/// What a job will have come to.
pub(super) struct Ending(tokio::task::JoinHandle<Option<Arc<Job>>>);

impl Ending {
    pub(super) async fn wait(self) -> Result<Arc<Job>, Problem> {
        self.0.await.ok().flatten().ok_or_else(|| Problem::fault("this is a fault of cowlog: the job was lost"))
    }
}

impl App {
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        self.tokens.borrow().clone()
    }

    pub(super) fn restore_dirs(&self) -> Arc<[std::path::PathBuf]> {
        self.restore_dirs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads something on a thread that may wait for a disk.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        done.unwrap_or_else(|_| Err(Problem::fault("this is a fault of cowlog: reading panicked")))
    }

    /// Begins a job. It goes on whether or not anybody waits for it: the handle gives what it came to.
    pub(super) async fn order<T: Serialize>(
        self: &Arc<Self>,
        order: Order<'_>,
        work: impl FnOnce(&SnapshotConfig) -> Result<T, Error> + Send + 'static,
    ) -> Result<(Job, Ending), Problem> {
        let work = move |config: &SnapshotConfig| match work(config) {
            Err(e) => Outcome { result: None, error: Some(Problem::from(&e)) },
            Ok(done) => Outcome { result: serde_json::to_value(done).ok(), error: None },
        };
        self.order_with(order, work).await
    }

    /// The same for work that may go well in part.
    pub(super) async fn order_with(
        self: &Arc<Self>,
        order: Order<'_>,
        work: impl FnOnce(&SnapshotConfig) -> Outcome + Send + 'static,
    ) -> Result<(Job, Ending), Problem> {
        let Ok(permit) = self.limits.jobs.clone().try_acquire_owned() else {
            return Err(Problem::unavailable("too many jobs are running"));
        };
        let (app, who, body) = (self.clone(), order.who.clone(), order.body);
        let New { task, source, snapshot, target, by, asked } = order.new;
        let (source, by) = (source.to_owned(), by.to_owned());
        let (tell, told) = oneshot::channel();
        // In one piece: whoever asked may be gone at any moment, and what has begun is to be done.
        let ending = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let new = New { task, source: &source, snapshot, target, by: &by, asked };
            let (live, observer) = match app.jobs.begin(new) {
                Ok(begun) => begun,
                Err(why) => {
                    let _ = tell.send(Err(why));
                    return None;
                }
            };
            let begun = live.job();
            app.audit.note_job(&begun, who.from, Some(Some(body)));
            let _ = tell.send(Ok(begun));
            let (jobs, telling) = (app.jobs.clone(), live.clone());
            let observer = observer.listening(move |event: Event<'_>| jobs.tell(&telling, event));
            let config = SnapshotConfig { observer, ..app.base.clone() };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&config)));
            let panicked = || Problem::fault("this is a fault of cowlog: the job panicked");
            let outcome = done.unwrap_or_else(|_| Outcome { result: None, error: Some(panicked()) });
            Some(app.ended(&who, &live, outcome))
        });
        match told.await {
            Ok(Ok(job)) => Ok((job, Ending(ending))),
            Ok(Err(NotBegun::Stopping)) => Err(Problem::unavailable("the server is about to end")),
            Ok(Err(NotBegun::Known)) => Err(Problem::conflict("busy", "the first such request is being carried out")),
            Ok(Err(NotBegun::Busy)) => Err(Problem::conflict("busy", "a snapshot of this source is being taken")),
            Err(_) => Err(Problem::fault("this is a fault of cowlog: beginning panicked")),
        }
    }

    fn ended(&self, who: &Caller, live: &Live, outcome: Outcome) -> Arc<Job> {
        let job = self.jobs.end(live, outcome);
        self.audit.note_job(&job, who.from, None);
        if job.task == JobTask::Create && job.state == JobState::Done {
            self.scheduler.taken(&job.source);
        }
        job
    }

    /// Writes down what somebody did.
    pub(super) fn note(&self, who: &Caller, deed: &Deed<'_>) {
        self.audit.note(&who.name, who.from, deed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Why nobody should ask this server now.
    pub(super) fn not_ready(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("it is about to end".into());
        }
        if !self.scheduling.load(Ordering::SeqCst) {
            return Some("the scheduler does not run".into());
        }
        let written = self.jobs.check().and_then(|()| self.audit.check());
        written.err().map(|e| e.to_string())
    }
}

/// `create`, `verify` and so on.
pub(super) fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
