//! Which other snapshots share the damage of one: they name the same inode and expect the same bytes of it, or have, under the same
//! name, the very bytes that make no sense.

use std::collections::{BTreeMap, HashMap, HashSet};

use blake3::Hash;

use super::blame::changed;
use super::examine::{differs, open_dirs, place};
use crate::error::{Damage, DamageKind, Result};
use crate::fs::Stat;
use crate::snapshot::manager::SnapshotManager;
use crate::store::{Loaded, SnapshotId, Store};

type Damaged = HashMap<(u64, u64), (Hash, Stat, DamageKind)>;

impl SnapshotManager {
    /// Records it in the states of these snapshots. What does not stand in a file is shared by nobody.
    pub(in crate::snapshot) fn spread(&self, store: &Store, loaded: &Loaded, damage: &[Damage]) -> Result<()> {
        let damaged = inodes(loaded, damage)?;
        if damaged.is_empty() && !damage.iter().any(|d| d.kind.is_of_content()) {
            return Ok(());
        }
        let mut found: BTreeMap<SnapshotId, Vec<Damage>> = BTreeMap::new();
        for id in store.ids()?.into_iter().filter(|id| *id != loaded.id) {
            self.config().observer.check()?;
            // One that is gone, or cannot be read, is another matter.
            if let Ok(other) = store.load(id)
                && let Ok(mut shared) = shared(&other, &damaged)
            {
                shared.extend(same_content(damage, |path| loaded.digests.get(path), |path| other.digests.get(path)));
                if !shared.is_empty() {
                    found.insert(id, shared);
                }
            }
        }
        let now = self.config().clock.now();
        self.remember(store, found.keys().copied().collect(), |id, state| {
            state.add_damage(found.get(&id).cloned().unwrap_or_default(), now);
        })
    }
}

/// What a deep verification found in a snapshot that another one has too, byte for byte. An index is judged by its log: both must
/// be the same.
pub(in crate::snapshot) fn same_content(
    damage: &[Damage],
    of: impl Fn(&str) -> Option<Hash>,
    other: impl Fn(&str) -> Option<Hash>,
) -> Vec<Damage> {
    let same = |path: &str| of(path).is_some_and(|digest| other(path) == Some(digest));
    let shared = |d: &&Damage| {
        let log = d.path.rsplit_once('.').map(|(stem, _)| format!("{stem}.log"));
        same(&d.path) && (d.kind != DamageKind::Index || log.is_none_or(|log| same(&log)))
    };
    damage.iter().filter(|d| d.kind.is_of_content()).filter(shared).cloned().collect()
}

fn inodes(loaded: &Loaded, damage: &[Damage]) -> Result<Damaged> {
    let dirs = open_dirs(loaded)?;
    let mut damaged = Damaged::new();
    for d in damage.iter().filter(|d| d.kind.is_of_bytes()) {
        if let Some((dir, name)) = place(&dirs, &d.path)
            && let (Ok(Some(stat)), Some(digest)) = (dir.try_stat(name), loaded.digests.get(&d.path))
        {
            damaged.insert((stat.dev, stat.ino), (digest, stat, d.kind));
        }
    }
    Ok(damaged)
}

fn shared(other: &Loaded, damaged: &Damaged) -> Result<Vec<Damage>> {
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let expected: HashSet<Hash> = damaged.values().map(|(digest, ..)| *digest).collect();
    let dirs = open_dirs(other)?;
    let mut found = Vec::new();
    for (file, digest) in other.files().filter(|(_, digest)| expected.contains(digest)) {
        let Some((dir, name)) = place(&dirs, &file.path) else { continue };
        let Ok(Some(now)) = dir.try_stat(name) else { continue };
        let Some((wanted, stat, kind)) = damaged.get(&(now.dev, now.ino)) else { continue };
        if *wanted != digest {
            continue;
        }
        found.push(match kind {
            DamageKind::Unreadable => {
                let detail = "another snapshot's name of the same file could not be read".to_owned();
                Damage { path: file.path.clone(), kind: *kind, detail }
            }
            _ => differs(file, stat).unwrap_or_else(|| changed(file, Some(stat))),
        });
    }
    Ok(found)
}
