//! Errors as HTTP says them: problem details, RFC 9457.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ConcurrencyError, Damage, Error, FilesystemError, ValidationError};

/// What went wrong, and the way out. `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which sort of problem: `urn:cowlog:problem:` and a word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The same for a reader.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// The family: `filesystem`, `validation`, `concurrency`, `integrity`, `interrupted`; `request` where the request itself
    /// is wrong.
    pub kind: String,
    /// The path that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What can be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// File by file, where bytes are not what they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<Damage>,
    /// What an ambiguous id could mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// After how many seconds it may be worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Whether it stands in the audit log already.
    #[serde(skip)]
    pub(super) noted: bool,
}

/// How long a lock is usually held.
const SOON: u64 = 2;

impl Problem {
    fn new(status: StatusCode, word: &str, kind: &str, detail: impl Into<String>) -> Problem {
        Problem {
            type_: format!("urn:cowlog:problem:{word}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            kind: kind.to_owned(),
            path: None,
            hint: None,
            damage: Vec::new(),
            candidates: Vec::new(),
            retry_after: None,
            noted: false,
        }
    }

    /// The request cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "request", detail)
    }

    /// The same with another status of the 400s.
    pub(super) fn request(status: StatusCode, word: &str, detail: impl Into<String>) -> Problem {
        Problem::new(status, word, "request", detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "request", detail)
    }

    /// Nothing more is known.
    pub(super) fn of_status(status: StatusCode) -> Problem {
        match status {
            StatusCode::NOT_FOUND => Problem::not_found("there is nothing here"),
            StatusCode::BAD_REQUEST => Problem::bad_request("the request cannot be understood"),
            status if status.is_client_error() => Problem::request(status, "request", "the request is refused"),
            _ => Problem::fault("this is a fault of cowlog"),
        }
    }

    /// Not now.
    pub(super) fn conflict(word: &str, detail: impl Into<String>) -> Problem {
        let problem = Problem::new(StatusCode::CONFLICT, word, "concurrency", detail);
        Problem { retry_after: Some(SOON), ..problem }
    }

    /// Not so often.
    pub(super) fn too_many() -> Problem {
        let problem = Problem::request(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "too many requests");
        Problem { retry_after: Some(1), ..problem }
    }

    /// The server has too much to do, or is about to end.
    pub(super) fn unavailable(detail: impl Into<String>) -> Problem {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "concurrency", detail);
        Problem { retry_after: Some(SOON), ..problem }
    }

    /// A fault of the server's own.
    pub(super) fn fault(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "filesystem", detail)
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// The same, of a job: that wrote it down.
    pub(super) fn noted(self) -> Problem {
        Problem { noted: true, ..self }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<&Error> for Problem {
    fn from(e: &Error) -> Problem {
        let (status, word) = match e {
            Error::Filesystem(e) if is_full(e) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            Error::Filesystem(_) => (StatusCode::INTERNAL_SERVER_ERROR, "filesystem"),
            Error::Validation(_) if e.is_not_found() => (StatusCode::NOT_FOUND, "not-found"),
            Error::Validation(ValidationError::Pinned { .. }) => (StatusCode::BAD_REQUEST, "pinned"),
            Error::Validation(ValidationError::InvalidId { .. }) => (StatusCode::BAD_REQUEST, "invalid-id"),
            Error::Validation(ValidationError::AmbiguousId { .. }) => (StatusCode::BAD_REQUEST, "ambiguous-id"),
            Error::Validation(_) => (StatusCode::BAD_REQUEST, "refused"),
            Error::Concurrency(ConcurrencyError::TooSoon { .. }) => (StatusCode::CONFLICT, "too-soon"),
            Error::Concurrency(ConcurrencyError::Locked { .. }) => (StatusCode::CONFLICT, "locked"),
            Error::Concurrency(_) => (StatusCode::CONFLICT, "busy"),
            Error::Integrity(_) => (StatusCode::UNPROCESSABLE_ENTITY, "damage"),
            Error::Interrupted => (StatusCode::CONFLICT, "cancelled"),
        };
        let retry_after = match e {
            Error::Concurrency(ConcurrencyError::TooSoon { age, min_interval, .. }) => {
                Some(min_interval.saturating_sub(*age).as_secs().max(1))
            }
            Error::Concurrency(_) | Error::Interrupted => Some(SOON),
            _ => None,
        };
        Problem {
            path: e.path().map(|path| path.to_string_lossy().into_owned()),
            hint: super::hints::hint(e),
            damage: if let Error::Integrity(e) = e { e.damage.clone() } else { Vec::new() },
            candidates: match e {
                Error::Validation(ValidationError::AmbiguousId { candidates, .. }) => candidates.clone(),
                _ => Vec::new(),
            },
            retry_after,
            ..Problem::new(status, word, &super::app::word(e.kind()), e.to_string())
        }
    }
}

impl From<Error> for Problem {
    fn from(e: Error) -> Problem {
        Problem::from(&e)
    }
}

fn is_full(e: &FilesystemError) -> bool {
    matches!(e.source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For what writes down or counts what was answered.
        response.extensions_mut().insert(self);
        response
    }
}
