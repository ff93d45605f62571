//! Listing, showing and deleting snapshots.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{NotChanged, Refused};
use crate::console::app::{Order, Shared};
use crate::console::auth::{Administrator, Reader};
use crate::console::jobs::JobTask;
use crate::console::problem::Problem;
use crate::console::reading::{Name, Params};
use crate::console::sources::Snapshot;
use crate::kafka::datadir::is_topic_name;
use crate::snapshot::{Deleted, SnapshotConfig, SnapshotInfo};
use crate::units::parse_duration;

const MOST: usize = 1000;

/// Which snapshots are meant, and how many at once.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this source.
    source: Option<String>,
    /// Only those that hold something of this topic.
    topic: Option<String>,
    /// Only those that hold something of this partition of it.
    #[param(minimum = 0)]
    partition: Option<i32>,
    /// Only those that are younger: `90s`, `24h`, `7d`.
    newer_than: Option<String>,
    /// Only those that are older.
    older_than: Option<String>,
    /// How many at once.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page before ended: its `next`.
    after: Option<String>,
}

/// A page of snapshots, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    snapshots: Vec<Snapshot>,
    /// How many there are on all pages.
    total: usize,
    /// What to ask for `after` this page; null on the last.
    #[schema(required)]
    next: Option<String>,
    /// Sources that cannot be read.
    unreadable: Vec<Unreadable>,
}

/// A source that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unreadable {
    source: String,
    error: Problem,
}

/// Snapshots of all sources
#[utoipa::path(get, path = "/api/snapshots", tag = "snapshots", operation_id = "list_snapshots", params(Filter),
    responses((status = 200, body = Page), (status = 207, body = Page, description = "Some sources cannot be read."), Refused))]
pub(super) async fn list(
    State(app): State<Shared>,
    _: Reader,
    Params(filter): Params<Filter>,
) -> Result<(StatusCode, Json<Page>), Problem> {
    let limit = filter.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must lie between 1 and {MOST}")));
    }
    if filter.topic.as_deref().is_some_and(|topic| !is_topic_name(topic)) {
        return Err(Problem::bad_request("no topic can be called so"));
    }
    if filter.partition.is_some() && filter.topic.is_none() {
        return Err(Problem::bad_request("a partition needs a topic"));
    }
    let now = app.base.clock.now();
    let ago = |text: &Option<String>| -> Result<Option<i64>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let age = parse_duration(text).map_err(Problem::bad_request)?;
        Ok(Some(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))))
    };
    let (after_ms, before_ms) = (ago(&filter.newer_than)?, ago(&filter.older_than)?);
    let cursor = filter.after.as_deref().map(place).transpose()?;
    app.read(move |app| {
        let config = app.scheduler.config();
        let (mut all, mut unreadable) = (Vec::new(), Vec::new());
        match &filter.source {
            Some(name) => {
                let source = app.source(name)?;
                all.extend(app.snapshots(&source, &config)?.into_iter().map(|s| Snapshot::of(name, s)));
            }
            None => {
                for source in &config.sources {
                    match app.snapshots(source, &config) {
                        Ok(listed) => all.extend(listed.into_iter().map(|s| Snapshot::of(&source.name, s))),
                        Err(error) => unreadable.push(Unreadable { source: source.name.clone(), error }),
                    }
                }
            }
        }
        all.retain(|s| {
            after_ms.is_none_or(|ms| s.info.timestamp_ms >= ms)
                && before_ms.is_none_or(|ms| s.info.timestamp_ms <= ms)
                && filter.topic.as_deref().is_none_or(|topic| holds(&s.info, topic, filter.partition))
        });
        let total = all.len();
        let mut placed: Vec<(Place, Snapshot)> =
            all.into_iter().filter_map(|s| Some((place(&s.reference).ok()?, s))).collect();
        placed.sort_by(|a, b| b.0.cmp(&a.0));
        placed.retain(|(place, _)| cursor.as_ref().is_none_or(|cursor| place < cursor));
        let more = placed.len() > limit;
        placed.truncate(limit);
        let snapshots: Vec<Snapshot> = placed.into_iter().map(|(_, s)| s).collect();
        let next = snapshots.last().filter(|_| more).map(|s| s.reference.clone());
        let status = if unreadable.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        Ok((status, Json(Page { snapshots, total, next, unreadable })))
    })
    .await
}

/// Where a snapshot stands among all: the younger, the further.
type Place = (u64, String);

fn place(reference: &str) -> Result<Place, Problem> {
    let (source, id) = reference.split_once('~').unwrap_or_default();
    let id: Option<crate::store::SnapshotId> = id.parse().ok();
    let id = id.ok_or_else(|| Problem::bad_request("`after` is the `next` of the page before"))?;
    Ok((id.ms(), source.to_owned()))
}

fn holds(info: &SnapshotInfo, topic: &str, partition: Option<i32>) -> bool {
    info.logs.iter().any(|log| log.topic == topic && partition.is_none_or(|p| p == log.partition))
}

/// One snapshot
#[utoipa::path(get, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "get_snapshot",
    params(("id" = String, Path, description = "`<source>~<id>`, or an id.")),
    responses((status = 200, body = Snapshot), Refused))]
pub(super) async fn get(State(app): State<Shared>, _: Reader, Name(id): Name) -> Result<Json<Snapshot>, Problem> {
    app.read(move |app| {
        let found = app.find(&id)?;
        // Of one that is damaged as well: `damaged` says so.
        let listed = app.manager(&found.source)?.list()?;
        let info = listed.into_iter().find(|s| s.id == found.id);
        let info = info.ok_or_else(|| Problem::not_found(format!("{id} was deleted a moment ago")))?;
        Ok(Json(Snapshot::of(&found.source.name, info)))
    })
    .await
}

/// Which files, and how many at once.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FileFilter {
    #[param(minimum = 1, maximum = 10000, default = 200)]
    limit: Option<usize>,
    /// Where the page before ended: its `next`.
    #[param(minimum = 0)]
    after: Option<usize>,
}

/// A page of a snapshot's files, in the manifest's order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Files {
    files: Vec<FileInfo>,
    /// How many there are on all pages.
    total: usize,
    /// What to ask for `after` this page; null on the last.
    #[schema(required)]
    next: Option<usize>,
}

/// A file of a snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileInfo {
    /// Within the snapshot.
    path: String,
    /// Bytes.
    size: u64,
    /// How it got there: `inherit`, `reflink`, `hardlink`, `copy`.
    #[schema(value_type = String)]
    method: crate::fs::Method,
    /// BLAKE3 of its bytes, in hex.
    digest: String,
    /// When the bytes behind the digest were read, in milliseconds since 1970 UTC.
    hashed_at_ms: i64,
    /// Whether the live log still named this very inode when the snapshot was taken.
    exposed: bool,
}

/// The files of a snapshot
#[utoipa::path(get, path = "/api/snapshots/{id}/files", tag = "snapshots", operation_id = "list_files",
    params(("id" = String, Path, description = "`<source>~<id>`, or an id."), FileFilter),
    responses((status = 200, body = Files),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Its manifest is damaged."), Refused))]
pub(super) async fn files(
    State(app): State<Shared>,
    _: Reader,
    Name(id): Name,
    Params(filter): Params<FileFilter>,
) -> Result<Json<Files>, Problem> {
    let (limit, after) = (filter.limit.unwrap_or(200), filter.after.unwrap_or(0));
    if !(1..=10 * MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must lie between 1 and {}", 10 * MOST)));
    }
    app.read(move |app| {
        let found = app.find(&id)?;
        let loaded = app.manager(&found.source)?.manifest(&found.id)?;
        let total = loaded.files().count();
        let files: Vec<FileInfo> = loaded
            .files()
            .skip(after)
            .take(limit)
            .map(|(file, digest)| FileInfo {
                path: file.path.clone(),
                size: file.size,
                method: file.method,
                digest: digest.to_hex().to_string(),
                hashed_at_ms: file.read_at,
                exposed: file.exposed,
            })
            .collect();
        let end = after.saturating_add(files.len());
        Ok(Json(Files { files, total, next: (end < total).then_some(end) }))
    })
    .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Trial {
    /// Only say what would go.
    #[param(default = false)]
    dry_run: Option<bool>,
    /// Delete it also if it is pinned.
    #[param(default = false)]
    force: Option<bool>,
}

/// What went, or would go.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Gone {
    source: String,
    /// Whether nothing went.
    dry_run: bool,
    deleted: Vec<Deleted>,
}

/// Delete a snapshot
#[utoipa::path(delete, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "delete_snapshot",
    params(("id" = String, Path, description = "`<source>~<id>`, or an id."), Trial),
    responses((status = 200, body = Gone), Refused, NotChanged))]
pub(super) async fn delete(
    State(app): State<Shared>,
    Administrator(who): Administrator,
    Name(id): Name,
    Params(trial): Params<Trial>,
) -> Result<Json<Gone>, Problem> {
    let (dry_run, force) = (trial.dry_run.unwrap_or(false), trial.force.unwrap_or(false));
    let found = app.read(move |app| app.find(&id)).await?;
    let (source, id) = (found.source.clone(), found.id.clone());
    if dry_run {
        return app
            .read(move |app| {
                let manager = app.manager(&source)?;
                let listed = manager.list()?;
                let info = listed.into_iter().find(|s| s.id == id);
                let info = info.ok_or_else(|| Problem::not_found(format!("{id} was deleted a moment ago")))?;
                if !force {
                    manager.must_not_be_pinned(&id)?;
                }
                let (files, bytes) = (info.methods.values().sum(), info.total_size);
                let deleted = vec![Deleted { id, reason: "asked for".into(), files, bytes, frees: None }];
                Ok(Json(Gone { source: source.name, dry_run, deleted }))
            })
            .await;
    }
    let new = found.job(JobTask::Delete, &who);
    let body = if force { json!({ "force": true }) } else { json!({}) };
    let delete = move |config: &SnapshotConfig| {
        let manager = source.manager(config)?;
        if force { manager.delete_even_pinned(&id) } else { manager.delete(&id) }
    };
    let (_, job) = app.order(Order { who: &who, new, body }, delete).await?;
    let job = job.wait().await?;
    if let Some(error) = &job.error {
        return Err(error.clone().noted());
    }
    let deleted: Option<Deleted> = job.result.clone().and_then(|result| serde_json::from_value(result).ok());
    Ok(Json(Gone { source: found.source.name, dry_run, deleted: deleted.into_iter().collect() }))
}
