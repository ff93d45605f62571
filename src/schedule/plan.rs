//! What is due: a pure function of what is to be done, what was done, and the time of day.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::SourceConfig;
use super::memory::SourceMemory;
use super::times::{When, millis};

/// Something that is done by itself, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Take a snapshot, then delete what the retention policy no longer keeps.
    Create,
    /// Carry the snapshots elsewhere that are not there yet.
    Push,
    /// Read every byte of the snapshot whose bytes have not been read for longest.
    Verify,
    /// Restore the latest snapshot somewhere, read it as a log, remove it.
    Drill,
}

impl Task {
    /// All of them, the most urgent first.
    pub const ALL: [Task; 4] = [Task::Create, Task::Push, Task::Verify, Task::Drill];
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Task::Create => "create",
            Task::Push => "push",
            Task::Verify => "verify",
            Task::Drill => "drill",
        })
    }
}

/// When a task of a source is due, in milliseconds since 1970 UTC: `now` or before where it already is. `None` where the
/// source has no such task.
///
/// A task that was never begun is due at once; one that came round several times while nobody was there is due once.
/// One that failed is due when its pause is over. A push without a time of its own is due once a snapshot has been taken.
/// Nothing is due in quiet hours.
pub fn due_at(source: &SourceConfig, task: Task, memory: &SourceMemory, now: i64) -> Option<i64> {
    if !source.has(task) {
        return None;
    }
    let past = memory.tasks.get(&task);
    let at = match (source.when(task), past.map(|past| (past.retry_at, past.begun))) {
        (_, Some((Some(retry), _))) => retry,
        (Some(when), Some((None, Some(begun)))) => round_again(source, task, when, begun)?,
        (Some(_), _) => now,
        (None, past) => after_a_create(memory, past.and_then(|(_, begun)| begun))?,
    };
    Some(match at > now {
        true => not_in_quiet_hours(source, at),
        // Since then, so that what has waited longest is done first.
        false => source.quiet.iter().find_map(|quiet| quiet.end(now)).map_or(at, |_| not_in_quiet_hours(source, now)),
    })
}

/// The task that has been due for longest; of several the most urgent.
pub fn due(source: &SourceConfig, memory: &SourceMemory, now: i64) -> Option<Task> {
    due_of(source, Task::ALL.into_iter(), memory, now).map(|(_, task)| task)
}

/// The same among some tasks, with the time since when it has been due: what was never begun has been due for ever, or else it
/// would wait without end where more is to be done than can be done, and something else is always late.
pub(super) fn due_of(
    source: &SourceConfig,
    tasks: impl Iterator<Item = Task>,
    memory: &SourceMemory,
    now: i64,
) -> Option<(i64, Task)> {
    let due = tasks.filter_map(|task| Some((due_at(source, task, memory, now)?, task)));
    let begun = |task: &Task| memory.tasks.get(task).is_some_and(|past| past.begun.is_some());
    let since = |(at, task)| (if begun(&task) { at } else { i64::MIN }, task);
    due.filter(|(at, _)| *at <= now).map(since).min()
}

/// When something of the source is due next.
pub fn next(source: &SourceConfig, memory: &SourceMemory, now: i64) -> Option<i64> {
    Task::ALL.into_iter().filter_map(|task| due_at(source, task, memory, now)).min()
}

/// Of a task that follows every snapshot.
fn after_a_create(memory: &SourceMemory, begun: Option<i64>) -> Option<i64> {
    let by_the_clock = memory.tasks.get(&Task::Create).and_then(|past| past.succeeded);
    let created = by_the_clock.max(memory.taken)?;
    begun.is_none_or(|begun| begun <= created).then_some(created)
}

fn round_again(source: &SourceConfig, task: Task, when: &When, begun: i64) -> Option<i64> {
    let at = when.after(begun)?;
    Some(at.saturating_add(jitter(source, task, at)))
}

/// Between nothing and the source's jitter; the same whenever it is asked for.
fn jitter(source: &SourceConfig, task: Task, at: i64) -> i64 {
    let Ok(most @ 1..) = u64::try_from(millis(source.jitter)) else { return 0 };
    let digest = blake3::hash(format!("{} {task} {at}", source.name).as_bytes());
    let (bytes, _) = digest.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::try_from(u64::from_le_bytes(*bytes) % most).unwrap_or(0)
}

/// The first moment from `at` on that is in nobody's quiet hours; `at` where they leave no moment.
fn not_in_quiet_hours(source: &SourceConfig, at: i64) -> i64 {
    let mut free = at;
    // One end may lie in another's hours.
    for _ in 0..=source.quiet.len() {
        match source.quiet.iter().find_map(|quiet| quiet.end(free)) {
            Some(end) => free = end,
            None => return free,
        }
    }
    at
}
