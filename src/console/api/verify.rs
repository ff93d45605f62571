//! Verifying a snapshot.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::create::accepted;
use super::{BadBody, NotChanged, Refused};
use crate::console::app::{Order, Shared};
use crate::console::auth::Operator;
use crate::console::jobs::{Job, JobTask, Outcome};
use crate::console::problem::Problem;
use crate::console::reading::{Body, Name};
use crate::error::IntegrityError;
use crate::schedule::SourceConfig;
use crate::snapshot::{Level, SnapshotConfig};

/// How thoroughly.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    #[serde(default = "full")]
    level: Level,
}

fn full() -> Level {
    Level::Full
}

/// Verify a snapshot
///
/// The job fails where damage is found: its error lists it file by file, its result is the whole report.
#[utoipa::path(post, path = "/api/snapshots/{id}/verify", tag = "snapshots", operation_id = "verify_snapshot", request_body = Verify,
    params(("id" = String, Path, description = "`<source>~<id>`, or an id.")),
    responses((status = 202, body = Job, headers(("Location" = String, description = "The job."))), Refused, NotChanged, BadBody))]
pub(super) async fn verify(
    State(app): State<Shared>,
    Operator(who): Operator,
    Name(id): Name,
    Body(body): Body<Verify>,
) -> Result<Response, Problem> {
    let found = app.read(move |app| app.find(&id)).await?;
    let (source, id, level) = (found.source.clone(), found.id.clone(), body.level);
    let new = found.job(JobTask::Verify, &who);
    let order = Order { who: &who, new, body: json!({ "level": level }) };
    let (job, _) = app.order_with(order, move |config| examine(&source, &id, level, config)).await?;
    Ok(accepted(&job))
}

fn examine(source: &SourceConfig, id: &str, level: Level, config: &SnapshotConfig) -> Outcome {
    let report = source.manager(config).and_then(|manager| Ok((manager.verify(id, level)?, manager.store_path()?)));
    match report {
        Err(e) => Outcome { result: None, error: Some(Problem::from(&e)) },
        Ok((report, store)) => {
            let damage = (!report.ok).then(|| {
                let path = store.unwrap_or_default().join(id);
                let what = match report.damage.len() {
                    1 => format!("{id} is damaged in 1 place"),
                    n => format!("{id} is damaged in {n} places"),
                };
                let hint = match report.intact.is_empty() {
                    true => "restore another snapshot; delete this one when it is of no use",
                    false => "`intact` names files with the right bytes",
                };
                let e = IntegrityError {
                    damage: report.damage.clone(),
                    hint: Some(hint.into()),
                    ..IntegrityError::new(path, what)
                };
                Problem::from(crate::error::Error::from(e))
            });
            Outcome { result: serde_json::to_value(report).ok(), error: damage }
        }
    }
}
