//! Mending what is damaged in snapshots, out of intact copies with the same digest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde::Serialize;

use super::healing::{Group, Work};
use super::origins::{Given, Live, Name};
use crate::error::{Damage, Error, Result};
use crate::fs::Method;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::{Level, lossy};
use crate::snapshot::scrub::readings::Readings;
use crate::snapshot::verify::examine::open_dirs;
use crate::store::{Loaded, Reads, SnapshotId, Store, Verification};

/// What is to be mended, and out of what.
#[derive(Debug, Clone, Default)]
pub struct HealOptions {
    pub(in crate::snapshot) id: Option<String>,
    pub(in crate::snapshot) from: Vec<PathBuf>,
    pub(in crate::snapshot) dry_run: bool,
}

impl HealOptions {
    /// All snapshots of the source.
    pub fn all() -> Self {
        HealOptions::default()
    }

    /// One snapshot, and whatever of others shares its damage.
    pub fn one(id: impl Into<String>) -> Self {
        HealOptions { id: Some(id.into()), ..HealOptions::default() }
    }

    /// Files below this directory are searched too: those of the same name and size first, then all of the same size.
    #[must_use]
    pub fn from(mut self, dir: impl Into<PathBuf>) -> Self {
        self.from.push(dir.into());
        self
    }

    /// Changes nothing, and tells what would be mended from where.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// What [`SnapshotManager::heal`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Bytes that were read to find damage and intact copies, each inode once.
    pub bytes_read: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What has its bytes again, or would have.
    pub mended: Vec<Mended>,
    /// What has not, and why.
    pub not_mended: Vec<NotMended>,
}

/// A file that was mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// The snapshot.
    pub id: String,
    /// Within the snapshot.
    pub path: String,
    /// The intact copy.
    #[serde(serialize_with = "lossy")]
    pub from: PathBuf,
    /// `inherit`: a hard link to the intact file of another snapshot. Not known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Its size.
    pub bytes: u64,
}

/// A file that was not mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotMended {
    /// The snapshot.
    pub id: String,
    /// Within the snapshot.
    pub path: String,
    /// Why.
    pub why: String,
}

impl SnapshotManager {
    /// Reads snapshots in full, each inode once, and replaces what is damaged by an intact copy with the recorded digest:
    /// of another snapshot, the live log, or a directory that the user names. Every name of a damaged inode is mended, also
    /// in snapshots that were not asked for.
    ///
    /// What [`Healed::mended`] names has the recorded bytes, was read back, and survives a power cut. The new bytes are made
    /// beside the file and take its name by a rename, after the old ones were read once more and found wrong: nothing intact is
    /// ever replaced, nothing is written in place. After a crash each file is as damaged as before, or mended. Owner, mode, times
    /// and attributes are those of the manifest, as far as this user may set them. After a failed sync nothing more is tried.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot or store. `Concurrency`: a snapshot is being restored, read or deleted, or another heal or
    /// scrub is at work. `Filesystem`: something may not be read. `Interrupted`: what was mended until then stays so.
    pub fn heal(&self, options: &HealOptions) -> Result<Healed> {
        let store = self.store()?;
        let ids: Vec<SnapshotId> = match &options.id {
            Some(id) => vec![self.resolve(&store, id)?],
            None => self.records(&store)?.into_iter().map(|r| r.id).collect(),
        };
        let _alone = self.upkeep(&store)?;
        let begun = self.config().clock.now();
        let observer = &self.config().observer;
        let given = Given::below(self.fs(), &options.from, observer)?;
        let mut readings = Readings::new(observer);
        let mut healed = Healed { dry_run: options.dry_run, ..Healed::default() };
        let mut found: BTreeMap<SnapshotId, Vec<Damage>> = BTreeMap::new();
        let mut groups: BTreeMap<Group, Vec<Name>> = BTreeMap::new();
        for id in ids {
            let damage = match self.damage_for_heal(&store, id, &given, &mut readings, &mut healed) {
                // It was deleted since it was listed.
                Err(e) if e.is_not_found() && options.id.is_none() => continue,
                other => other?,
            };
            let Some((loaded, damage)) = damage else { continue };
            healed.snapshots += 1;
            for path in damage.iter().map(|d| &d.path) {
                let file = loaded.files().find(|(file, _)| file.path == *path);
                if let Some((file, digest)) = file {
                    groups.entry(Group(*digest.as_bytes(), file.size)).or_default();
                }
            }
            found.insert(id, damage);
        }
        let mut live = Live::new(self.fs());
        if !groups.is_empty() {
            self.gather(&store, &mut groups, &mut live, &mut readings)?;
        }
        let (stopped, busy) = (None, None);
        let mut work =
            Work { manager: self, store: &store, given: &given, live, readings, groups, healed, stopped, busy };
        work.tell_of_exposed();
        let outcome = work.mend_all();
        let Work { readings, mut healed, .. } = work;
        healed.bytes_read = readings.bytes;
        if !options.dry_run {
            self.note_healed(&store, &found, &healed, begun);
        }
        outcome.map(|()| healed)
    }

    /// What is damaged of a snapshot's files. `None` where its manifests cannot be believed nor mended.
    fn damage_for_heal(
        &self,
        store: &Store,
        id: SnapshotId,
        given: &Given,
        readings: &mut Readings<'_>,
        healed: &mut Healed,
    ) -> Result<Option<(Loaded, Vec<Damage>)>> {
        let mut opened = self.open_snapshot(store, id)?;
        if matches!(opened.loaded, Err(Error::Integrity(_))) {
            drop(opened);
            self.heal_manifests(store, id, given, healed)?;
            opened = self.open_snapshot(store, id)?;
        }
        let loaded = match opened.loaded {
            Ok(loaded) => loaded,
            Err(Error::Integrity(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        if let Some(damage) = self.root_damage(store, &loaded)? {
            let why = format!("{}; `cowlog repair --accept {id}` believes it as it is", damage.detail);
            healed.not_mended.push(NotMended { id: id.to_string(), path: damage.path, why });
        }
        let damage = readings.damage_of(&loaded)?;
        Ok(Some((loaded, damage)))
    }

    /// All names in the store that should have the bytes that some file has not, each read if its inode was not yet.
    fn gather(
        &self,
        store: &Store,
        groups: &mut BTreeMap<Group, Vec<Name>>,
        live: &mut Live,
        readings: &mut Readings<'_>,
    ) -> Result<()> {
        for id in store.ids()? {
            let opened = match self.open_snapshot(store, id) {
                Err(e) if e.is_not_found() => continue,
                other => other?,
            };
            let Ok(loaded) = opened.loaded else { continue };
            let dirs = open_dirs(&loaded)?;
            for (file, digest) in loaded.files() {
                let Some(names) = groups.get_mut(&Group(*digest.as_bytes(), file.size)) else { continue };
                let mut name = Name::of(self, &loaded, &dirs, file, live);
                if let Some(dir) = &name.dir {
                    let whole = dir.try_stat(name.name()).is_ok_and(|s| s.is_some_and(|s| s.size == file.size));
                    name.right = whole && readings.digest(dir, name.name(), file.size)? == Some(digest);
                }
                names.push(name);
            }
        }
        Ok(())
    }

    /// Best effort, as with a verification.
    fn note_healed(&self, store: &Store, found: &BTreeMap<SnapshotId, Vec<Damage>>, healed: &Healed, begun: i64) {
        let mut mended: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for file in &healed.mended {
            mended.entry(&file.id).or_default().insert(&file.path);
        }
        let now = self.config().clock.now();
        let ids: BTreeSet<SnapshotId> =
            found.keys().copied().chain(mended.keys().filter_map(|id| id.parse().ok())).collect();
        let noted = self.remember(store, ids, |id, state| {
            let paths = mended.get(id.to_string().as_str());
            let still = |d: &Damage| paths.is_none_or(|paths| !paths.contains(d.path.as_str()));
            match found.get(&id) {
                Some(damage) => {
                    let mut damage: Vec<Damage> = damage.iter().filter(|d| still(d)).cloned().collect();
                    let known = state.verified.iter().flat_map(|v| &v.damage);
                    // What only a deep verification sees, or what is wrong with the manifests.
                    damage.extend(known.filter(|d| !d.kind.is_of_bytes() && still(d)).cloned());
                    state.reads = Some(Reads::at(begun));
                    let level = Level::Full.name().to_owned();
                    state.verified = Some(Verification { level, at: now, ok: damage.is_empty(), damage });
                }
                None => state.forget_damage(|d| !still(d)),
            }
        });
        if let Err(e) = noted {
            self.config().observer.warn(&format!("what was mended was not recorded: {e}"));
        }
    }
}
