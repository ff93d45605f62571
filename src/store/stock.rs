//! A store as its names and its catalogue show it, each read once, whatever is asked of it then.

use super::{CATALOGUE, Catalogue, Record, SnapshotId, Store, StoreName, published};
use crate::error::Result;
use crate::fs::Identity;

/// What the names in a store and its catalogue say. Under the store's lock nothing of it changes but by whoever holds that.
#[derive(Debug)]
pub(crate) struct Stock {
    names: Vec<(String, StoreName)>,
    /// Published, oldest first.
    ids: Vec<SnapshotId>,
    catalogue: Option<Catalogue>,
    /// The file that the catalogue was read from.
    seen: Option<Identity>,
}

impl Store {
    /// Reads them.
    pub(crate) fn stock(&self) -> Result<Stock> {
        let names = self.names()?;
        let ids = published(&names);
        let seen = self.catalogue_identity()?;
        Ok(Stock { names, ids, catalogue: self.read_catalogue()?, seen })
    }

    /// It is replaced whole, so each has an inode of its own.
    fn catalogue_identity(&self) -> Result<Option<Identity>> {
        Ok(self.dir().try_stat(CATALOGUE)?.as_ref().map(Identity::from))
    }
}

impl Stock {
    /// Everything that is a snapshot, was one, or will be one.
    pub(super) fn names(&self) -> &[(String, StoreName)] {
        &self.names
    }

    /// The next id: later than every name in the store and every one that the catalogue remembers.
    pub(crate) fn next_id(&self, now: i64) -> Result<SnapshotId> {
        let named = self.names.iter().map(|(_, what)| what.id()).max();
        let remembered = self.catalogue.as_ref().and_then(|c| c.last_id.max(c.snapshots.last().map(|r| r.id)));
        SnapshotId::next(now, named.max(remembered))
    }

    /// Its snapshots from the newest on.
    pub(crate) fn newest<'s>(&'s self, store: &'s Store) -> Newest<'s> {
        Newest { store, stock: self, left: &self.ids, looked: Vec::new() }
    }

    /// Whether the catalogue named what is there, and is still the same file.
    pub(crate) fn still_holds(&self, store: &Store) -> Result<bool> {
        let Some(catalogue) = &self.catalogue else { return Ok(false) };
        let named = catalogue.snapshots.iter().map(|r| r.id).eq(self.ids.iter().copied());
        Ok(named && store.catalogue_identity()? == self.seen)
    }

    /// The catalogue with a snapshot that has just been published. What it says of the others is held against them by
    /// whoever reads it, as always; here only where it does not name those that there are.
    pub(crate) fn catalogue_with(self, record: Record, store: &Store) -> Result<Catalogue> {
        let is_last = self.ids.last().is_none_or(|last| *last < record.id);
        match (self.still_holds(store)?, self.catalogue) {
            (true, Some(mut catalogue)) if is_last => {
                catalogue.last_id = catalogue.last_id.max(Some(record.id));
                catalogue.snapshots.push(record);
                Ok(catalogue)
            }
            _ => Ok(store.reconcile_with(Some(record))?.catalogue),
        }
    }
}

/// Records of snapshots from the newest on, each held against its directory when its turn comes: who wants the last one
/// does not look at a thousand.
pub(crate) struct Newest<'s> {
    store: &'s Store,
    stock: &'s Stock,
    left: &'s [SnapshotId],
    looked: Vec<Record>,
}

impl Newest<'_> {
    /// What the first gives that gives something.
    pub(crate) fn find_map<T>(&mut self, mut wanted: impl FnMut(&Record) -> Option<T>) -> Result<Option<T>> {
        let mut at = 0;
        loop {
            match self.looked.get(at) {
                Some(record) => {
                    if let Some(found) = wanted(record) {
                        return Ok(Some(found));
                    }
                    at += 1;
                }
                None => {
                    let Some((id, left)) = self.left.split_last() else { return Ok(None) };
                    self.left = left;
                    self.look(*id)?;
                }
            }
        }
    }

    fn look(&mut self, id: SnapshotId) -> Result<()> {
        let remembered = self.stock.catalogue.as_ref().and_then(|c| c.snapshots.iter().rfind(|r| r.id == id));
        match self.store.record(id, remembered.cloned()) {
            Ok((record, _)) => self.looked.push(record),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}
