//! The profiles of AWS's own tools, which the object store's library does not read.
//!
//! Format and variables: <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>.

use std::path::{Path, PathBuf};

use ini::Ini;

use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, variable};

const LIMIT: u64 = 1 << 20;

/// What a profile says.
#[derive(Clone, Default)]
pub(super) struct Profile {
    /// Key id, secret, and token of a session.
    pub(super) keys: Option<(String, String, Option<String>)>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// The profile that `AWS_PROFILE` names, or `default`. Keys in the environment come first where none is named; without
/// any, whoever asks goes on with the roles of the machine.
pub(super) fn read() -> Result<Profile> {
    let named = variable("AWS_PROFILE").filter(|name| !name.is_empty());
    let home = |file: &str| Some(PathBuf::from(variable("HOME")?).join(".aws").join(file));
    let path = |key: &str, file: &str| variable(key).map(PathBuf::from).or_else(|| home(file));
    let credentials = path("AWS_SHARED_CREDENTIALS_FILE", "credentials").map(|path| load(&path)).transpose()?.flatten();
    let config = path("AWS_CONFIG_FILE", "config").map(|path| load(&path)).transpose()?.flatten();
    let name = named.clone().unwrap_or_else(|| "default".into());
    let has_keys = named.is_none() && variable("AWS_ACCESS_KEY_ID").is_some();
    profile(&name, credentials.as_ref(), config.as_ref(), has_keys, named.is_some())
}

fn load(path: &Path) -> Result<Option<Ini>> {
    let bytes = match Dir::open_around(path).and_then(|(dir, name)| dir.try_read(name, LIMIT)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    // What it says is not repeated: there are secrets in it.
    let broken = |line: Option<usize>| -> Error {
        let at = line.map(|line| format!(", line {line}")).unwrap_or_default();
        let hint = Some("docs/offsite.md says what is read of it".into());
        let what = format!("{}{at}: it is not understood", path.display());
        ValidationError::Refused { what, path: Some(path.into()), hint }.into()
    };
    let text = String::from_utf8(bytes).map_err(|_| broken(None))?;
    Ini::load_from_str_noescape(&text).map(Some).map_err(|e| broken(Some(e.line)))
}

fn profile(
    name: &str,
    credentials: Option<&Ini>,
    config: Option<&Ini>,
    has_keys: bool,
    is_named: bool,
) -> Result<Profile> {
    let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
    let sections =
        [credentials.and_then(|ini| ini.section(Some(name))), config.and_then(|ini| ini.section(Some(in_config)))];
    let get = |key: &str| sections.iter().flatten().find_map(|section| section.get(key)).map(str::to_owned);
    let refused = |what: String| -> Error {
        let hint = "`aws configure export-credentials --format env` prints what such a profile leads to, as variables for the environment";
        ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into()
    };
    if is_named && sections.iter().all(Option::is_none) {
        return Err(refused(format!("there is no AWS profile {name:?}")));
    }
    let keys = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        _ if has_keys => None,
        (Some(id), Some(secret)) => Some((id, secret, get("aws_session_token"))),
        _ => None,
    };
    let elsewhere = ["role_arn", "sso_session", "sso_start_url", "credential_process"];
    if let Some(key) = elsewhere.into_iter().find(|key| is_named && keys.is_none() && get(key).is_some()) {
        return Err(refused(format!("the AWS profile {name:?} has no keys, but {key}, which cowlog does not follow")));
    }
    Ok(Profile { keys, region: get("region"), endpoint: get("endpoint_url") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ini(text: &str) -> Ini {
        Ini::load_from_str_noescape(text).unwrap()
    }

    #[test]
    fn a_profile_is_read_as_its_own_tools_read_it() {
        let credentials = ini(
            "[default]\naws_access_key_id = A\naws_secret_access_key = s/e+c\\ret=\n\n[eu]\naws_access_key_id=B\naws_secret_access_key=t\naws_session_token=x\n",
        );
        let config = ini(
            "[default]\nregion = us-east-1\n[profile eu]\nregion = eu-west-1\nendpoint_url = http://here\n[profile role]\nrole_arn = arn:x\n",
        );
        let of = |name, has_keys, named| profile(name, Some(&credentials), Some(&config), has_keys, named);
        let default = of("default", false, false).unwrap();
        assert_eq!(default.keys, Some(("A".into(), "s/e+c\\ret=".into(), None)));
        assert_eq!(default.region.as_deref(), Some("us-east-1"));
        assert_eq!(of("default", true, false).unwrap().keys, None, "the environment comes first");
        let eu = of("eu", true, true).unwrap_or_default();
        assert_eq!((eu.region.as_deref(), eu.endpoint.as_deref()), (Some("eu-west-1"), Some("http://here")));
        let eu = of("eu", false, true).unwrap();
        assert_eq!(eu.keys, Some(("B".into(), "t".into(), Some("x".into()))));
        for (name, words) in [("role", "role_arn"), ("none", "no AWS profile")] {
            let Err(e) = of(name, false, true) else { panic!("{name}") };
            assert!(e.to_string().contains(words), "{e}");
        }
    }
}
