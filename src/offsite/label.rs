//! Pins and tags of snapshots elsewhere.

use std::collections::BTreeSet;

use super::list::{RemoteRecord, RemoteSnapshot};
use super::remote::Remote;
use crate::error::{Result, ValidationError};
use crate::snapshot::check_tags;

impl Remote {
    /// Keeps a snapshot whatever the rules say, or leaves it to them again. Of two machines that do so at the same time the
    /// later one's word holds; of what others change at the same time nothing is lost where the place replaces one version of an
    /// object only, and in a directory with locks.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot. `Filesystem`: the server cannot be reached or does not let this user write.
    pub fn set_pinned(&self, source: &str, id: &str, pinned: bool) -> Result<RemoteSnapshot> {
        self.label(source, id, |record| {
            record.record.pinned = pinned;
            // From now on it is known.
            record.record.state_unreadable = false;
        })
    }

    /// Gives a snapshot tags, and takes others away.
    ///
    /// # Errors
    ///
    /// As [`set_pinned`](Self::set_pinned), and `Validation` for tags that are none.
    pub fn retag(
        &self,
        source: &str,
        id: &str,
        add: &BTreeSet<String>,
        remove: &BTreeSet<String>,
    ) -> Result<RemoteSnapshot> {
        check_tags(add.iter().map(String::as_str))?;
        self.label(source, id, |record| {
            record.record.tags.retain(|tag| !remove.contains(tag));
            record.record.tags.extend(add.iter().cloned());
        })
    }

    fn label(&self, source: &str, id: &str, change: impl Fn(&mut RemoteRecord)) -> Result<RemoteSnapshot> {
        let key = self.find(source, id)?;
        let gone = || ValidationError::refused(format!("{key} was removed meanwhile"));
        self.change_record(&key, |there| {
            let known = there.map_or_else(|| self.record_again(&key), |there| Ok(Some(there)))?;
            let mut record = known.ok_or_else(gone)?;
            change(&mut record);
            Ok(Some(record))
        })?;
        Ok(self.shown(std::slice::from_ref(&key))?.pop().ok_or_else(gone)?)
    }
}
