//! Restoring a snapshot, below the directories that the configuration names and nowhere else.

use std::path::{Component, Path};

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::create::accepted;
use super::{BadBody, NotChanged, Refused};
use crate::console::app::{App, Order, Shared};
use crate::console::auth::{Caller, Operator};
use crate::console::jobs::{Job, JobState, JobTask, New};
use crate::console::problem::Problem;
use crate::console::reading::{Body, Name, Params};
use crate::console::sources::Found;
use crate::fs::{Clock, Dir};
use crate::kafka::datadir::is_topic_name;
use crate::snapshot::{Bound, Detach, RestoreOptions, sweep_restore};
use crate::store::Scope;
use crate::units::parse_time;

/// Where to, and how much.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    /// The directory to make: its path below `dir`. What lies above it must be there.
    to: String,
    /// One of the configured directories; needed where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dir: Option<String>,
    /// The same as `until` with an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    until_offset: Option<i64>,
    /// Leave out the batches from the first on that holds this offset, or a record of this time or later. A time is RFC 3339, the same
    /// without a zone (UTC then), or so long ago (`2h`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Leave out the batches before the first that holds this offset, or a record of this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Only this topic of a data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// Only this partition of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    partition: Option<i32>,
    /// How files get there.
    #[serde(default)]
    method: Method,
}

/// How files get into the new directory.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Method {
    /// By reflink where the filesystem can, or else by copy.
    #[default]
    Auto,
    /// By reflink, or not at all.
    Reflink,
    /// By copy.
    Copy,
}

/// Restore a snapshot
///
/// Into a directory that does not exist yet, after every byte was verified.
#[utoipa::path(post, path = "/api/snapshots/{id}/restore", tag = "snapshots", operation_id = "restore_snapshot", request_body = Restore,
    params(("id" = String, Path, description = "`<source>~<id>`, or an id.")),
    responses((status = 202, body = Job, headers(("Location" = String, description = "The job."))), Refused, NotChanged, BadBody))]
pub(super) async fn restore(
    State(app): State<Shared>,
    Operator(who): Operator,
    Name(id): Name,
    Body(body): Body<Restore>,
) -> Result<Response, Problem> {
    let shown = serde_json::to_value(&body).unwrap_or_default();
    begin(app, who, body, shown, move |app, _| app.find(&id)).await
}

/// Which moment is to be in it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Moment {
    /// The oldest snapshot is restored that was begun then or later and is not known to be damaged. A time is RFC 3339, the same without a
    /// zone (UTC then), or so long ago (`2h`).
    at: String,
}

/// Restore the snapshot that holds a time
///
/// The job names the snapshot. Otherwise as for one that is named.
#[utoipa::path(post, path = "/api/sources/{name}/restore", tag = "sources", operation_id = "restore_source", request_body = Restore,
    params(("name" = String, Path, description = "The source's name."), Moment),
    responses((status = 202, body = Job, headers(("Location" = String, description = "The job."))), Refused, NotChanged, BadBody))]
pub(super) async fn restore_at(
    State(app): State<Shared>,
    Operator(who): Operator,
    Name(name): Name,
    Params(Moment { at }): Params<Moment>,
    Body(body): Body<Restore>,
) -> Result<Response, Problem> {
    let mut shown = serde_json::to_value(&body).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("at".into(), at.clone().into());
    }
    let time = parse_time(&at, Clock::default().now()).map_err(Problem::bad_request)?;
    let find = move |app: &App, part: Option<&Scope>| {
        let source = app.source(&name)?;
        let id = app.manager(&source)?.at(time, part)?.id;
        Ok(Found { source, id })
    };
    begin(app, who, body, shown, find).await
}

async fn begin(
    app: Shared,
    who: Caller,
    body: Restore,
    shown: Value,
    find: impl FnOnce(&App, Option<&Scope>) -> Result<Found, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let part = part(&body)?;
    if body.until_offset.is_some_and(|offset| offset < 0) {
        return Err(Problem::bad_request("no offset is below 0"));
    }
    if body.until_offset.is_some() && body.until.is_some() {
        return Err(Problem::bad_request("until_offset and until are the same: give one"));
    }
    let (since, until) = (bound(body.since.as_deref())?, bound(body.until.as_deref())?);
    let until = until.or(body.until_offset.map(Bound::Offset));
    let wanted = part.clone();
    let (found, options, target) = app
        .read(move |app| {
            let found = find(app, wanted.as_ref())?;
            let (dir, name) = place(app, body.dir.as_deref(), &body.to)?;
            if dir.try_stat(&name)?.is_some() {
                let detail = format!("{} exists already", dir.path_of(&name).display());
                return Err(Problem::bad_request(detail).hint("a restore never overwrites: name another directory"));
            }
            let mut options = RestoreOptions::within(&dir, &name)?.method(match body.method {
                Method::Auto => Detach::Auto,
                Method::Reflink => Detach::Reflink,
                Method::Copy => Detach::Copy,
            });
            if let Some(until) = until {
                options = options.until(until);
            }
            if let Some(since) = since {
                options = options.since(since);
            }
            Ok((found, options, dir.path_of(&name).to_string_lossy().into_owned()))
        })
        .await?;
    let (source, id) = (found.source.clone(), found.id.clone());
    let new = New { target: Some(target), ..found.job(JobTask::Restore, &who) };
    let (job, _) = app
        .order(Order { who: &who, new, body: shown }, move |config| {
            let manager = source.manager(config)?;
            match &part {
                Some(part) => manager.restore_part(&id, part, options),
                None => manager.restore_id(&id, options),
            }
        })
        .await?;
    Ok(accepted(&job))
}

fn bound(text: Option<&str>) -> Result<Option<Bound>, Problem> {
    text.map(|text| Bound::parse(text, Clock::default().now()).map_err(Problem::bad_request)).transpose()
}

fn part(body: &Restore) -> Result<Option<Scope>, Problem> {
    match (&body.topic, body.partition) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Problem::bad_request("a partition needs a topic")),
        (Some(topic), _) if !is_topic_name(topic) => Err(Problem::bad_request("no topic can be called so")),
        (_, Some(partition)) if partition < 0 => Err(Problem::bad_request("no partition is below 0")),
        (Some(topic), Some(partition)) => Ok(Some(Scope::Partition { topic: topic.clone(), partition })),
        (Some(topic), None) => Ok(Some(Scope::Topic(topic.clone()))),
    }
}

const LONGEST_NAME: usize = 240;

/// The directory that is to hold the target, and the target's name in it. Each name on the way is opened in the directory
/// before it, and a symbolic link is not followed: nothing that is done to the paths meanwhile leads anywhere else.
fn place(app: &App, dir: Option<&str>, to: &str) -> Result<(Dir, String), Problem> {
    let dirs = app.restore_dirs();
    let chosen = match (dir, dirs.as_ref()) {
        (_, []) => {
            let problem = Problem::bad_request("nothing may be restored by way of this server");
            return Err(problem.hint("name directories for it in the configuration: `restore_dirs` of [serve]"));
        }
        (None, [one]) => one,
        (None, _) => {
            return Err(Problem::bad_request("there are several directories to restore in: name one in `dir`"));
        }
        (Some(dir), all) => all.iter().find(|d| d.as_path() == Path::new(dir)).ok_or_else(|| {
            let problem = Problem::bad_request(format!("{dir:?} is none of the directories to restore in"));
            problem.hint("GET /api/whoami lists them")
        })?,
    };
    let wrong = || Problem::bad_request(format!("{to:?} is no path below {}", chosen.display()));
    if to.len() > 4096 || to.chars().any(char::is_control) {
        return Err(wrong());
    }
    let mut names: Vec<&str> = Vec::new();
    for part in Path::new(to).components() {
        match part {
            Component::Normal(name) => names.push(name.to_str().ok_or_else(wrong)?),
            Component::CurDir => {}
            _ => return Err(wrong()),
        }
    }
    // The target's own name becomes longer while it is made; what begins so is cowlog's own.
    let ours = |name: &&str| name.starts_with(".cowlog-");
    if names.iter().any(|name| name.len() > LONGEST_NAME) || names.last().is_some_and(ours) {
        return Err(wrong());
    }
    let name = names.pop().ok_or_else(wrong)?;
    Ok((down(chosen, &names)?, name.to_owned()))
}

/// What interrupted restores left below the directories that are configured now goes.
pub(in crate::console) fn sweep(app: &App) {
    for job in app.jobs.all().iter().filter(|job| job.state == JobState::Interrupted) {
        let Some(target) = job.target.as_deref().map(Path::new) else { continue };
        let dirs = app.restore_dirs();
        for (dir, below) in dirs.iter().filter_map(|dir| Some((dir, target.strip_prefix(dir).ok()?))) {
            let mut names: Vec<&str> = below.iter().filter_map(|name| name.to_str()).collect();
            let Some(name) = names.pop() else { continue };
            match down(dir, &names).map(|parent| sweep_restore(&parent, name)) {
                Ok(Ok(true)) => tracing::info!(job = job.id, target = %target.display(), "what it left was removed"),
                Ok(Err(e)) => tracing::warn!(job = job.id, error = %e, "what it left could not be removed"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

fn down(dir: &Path, names: &[&str]) -> Result<Dir, Problem> {
    let mut at = Dir::open(dir)?;
    for name in names {
        at = at.open_dir(name).map_err(|e| {
            let problem = Problem::bad_request(format!("{name:?} is no directory to restore in: {e}"));
            problem.hint("make the directories above it first; symbolic links are not followed")
        })?;
    }
    Ok(at)
}
