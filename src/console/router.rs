//! The routes, and what lies around every request.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::SwaggerUi;

use super::app::{App, Shared};
use super::audit::Deed;
use super::auth::{Caller, Reader, known_only, paced};
use super::metrics;
use super::problem::Problem;
use super::reading::LARGEST_BODY;
use super::{api, page};

/// Whoever may only look is not to fill the disk.
pub(super) const LONGEST_NOTE: usize = 500;

/// Whoever is slower is hung up on.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn router(app: Shared) -> Router {
    let (api, document) = api::routes();
    let known = api.route("/metrics", get(scrape)).route_layer(from_fn_with_state(app.clone(), known_only));
    let document = axum::body::Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let open = Router::new()
        .route("/", get(page::index))
        .route("/console/{*name}", get(page::asset))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(move || async move { (json, document) }))
        .merge(SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json")))
        .route_layer(from_fn_with_state(app.clone(), paced));
    known
        .merge(open)
        .fallback(|| async { Problem::not_found("there is nothing here").hint("/docs shows what there is") })
        .method_not_allowed_fallback(|| async {
            Problem::request(StatusCode::METHOD_NOT_ALLOWED, "method", "this cannot be done with this method")
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(app.clone(), around))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Problem::fault("this is a fault of cowlog: the request panicked").into_response()
        }))
        .with_state(app)
}

/// Around every request: it is counted, and the answer says what a browser may do with it.
async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let (began, method) = (Instant::now(), request.method().to_string());
    let is_document = request.uri().path().starts_with("/docs");
    let is_api = request.uri().path().starts_with("/api");
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    if (status.is_client_error() || status.is_server_error()) && response.extensions().get::<Problem>().is_none() {
        // Of what is around the routes: a path that is no text, a page of another's that is not there.
        response = Problem::of_status(status).into_response();
    }
    app.metrics.answered(&method, status.as_u16(), began.elapsed());
    if let Some(problem) = response.extensions().get::<Problem>().cloned() {
        tracing::debug!(%method, path, status = status.as_u16(), detail = problem.detail, "refused");
        let who = response.extensions().get::<Caller>().cloned();
        let looks = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
        if let (Some(who), false, false) = (who, looks, problem.noted) {
            let (what, result) = (format!("{method} {path}"), format!("{}: {}", problem.status, problem.detail));
            let short = |text: String| text.chars().take(LONGEST_NOTE).collect::<String>();
            let (what, result) = (short(what), short(result));
            let note = move |app: &App| {
                app.note(&who, &Deed { what: &what, result: &result, ..Deed::default() });
                Ok(())
            };
            let _ = app.read(note).await;
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_document { DOCUMENT_POLICY } else { page::POLICY });
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The page that shows the OpenAPI document is another's: it sets styles and has pictures of its own.
const DOCUMENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

async fn scrape(State(app): State<Shared>, _: Reader) -> Result<Response, Problem> {
    let (text, seen) = app
        .read(|app| {
            let sources = app.overview();
            let text = app.metrics.scrape(&sources, &app.held, app.jobs.running(), app.base.clock.now());
            let seen = sources.into_iter().map(|source| (source.name, source.ids)).collect();
            Ok((text.map_err(|e| Problem::fault(e.to_string()))?, seen))
        })
        .await?;
    app.count_held(seen);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn ready(State(app): State<Shared>) -> Response {
    let not = app.read(|app| Ok(app.not_ready())).await;
    match not {
        Ok(None) => "ready\n".into_response(),
        Ok(Some(why)) => Problem::unavailable(why).into_response(),
        Err(problem) => problem.into_response(),
    }
}
