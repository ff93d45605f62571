//! The routes below `/api`, and the OpenAPI document that is made from them.

mod create;
mod jobs;
mod labels;
mod prune;
mod restore;
mod settle;
mod snapshots;
mod sources;
mod verify;
mod whoami;

pub(super) use restore::sweep;
pub(super) use settle::settle;

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::Shared;
use super::problem::Problem;

/// What any request may be answered with, besides what it asked for.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum Refused {
    /// The request makes no sense, or cannot be carried out as it was made.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No token, or one that is not known.
    #[response(status = 401, content_type = "application/problem+json", headers(("WWW-Authenticate" = String)))]
    Unauthorized(Problem),
    /// The token's role does not allow it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such source, snapshot, job or route.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// Too many requests.
    #[response(status = 429, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds.")))]
    TooMany(Problem),
    /// The disk, or a fault of the server's own.
    #[response(status = 500, content_type = "application/problem+json")]
    Fault(Problem),
    /// The server has too much to do, or is about to end.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds.")))]
    Unavailable(Problem),
}

/// What a request that changes something may be answered with as well.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum NotChanged {
    /// Somebody else is in the way, it is too soon, or it was cancelled.
    #[response(status = 409, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds.")))]
    Conflict(Problem),
    /// Bytes are not what they should be.
    #[response(status = 422, content_type = "application/problem+json")]
    Damage(Problem),
    /// The disk is full.
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// What a request with a body may be answered with as well.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum BadBody {
    /// The body did not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not said to be JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cowlog",
        description = "Verified snapshots of segmented append-only logs: take, list, verify, restore, delete."
    ),
    modifiers(&Bearer),
    security(("token" = [])),
    tags(
        (name = "snapshots", description = "Each is named by `<source>~<id>`, or by an id alone where only one source has it. An id \
            is `latest`, `snapshot-<digits>`, the digits, or the beginning of either."),
        (name = "sources", description = "What is snapshotted: the configuration names them."),
        (name = "jobs", description = "What takes time, whether a request or the scheduler began it."),
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The routes, and their description.
pub(super) fn routes() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(whoami::whoami))
        .routes(routes!(sources::list))
        .routes(routes!(sources::get))
        .routes(routes!(prune::prune))
        .routes(routes!(snapshots::list, create::create))
        .routes(routes!(snapshots::get, snapshots::delete, labels::label))
        .routes(routes!(snapshots::files))
        .routes(routes!(verify::verify))
        .routes(routes!(restore::restore))
        .routes(routes!(restore::restore_at))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::all_events))
        .routes(routes!(jobs::cancel))
        .split_for_parts()
}
