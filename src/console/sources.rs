//! The sources of the configuration, their snapshots, and how the two are named.

use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::auth::Caller;
use super::jobs::{JobTask, New};
use super::problem::Problem;
use crate::fs::Dir;
use crate::schedule::{Config, DrillReport, Memory, Offsite, PushReport, SourceConfig, SourceMemory, Task, plan};
use crate::snapshot::{SnapshotInfo, SnapshotManager};
use crate::store::{IdQuery, Scope, SnapshotId};

/// A source, and how its snapshots are doing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Source {
    /// What it is called.
    pub(super) name: String,
    /// A log directory or a data directory.
    path: String,
    /// What is meant of a data directory: `all`, a topic, or `topic-partition`.
    part: String,
    /// Where its snapshots are, once there are any.
    #[schema(required)]
    store: Option<String>,
    /// In a word.
    pub(super) health: Health,
    /// How many snapshots there are.
    pub(super) snapshots: usize,
    /// Which, oldest first.
    #[serde(skip)]
    pub(super) ids: Vec<String>,
    /// How many of them are known to be damaged.
    pub(super) damaged: usize,
    /// The latest.
    #[schema(required)]
    pub(super) newest: Option<Newest>,
    /// The latest that was read in full and found whole.
    #[schema(required)]
    pub(super) newest_verified: Option<NewestVerified>,
    /// Bytes of all files of all snapshots, shared ones as often as they are shared.
    pub(super) bytes_logical: u64,
    /// Bytes that creates have copied. What the log has deleted since and snapshots still hold comes on top.
    pub(super) bytes_copied: u64,
    /// Bytes that can still be written where the snapshots are, or where the source is.
    #[schema(required)]
    pub(super) free_bytes: Option<u64>,
    /// Bytes of that filesystem.
    #[schema(required)]
    total_bytes: Option<u64>,
    /// Which snapshots are kept.
    keep: Keep,
    /// What is done by the clock.
    tasks: Vec<TaskState>,
    /// The last restore drill that went well.
    #[schema(required)]
    pub(super) drill: Option<LastDrill>,
    /// The last push that went well: what is elsewhere.
    #[schema(required)]
    pub(super) offsite: Option<LastPush>,
    /// Why the source or its snapshots cannot be read.
    #[schema(required)]
    error: Option<Problem>,
}

/// How a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    /// All is well.
    Ok,
    /// There is no snapshot, or there are damaged ones.
    Warning,
    /// Something that is done by the clock does not work.
    Failing,
    /// The source or its snapshots cannot be read.
    Unreadable,
}

/// A restore drill that went well.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LastDrill {
    /// The snapshot that was restored.
    id: String,
    pub(super) at_ms: i64,
    /// Logs that were read.
    logs: u64,
    /// Batches in them, each with a CRC that holds.
    batches: u64,
    /// Bytes that were restored.
    bytes: u64,
    /// How long the restore took.
    restore_ms: u64,
}

impl From<DrillReport> for LastDrill {
    fn from(report: DrillReport) -> LastDrill {
        let DrillReport { id, at, logs, batches, bytes, restore_ms } = report;
        LastDrill { id, at_ms: at, logs, batches, bytes, restore_ms }
    }
}

/// A push that went well: this snapshot and all before it were there then.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LastPush {
    /// Where: a URL or a directory.
    to: String,
    /// The newest snapshot that is there.
    id: String,
    /// When it was taken.
    pub(super) timestamp_ms: i64,
    /// When the push ended.
    at_ms: i64,
}

impl LastPush {
    fn of(offsite: &Offsite, report: &PushReport) -> LastPush {
        let PushReport { id, timestamp, at, .. } = report.clone();
        LastPush { to: offsite.to.clone(), id, timestamp_ms: timestamp, at_ms: at }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Newest {
    pub(super) id: String,
    pub(super) timestamp_ms: i64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NewestVerified {
    id: String,
    pub(super) timestamp_ms: i64,
    /// When it was read.
    #[schema(required)]
    verified_at_ms: Option<i64>,
}

/// A retention policy: two limits, and what is kept against them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Keep {
    max_snapshots: usize,
    retention_seconds: u64,
    last: usize,
    within_seconds: u64,
    /// A snapshot that has one of them is kept.
    tags: Vec<String>,
    hourly: usize,
    daily: usize,
    weekly: usize,
    monthly: usize,
}

/// Something that is done by the clock. Times are milliseconds since 1970 UTC.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TaskState {
    #[schema(value_type = super::jobs::JobTask)]
    task: Task,
    /// How often, in the configuration's words.
    when: String,
    #[schema(required)]
    begun_ms: Option<i64>,
    #[schema(required)]
    succeeded_ms: Option<i64>,
    #[schema(required)]
    next_ms: Option<i64>,
    under_way: bool,
    /// How often it has failed since it last went well.
    failures: u32,
    #[schema(required)]
    failing: Option<FailingState>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FailingState {
    since_ms: i64,
    why: String,
    kind: String,
}

/// A snapshot, and which source it is of.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Snapshot {
    /// The source's name.
    pub(super) source: String,
    /// `source~id`: what names it among all.
    #[serde(rename = "ref")]
    pub(super) reference: String,
    #[serde(flatten)]
    pub(super) info: SnapshotInfo,
}

impl Snapshot {
    pub(super) fn of(source: &str, info: SnapshotInfo) -> Snapshot {
        Snapshot { source: source.to_owned(), reference: format!("{source}~{}", info.id), info }
    }
}

/// A snapshot that was found by what names it.
pub(super) struct Found {
    pub(super) source: SourceConfig,
    pub(super) id: String,
}

impl Found {
    /// A job that is to be done with it.
    pub(super) fn job<'a>(&'a self, task: JobTask, by: &'a Caller) -> New<'a> {
        let (source, snapshot) = (&self.source.name, Some(self.id.clone()));
        New { task, source, snapshot, target: None, by: &by.name, asked: None }
    }
}

impl App {
    /// The source of a name.
    pub(super) fn source(&self, name: &str) -> Result<SourceConfig, Problem> {
        let config = self.scheduler.config();
        config.sources.into_iter().find(|source| source.name == name).ok_or_else(|| {
            let problem = Problem::not_found(format!("there is no source {name:?}"));
            problem.hint("GET /api/sources lists them; the configuration names them")
        })
    }

    pub(super) fn manager(&self, source: &SourceConfig) -> Result<SnapshotManager, Problem> {
        Ok(source.manager(&self.base)?)
    }

    /// The snapshots of a source. Those of a part that is a source of its own are that one's.
    pub(super) fn snapshots(&self, source: &SourceConfig, all: &Config) -> Result<Vec<SnapshotInfo>, Problem> {
        let mut listed = self.manager(source)?.list()?;
        if source.part == Scope::All {
            let parts = all.sources.iter().filter(|other| other.path == source.path && other.part != Scope::All);
            let parts: Vec<String> = parts.map(|part| part.part.to_string()).collect();
            listed.retain(|snapshot| !parts.contains(&snapshot.scope));
        }
        Ok(listed)
    }

    /// The snapshot that `<source>~<id>` names, or an id alone where only one source has it.
    pub(super) fn find(&self, reference: &str) -> Result<Found, Problem> {
        let mut found = Vec::new();
        if let Some((name, id)) = reference.split_once('~') {
            let source = self.source(name)?;
            let query: IdQuery = id.parse()?;
            let manager = self.manager(&source)?;
            // Of a damaged snapshot `get` tells only the damage.
            let mut listed = manager.list()?;
            listed.retain(|s| !query.is_latest() || source.part != Scope::All || is_whole(&s.scope));
            found.push((source, meant(&query, &listed)));
            return one_of(found, reference, || format!("{name} has no snapshot {id}"));
        }
        let query: IdQuery = reference.parse()?;
        let config = self.scheduler.config();
        for source in &config.sources {
            // One source that cannot be read does not hide the others.
            let Ok(listed) = self.snapshots(source, &config) else { continue };
            found.push((source.clone(), meant(&query, &listed)));
        }
        one_of(found, reference, || format!("no source has a snapshot {reference}"))
    }

    /// All sources, as they are now.
    pub(super) fn overview(&self) -> Vec<Source> {
        let (config, memory) = (self.scheduler.config(), self.scheduler.memory());
        config.sources.iter().map(|source| self.look_at(source, &config, &memory)).collect()
    }

    pub(super) fn look_at(&self, source: &SourceConfig, config: &Config, memory: &Memory) -> Source {
        let nothing = SourceMemory::default();
        let memory = memory.sources.get(&source.name).unwrap_or(&nothing);
        let now = self.base.clock.now();
        let listed = self.snapshots(source, config);
        let gone = || {
            (Dir::open(&source.path).is_err()).then(|| Problem::not_found(format!("{} is gone", source.path.display())))
        };
        let error = listed.as_ref().err().cloned().or_else(gone);
        let listed = listed.unwrap_or_default();
        let store = self.manager(source).and_then(|manager| Ok(manager.store_path()?)).ok().flatten();
        let volume =
            store.as_deref().into_iter().chain([source.path.as_path()]).find_map(|p| Dir::open(p).ok()?.volume().ok());
        let damaged = listed.iter().filter(|s| is_damaged(s)).count();
        let tasks: Vec<TaskState> =
            Task::ALL.into_iter().filter_map(|task| task_state(source, task, memory, now)).collect();
        let health = match () {
            () if error.is_some() => Health::Unreadable,
            () if tasks.iter().any(|task| task.failing.is_some()) => Health::Failing,
            () if damaged > 0 || listed.is_empty() => Health::Warning,
            () => Health::Ok,
        };
        Source {
            name: source.name.clone(),
            path: source.path.to_string_lossy().into_owned(),
            part: source.part.to_string(),
            store: store.map(|path| path.to_string_lossy().into_owned()),
            health,
            snapshots: listed.len(),
            ids: listed.iter().map(|s| s.id.clone()).collect(),
            damaged,
            newest: listed.last().map(|s| Newest { id: s.id.clone(), timestamp_ms: s.timestamp_ms }),
            newest_verified: listed.iter().rev().find(|s| s.verified.as_ref().is_some_and(|v| v.ok)).map(|s| {
                NewestVerified {
                    id: s.id.clone(),
                    timestamp_ms: s.timestamp_ms,
                    verified_at_ms: s.verified.as_ref().map(|v| v.at_ms),
                }
            }),
            bytes_logical: listed.iter().map(|s| s.total_size).sum(),
            bytes_copied: listed.iter().map(|s| s.bytes_copied).sum(),
            free_bytes: volume.as_ref().map(|volume| volume.available),
            total_bytes: volume.as_ref().map(|volume| volume.size),
            keep: Keep {
                max_snapshots: source.keep.max_snapshots,
                retention_seconds: source.keep.retention_time.as_secs(),
                last: source.keep.keep_last,
                within_seconds: source.keep.keep_within.as_secs(),
                tags: source.keep.keep_tags.iter().cloned().collect(),
                hourly: source.keep.keep_hourly,
                daily: source.keep.keep_daily,
                weekly: source.keep.keep_weekly,
                monthly: source.keep.keep_monthly,
            },
            tasks,
            drill: memory.drill.clone().map(LastDrill::from),
            offsite: source
                .offsite
                .as_ref()
                .zip(memory.push.as_ref())
                .map(|(offsite, push)| LastPush::of(offsite, push)),
            error,
        }
    }
}

fn task_state(source: &SourceConfig, task: Task, memory: &SourceMemory, now: i64) -> Option<TaskState> {
    if !source.has(task) {
        return None;
    }
    let when = source.when(task).map_or_else(|| "after every snapshot".into(), ToString::to_string);
    let past = memory.tasks.get(&task).cloned().unwrap_or_default();
    let failing = past.failing.map(|f| FailingState { since_ms: f.since, why: f.why, kind: f.kind });
    Some(TaskState {
        task,
        when,
        begun_ms: past.begun,
        succeeded_ms: past.succeeded,
        next_ms: plan::due_at(source, task, memory, now),
        under_way: past.under_way,
        failures: past.failures,
        failing,
    })
}

fn meant(query: &IdQuery, listed: &[SnapshotInfo]) -> Vec<String> {
    let ids: Vec<SnapshotId> = listed.iter().filter_map(|s| s.id.parse().ok()).collect();
    query.meant(&ids).iter().map(ToString::to_string).collect()
}

/// Of each source so many candidates are named.
const SHOWN: usize = 8;

/// The one that was found, by source.
fn one_of(
    mut found: Vec<(SourceConfig, Vec<String>)>,
    reference: &str,
    none: impl FnOnce() -> String,
) -> Result<Found, Problem> {
    found.retain(|(_, ids)| !ids.is_empty());
    if let [(source, ids)] = found.as_slice()
        && let [id] = ids.as_slice()
    {
        return Ok(Found { source: source.clone(), id: id.clone() });
    }
    if found.is_empty() {
        return Err(Problem::not_found(none()));
    }
    let named = |(source, ids): &(SourceConfig, Vec<String>)| -> Vec<String> {
        ids.iter().take(SHOWN).map(|id| format!("{}~{id}", source.name)).collect()
    };
    let candidates: Vec<String> = found.iter().flat_map(named).collect();
    let more = match found.iter().map(|(_, ids)| ids.len().saturating_sub(SHOWN)).sum() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let detail = format!("{reference} could be any of {}{more}", candidates.join(", "));
    let problem = Problem::bad_request(detail).hint("name it with its source, and all digits of its id");
    Err(Problem { candidates, type_: "urn:cowlog:problem:ambiguous-id".into(), ..problem })
}

pub(super) fn is_damaged(snapshot: &SnapshotInfo) -> bool {
    snapshot.damaged.is_some() || snapshot.verified.as_ref().is_some_and(|verified| !verified.ok)
}

fn is_whole(scope: &str) -> bool {
    matches!(scope, "all" | "log")
}

impl Source {
    pub(super) fn tasks(&self) -> &[TaskState] {
        &self.tasks
    }
}

impl TaskState {
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub(super) fn name(&self) -> String {
        self.task.to_string()
    }
}
