//! Copies that lie among the files that they are copies of are none.

use super::address::{self, Address};
use crate::error::Result;
use crate::snapshot::SnapshotManager;

/// Refuses a place that is a directory of this machine and lies in the source, in its store, in a log or a broker's data
/// directory, or in another store. To be asked before the place is made.
///
/// # Errors
///
/// `Validation`: it does, or it is no name of a place.
pub fn refuse_within(place: &str, manager: &SnapshotManager) -> Result<()> {
    match address::parse(place)? {
        Address::Url(_) => Ok(()),
        Address::Directory(path) => manager.refuse_place(&path),
    }
}
