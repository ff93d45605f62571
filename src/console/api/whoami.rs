//! Who asks, and whom.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Refused;
use crate::console::app::Shared;
use crate::console::auth::{Reader, Role};

/// What a token is, and what this server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Whoami {
    /// The token's name.
    name: String,
    /// What it allows.
    role: Role,
    /// cowlog's version.
    version: &'static str,
    /// Whether this is a demonstration with sample data.
    demo: bool,
    /// The directories in which snapshots may be restored.
    restore_dirs: Vec<String>,
}

/// Who asks
#[utoipa::path(get, path = "/api/whoami", tag = "sources", responses((status = 200, body = Whoami), Refused))]
pub(super) async fn whoami(State(app): State<Shared>, Reader(who): Reader) -> Json<Whoami> {
    let dirs = app.restore_dirs();
    Json(Whoami {
        name: who.name,
        role: who.role,
        version: env!("CARGO_PKG_VERSION"),
        demo: app.demo,
        restore_dirs: dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
    })
}
