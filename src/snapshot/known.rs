//! What is asked for and is not there: a source, a topic, a partition; with what is there instead.

use std::io::ErrorKind;

use super::inside;
use super::manager::SnapshotManager;
use super::source;
use crate::error::{Error, Result, ValidationError};
use crate::fs::Dir;
use crate::kafka::datadir;
use crate::store::{Record, Scope, Store, places};

impl SnapshotManager {
    /// Whether there is anything to ask about. A source that is gone may have snapshots, and one that is there may have none.
    ///
    /// # Errors
    ///
    /// `Validation` where there is neither: the path is wrong or names something else, or neither the data directory nor any
    /// snapshot has such a topic or partition. The error says what is there.
    pub fn must_be_known(&self) -> Result<()> {
        let Some(store) = self.find_store()? else { return self.must_be_source() };
        let part = match self.scope() {
            Some(part) => Some(part.clone()),
            None => self.location()?.and_then(|found| found.scope),
        };
        match part {
            Some(part) if !self.source_has(&part)? => {
                match none_holds(&store.reconcile()?.catalogue.snapshots, &part) {
                    Some(absent) => Err(absent.of(&store)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn must_be_source(&self) -> Result<()> {
        let path = self.source();
        let not_a_log = |why: &str| ValidationError::NotALog { path: path.to_owned(), why: why.to_owned() };
        let dir = match Dir::open_on(self.fs().clone(), path) {
            Err(e) if e.is_not_found() => return Err(ValidationError::NoSuchSource { path: path.to_owned() }.into()),
            Err(Error::Filesystem(e)) if e.source.kind() == ErrorKind::NotADirectory => {
                return Err(not_a_log("it is not a directory").into());
            }
            dir => dir?,
        };
        inside::refuse_store_as_source(&dir)?;
        if datadir::is_log_dir(&dir)? {
            return Ok(());
        }
        if !datadir::is_data_dir(&dir)? {
            return Err(not_a_log("it has neither segments nor partition directories").into());
        }
        match self.scope() {
            Some(part) if !self.source_has(part)? => Err(source::no_such(&dir, part)),
            _ => Ok(()),
        }
    }

    fn source_has(&self, part: &Scope) -> Result<bool> {
        let dir = match Dir::open_on(self.fs().clone(), self.source()) {
            Err(e) if e.is_not_found() => return Ok(false),
            dir => dir?,
        };
        if self.scope().is_none() || !datadir::is_data_dir(&dir)? {
            return Ok(true);
        }
        Ok(datadir::inventory(&dir)?.partitions.iter().any(|found| part.has(&found.topic, found.partition)))
    }

    /// That there is no store, or that the path names one.
    pub(super) fn no_store(&self) -> Error {
        let opened = Dir::open_on(self.fs().clone(), self.source());
        if let Some(Err(e)) = opened.as_ref().ok().map(inside::refuse_store_as_source) {
            return e;
        }
        let looked = places(self.fs(), self.source(), self.config().store.as_deref());
        let gone = self.config().store.is_none() && opened.is_err_and(|e| e.is_not_found());
        ValidationError::NoSuchStore { source_path: self.source().to_owned(), looked, gone }.into()
    }
}

/// A topic or partition that no snapshot holds whole.
pub(super) struct Absent {
    part: Scope,
    known: Vec<String>,
    pieces: Vec<String>,
}

impl Absent {
    pub(super) fn of(self, store: &Store) -> Error {
        let (part, store) = (self.part.to_string(), store.dir().path().to_owned());
        ValidationError::NoSuchPart { part, store, known: self.known, pieces: self.pieces }.into()
    }
}

/// `None` where one of the snapshots holds something of it, or may: one that could never be read may hold anything.
pub(super) fn none_holds(records: &[Record], part: &Scope) -> Option<Absent> {
    let may = |record: &Record| record.root.is_empty() || holds_any(record, part);
    let unknown = !records.is_empty() && *part != Scope::All && !records.iter().any(may);
    unknown.then(|| Absent { part: part.clone(), known: alike(records, part), pieces: Vec::new() })
}

/// That none holds all of it, where some hold a piece.
pub(super) fn pieces(records: &[Record], part: &Scope) -> Option<Absent> {
    let of: Vec<String> = records.iter().filter(|r| holds_any(r, part)).map(|r| r.id.to_string()).collect();
    (!of.is_empty()).then(|| Absent { part: part.clone(), known: Vec::new(), pieces: of })
}

/// The error that none of the snapshots of a place elsewhere holds a part, or all of it; `None` where one does, or may.
#[cfg(feature = "offsite")]
pub(crate) fn none_elsewhere(records: &[Record], part: &Scope, place: std::path::PathBuf) -> Option<Error> {
    let Absent { part, known, pieces } = none_holds(records, part).or_else(|| pieces(records, part))?;
    Some(ValidationError::NoSuchPart { part: part.to_string(), store: place, known, pieces }.into())
}

pub(super) fn holds_any(record: &Record, part: &Scope) -> bool {
    record.logs.iter().any(|log| part.has(&log.topic, log.partition))
}

/// What the snapshots hold of that sort, the most alike first.
fn alike(records: &[Record], part: &Scope) -> Vec<String> {
    let logs = records.iter().flat_map(|record| &record.logs);
    let named = logs.map(|log| match part {
        Scope::Partition { .. } => format!("{}-{}", log.topic, log.partition),
        Scope::Topic(_) | Scope::All => log.topic.clone(),
    });
    let mut names: Vec<String> = named.collect();
    names.sort_unstable();
    names.dedup();
    let wanted = part.to_string();
    names.sort_by_cached_key(|name| {
        // Whole numbers, which are ordered.
        let alike = strsim::jaro_winkler(&wanted, name) * 1e6;
        std::cmp::Reverse(alike as u64)
    });
    names
}
