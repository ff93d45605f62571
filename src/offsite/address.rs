//! How a place is named: a URL, or the path of a directory.

use std::path::PathBuf;

use url::Url;

use crate::error::{Error, Result, ValidationError};

/// What a name means.
#[derive(Debug)]
pub(super) enum Address {
    /// Of an object store.
    Url(Url),
    /// Of this machine.
    Directory(PathBuf),
}

/// Whether this can be the name of a place: a URL without anything that would be dropped, or a path that nobody could mean as
/// a URL. Nothing is looked at.
///
/// # Errors
///
/// `Validation`, with the way out.
pub fn check_address(given: &str) -> Result<()> {
    parse(given).map(drop)
}

pub(super) fn parse(given: &str) -> Result<Address> {
    if given.is_empty() {
        return Err(refused("what was given", "names no place".into()));
    }
    if given.starts_with('~') {
        let what = format!("{given} begins with ~, which only a shell turns into a home directory");
        let hint = format!("write the path out, or ./{given} for a directory of that name");
        return Err(ValidationError::Refused { what, path: None, hint: Some(hint) }.into());
    }
    let Some((scheme, rest)) = scheme(given) else { return Ok(Address::Directory(given.into())) };
    if !rest.starts_with("//") {
        let what = format!("{given} looks like a URL and is none");
        let rest = rest.trim_start_matches('/');
        let url = if scheme == "file" { format!("file:///{rest}") } else { format!("{scheme}://{rest}") };
        let hint = format!("write {url} for a URL, or ./{given} for a directory of that name");
        return Err(ValidationError::Refused { what, path: None, hint: Some(hint) }.into());
    }
    // Who mistyped a URL may have had credentials in it.
    let shown = if given.contains(['@', '?']) { "what was given" } else { given };
    let url = Url::parse(given).map_err(|e| refused(shown, format!("is no URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        let why = "has credentials in it, which everybody sees in a list of processes".into();
        return Err(refused(&bare(&url), why));
    }
    if url.query().is_some() || url.fragment().is_some() {
        let what = format!("the URL that begins with {} goes on with ? or #, which would not be heeded", bare(&url));
        let hint =
            "a prefix ends there; where its name has such a sign write %3F for ? and %23 for #, and options as flags";
        return Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into());
    }
    match url.scheme() {
        "file" => match url.to_file_path() {
            Ok(path) => Ok(Address::Directory(path)),
            Err(()) => Err(refused(given, "is no path of this machine: write file:///DIR".into())),
        },
        _ => Ok(Address::Url(url)),
    }
}

/// What stands before the first colon, if that can be a scheme, and what stands behind it.
fn scheme(given: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = given.split_once(':')?;
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(of_scheme)).then_some((scheme, rest))
}

/// Without what may be secret.
fn bare(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

pub(super) fn refused(given: &str, why: String) -> Error {
    ValidationError::Refused {
        what: format!("{given} {why}"),
        path: None,
        hint: Some(
            "name s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a directory; credentials are taken \
             from the environment"
                .into(),
        ),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_a_url_nor_surely_a_path_is_refused() {
        for given in ["", "s3:/backups/x", "s3:backups", "file:d/f3", "~/zz", "~", "host:/d", "C:/d", "file://other/d"]
        {
            assert!(parse(given).is_err(), "{given}");
        }
        for given in ["s3://b/p?x=1", "s3://b/p#y", "file:///d?x=1", "az://c?sig=SECRET", "s3://u:SECRET@b/p?x=1"] {
            let told = parse(given).unwrap_err().to_string();
            assert!(!told.contains("SECRET"), "{told}");
        }
        for given in ["/d", "d", "./s3:/d", "../a:b", "d/x:y", "./~", "d~", "a b:c", "file:///d"] {
            assert!(matches!(parse(given), Ok(Address::Directory(_))), "{given}");
        }
        for given in ["s3://b", "s3://b/p", "az://c/p", "gs://b/%3Fp"] {
            assert!(matches!(parse(given), Ok(Address::Url(_))), "{given}");
        }
    }
}
