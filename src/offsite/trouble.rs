//! What object stores and the library in between call errors, as what we do about them.

use std::io;

use object_store::client::{HttpError, HttpErrorKind};

/// What asking again would not change.
pub(super) fn is_final(e: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, FileTooLarge, InvalidInput, NotFound, PermissionDenied, Unsupported};
    matches!(e.kind(), AlreadyExists | FileTooLarge | InvalidInput | NotFound | PermissionDenied | Unsupported)
}

/// As an error of this machine would be, of the kind that it is.
pub(super) fn io_error(e: object_store::Error) -> io::Error {
    use object_store::Error as E;
    let kind = match &e {
        E::NotFound { .. } => io::ErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => io::ErrorKind::AlreadyExists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        E::NotSupported { .. } | E::NotImplemented { .. } => io::ErrorKind::Unsupported,
        E::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        e if broke(e) => io::ErrorKind::ConnectionAborted,
        E::Generic { .. } if told(&e).contains("AccessDenied") => io::ErrorKind::PermissionDenied,
        E::Generic { .. } if told(&e).contains("NoSuchBucket") => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    // A disk of this machine that is full, and the like.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&e);
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<io::Error>()
            && kind == io::ErrorKind::Other
            && let Some(code) = inner.raw_os_error()
        {
            return io::Error::from_raw_os_error(code);
        }
        cause = inner.source();
    }
    io::Error::new(kind, told(&e))
}

/// Whether a connection ended in the middle of a request or its answer.
fn broke(e: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(inner) = cause {
        if let Some(e) = inner.downcast_ref::<HttpError>() {
            return matches!(e.kind(), HttpErrorKind::Interrupted | HttpErrorKind::Timeout | HttpErrorKind::Decode);
        }
        cause = inner.source();
    }
    false
}

/// The same, of what was made of it.
pub(super) fn is_broken(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::ConnectionAborted
}

/// The innermost causes are what went wrong; the outer ones repeat the address.
fn told(e: &object_store::Error) -> String {
    let mut texts: Vec<String> = vec![e.to_string()];
    let mut cause = std::error::Error::source(e);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
        cause = inner.source();
    }
    let text = texts.join(": ");
    // Of a page of XML only what it says.
    let between = |tag: &str| {
        let from = text.find(&format!("<{tag}>"))? + tag.len() + 2;
        let rest = text.get(from..)?;
        rest.get(..rest.find(&format!("</{tag}>"))?)
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("the server says {code}: {message}"),
        _ => of_one_key(&text).unwrap_or(text),
    }
}

/// What a server says of one of several keys, as the library puts it.
fn of_one_key(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("request failed for key ")?;
    let (_, rest) = rest.split_once(": ")?;
    let (message, code) = rest.split_once(" (code: ")?;
    Some(format!("the server says {}: {message}", code.split(')').next()?))
}
