//! What a request says, or why it is not understood. Bodies and parameters with names that nobody knows are refused: what is
//! misspelt must not be passed over.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::router::PATIENCE;

/// Bodies are small: nothing but what is to be done.
pub(super) const LARGEST_BODY: usize = 64 << 10;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // Nobody waits for what is too large anyway.
        let said = request.headers().get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|said| said > LARGEST_BODY as u64) {
            return Err(Problem::request(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large"));
        }
        let read = tokio::time::timeout(PATIENCE, axum::Json::<T>::from_request(request, state)).await;
        let too_slow = |_| Problem::request(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not come in time");
        match read.map_err(too_slow)? {
            Ok(axum::Json(body)) => Ok(Body(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                Err(Problem::request(status, "not-json", "the body must be JSON")
                    .hint("send `Content-Type: application/json`"))
            }
            Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::request(e.status(), "too-large", "the body is too large"))
            }
            Err(e) => Err(Problem::bad_request(e.body_text())),
        }
    }
}

/// Parameters behind the question mark.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(e) => Err(Problem::bad_request(e.body_text())),
        }
    }
}

/// A part of the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Name(name)),
            Err(e) => Err(Problem::bad_request(e.body_text())),
        }
    }
}
