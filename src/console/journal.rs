//! Jobs that outlive the server: each is written down when it begins and when it has ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::jobs::{Job, JobState, SCHEDULE};
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

/// The snapshot that a create was about to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    pub(super) id: String,
    pub(super) root: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    number: u64,
    job: Job,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<Staged>,
}

/// A job of before.
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) job: Job,
    pub(super) asked: Option<Asked>,
    pub(super) staged: Option<Staged>,
    /// It had not ended when this server began.
    pub(super) found_running: bool,
}

pub(super) struct Journal {
    state: Dir,
    lines: Lines,
    /// Of so many that have ended something is kept.
    most: usize,
    /// How much was appended since it was last written anew.
    appended: Mutex<usize>,
}

/// It is written anew when so much was appended.
const TOO_MUCH: usize = 8 << 20;

impl Journal {
    /// Reads what was written, and keeps the last `most` of it. What had begun and not ended was interrupted.
    pub(super) fn open(state: Dir, most: usize, now: i64) -> Result<(Journal, Vec<Kept>)> {
        let mut jobs = match state.try_read(JOURNAL, MAX_BYTES) {
            Ok(bytes) => read(&bytes.unwrap_or_default(), most),
            Err(e) => {
                tracing::warn!(error = %e, "what was done before is not known");
                BTreeMap::new()
            }
        };
        for kept in jobs.values_mut().filter(|kept| kept.job.state == JobState::Running) {
            kept.found_running = true;
            let job = &mut kept.job;
            (job.state, job.ended_ms) = (JobState::Interrupted, Some(now.max(job.began_ms)));
            tracing::warn!(job = job.id, source = job.source, task = ?job.task, "was interrupted when the last server ended");
        }
        replace_file(&state, JOURNAL, &written(&jobs), 0o600)?;
        let journal = Journal { lines: Lines::new(state.clone(), JOURNAL), state, most, appended: Mutex::default() };
        Ok((journal, jobs.into_values().collect()))
    }

    pub(super) fn begun(&self, number: u64, job: &Job, asked: Option<&Asked>) {
        self.append(Line { number, job: job.clone(), asked: asked.cloned(), staged: None });
    }

    /// Before it is published: should nobody be there to write down how the job ended, the snapshot tells.
    pub(super) fn staged(&self, number: u64, job: &Job, staged: Staged) {
        self.append(Line { number, job: job.clone(), asked: None, staged: Some(staged) });
    }

    pub(super) fn ended(&self, number: u64, job: &Job) {
        let mut job = job.clone();
        let too_large = |result: &serde_json::Value| result.to_string().len() > LARGEST_RESULT;
        job.result = job.result.filter(|result| !too_large(result));
        self.append(Line { number, job, asked: None, staged: None });
    }

    /// What cannot be written down is done all the same: on a full disk a deletion is what helps.
    fn append(&self, line: Line) {
        let mut appended = self.appended.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.lines.append(&line).and_then(|bytes| {
            *appended += bytes;
            if *appended <= TOO_MUCH {
                return Ok(());
            }
            *appended = 0;
            let bytes = self.state.read(JOURNAL, MAX_BYTES)?;
            replace_file(&self.state, JOURNAL, &written(&read(&bytes, self.most)), 0o600)
        });
        if let Err(e) = outcome {
            tracing::error!(job = line.job.id, error = %e, "a job could not be written down");
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.lines.check()
    }
}

/// By number, each as it was last: those that had not ended, and the last `most` of the others. A torn line is that of a
/// job that nobody was told of.
fn read(bytes: &[u8], most: usize) -> BTreeMap<u64, Kept> {
    let mut jobs: BTreeMap<u64, Kept> = BTreeMap::new();
    for line in bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok()) {
        let (asked, staged) = jobs.remove(&line.number).map_or((None, None), |kept| (kept.asked, kept.staged));
        let (asked, staged) = (line.asked.or(asked), line.staged.or(staged));
        jobs.insert(line.number, Kept { number: line.number, job: line.job, asked, staged, found_running: false });
    }
    for number in surplus(jobs.iter().map(|(number, kept)| (*number, &kept.job)), most) {
        jobs.remove(&number);
    }
    jobs
}

/// Those of the jobs that have ended which are too many: of the scheduler's and of the others' the last `most` to end are
/// kept.
pub(super) fn surplus<'a>(jobs: impl Iterator<Item = (u64, &'a Job)>, most: usize) -> Vec<u64> {
    let (mut scheduled, mut asked_for) = (Vec::new(), Vec::new());
    for (number, job) in jobs.filter(|(_, job)| job.state != JobState::Running) {
        let kind = if job.by == SCHEDULE { &mut scheduled } else { &mut asked_for };
        kind.push((job.ended_ms, number));
    }
    let over = |mut kind: Vec<(Option<i64>, u64)>| {
        kind.sort_unstable();
        kind.truncate(kind.len().saturating_sub(most));
        kind
    };
    over(scheduled).into_iter().chain(over(asked_for)).map(|(_, number)| number).collect()
}

fn written(jobs: &BTreeMap<u64, Kept>) -> Vec<u8> {
    let mut text = Vec::new();
    for Kept { number, job, asked, staged, .. } in jobs.values() {
        let line = Line { number: *number, job: job.clone(), asked: asked.clone(), staged: staged.clone() };
        text.extend(serde_json::to_vec(&line).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::console::jobs::{JobTask, Progress};
    use crate::fs::MemFs;

    fn job(number: u64, state: JobState) -> Job {
        Job {
            id: format!("j{number}"),
            source: "orders".into(),
            task: JobTask::Create,
            snapshot: None,
            target: None,
            by: "schedule".into(),
            state,
            began_ms: 5,
            ended_ms: None,
            progress: Progress::default(),
            warnings: vec!["x".repeat(200_000)],
            result: None,
            error: None,
        }
    }

    #[test]
    fn it_does_not_grow_without_end_and_forgets_nothing_that_runs() {
        let dir = Dir::open_on(Arc::new(MemFs::new()), "/").unwrap();
        let (journal, kept) = Journal::open(dir.clone(), 10, 0).unwrap();
        assert!(kept.is_empty());
        let asked = Asked { key: "k".into(), what: "w".into() };
        journal.begun(1, &job(1, JobState::Running), Some(&asked));
        let mut largest = 0;
        for number in 2..100 {
            journal.begun(number, &job(number, JobState::Running), None);
            journal.ended(number, &job(number, JobState::Done));
            largest = largest.max(dir.stat(JOURNAL).unwrap().size);
        }
        let limit = TOO_MUCH as u64;
        assert!(largest > limit && largest < limit + (4 << 20), "{largest}");
        // And of a power cut in the middle of a line nothing comes but the loss of that line.
        let file = dir.open_file(JOURNAL, crate::fs::Open::Write).unwrap();
        let len = file.len().unwrap();
        file.set_len(len - 7).unwrap();
        journal.begun(100, &job(100, JobState::Running), None);
        let (_, kept) = Journal::open(dir, 10, 99).unwrap();
        let numbers: Vec<u64> = kept.iter().map(|kept| kept.number).collect();
        assert_eq!((numbers[0], numbers.last()), (1, Some(&100)));
        assert_eq!((kept[0].job.state, &kept[0].asked), (JobState::Interrupted, &Some(asked)));
        // The torn one was running as far as is known.
        let states: Vec<JobState> = kept.iter().rev().take(3).map(|kept| kept.job.state).collect();
        assert_eq!(states, [JobState::Interrupted, JobState::Interrupted, JobState::Done]);
    }
}
