//! Which snapshots of a source are meant where no id is named.

use super::names::{SnapshotKey, SourceName};
use super::remote::Remote;
use crate::error::{Result, ValidationError};
use crate::store::{Record, Scope, SnapshotId};

impl Remote {
    /// The latest of these, which are in ascending order, that covers a part, or all of the source.
    ///
    /// # Errors
    ///
    /// As [`whole`].
    pub(super) fn latest(
        &self,
        of: &SourceName,
        ids: &[SnapshotId],
        part: Option<&Scope>,
    ) -> Result<Option<SnapshotId>> {
        let keys: Vec<SnapshotKey> = ids.iter().map(|id| SnapshotKey { of: of.clone(), id: *id }).collect();
        let Some(newest) = keys.last() else { return Ok(None) };
        // Mostly no other has to be asked for.
        let found = self.record_of(newest)?;
        if found.is_some_and(|r| !r.record.root.is_empty() && covers(&r.record, part, &Scope::All)) {
            return Ok(Some(newest.id));
        }
        let records = self.records(&keys)?;
        let whole = whole(of, records.values().map(|r| &r.record), part)?;
        Ok(records.iter().rev().find(|(_, r)| covers(&r.record, part, &whole)).map(|(key, _)| key.id))
    }
}

/// What all of a source is, where no part is named: everything, or, where all its snapshots are of one topic or partition,
/// that one.
///
/// # Errors
///
/// `Validation` where they are of several, and none is of everything.
pub(super) fn whole<'a>(
    of: &SourceName,
    records: impl Iterator<Item = &'a Record>,
    part: Option<&Scope>,
) -> Result<Scope> {
    let mut scopes: Vec<&Scope> = records.filter(|r| !r.root.is_empty()).map(|r| &r.scope).collect();
    scopes.sort();
    scopes.dedup();
    match scopes.as_slice() {
        _ if part.is_some() => Ok(Scope::All),
        [] | [Scope::All, ..] => Ok(Scope::All),
        [one] => Ok((*one).clone()),
        several => {
            let scopes: Vec<String> = several.iter().map(ToString::to_string).collect();
            let what = format!("no snapshot of {of} is of all of it; there are some of {}", scopes.join(", "));
            let hint = "say which by `--topic T` and `--partition N`, or by its id: `cowlog list --from` shows them";
            Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into())
        }
    }
}

/// Whether a snapshot holds all of a part, or where none is named of the [`whole`]. One that could never be read may be of
/// any scope.
pub(super) fn covers(record: &Record, part: Option<&Scope>, whole: &Scope) -> bool {
    match part {
        None => record.root.is_empty() || record.scope == *whole,
        Some(part) => record.scope.holds(part) && record.logs.iter().any(|log| part.has(&log.topic, log.partition)),
    }
}
