//! Removing what dead processes left.

use super::id::StoreName;
use super::{HEALING, STATE, Stock, Store};
use crate::error::Result;
use crate::fs::{Dir, FileKind, Guard, LockMode, temporary, try_lock_dir};

impl Store {
    /// Removes staging and trash directories that nobody holds, and returns their names. A creator locks its staging
    /// directory while it holds the store's lock, which the caller holds now: what is not locked is dead.
    /// What cannot be removed is left for the next time.
    ///
    /// Its maker may have died before the rename that put a snapshot there was durable: without a sync first, a power
    /// cut could bring the snapshot back under its old name, in part.
    pub fn sweep(&self, exclusive: &Guard) -> Result<Vec<String>> {
        self.sweep_of(&self.stock()?, exclusive)
    }

    /// As [`sweep`](Self::sweep), by names that were read under the lock that is held.
    pub(crate) fn sweep_of(&self, stock: &Stock, _exclusive: &Guard) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        let left = stock.names().iter().filter(|(_, what)| !matches!(what, StoreName::Snapshot(_)));
        let names: Vec<&String> = left.map(|(name, _)| name).collect();
        if !names.is_empty() {
            self.dir().sync()?;
        }
        for name in names {
            let Ok(Some(_held)) = try_lock_dir(self.dir(), name, LockMode::Exclusive) else { continue };
            if self.dir().remove_tree(name).is_ok() {
                swept.push(name.clone());
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

    /// Removes what dead heals left beside the files of snapshots, and returns the paths within the store.
    pub(crate) fn sweep_healing(&self, _exclusive: &Guard) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for id in self.ids()? {
            let name = id.to_string();
            let Ok(left) = self.dir().open_dir(&name).and_then(|dir| unfinished(&dir)) else { continue };
            if left.is_empty() {
                continue;
            }
            let Ok(Some(_held)) = try_lock_dir(self.dir(), &name, LockMode::Exclusive) else { continue };
            // A file of the source may be called so; where nobody can tell, it stays.
            let Ok(loaded) = self.load(id) else { continue };
            for path in left.into_iter().filter(|path| loaded.digests.get(path).is_none()) {
                let (within, _) = path.rsplit_once('/').unwrap_or(("", ""));
                let dir = if within.is_empty() { Ok(loaded.dir.clone()) } else { loaded.dir.open_dir(within) };
                if dir.and_then(|dir| dir.unlink(HEALING)).is_ok() {
                    swept.push(format!("{name}/{path}"));
                }
            }
        }
        Ok(swept)
    }
}

/// Paths of what is called so in a snapshot and its directories.
fn unfinished(dir: &Dir) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in dir.list()? {
        let Some(name) = entry.name.to_str() else { continue };
        match entry.kind {
            FileKind::Dir => {
                let path = format!("{name}/{HEALING}");
                if dir.try_stat(&path)?.is_some() {
                    found.push(path);
                }
            }
            _ if name == HEALING => found.push(name.to_owned()),
            _ => {}
        }
    }
    Ok(found)
}
