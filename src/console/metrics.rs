//! What is worth watching, as OpenMetrics. docs/operations.md says what each means and what to be woken up by.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::app::word;
use super::held::HeldBytes;
use super::jobs::{Job, JobState, JobTask};
use super::sources::{Health, Source};

/// `Content-Type` of the answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTask {
    source: String,
    task: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bytes {
    source: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    source: String,
    task: String,
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    source: String,
    task: String,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    status: u16,
}

/// What a failure can be, by family.
const KINDS: [&str; 4] = ["filesystem", "validation", "concurrency", "integrity"];

type Number<L> = Family<L, Gauge<f64, AtomicU64>>;

pub(super) struct Metrics {
    registry: Registry,
    /// One scrape at a time: what is read anew for each is not to be mixed.
    turn: Mutex<()>,
    snapshots: Number<OfSource>,
    damaged: Number<OfSource>,
    readable: Number<OfSource>,
    newest: Number<OfSource>,
    newest_verified: Number<OfSource>,
    bytes: Number<Bytes>,
    free: Number<OfSource>,
    failing: Number<OfTask>,
    drill_age: Number<OfSource>,
    drill_ok: Number<OfSource>,
    offsite: Number<OfSource>,
    running: Gauge,
    ended: Family<Ended, Counter>,
    failed: Family<Failed, Counter>,
    durations: Family<OfTask, Histogram>,
    requests: Family<Answered, Counter>,
    request_durations: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("cowlog");
        let request_durations = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let metrics = Metrics {
            turn: Mutex::default(),
            snapshots: Family::default(),
            damaged: Family::default(),
            readable: Family::default(),
            newest: Family::default(),
            newest_verified: Family::default(),
            bytes: Family::default(),
            free: Family::default(),
            failing: Family::default(),
            drill_age: Family::default(),
            drill_ok: Family::default(),
            offsite: Family::default(),
            running: Gauge::default(),
            ended: Family::default(),
            failed: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 12))),
            requests: Family::default(),
            request_durations,
            registry: Registry::default(),
        };
        let r = &mut registry;
        let m = &metrics;
        r.register("snapshots", "Snapshots of a source", m.snapshots.clone());
        r.register("damaged_snapshots", "Snapshots that are known to be damaged", m.damaged.clone());
        r.register("source_readable", "1 where a source and its snapshots can be read, or else 0", m.readable.clone());
        let (age, verified) =
            ("Age of the latest snapshot", "Age of the latest snapshot that was read in full and found whole");
        r.register_with_unit("newest_snapshot_age", age, Unit::Seconds, m.newest.clone());
        r.register_with_unit("newest_verified_snapshot_age", verified, Unit::Seconds, m.newest_verified.clone());
        let bytes = "Bytes of all snapshots: logical counts shared ones as often as they are shared, copied are those that creates copied, held those that nothing else keeps";
        r.register_with_unit("snapshot", bytes, Unit::Bytes, m.bytes.clone());
        r.register_with_unit(
            "free",
            "Bytes that can still be written where the snapshots are",
            Unit::Bytes,
            m.free.clone(),
        );
        r.register(
            "task_failing",
            "1 where something that is done by the clock does not work, or else 0",
            m.failing.clone(),
        );
        r.register_with_unit(
            "drill_age",
            "Time since the last restore drill that went well",
            Unit::Seconds,
            m.drill_age.clone(),
        );
        r.register("drill_ok", "1 where the last restore drill went well, or else 0", m.drill_ok.clone());
        let elsewhere = "Age of the newest snapshot that is elsewhere, of a source whose snapshots are carried there";
        r.register_with_unit("offsite_snapshot_age", elsewhere, Unit::Seconds, m.offsite.clone());
        r.register("jobs_running", "Jobs that are being done", m.running.clone());
        r.register("jobs", "Jobs that have ended, by how", m.ended.clone());
        r.register("job_failures", "Jobs that have failed, by the family of the error", m.failed.clone());
        r.register_with_unit("job_duration", "How long jobs took", Unit::Seconds, m.durations.clone());
        r.register("http_requests", "Requests that were answered", m.requests.clone());
        r.register_with_unit(
            "http_request_duration",
            "How long answers took",
            Unit::Seconds,
            m.request_durations.clone(),
        );
        Metrics { registry, ..metrics }
    }

    /// A job has ended.
    pub(super) fn ended(&self, job: &Job) {
        let (source, task) = (job.source.clone(), word(job.task));
        let seconds = job.ended_ms.map_or(0, |ended| ended.saturating_sub(job.began_ms)) as f64 / 1000.0;
        self.durations.get_or_create(&OfTask { source: source.clone(), task: task.clone() }).observe(seconds);
        self.ended.get_or_create(&Ended { source: source.clone(), task: task.clone(), state: word(job.state) }).inc();
        if let (JobState::Failed, Some(error)) = (job.state, &job.error) {
            self.failed.get_or_create(&Failed { source, task, kind: error.kind.clone() }).inc();
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, method: &str, status: u16, took: Duration) {
        // Of others there is no end.
        let usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method);
        let method = if usual { method } else { "other" }.to_owned();
        self.requests.get_or_create(&Answered { method, status }).inc();
        self.request_durations.observe(took.as_secs_f64());
    }

    /// All of it as text.
    pub(super) fn scrape(
        &self,
        sources: &[Source],
        held: &HeldBytes,
        running: usize,
        now: i64,
    ) -> Result<String, std::fmt::Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for family in [
            &self.snapshots,
            &self.damaged,
            &self.readable,
            &self.newest,
            &self.newest_verified,
            &self.free,
            &self.drill_age,
            &self.drill_ok,
            &self.offsite,
        ] {
            family.clear();
        }
        self.bytes.clear();
        self.failing.clear();
        for source in sources {
            self.look(source, now);
            if let Some(bytes) = held.of(&source.name) {
                self.bytes.get_or_create(&Bytes { source: source.name.clone(), kind: "held" }).set(bytes as f64);
            }
        }
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn look(&self, source: &Source, now: i64) {
        let of = OfSource { source: source.name.clone() };
        let set = |family: &Number<OfSource>, value: f64| {
            family.get_or_create(&of).set(value);
        };
        let age = |at: i64| now.saturating_sub(at).max(0) as f64 / 1000.0;
        let is = |holds: bool| if holds { 1.0 } else { 0.0 };
        set(&self.readable, is(source.health != Health::Unreadable));
        set(&self.snapshots, source.snapshots as f64);
        set(&self.damaged, source.damaged as f64);
        // A counter that is not there yet is no 0: of the first failure nobody would see that it is one more.
        for (task, kind) in JobTask::ALL.into_iter().flat_map(|task| KINDS.map(|kind| (task, kind))) {
            let _ =
                self.failed.get_or_create(&Failed { source: of.source.clone(), task: word(task), kind: kind.into() });
        }
        if let Some(newest) = &source.newest {
            set(&self.newest, age(newest.timestamp_ms));
        }
        if let Some(newest) = &source.newest_verified {
            set(&self.newest_verified, age(newest.timestamp_ms));
        }
        for (kind, bytes) in [("logical", source.bytes_logical), ("copied", source.bytes_copied)] {
            self.bytes.get_or_create(&Bytes { source: of.source.clone(), kind }).set(bytes as f64);
        }
        if let Some(free) = source.free_bytes {
            set(&self.free, free as f64);
        }
        if let Some(drill) = &source.drill {
            set(&self.drill_age, age(drill.at_ms));
        }
        if let Some(push) = &source.offsite {
            set(&self.offsite, age(push.timestamp_ms));
        }
        for task in source.tasks() {
            let failing = is(task.is_failing());
            self.failing.get_or_create(&OfTask { source: of.source.clone(), task: task.name() }).set(failing);
            if task.name() == "drill" && (task.is_failing() || source.drill.is_some()) {
                set(&self.drill_ok, 1.0 - failing);
            }
        }
    }
}
