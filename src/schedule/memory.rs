//! What was done: kept in a file, so that a machine that was down makes up for what it missed, once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::drill::DrillReport;
use super::offsite::PushReport;
use super::plan::Task;
use crate::error::{IntegrityError, Result, ValidationError};
use crate::fs::{Dir, replace_file};

/// The name of the file.
pub const MEMORY: &str = "schedule.json";
const VERSION: u32 = 1;
const MAX_BYTES: u64 = 64 << 20;

/// What was done with all sources, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    version: u32,
    /// By the source's name.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceMemory>,
}

/// What was done with one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMemory {
    /// By task.
    #[serde(default)]
    pub tasks: BTreeMap<Task, Past>,
    /// When somebody else last took a snapshot, as far as that was told, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<i64>,
    /// The last restore drill that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillReport>,
    /// The last push that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushReport>,
}

/// What was done of one task. Times are milliseconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it was last begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
    /// When it last went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<i64>,
    /// Whether it was begun and has not ended: it was interrupted if nobody is at it.
    #[serde(default)]
    pub under_way: bool,
    /// How often it has failed since it last went well.
    #[serde(default)]
    pub failures: u32,
    /// Since when it has been failing, and what was said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// When it is tried again, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<i64>,
}

/// A task that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: i64,
    /// What was said last.
    pub why: String,
    /// The family of the error: `filesystem`, `validation`, `concurrency`, `integrity`, `interrupted`.
    pub kind: String,
}

/// The first pause after a failure, doubled with each.
const FIRST_PAUSE: i64 = 60_000;
/// And no longer than this.
pub(super) const LONGEST_PAUSE: i64 = 3_600_000;

impl Past {
    /// It is begun now.
    pub fn begin(&mut self, now: i64) {
        (self.begun, self.under_way) = (Some(now), true);
    }

    /// It went well.
    pub fn succeed(&mut self, now: i64) {
        *self = Past { begun: self.begun, succeeded: Some(now), ..Past::default() };
    }

    /// It failed; it is tried again after a pause that grows.
    pub fn fail(&mut self, now: i64, kind: &str, why: String) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.under_way = false;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.saturating_add(pause));
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, why, kind: kind.to_owned() });
    }

    /// It was not wanted this time.
    pub(super) fn skip(&mut self) {
        (self.under_way, self.retry_at) = (false, None);
    }

    /// See [`Memory::normalise`].
    pub(super) fn normalise(&mut self, now: i64) {
        for time in [&mut self.begun, &mut self.succeeded] {
            *time = time.map(|time| time.min(now));
        }
        self.retry_at = self.retry_at.map(|at| at.min(now.saturating_add(LONGEST_PAUSE)));
    }
}

impl Memory {
    /// Reads what `dir` has; nothing is remembered where there is nothing.
    ///
    /// # Errors
    ///
    /// `Integrity` where it is not understood. To forget it is no loss of snapshots: everything is done once more.
    pub fn read(dir: &Dir) -> Result<Memory> {
        let Some(bytes) = dir.try_read(MEMORY, MAX_BYTES)? else {
            return Ok(Memory { version: VERSION, ..Memory::default() });
        };
        let bad = |what: String| {
            let hint = "remove it: everything is then done once more, and no snapshot is lost";
            IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(dir.path_of(MEMORY), what) }
        };
        let memory: Memory = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if memory.version != VERSION {
            return Err(bad(format!("version {} is not known", memory.version)).into());
        }
        Ok(memory)
    }

    /// Replaces what `dir` has, durably.
    pub fn write(&self, dir: &Dir) -> Result<()> {
        let stored = Memory { version: VERSION, ..self.clone() };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|e| ValidationError::refused(e.to_string()))?;
        replace_file(dir, MEMORY, &bytes, 0o644)
    }

    /// Nothing in it lies in the future: a clock that went back must not keep anything waiting until it is there again.
    /// To be called before it is asked what is due.
    pub fn normalise(&mut self, now: i64) {
        for source in self.sources.values_mut() {
            source.taken = source.taken.map(|taken| taken.min(now));
            source.tasks.values_mut().for_each(|past| past.normalise(now));
        }
    }

    /// Forgets what is no longer to be done.
    pub(super) fn keep(&mut self, config: &Config) {
        self.sources.retain(|name, memory| {
            let source = config.sources.iter().find(|source| source.name == *name);
            memory.tasks.retain(|task, past| past.under_way || source.is_some_and(|s| s.has(*task)));
            source.is_some() || !memory.tasks.is_empty()
        });
    }

    /// What was begun and never ended, by source: whoever did it is gone. It counts as failed, and is tried again.
    pub fn interrupted(&mut self, now: i64) -> Vec<(String, Task)> {
        let mut found = Vec::new();
        for (name, source) in &mut self.sources {
            for (task, past) in &mut source.tasks {
                if past.under_way {
                    past.fail(now, "interrupted", "it was interrupted: the process ended".into());
                    // Nobody has to wait, unless it is this that ends the process again and again.
                    if past.failures <= 1 {
                        past.retry_at = Some(now);
                    }
                    found.push((name.clone(), *task));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_the_beginning_is_remembered() {
        let mut past = Past::default();
        let mut pauses = Vec::new();
        for n in 0..9 {
            past.begin(n);
            past.fail(n, "filesystem", format!("try {n}"));
            pauses.push((past.retry_at.unwrap() - n) / 60_000);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(past.failing.as_ref().map(|f| (f.since, f.why.as_str())), Some((0, "try 8")));
        past.succeed(99);
        assert_eq!((past.failing, past.failures, past.retry_at, past.succeeded), (None, 0, None, Some(99)));
    }
}
