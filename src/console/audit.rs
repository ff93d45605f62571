//! Who changed what, when, and what came of it: a line of JSON each.

use std::path::Path;

use serde::Serialize;

use super::auth::Caller;
use super::lines::Lines;
use crate::error::Result;
use crate::fs::{Clock, Dir};
use crate::store::rfc3339;

/// The name of the file in the state directory, where no other is named.
pub(super) const AUDIT: &str = "audit.jsonl";

#[derive(Debug)]
pub(super) struct Audit {
    lines: Lines,
    clock: Clock,
}

/// What somebody did, or tried to do.
#[derive(Debug, Default, Serialize)]
pub(super) struct Deed<'a> {
    /// Such as `create`, `delete`, `cancel`.
    pub(super) what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<&'a str>,
    /// What was asked for beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<serde_json::Value>,
    /// `begun`, `done`, `cancelled`, or what went wrong.
    pub(super) result: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    who: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(flatten)]
    deed: &'a Deed<'a>,
}

impl Audit {
    pub(super) fn open(path: Option<&Path>, state: &Dir, clock: Clock) -> Result<Audit> {
        let lines = match path {
            Some(path) => Lines::at(path)?,
            None => Lines::new(state.clone(), AUDIT),
        };
        lines.check()?;
        Ok(Audit { lines, clock })
    }

    /// Writes a line, durably.
    pub(super) fn note(&self, who: &Caller, deed: &Deed<'_>) -> Result<()> {
        let at = rfc3339(self.clock.now());
        self.lines.append(&Line { at, who: &who.name, from: who.from.map(|from| from.to_string()), deed }).map(drop)
    }

    /// Whether a line could be written now.
    pub(super) fn check(&self) -> Result<()> {
        self.lines.check()
    }
}
