//! The ways out that the library names are those of the command line: here they are the API's.

use crate::error::{Error, ValidationError};

/// What a client of the API can do instead.
const INSTEAD: [(&str, &str); 15] = [
    ("`--accept-loss`", "`\"accept_loss\": true`"),
    ("`--force`", "`\"force\": true`"),
    ("`--host NAME`", "`host` of `offsite` in the configuration"),
    ("`--identity FILE`", "`identity` of `offsite` in the configuration"),
    ("`--identity`", "`identity`"),
    ("`--recipient`", "`recipients` of `offsite` in the configuration"),
    ("`--name NAME`", "`name` of `offsite` in the configuration"),
    ("`--max-copy SIZE`", "`max_copy` in the configuration"),
    ("`--store DIR`", "`store` in the configuration"),
    ("`cowlog delete`", "`DELETE /api/snapshots/{id}`"),
    ("`cowlog list`", "`GET /api/snapshots`"),
    ("`cowlog prune`", "`POST /api/sources/{name}/prune`"),
    ("`cowlog unpin`", "`PATCH /api/snapshots/{id}` with `{\"pinned\": false}`"),
    ("`cowlog show`", "`GET /api/snapshots/{id}`"),
    ("`cowlog verify`", "`POST /api/snapshots/{id}/verify`"),
];

/// The way out of an error, for whoever asks by HTTP.
pub(super) fn hint(e: &Error) -> Option<String> {
    Some(match e {
        e if e.is_denied() => "the server's user may not do this: look at the owner and mode of the path".into(),
        Error::Validation(ValidationError::NoSuchStore { .. }) => {
            "`POST /api/snapshots` takes the first; `store` in the configuration names another place".into()
        }
        Error::Validation(ValidationError::NoSuchSource { .. } | ValidationError::NotALog { .. }) => {
            "`path` in the configuration names a directory of segments, or a directory of such directories".into()
        }
        Error::Validation(ValidationError::Pinned { .. }) => {
            // A deletion has no body.
            let hint = e.hint()?.replace("`--force`", "`?force=true`");
            INSTEAD.iter().fold(hint, |hint, (command, api)| hint.replace(command, api))
        }
        e => INSTEAD.iter().fold(e.hint()?, |hint, (command, api)| hint.replace(command, api)),
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::error::{ConcurrencyError, IntegrityError};

    /// What is done on the server's machine only.
    const LOCAL: [&str; 20] = [
        "cowlog delete --from",
        "cowlog gc",
        "cowlog keygen",
        "cowlog list --from",
        "cowlog pull",
        "cowlog push",
        "cowlog show --from",
        "cowlog verify --from",
        "--again",
        "--name",
        "cowlog repair",
        "cowlog undo",
        "cowlog restore --into",
        "cowlog restore --replace",
        "--as-topic-id",
        "--into",
        "--partition",
        "--replace",
        "--to",
        "--topic",
    ];

    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                // No error of the API has a finding of the doctor in it.
                true if ["src/bin", "src/console", "src/snapshot/doctor"].iter().any(|it| path.ends_with(it)) => {}
                true => files(&path, found),
                false => found.push(path),
            }
        }
    }

    /// Whatever the library says of a command or a flag of the command line, a client of the API hears something else. What
    /// is done on the server's machine stays.
    #[test]
    fn each_command_and_flag_that_the_library_names_is_known() {
        let mut found = Vec::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let mut seen = 0;
        for file in found {
            let text = std::fs::read_to_string(&file).unwrap();
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for (n, quoted) in line.split('`').enumerate().filter(|(n, _)| n % 2 == 1) {
                    if quoted.starts_with("--") || quoted.starts_with("cowlog ") {
                        let known = INSTEAD.iter().any(|(command, _)| *command == format!("`{quoted}`"));
                        let there = LOCAL.iter().any(|it| quoted.starts_with(it));
                        assert!(known || there, "{}: {n}: {line}", file.display());
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn what_the_api_says_is_what_can_be_asked_of_it() {
        let lost = IntegrityError { hint: Some("or `--accept-loss`".into()), ..IntegrityError::new("/x", "x") };
        let full = std::io::ErrorKind::StorageFull.into();
        for e in [
            Error::from(lost),
            Error::io("write", "/x", full),
            Error::io("open", "/x", std::io::ErrorKind::PermissionDenied.into()),
            ConcurrencyError::TooSoon { last: "x".into(), age: Default::default(), min_interval: Default::default() }
                .into(),
            ValidationError::NoSuchSnapshot { id: "x".into(), store: "/x".into() }.into(),
            ValidationError::Pinned { id: "x".into(), path: "/x".into(), unreadable: false }.into(),
            ValidationError::NoSuchStore { source_path: "/x".into(), looked: vec!["/x".into()], gone: false }.into(),
            ValidationError::NoSuchSource { path: "/x".into() }.into(),
        ] {
            let hint = hint(&e).unwrap();
            assert!(!hint.contains("--") && !hint.contains("cowlog ") && !hint.contains("root"), "{hint}");
            assert_ne!(Some(hint), e.hint());
        }
    }
}
