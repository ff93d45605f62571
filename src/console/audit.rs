//! Who changed what, when, and what came of it: a line of JSON each.

use core::net::IpAddr;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::app::word;
use super::job::{Job, JobState};
use super::jobs::SCHEDULE;
use super::lines::Lines;
use crate::error::Result;
use crate::fs::{Clock, Dir};
use crate::store::rfc3339;

/// The name of the file in the state directory, where no other is named.
pub(super) const AUDIT: &str = "audit.jsonl";

/// Who does what nobody asks for. No token is called so.
pub(super) const SCHEDULER: &str = "scheduler";
pub(super) const SERVER: &str = "server";
pub(super) const UNKNOWN: &str = "unknown";

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
    pub(super) asked: Option<Value>,
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

    /// Writes a line, durably. What cannot be written is told in the log: it has been done.
    pub(super) fn note(&self, who: &str, from: Option<IpAddr>, deed: &Deed<'_>) {
        tracing::info!(who, what = deed.what, source = deed.source, job = deed.job, result = deed.result);
        let at = rfc3339(self.clock.now());
        if let Err(e) = self.lines.append(&Line { at, who, from: from.map(|from| from.to_string()), deed }) {
            tracing::error!(error = %e, what = deed.what, who, "the audit log could not be written");
        }
    }

    /// The same of a job; `None` is its end.
    pub(super) fn note_job(&self, job: &Job, from: Option<IpAddr>, asked: Option<Option<Value>>) {
        let result = match (&asked, &job.error, job.state) {
            (Some(_), ..) => "begun",
            (None, Some(error), _) => &error.detail,
            (None, None, JobState::Interrupted) => "interrupted: the server ended before it did",
            (None, None, _) => "done",
        };
        let who = if job.by == SCHEDULE { SCHEDULER } else { &job.by };
        let (what, asked) = (word(job.task), asked.flatten());
        let (source, snapshot) = (Some(job.source.as_str()), job.snapshot.as_deref());
        self.note(who, from, &Deed { what: &what, source, snapshot, job: Some(&job.id), asked, result });
    }

    /// Whether a line could be written now.
    pub(super) fn check(&self) -> Result<()> {
        self.lines.check()
    }
}
