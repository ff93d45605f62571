//! `cowlog.toml`: what is to be done by itself, and when.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::offsite::Offsite;
use super::plan::Task;
use super::raw_config::{RawConfig, Wrong};
use super::serve::Serve;
use super::times::{Quiet, When};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, MethodChoice};
use crate::kafka::Profile;
use crate::snapshot::{Budget, Level, Policy, SnapshotConfig, SnapshotManager};
use crate::store::Scope;

const MAX_BYTES: u64 = 16 << 20;

/// Everything that is to be done by itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory in which is remembered what was done.
    pub state: PathBuf,
    /// How many sources are worked on at once.
    pub workers: usize,
    /// What is snapshotted.
    pub sources: Vec<SourceConfig>,
    /// How it is served to others, where it is.
    pub serve: Option<Serve>,
}

/// What is to be done with one source.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// What it is called; no two are called the same.
    pub name: String,
    /// A log directory, or a data directory.
    pub path: PathBuf,
    /// The part of a data directory that is meant.
    pub part: Scope,
    /// Where the store is, instead of the places that are looked at.
    pub store: Option<PathBuf>,
    /// Who writes it, where what is found there is not to decide.
    pub profile: Option<Profile>,
    /// How new files are shared.
    pub method: MethodChoice,
    /// How much sealed data may be copied.
    pub max_copy: Option<u64>,
    /// How much younger than this the last snapshot must not be where one is asked for, instead of what the base says. The
    /// schedule takes its own all the same.
    pub min_interval: Option<Duration>,
    /// When a snapshot is taken. What `keep` no longer holds goes then.
    pub create: Option<When>,
    /// How much later than planned each task may begin, so that not everything begins at once.
    pub jitter: Duration,
    /// When nothing is begun.
    pub quiet: Vec<Quiet>,
    /// Which snapshots are kept.
    pub keep: Policy,
    /// When a snapshot is verified, and how thoroughly.
    pub verify: Option<(When, Level)>,
    /// How much is read then of all snapshots, instead of one of them.
    pub verify_budget: Option<Budget>,
    /// When the latest snapshot is restored, to see whether that works.
    pub drill: Option<Drill>,
    /// Where its snapshots are carried to.
    pub offsite: Option<Offsite>,
}

/// A restore drill.
#[derive(Debug, Clone)]
pub struct Drill {
    /// When.
    pub when: When,
    /// The directory in which it is restored, and removed again.
    pub into: PathBuf,
}

impl SourceConfig {
    /// Whether there is such a task.
    pub fn has(&self, task: Task) -> bool {
        self.when(task).is_some() || task == Task::Push && self.offsite.is_some()
    }

    /// When a task comes round; `None` where it does not, or follows another one.
    pub fn when(&self, task: Task) -> Option<&When> {
        match task {
            Task::Create => self.create.as_ref(),
            Task::Push => self.offsite.as_ref().and_then(|offsite| offsite.when.as_ref()),
            Task::Verify => self.verify.as_ref().map(|(when, _)| when),
            Task::Drill => self.drill.as_ref().map(|drill| &drill.when),
        }
    }

    /// Its snapshots; `base` has what all sources share: the clock, the observer, how long to wait for locks.
    pub fn manager(&self, base: &SnapshotConfig) -> Result<SnapshotManager> {
        let config = SnapshotConfig {
            store: self.store.clone(),
            profile: self.profile,
            method: self.method,
            max_copy: self.max_copy,
            min_interval: self.min_interval.unwrap_or(base.min_interval),
            max_snapshots: self.keep.max_snapshots,
            retention_time: self.keep.retention_time,
            ..base.clone()
        };
        SnapshotManager::open_with(&self.path, config)?.part(self.part.clone())
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// `Filesystem` where it cannot be read; `Validation`, with the line, where anything in it is wrong: it is taken as a
    /// whole or not at all.
    pub fn read(path: &Path) -> Result<Config> {
        let (dir, name) = Dir::open_around(path)?;
        let bytes = dir.read(name, MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let valid = e.utf8_error().valid_up_to();
            let line = e.as_bytes().get(..valid).unwrap_or_default().iter().filter(|b| **b == b'\n').count() + 1;
            refused(path, line, "it is not UTF-8")
        })?;
        Config::parse(&text, path)
    }

    /// Reads its text; `path` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Config> {
        let wrong = |wrong: Wrong| {
            let before = text.get(..wrong.at.start).unwrap_or(text);
            refused(path, before.matches('\n').count() + 1, &wrong.why)
        };
        let raw: RawConfig = toml::from_str(text)
            .map_err(|e| wrong(Wrong { at: e.span().unwrap_or_default(), why: e.message().replace('\n', ", ") }))?;
        raw.check().map_err(wrong)
    }
}

fn refused(path: &Path, line: usize, why: &str) -> Error {
    ValidationError::Refused {
        what: format!("{}, line {line}: {why}", path.display()),
        path: Some(path.to_owned()),
        hint: Some("docs/operations.md describes every setting; nothing of the file was taken over".into()),
    }
    .into()
}
