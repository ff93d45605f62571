//! The sources at a glance.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Refused;
use crate::console::app::Shared;
use crate::console::auth::Reader;
use crate::console::problem::Problem;
use crate::console::reading::Name;
use crate::console::sources::Source;

/// All sources, in the configuration's order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sources {
    sources: Vec<Source>,
}

/// All sources
#[utoipa::path(get, path = "/api/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, body = Sources), Refused))]
pub(super) async fn list(State(app): State<Shared>, _: Reader) -> Result<Json<Sources>, Problem> {
    app.read(|app| Ok(Json(Sources { sources: app.overview() }))).await
}

/// One source
#[utoipa::path(get, path = "/api/sources/{name}", tag = "sources", operation_id = "get_source",
    params(("name" = String, Path, description = "The source's name.")),
    responses((status = 200, body = Source), Refused))]
pub(super) async fn get(State(app): State<Shared>, _: Reader, Name(name): Name) -> Result<Json<Source>, Problem> {
    app.read(move |app| {
        let source = app.source(&name)?;
        Ok(Json(app.look_at(&source, &app.scheduler.config(), &app.scheduler.memory())))
    })
    .await
}
