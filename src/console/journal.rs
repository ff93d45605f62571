//! Jobs that outlive the server: each is written down when it begins and when it has ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::jobs::{Job, JobState};
use super::lines::Lines;
use crate::error::Result;
use crate::fs::{Dir, replace_file};

/// The name of the file in the state directory.
pub(super) const JOURNAL: &str = "jobs.jsonl";
const MAX_BYTES: u64 = 256 << 20;
/// A result that is larger is not kept beyond the server's life.
const LARGEST_RESULT: usize = 64 << 10;

/// What a request called itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Its `Idempotency-Key`, and whose.
    pub(super) key: String,
    /// BLAKE3 of what it asked for.
    pub(super) what: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    number: u64,
    job: Job,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
}

/// A job of before.
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) job: Job,
    pub(super) asked: Option<Asked>,
}

pub(super) struct Journal {
    lines: Lines,
}

impl Journal {
    /// Reads what was written, and keeps the last `most` of it. What had begun and not ended was interrupted.
    pub(super) fn open(state: Dir, most: usize, now: i64) -> Result<(Journal, Vec<Kept>)> {
        let bytes = match state.try_read(JOURNAL, MAX_BYTES) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(e) => {
                tracing::warn!(error = %e, "what was done before is not known");
                Vec::new()
            }
        };
        let mut jobs: BTreeMap<u64, Kept> = BTreeMap::new();
        // A torn line is that of a job that nobody was told of.
        for line in bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok()) {
            let asked = line.asked.or_else(|| jobs.remove(&line.number).and_then(|kept| kept.asked));
            jobs.insert(line.number, Kept { number: line.number, job: line.job, asked });
        }
        while jobs.len() > most {
            jobs.pop_first();
        }
        let mut text = Vec::new();
        for kept in jobs.values_mut() {
            let job = &mut kept.job;
            if job.state == JobState::Running {
                (job.state, job.ended_ms) = (JobState::Interrupted, Some(now.max(job.began_ms)));
                tracing::warn!(job = job.id, source = job.source, task = ?job.task, "was interrupted when the last server ended");
            }
            let line = Line { number: kept.number, job: job.clone(), asked: kept.asked.clone() };
            text.extend(serde_json::to_vec(&line).unwrap_or_default());
            text.push(b'\n');
        }
        replace_file(&state, JOURNAL, &text, 0o600)?;
        Ok((Journal { lines: Lines::new(state, JOURNAL) }, jobs.into_values().collect()))
    }

    pub(super) fn begun(&self, number: u64, job: &Job, asked: Option<&Asked>) {
        self.append(Line { number, job: job.clone(), asked: asked.cloned() });
    }

    pub(super) fn ended(&self, number: u64, job: &Job) {
        let mut job = job.clone();
        let too_large = |result: &serde_json::Value| result.to_string().len() > LARGEST_RESULT;
        job.result = job.result.filter(|result| !too_large(result));
        self.append(Line { number, job, asked: None });
    }

    /// What cannot be written down is done all the same: on a full disk a deletion is what helps.
    fn append(&self, line: Line) {
        if let Err(e) = self.lines.append(&line) {
            tracing::error!(job = line.job.id, error = %e, "a job could not be written down");
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.lines.check()
    }
}
