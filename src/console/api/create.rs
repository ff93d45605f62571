//! Taking a snapshot.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{BadBody, NotChanged, Refused};
use crate::console::app::{App, Order, Shared};
use crate::console::auth::{Caller, Operator};
use crate::console::jobs::{Earlier, Job, JobState, JobTask, New};
use crate::console::journal::Asked;
use crate::console::problem::Problem;
use crate::console::reading::Body;
use crate::console::sources::Snapshot;
use crate::snapshot::{LeftOut, check_tags};

const LONGEST_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Which snapshot is to be taken.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// The source's name.
    source: String,
    /// What to mark it with: 1 to 128 bytes each.
    #[serde(default)]
    #[schema(max_items = 64)]
    tags: Vec<String>,
    /// Whether to take one even if the last is younger than the source's `min_interval`.
    #[serde(default)]
    force: bool,
    /// Whether to take a source that has lost records as it is, with a warning.
    #[serde(default)]
    accept_loss: bool,
    /// Whether to leave out the logs of a running broker that do not come to rest: 207, and `missing` names them.
    #[serde(default)]
    allow_partial: bool,
}

/// A new snapshot, and what it took.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct New201 {
    #[serde(flatten)]
    snapshot: Snapshot,
    /// How long it took.
    elapsed_ms: f64,
    /// Bytes that had to be read to be hashed, besides those that were copied.
    bytes_hashed: u64,
    /// What was left out on purpose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
    /// Logs of a running broker that did not come to rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<LeftOut>,
}

/// Take a snapshot
///
/// Ends when the snapshot is there and durable, or at once with `Prefer: respond-async`. It goes on if the client hangs up. A
/// request with the `Idempotency-Key` of an earlier one gets that one's answer, for as long as its job is remembered.
#[utoipa::path(post, path = "/api/snapshots", tag = "snapshots", operation_id = "create_snapshot", request_body = Create,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "What the request is called, to be known again."),
        ("Prefer" = Option<String>, Header, description = "`respond-async` for 202 and a job.")
    ),
    responses(
        (status = 201, body = New201, headers(("Location" = String, description = "The snapshot."))),
        (status = 207, body = New201, headers(("Location" = String, description = "The snapshot.")), description = "Some logs are missing."),
        (status = 202, body = Job, headers(("Location" = String, description = "The job."))),
        Refused, NotChanged, BadBody))]
pub(super) async fn create(
    State(app): State<Shared>,
    Operator(who): Operator,
    headers: HeaderMap,
    Body(body): Body<Create>,
) -> Result<Response, Problem> {
    check_tags(body.tags.iter().map(String::as_str))?;
    let name = body.source.clone();
    let source = app.read(move |app| app.source(&name)).await?;
    let asynchronous = prefers_async(&headers);
    let asked = asked(&headers, &who, &body)?;
    if let Some(asked) = &asked {
        match app.jobs.earlier(asked) {
            Earlier::None => {}
            Earlier::Another => {
                let detail = "another request had this Idempotency-Key";
                return Err(Problem::request(StatusCode::BAD_REQUEST, "key-reused", detail));
            }
            Earlier::Job(job) => match job.state {
                JobState::Running if asynchronous => return Ok(accepted(&job)),
                JobState::Running => {
                    return Err(Problem::conflict("busy", "the first such request is being carried out"));
                }
                JobState::Done => return answer(&app, &job).await,
                // It came to nothing: it is tried again.
                JobState::Failed | JobState::Cancelled | JobState::Interrupted => {}
            },
        }
    }
    let new = New { task: JobTask::Create, source: &source.name, snapshot: None, target: None, by: &who.name, asked };
    let shown = json!({ "tags": body.tags, "force": body.force, "accept_loss": body.accept_loss, "allow_partial": body.allow_partial });
    let order = Order { who: &who, new, body: shown };
    let settings = source.clone();
    let (job, done) = app
        .order(order, move |config| {
            let manager = settings.manager(config)?;
            let create = manager.create().force(body.force).accept_loss(body.accept_loss);
            let create = create.allow_partial(body.allow_partial);
            body.tags.into_iter().fold(create, |create, tag| create.tag(tag)).run()
        })
        .await?;
    if asynchronous {
        return Ok(accepted(&job));
    }
    let job = done.wait().await?;
    match &job.error {
        Some(error) => Err(error.clone().noted()),
        None => answer(&app, &job).await,
    }
}

/// 202, and where to look.
pub(super) fn accepted(job: &Job) -> Response {
    let location = format!("/api/jobs/{}", job.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job)).into_response()
}

/// What a create that went well is answered with, however long ago it was.
async fn answer(app: &Shared, job: &Job) -> Result<Response, Problem> {
    let (source, id) = (job.source.clone(), job.snapshot.clone().unwrap_or_default());
    let result = job.result.clone().unwrap_or_default();
    let new = app.read(move |app| described(app, &source, &id, &result)).await?;
    let location = format!("/api/snapshots/{}", new.snapshot.reference);
    let status = if new.missing.is_empty() { StatusCode::CREATED } else { StatusCode::MULTI_STATUS };
    Ok((status, [(header::LOCATION, location)], Json(new)).into_response())
}

fn described(app: &App, source: &str, id: &str, result: &Value) -> Result<New201, Problem> {
    let listed = app.manager(&app.source(source)?)?.list()?;
    let info = listed.into_iter().find(|s| s.id == id);
    let info = info.ok_or_else(|| Problem::not_found(format!("{id} was taken and has been deleted since")))?;
    let part = |name: &str| result.get(name).cloned().unwrap_or_default();
    let files = |name: &str| serde_json::from_value(part(name)).unwrap_or_default();
    Ok(New201 {
        snapshot: Snapshot::of(source, info),
        elapsed_ms: part("elapsed_ms").as_f64().unwrap_or_default(),
        bytes_hashed: part("bytes_hashed").as_u64().unwrap_or_default(),
        left_out: files("left_out"),
        missing: files("missing"),
    })
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

/// Keys of one caller are nobody else's.
fn asked(headers: &HeaderMap, who: &Caller, body: &Create) -> Result<Option<Asked>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
    let key =
        key.ok_or_else(|| Problem::bad_request(format!("an Idempotency-Key has 1 to {LONGEST_KEY} characters")))?;
    let what = serde_json::to_vec(body).unwrap_or_default();
    Ok(Some(Asked { key: format!("{} {key}", who.name), what: blake3::hash(&what).to_hex().to_string() }))
}
