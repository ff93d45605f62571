//! What is being done, and what was; and the streams that tell of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_stream::Stream;
use utoipa::{IntoParams, ToSchema};

use super::Refused;
use crate::console::app::{Shared, word};
use crate::console::audit::Deed;
use crate::console::auth::{Caller, Operator, Reader, Tokens};
use crate::console::jobs::{Job, JobState, Jobs};
use crate::console::problem::Problem;
use crate::console::reading::{Name, Params};

/// Which jobs are meant, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this source.
    source: Option<String>,
    /// Only in this state.
    state: Option<JobState>,
    /// How many at once.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page before ended: its `next`.
    after: Option<String>,
}

/// A page of jobs, the newest first. Of those that have ended the last 500 are known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List {
    #[schema(value_type = Vec<Job>)]
    jobs: Vec<Arc<Job>>,
    /// How many there are on all pages.
    total: usize,
    /// What to ask for `after` this page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

/// Jobs
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", operation_id = "list_jobs", params(Filter),
    responses((status = 200, body = List), Refused))]
pub(super) async fn list(
    State(app): State<Shared>,
    _: Reader,
    Params(filter): Params<Filter>,
) -> Result<Json<List>, Problem> {
    let limit = filter.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::bad_request("limit must lie between 1 and 1000"));
    }
    let number = |id: &str| id.strip_prefix('j').and_then(|number| number.parse::<u64>().ok());
    let wrong = || Problem::bad_request("`after` is the `next` of the page before");
    let after = filter.after.as_deref().map(|id| number(id).ok_or_else(wrong)).transpose()?;
    let mut jobs = app.jobs.all();
    jobs.retain(|job| {
        filter.source.as_ref().is_none_or(|source| job.source == *source)
            && filter.state.is_none_or(|state| job.state == state)
    });
    let total = jobs.len();
    jobs.retain(|job| after.is_none_or(|after| number(&job.id).is_some_and(|number| number < after)));
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| more).map(|job| job.id.clone());
    Ok(Json(List { jobs, total, next }))
}

/// A server-sent event.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "it describes what is written elsewhere")]
struct JobEvent {
    /// `job`.
    event: String,
    /// The job as it is now, as JSON: what `GET /api/jobs/{id}` gives.
    data: String,
}

fn job(jobs: &Jobs, id: &str) -> Result<Arc<Job>, Problem> {
    jobs.get(id).ok_or_else(|| Problem::not_found(format!("there is no job {id:?}")))
}

/// One job
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = String, Path, description = "The job's id.")), responses((status = 200, body = Job), Refused))]
pub(super) async fn get(State(app): State<Shared>, _: Reader, Name(id): Name) -> Result<Json<Job>, Problem> {
    Ok(Json(Job::clone(&*job(&app.jobs, &id)?)))
}

/// Cancel a job
///
/// What it has begun is undone; beyond its commit point it ends as if nothing had been said.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
    params(("id" = String, Path, description = "The job's id.")),
    responses((status = 202, body = Job),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has ended.",
            headers(("Retry-After" = u64, description = "Seconds."))), Refused))]
pub(super) async fn cancel(
    State(app): State<Shared>,
    Operator(who): Operator,
    Name(id): Name,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let found = job(&app.jobs, &id)?;
    if !app.jobs.cancel(&id) {
        let state = word(job(&app.jobs, &id)?.state);
        return Err(Problem::conflict("ended", format!("{id} has ended: {state}")));
    }
    app.read(move |app| {
        let deed = Deed {
            what: "cancel",
            source: Some(&found.source),
            snapshot: found.snapshot.as_deref(),
            job: Some(&id),
            result: "done",
            ..Deed::default()
        };
        app.note(&who, &deed);
        Ok((StatusCode::ACCEPTED, Json(Job::clone(&found))))
    })
    .await
}

/// A job as it goes on
///
/// Server-sent events of the type `job`: the job as it is, each change, and how it ended. Then the stream ends.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs", operation_id = "watch_job",
    params(("id" = String, Path, description = "The job's id.")),
    responses((status = 200, content_type = "text/event-stream", body = JobEvent), Refused))]
pub(super) async fn events(
    State(app): State<Shared>,
    Reader(who): Reader,
    Name(id): Name,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    // First, so that nothing is missed between the two.
    let changes = app.jobs.watch();
    let now = job(&app.jobs, &id)?;
    Ok(stream(app, who, changes, Some(now)))
}

/// All jobs as they go on
///
/// Server-sent events of the type `job`, from now on and without end.
#[utoipa::path(get, path = "/api/events", tag = "jobs", operation_id = "watch_jobs",
    responses((status = 200, content_type = "text/event-stream", body = JobEvent), Refused))]
pub(super) async fn all_events(
    State(app): State<Shared>,
    Reader(who): Reader,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = app.jobs.watch();
    stream(app, who, changes, None)
}

struct Watch {
    app: Shared,
    changes: Receiver<Arc<Job>>,
    stopping: watch::Receiver<bool>,
    who: Caller,
    tokens: watch::Receiver<Arc<Tokens>>,
    /// The one job that is watched.
    only: Option<String>,
    /// What is to be told first.
    first: Option<Arc<Job>>,
    over: bool,
}

fn stream(
    app: Shared,
    who: Caller,
    changes: Receiver<Arc<Job>>,
    only: Option<Arc<Job>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (stopping, tokens) = (app.stopping.subscribe(), app.tokens.subscribe());
    let id = only.as_ref().map(|job| job.id.clone());
    let watch = Watch { app, changes, stopping, who, tokens, only: id, first: only, over: false };
    let stream = futures_util::stream::unfold(watch, |mut watch| async move {
        let job = watch.next().await?;
        let event = Event::default().event("job").json_data(&*job).unwrap_or_default();
        Some((Ok(event), watch))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

impl Watch {
    async fn next(&mut self) -> Option<Arc<Job>> {
        if self.over {
            return None;
        }
        let job = match self.first.take() {
            Some(job) => job,
            None => self.change().await?,
        };
        self.over = self.only.is_some() && job.state != JobState::Running;
        Some(job)
    }

    async fn change(&mut self) -> Option<Arc<Job>> {
        loop {
            let change = tokio::select! {
                biased;
                // Whose token was withdrawn since hears no more.
                _ = self.tokens.wait_for(|tokens| !tokens.allow(&self.who)) => return None,
                change = self.changes.recv() => change,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            };
            match change {
                Ok(job) if self.only.as_ref().is_none_or(|only| *only == job.id) => return Some(job),
                Ok(_) => {}
                // What was missed does not matter: it is told how it is now.
                Err(RecvError::Lagged(_)) => {
                    if let Some(id) = &self.only {
                        return self.app.jobs.get(id);
                    }
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
