//! What stands in the way of good snapshots: of a source and its store, of any directory, of the machine.

mod losses;
mod machine;
mod sharing;
mod source;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::manager::SnapshotManager;
use super::source::Source;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Deadline, Fs, OsFs};
use crate::snapshot::SnapshotConfig;
use crate::store::{SourceKind, Store};

pub use machine::machine;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something should be done.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// How grave it is.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// Whether nothing has to be done.
    pub fn well(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict < Verdict::Problem)
    }

    fn good(&mut self, about: &'static str, what: impl Into<String>) {
        self.findings.push(Finding { about, verdict: Verdict::Good, what: what.into(), advice: None });
    }

    fn note(&mut self, about: &'static str, what: impl Into<String>, advice: Option<&str>) {
        let advice = advice.map(str::to_owned);
        self.findings.push(Finding { about, verdict: Verdict::Note, what: what.into(), advice });
    }

    fn problem(&mut self, about: &'static str, what: impl Into<String>, advice: impl Into<String>) {
        let advice = Some(advice.into());
        self.findings.push(Finding { about, verdict: Verdict::Problem, what: what.into(), advice });
    }

    fn failed(&mut self, about: &'static str, e: &Error) {
        let advice =
            e.hint().unwrap_or_else(|| "see whether this user may read it, and whether the disk is well".into());
        self.problem(about, e.to_string(), advice);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "PROBLEM",
        })
    }
}

impl SnapshotManager {
    /// Looks at the source, at its store or the place where one would be, and at what this user may do there. What can be
    /// shared is found out by trying, in a directory that is removed again. Nothing else is written but the lock file of a native
    /// log that has none yet. Of the log the headers of each segment's last batches are read, held against the checkpoints and the
    /// segment that follows as [`create`](Self::create) does it; of the store all records, and
    /// the manifests of the newest snapshot: [`verify`](Self::verify) tells of damage.
    ///
    /// A directory that is no source is looked at as a place for one.
    ///
    /// # Errors
    ///
    /// `Validation` where there is neither a source nor a store. `Interrupted`.
    pub fn doctor(&self) -> Result<Checkup> {
        let mut found = Checkup::default();
        machine::this_process(&mut found, self.config());
        let patience = Deadline::after(std::time::Duration::from_millis(200), &self.config().observer);
        let in_data_store = self.location()?.is_some_and(|at| at.scope.is_some());
        let profile = self.config().profile;
        let opened = Source::open(
            self.fs(),
            (self.source(), self.scope()),
            profile,
            in_data_store,
            None,
            &patience,
            &self.config().observer,
        );
        let source = match opened {
            Ok(source) => {
                source::look(&source, &mut found, &self.config().observer)?;
                losses::look(&source, self.config().clock.now(), &mut found, &self.config().observer)?;
                Some(source)
            }
            Err(Error::Validation(ValidationError::NoSuchSource { path })) if self.find_store()?.is_some() => {
                self.must_be_known()?;
                let what = format!("{} is gone; what its snapshots hold can be restored", path.display());
                found.note("source", what, None);
                None
            }
            Err(e @ Error::Validation(ValidationError::NoSuchSource { .. })) => return Err(e),
            Err(Error::Validation(ValidationError::NotALog { path, why })) if self.find_store()?.is_none() => {
                found.note("source", format!("{} is no source: {why}", path.display()), None);
                sharing::of_any_dir(self, &mut found)?;
                return Ok(found);
            }
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => {
                found.failed("source", &e);
                None
            }
        };
        store::look(self, source.as_ref(), &mut found)?;
        Ok(found)
    }
}

/// `native log`, `Kafka data directory`
fn kind_of(source: &Source) -> &'static str {
    use crate::kafka::Profile;
    match (source.profile, source.kind) {
        (Profile::Native, SourceKind::Log) => "native log",
        (Profile::Native, SourceKind::Data) => "directory of native logs",
        (Profile::Kafka, SourceKind::Log) => "Kafka partition",
        (Profile::Kafka, SourceKind::Data) => "Kafka data directory",
    }
}

impl SnapshotManager {
    /// For the source of a store, which the newest snapshot that can be read names; `None` where `path` is no store with one.
    ///
    /// # Errors
    ///
    /// `Filesystem`.
    pub fn of_store(path: impl AsRef<Path>, config: SnapshotConfig) -> Result<Option<SnapshotManager>> {
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let path = fs.canonical(path.as_ref());
        let store = match Store::open(fs, &path) {
            Ok(store) => store,
            // Whoever asks about it as a source is told what is wrong.
            Err(_) => return Ok(None),
        };
        let newest = store.ids()?.into_iter().rev().find_map(|id| store.load(id).ok());
        let Some(newest) = newest else { return Ok(None) };
        let config = SnapshotConfig { store: Some(path), ..config };
        SnapshotManager::open_with(&newest.manifest.source.path, config).map(Some)
    }
}
