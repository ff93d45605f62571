//! Removing what dead processes left.

use super::id::StoreName;
use super::{STATE, Store};
use crate::error::Result;
use crate::fs::{Guard, LockMode, temporary, try_lock_dir};

impl Store {
    /// Removes staging and trash directories that nobody holds, and returns their names. A creator locks its staging
    /// directory while it holds the store's lock, which the caller holds now: what is not locked is dead.
    /// What cannot be removed is left for the next time.
    ///
    /// Its maker may have died before the rename that put a snapshot there was durable: without a sync first, a power
    /// cut could bring the snapshot back under its old name, in part.
    pub fn sweep(&self, _exclusive: &Guard) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        let mut names = self.names()?;
        names.retain(|(_, what)| !matches!(what, StoreName::Snapshot(_)));
        if !names.is_empty() {
            self.dir().sync()?;
        }
        for (name, _) in names {
            let Ok(Some(_held)) = try_lock_dir(self.dir(), &name, LockMode::Exclusive) else { continue };
            if self.dir().remove_tree(&name).is_ok() {
                swept.push(name);
            }
        }
        Ok(swept)
    }

    /// Removes states that were never finished, and returns their paths within the store. States are written by
    /// whoever holds the store's lock, which the caller holds now.
    pub(crate) fn sweep_states(&self, _exclusive: &Guard) -> Result<Vec<String>> {
        let temp = temporary(STATE);
        let mut swept = Vec::new();
        for id in self.ids()? {
            let Ok(dir) = self.dir().open_dir(id.to_string()) else { continue };
            if dir.try_stat(&temp).is_ok_and(|found| found.is_some()) && dir.unlink(&temp).is_ok() {
                swept.push(format!("{id}/{temp}"));
            }
        }
        Ok(swept)
    }
}
