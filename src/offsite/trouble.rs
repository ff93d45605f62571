//! What object stores and the library in between call errors, as what we do about them.

use std::error::Error;
use std::io;

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
        E::Generic { .. } if no_role(&told(&e)).is_some() => io::ErrorKind::PermissionDenied,
        e if broke(e) => io::ErrorKind::ConnectionAborted,
        E::Generic { .. } if told(&e).contains("AccessDenied") => io::ErrorKind::PermissionDenied,
        E::Generic { .. } if told(&e).contains("NoSuchBucket") => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    // A disk of this machine that is full, and the like.
    let mut cause: Option<&(dyn Error + 'static)> = Some(&e);
    while let Some(inner) = cause {
        if of_http(inner).is_some() {
            // The number that the network gave tells less than which server it was.
            break;
        }
        if let Some(inner) = inner.downcast_ref::<io::Error>()
            && kind == io::ErrorKind::Other
            && let Some(code) = inner.raw_os_error()
        {
            return io::Error::from_raw_os_error(code);
        }
        cause = inner.source();
    }
    let text = told(&e);
    match no_role(&text) {
        Some(variables) => {
            let what = format!("{variables} is not set, and this machine has no role that would do instead: {text}");
            io::Error::new(kind, what)
        }
        None => io::Error::new(kind, text),
    }
}

/// Where the service was asked by which machines in a cloud learn who they are: what says so elsewhere.
fn no_role(text: &str) -> Option<&'static str> {
    let asked = [
        ("/latest/api/token", "AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or AWS_PROFILE,"),
        ("/latest/meta-data/", "AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or AWS_PROFILE,"),
        ("/metadata/identity/", "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"),
        ("/computeMetadata/", "GOOGLE_APPLICATION_CREDENTIALS"),
    ];
    asked.into_iter().find(|(path, _)| text.contains(path)).map(|(_, variables)| variables)
}

/// Whether a connection ended in the middle of a request or its answer.
fn broke(e: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(e);
    while let Some(inner) = cause {
        if let Some(broke) = of_http(inner) {
            return broke;
        }
        cause = inner.source();
    }
    false
}

/// Of an error of HTTP itself, whether the connection ended in the middle.
#[cfg(feature = "clouds")]
fn of_http(e: &(dyn Error + 'static)) -> Option<bool> {
    use object_store::client::{HttpError, HttpErrorKind};
    let kind = e.downcast_ref::<HttpError>()?.kind();
    Some(matches!(kind, HttpErrorKind::Interrupted | HttpErrorKind::Timeout | HttpErrorKind::Decode))
}

#[cfg(not(feature = "clouds"))]
fn of_http(_: &(dyn Error + 'static)) -> Option<bool> {
    None
}

/// The same, of what was made of it.
pub(super) fn is_broken(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::ConnectionAborted
}

/// The innermost causes are what went wrong; the outer ones repeat the address.
fn told(e: &object_store::Error) -> String {
    let mut texts: Vec<String> = vec![e.to_string()];
    let mut cause = e.source();
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
        (Some(code), Some(message)) => {
            // Behind the first line Azure repeats its request's id; the library writes line ends as `\\n`.
            let message = message.split(['\n', '\r']).next().unwrap_or(message);
            let message = message.split("\\n").next().unwrap_or(message);
            format!("the server says {code}: {message}")
        }
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
