//! Pins and tags.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BadBody, NotChanged, Refused};
use crate::console::app::Shared;
use crate::console::audit::Deed;
use crate::console::auth::Operator;
use crate::console::problem::Problem;
use crate::console::reading::{Body, Name};
use crate::console::sources::Snapshot;

/// What is to be said of it. What is not named stays as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    /// Whether it is kept whatever the rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned: Option<bool>,
    /// Tags that it gets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    add_tags: BTreeSet<String>,
    /// Tags that it loses; of those that it has not nothing is said.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    remove_tags: BTreeSet<String>,
}

/// Pin a snapshot, let it go, tag it
///
/// What is answered is durable.
#[utoipa::path(patch, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "label_snapshot", request_body = Labels,
    params(("id" = String, Path, description = "`<source>~<id>`, or an id.")),
    responses((status = 200, body = Snapshot), Refused, NotChanged, BadBody))]
pub(super) async fn label(
    State(app): State<Shared>,
    Operator(who): Operator,
    Name(id): Name,
    Body(body): Body<Labels>,
) -> Result<Json<Snapshot>, Problem> {
    let asked = serde_json::to_value(&body).unwrap_or_default();
    app.read(move |app| {
        let found = app.find(&id)?;
        let manager = app.manager(&found.source)?;
        let mut info = None;
        if !body.add_tags.is_empty() || !body.remove_tags.is_empty() {
            info = Some(manager.retag(&found.id, &body.add_tags, &body.remove_tags)?);
        }
        if let Some(pinned) = body.pinned {
            info = Some(manager.set_pinned(&found.id, pinned)?);
        }
        let info = info.ok_or_else(|| {
            Problem::bad_request("nothing is to be changed").hint("name `pinned`, `add_tags` or `remove_tags`")
        })?;
        let (source, snapshot) = (Some(found.source.name.as_str()), Some(found.id.as_str()));
        app.note(
            &who,
            &Deed { what: "label", source, snapshot, asked: Some(asked), result: "done", ..Deed::default() },
        );
        Ok(Json(Snapshot::of(&found.source.name, info)))
    })
    .await
}
