//! What goes into requests as it is: held against what the library could not say, before it has it.

use url::Url;

use crate::error::{Error, Result, ValidationError};

/// Whether this is the URL of a server.
///
/// # Errors
///
/// `Validation`. What may be a secret in it is not repeated.
pub(super) fn check_endpoint(given: &str) -> Result<()> {
    let why = match Url::parse(given) {
        _ if given.is_empty() => "is empty".to_owned(),
        _ if given.contains(|c: char| c.is_whitespace() || c.is_control()) => "has a space or a line end in it".into(),
        Err(url::ParseError::RelativeUrlWithoutBase) => "does not begin with http:// or https://".into(),
        Err(e) => format!("is no URL: {e}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "does not begin with http:// or https://".into(),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "has credentials in it".into(),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "goes on with ? or #".into(),
        Ok(_) => return Ok(()),
    };
    let shown = if given.contains(['@', '?', '#']) { "that was given" } else { given };
    let what = format!("the endpoint {shown:?} {why}");
    let hint = "write it like https://s3.example.com or http://127.0.0.1:7070, or leave it out for the cloud's own; it is taken \
                from --endpoint, COWLOG_ENDPOINT, AWS_ENDPOINT_URL or a profile";
    Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into())
}

/// Whether what stands in the environment under these names, or in a profile, can stand in a request.
///
/// # Errors
///
/// `Validation`, which names the variable and never its value.
pub(super) fn check_values(values: &[(&str, Option<String>)]) -> Result<()> {
    let printable = |value: &str| value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    match values.iter().find(|(_, value)| value.as_deref().is_some_and(|value| !printable(value))) {
        None => Ok(()),
        Some((name, _)) => Err(unprintable(name)),
    }
}

fn unprintable(name: &str) -> Error {
    let what = format!("{name} has a line end, or another character in it that no request can carry");
    let hint = "set it anew, without what came along when it was copied".to_owned();
    ValidationError::Refused { what, path: None, hint: Some(hint) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_make_the_library_panic_is_told_before() {
        for wrong in
            ["127.0.0.1:7311", "", "http://", "http://a b", "http://h:99999", "ftp://h", "host", "http://u:p@h"]
        {
            let told = check_endpoint(wrong).unwrap_err().to_string();
            assert!(told.contains("the endpoint"), "{told}");
        }
        for right in ["http://127.0.0.1:7311", "https://s3.example.com/", "http://[::1]:1/azure"] {
            check_endpoint(right).unwrap();
        }
        let values = |value: &str| check_values(&[("NAME", Some(value.to_owned())), ("OTHER", None)]);
        values("a/b+c=").unwrap();
        for wrong in ["line\nend", "end\n", "\u{e9}", "\0"] {
            let told = values(wrong).unwrap_err().to_string();
            assert!(told.starts_with("NAME ") && !told.contains(wrong), "{told}");
        }
    }
}
