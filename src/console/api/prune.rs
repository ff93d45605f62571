//! Pruning the snapshots of a source.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{BadBody, NotChanged, Refused};
use crate::console::app::{Order, Shared};
use crate::console::auth::Administrator;
use crate::console::jobs::{JobTask, New};
use crate::console::problem::Problem;
use crate::console::reading::{Body, Name};
use crate::error::Error;
use crate::schedule::SourceConfig;
use crate::snapshot::{Deleted, Policy, PrunePlan, SnapshotConfig, SnapshotManager};
use crate::store::Scope;
use crate::units::parse_duration;

/// Which snapshots are kept; what is left out is as the configuration says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
    /// How many at most.
    max_snapshots: Option<usize>,
    /// How old at most: `24h`, `7d`.
    retention: Option<String>,
    /// The newest N.
    last: Option<usize>,
    /// Those that are not older than this: `7d`.
    within: Option<String>,
    /// Those that have one of these tags.
    tags: Option<Vec<String>>,
    /// The newest of each of the last N hours that have one.
    hourly: Option<usize>,
    /// The same by UTC day.
    daily: Option<usize>,
    /// The same by ISO week.
    weekly: Option<usize>,
    /// The same by month.
    monthly: Option<usize>,
}

/// What was to become of each snapshot, and what has.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Pruned {
    source: String,
    /// Whether nothing went.
    dry_run: bool,
    /// All snapshots, the newest first.
    steps: Vec<StepInfo>,
    /// Those that went.
    deleted: Vec<Deleted>,
    /// Those that should have gone and are there.
    failed: Vec<NotGone>,
}

/// What is to become of a snapshot, and why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct StepInfo {
    id: String,
    remove: bool,
    reason: String,
    files: u64,
    bytes: u64,
}

/// A snapshot that did not go.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NotGone {
    id: String,
    error: Problem,
}

/// Delete what the policy no longer keeps
#[utoipa::path(post, path = "/api/sources/{name}/prune", tag = "sources", operation_id = "prune_source", request_body = Prune,
    params(("name" = String, Path, description = "The source's name.")),
    responses((status = 200, body = Pruned), (status = 207, body = Pruned, description = "Not all went that should have."),
        Refused, NotChanged, BadBody))]
pub(super) async fn prune(
    State(app): State<Shared>,
    Administrator(who): Administrator,
    Name(name): Name,
    Body(body): Body<Prune>,
) -> Result<(StatusCode, Json<Pruned>), Problem> {
    let named = name.clone();
    let source = app.read(move |app| app.source(&named)).await?;
    let policy = policy(&body, &source.keep)?;
    if body.dry_run {
        let pruned = app
            .read(move |app| {
                let manager = app.manager(&source)?;
                Ok(planned(&source, &manager, &policy)?.0)
            })
            .await?;
        return Ok((StatusCode::OK, Json(pruned)));
    }
    let new = New { task: JobTask::Prune, source: &name, snapshot: None, target: None, by: &who.name, asked: None };
    let shown = serde_json::to_value(&body).unwrap_or_default();
    let (_, job) =
        app.order(Order { who: &who, new, body: shown }, move |config| carry_out(&source, &policy, config)).await?;
    let job = job.wait().await?;
    if let Some(error) = &job.error {
        return Err(error.clone().noted());
    }
    let pruned: Option<Pruned> = serde_json::from_value(job.result.clone().unwrap_or(Value::Null)).ok();
    let pruned = pruned.ok_or_else(|| Problem::fault("the job has no result"))?;
    let status = if pruned.failed.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(pruned)))
}

fn policy(body: &Prune, keep: &Policy) -> Result<Policy, Problem> {
    Ok(Policy {
        max_snapshots: body.max_snapshots.unwrap_or(keep.max_snapshots),
        retention_time: match &body.retention {
            Some(text) => parse_duration(text).map_err(Problem::bad_request)?,
            None => keep.retention_time,
        },
        keep_last: body.last.unwrap_or(keep.keep_last),
        keep_within: match &body.within {
            Some(text) => parse_duration(text).map_err(Problem::bad_request)?,
            None => keep.keep_within,
        },
        keep_tags: body.tags.as_ref().map_or_else(|| keep.keep_tags.clone(), |tags| tags.iter().cloned().collect()),
        keep_hourly: body.hourly.unwrap_or(keep.keep_hourly),
        keep_daily: body.daily.unwrap_or(keep.keep_daily),
        keep_weekly: body.weekly.unwrap_or(keep.keep_weekly),
        keep_monthly: body.monthly.unwrap_or(keep.keep_monthly),
    })
}

fn planned(source: &SourceConfig, manager: &SnapshotManager, policy: &Policy) -> Result<(Pruned, PrunePlan), Error> {
    let listed = manager.list()?;
    let sizes: BTreeMap<&str, (u64, u64)> =
        listed.iter().map(|s| (s.id.as_str(), (s.methods.values().sum(), s.total_size))).collect();
    let plan = manager.plan_prune(policy)?;
    // Snapshots of parts of a data directory are not those of the whole, whoever takes them.
    let plan = match source.part {
        Scope::All if manager.is_data_dir().unwrap_or(true) => plan.only(&Scope::All.to_string()),
        _ => plan,
    };
    let steps = plan.steps().iter().map(|step| {
        let id = step.id.to_string();
        let (files, bytes) = sizes.get(id.as_str()).copied().unwrap_or_default();
        StepInfo { id, remove: step.remove, reason: step.reason.clone(), files, bytes }
    });
    let steps = steps.collect();
    Ok((Pruned { source: source.name.clone(), dry_run: true, steps, deleted: Vec::new(), failed: Vec::new() }, plan))
}

fn carry_out(source: &SourceConfig, policy: &Policy, config: &SnapshotConfig) -> Result<Pruned, Error> {
    let manager = source.manager(config)?;
    let (mut pruned, plan) = planned(source, &manager, policy)?;
    pruned.dry_run = false;
    match manager.prune(&plan) {
        Ok(deleted) => pruned.deleted = deleted,
        Err(e) => {
            let there: Vec<String> = manager.list()?.into_iter().map(|s| s.id).collect();
            let (left, gone): (Vec<&StepInfo>, Vec<&StepInfo>) =
                pruned.steps.iter().filter(|step| step.remove).partition(|step| there.contains(&step.id));
            if gone.is_empty() {
                return Err(e);
            }
            let error = Problem::from(&e);
            let deleted = |s: &&StepInfo| Deleted {
                id: s.id.clone(),
                reason: s.reason.clone(),
                files: s.files,
                bytes: s.bytes,
                frees: None,
            };
            let deleted = gone.iter().map(deleted).collect();
            pruned.failed = left.iter().map(|step| NotGone { id: step.id.clone(), error: error.clone() }).collect();
            pruned.deleted = deleted;
        }
    }
    Ok(pruned)
}
