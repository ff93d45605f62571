//! A job, as everybody sees it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::schedule::Task;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum JobTask {
    Create,
    Verify,
    Restore,
    Delete,
    Prune,
    Drill,
    Push,
}

impl JobTask {
    pub(super) const ALL: [JobTask; 7] = [
        JobTask::Create,
        JobTask::Verify,
        JobTask::Restore,
        JobTask::Delete,
        JobTask::Prune,
        JobTask::Drill,
        JobTask::Push,
    ];
}

impl From<Task> for JobTask {
    fn from(task: Task) -> JobTask {
        match task {
            Task::Create => JobTask::Create,
            Task::Verify => JobTask::Verify,
            Task::Drill => JobTask::Drill,
            Task::Push => JobTask::Push,
        }
    }
}

/// What has become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It is being done.
    Running,
    /// It went well.
    Done,
    /// It did not; `error` says why.
    Failed,
    /// Somebody cancelled it, and what it had begun was undone.
    Cancelled,
    /// The server ended before it did. What it had begun is swept or was undone.
    Interrupted,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// `j` and a number that grows.
    pub id: String,
    /// The source's name.
    pub source: String,
    /// What is done with it.
    pub task: JobTask,
    /// The snapshot that it is about, as far as that is known.
    #[schema(required)]
    pub snapshot: Option<String>,
    /// The directory that a restore makes.
    #[serde(default)]
    #[schema(required)]
    pub target: Option<String>,
    /// Whose token asked for it; `schedule` where nobody's did.
    pub by: String,
    /// What has become of it.
    pub state: JobState,
    /// When it began, in milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// When it ended.
    #[schema(required)]
    pub ended_ms: Option<i64>,
    /// How far it is.
    pub progress: Progress,
    /// What the user should know and is no error.
    pub warnings: Vec<String>,
    /// What came of it: what the command of the same name prints with `--json`.
    #[schema(required, value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why it did not go well.
    #[schema(required)]
    pub error: Option<Problem>,
}

/// How far a job is. Totals are 0 as long as they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done at the moment: `share`, `hash`, `sync`, `verify`, `restore`, `delete`.
    pub phase: String,
    /// Files of this phase that are done.
    pub files: u64,
    /// Of so many.
    pub files_total: u64,
    /// Bytes of this phase that are done.
    pub bytes: u64,
    /// Of so many.
    pub bytes_total: u64,
}
