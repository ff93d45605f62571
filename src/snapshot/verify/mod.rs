//! Finding out whether a snapshot still is what it was.

mod ahead;
pub(in crate::snapshot) mod blame;
pub(in crate::snapshot) mod deep;
pub(in crate::snapshot) mod examine;
pub(in crate::snapshot) mod hash;
pub(in crate::snapshot) mod intact;
pub(in crate::snapshot) mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use blake3::Hash;

use crate::error::{Damage, DamageKind, Error, IntegrityError, Result, ValidationError};
use crate::fs::{Dir, Guard, LockMode, lock_dir};
use crate::snapshot::manager::{SnapshotManager, or_deleted};
use crate::snapshot::outcome::{Level, VerifyReport};
use crate::store::{DIGESTS, DigestList, Loaded, MANIFEST, Reads, SnapshotId, Store, Verification};
use ahead::Ahead;
use examine::examine;

/// A snapshot every byte of which has been read and found right, locked against deletion while this lives.
/// Restoring takes one.
#[derive(Debug)]
pub struct VerifiedSnapshot {
    pub(in crate::snapshot) loaded: Loaded,
    _guard: Guard,
}

impl VerifiedSnapshot {
    /// Every byte that will be used of it was found right when it was written.
    #[cfg(feature = "offsite")]
    pub(in crate::snapshot) fn trusted(loaded: Loaded, guard: Guard) -> Self {
        VerifiedSnapshot { loaded, _guard: guard }
    }

    /// The snapshot.
    pub fn id(&self) -> SnapshotId {
        self.loaded.id
    }
}

/// A snapshot that is open for reading: locked against deletion, its manifests read if they hold.
pub(in crate::snapshot) struct Opened<T = Loaded> {
    pub(in crate::snapshot) guard: Guard,
    pub(in crate::snapshot) loaded: Result<T>,
}

impl SnapshotManager {
    /// Verifies a snapshot. Damage is a report, not an error. A verification of every byte is recorded in the
    /// snapshot's state if this user may write there.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or one that needs a newer cowlog. `Concurrency`: it is being deleted.
    /// `Filesystem`: it may not be read. `Interrupted`.
    pub fn verify(&self, id: &str, level: Level) -> Result<VerifyReport> {
        self.verify_with(id, level, None)
    }

    /// As [`verify`](Self::verify), and holds the snapshot against a [root](crate::snapshot::SnapshotInfo::root) that was kept elsewhere: where
    /// somebody exchanged files, manifests and catalogue, all fitting each other, this still finds it.
    ///
    /// # Errors
    ///
    /// As `verify`, and `Validation` where `root` is not 64 hexadecimal digits.
    pub fn verify_expecting(&self, id: &str, level: Level, root: &str) -> Result<VerifyReport> {
        let root = Hash::from_hex(root).map_err(|e| {
            ValidationError::refused(format!(
                "what is expected is no root of a snapshot, which has 64 hexadecimal digits: {e}"
            ))
        })?;
        self.verify_with(id, level, Some(root))
    }

    fn verify_with(&self, id: &str, level: Level, expected: Option<Hash>) -> Result<VerifyReport> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let begun = self.config().clock.now();
        let opened = self.open_looking(&store, id, level)?;
        let (loaded, ahead) = match opened.loaded {
            Ok(loaded) => loaded,
            Err(Error::Integrity(e)) => return Ok(unbelievable(id, level, e)),
            Err(e) => return Err(e),
        };
        let mut report = examine(&loaded, ahead?, level, &self.config().observer)?;
        if let Some(damage) = self.root_damage(&store, &loaded)? {
            report.damage.insert(0, damage);
        }
        if let Some(expected) = expected.filter(|expected| *expected != loaded.root) {
            let detail = format!("its digest is {}, expected was {expected}", loaded.root);
            report.damage.insert(0, Damage { path: DIGESTS.into(), kind: DamageKind::Manifest, detail });
        }
        report.ok = report.damage.is_empty();
        if !report.ok {
            report.intact = intact::find(self, &store, &loaded, &report.damage)?;
        }
        // What was expected may be wrong: only what the store itself says is remembered.
        if level > Level::Quick && (expected.is_none() || report.ok) {
            self.record(&store, &report, begun);
            if let Err(e) = self.spread(&store, &loaded, &report.damage) {
                self.config()
                    .observer
                    .warn(&format!("the damage was not recorded in other snapshots that share it: {e}"));
            }
        }
        Ok(report)
    }

    /// Verifies every byte of a snapshot and keeps it locked for a restore.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and `Integrity` with an account per file where anything is wrong.
    pub fn verified(&self, id: &str) -> Result<VerifiedSnapshot> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let opened = self.open_looking(&store, id, Level::Full)?;
        let (loaded, ahead) = opened.loaded?;
        let mut damage: Vec<Damage> = self.root_damage(&store, &loaded)?.into_iter().collect();
        damage.extend(examine(&loaded, ahead?, Level::Full, &self.config().observer)?.damage);
        self.refuse(&store, &loaded, damage)?;
        Ok(VerifiedSnapshot { loaded, _guard: opened.guard })
    }

    /// `Err` with an account per file where there is damage.
    pub(in crate::snapshot) fn refuse(&self, store: &Store, loaded: &Loaded, damage: Vec<Damage>) -> Result<()> {
        if damage.is_empty() {
            return Ok(());
        }
        let others = self.records(store)?;
        let hint = match intact::where_from(self, store, loaded, &damage)? {
            Some(from) => from,
            None => match others.iter().rfind(|r| r.id != loaded.id && r.damaged.is_none()) {
                Some(other) => format!("`cowlog verify` tells of all damage; {} may be intact", other.id),
                None => "there is no other snapshot of it; `cowlog verify` tells of all damage".into(),
            },
        };
        let what = "it is damaged and nothing was restored from it".into();
        Err(IntegrityError { path: loaded.dir.path().into(), what, damage, hint: Some(hint) }.into())
    }

    /// All damage of a snapshot whose manifests hold.
    pub(in crate::snapshot) fn examine_all(&self, loaded: &Loaded) -> Result<Vec<Damage>> {
        self.examine(loaded, Level::Full)
    }

    /// Warns of what a verification has found that whoever uses the snapshot now does not look for.
    pub(in crate::snapshot) fn tell_of_known(
        &self,
        store: &Store,
        id: SnapshotId,
        counts: impl Fn(DamageKind) -> bool,
    ) {
        let known = store.read_state(id).ok().and_then(|state| state.verified);
        let damage: Vec<Damage> = known.into_iter().flat_map(|v| v.damage).filter(|d| counts(d.kind)).collect();
        if !damage.is_empty() {
            self.config().observer.warn(&format!("{id} was found damaged by a verification: {}", named(&damage)));
        }
    }

    /// What can be seen of it without reading its files.
    pub(in crate::snapshot) fn examine_quickly(&self, loaded: &Loaded) -> Result<Vec<Damage>> {
        self.examine(loaded, Level::Quick)
    }

    fn examine(&self, loaded: &Loaded, level: Level) -> Result<Vec<Damage>> {
        let observer = &self.config().observer;
        let ahead = Ahead::look(&loaded.dir, &loaded.digests, &AtomicBool::new(true), observer)?;
        Ok(examine(loaded, ahead, level, observer)?.damage)
    }

    pub(in crate::snapshot) fn open_snapshot(&self, store: &Store, id: SnapshotId) -> Result<Opened> {
        let (guard, dir) = self.lock_snapshot(store, id)?;
        Ok(Opened { guard, loaded: store.load_from(id, dir) })
    }

    /// The same, and looks at what can be known without the manifest.
    fn open_looking(&self, store: &Store, id: SnapshotId, level: Level) -> Result<Opened<(Loaded, Result<Ahead>)>> {
        let (guard, dir) = self.lock_snapshot(store, id)?;
        let look =
            |digests: &DigestList, parsed: &AtomicBool| Ahead::look(&dir, digests, parsed, &self.config().observer);
        let loaded = match level {
            // By this thread alone: all others may be reading every byte of something else, for hours.
            Level::Quick => store.load_from(id, dir.clone()).map(|loaded| {
                let ahead = look(&loaded.digests, &AtomicBool::new(true));
                (loaded, ahead)
            }),
            _ => store.load_beside(id, dir.clone(), look),
        };
        Ok(Opened { guard, loaded })
    }

    fn lock_snapshot(&self, store: &Store, id: SnapshotId) -> Result<(Guard, Dir)> {
        let what = "the snapshot, which is being deleted";
        let guard = lock_dir(store.dir(), id.to_string(), LockMode::Shared, &self.deadline(), what)
            .map_err(|e| or_deleted(store, id, e))?;
        let dir = match guard.dir() {
            Some(dir) => dir.clone(),
            None => store.dir().open_dir(id.to_string())?,
        };
        Ok((guard, dir))
    }

    /// The catalogue remembers another root: somebody exchanged the manifests, both of them.
    pub(in crate::snapshot) fn root_damage(&self, store: &Store, loaded: &Loaded) -> Result<Option<Damage>> {
        let Some(catalogue) = store.read_catalogue()? else { return Ok(None) };
        let root = loaded.root.to_hex();
        let remembered = catalogue.get(loaded.id).map(|r| r.root.as_str()).filter(|r| !r.is_empty());
        Ok(remembered.filter(|r| *r != root.as_str()).map(|remembered| Damage {
            path: DIGESTS.into(),
            kind: DamageKind::Manifest,
            detail: format!("its digest is {root}, the catalogue remembers {remembered}"),
        }))
    }

    /// Best effort: a verification by somebody who may only read is one all the same.
    fn record(&self, store: &Store, report: &VerifyReport, begun: i64) {
        let Ok(id) = report.id.parse::<SnapshotId>() else { return };
        let at = self.config().clock.now();
        let written = self.remember(store, BTreeSet::from([id]), |_, state| {
            let mut damage = report.damage.clone();
            if report.level < Level::Deep {
                // It does not look for that, so it cannot say that it is gone.
                let known = state.verified.iter().flat_map(|v| &v.damage).filter(|d| d.kind.is_of_content());
                damage.extend(known.cloned());
            }
            if damage.len() > report.damage.len() {
                let what = "an earlier deep verification found damage that this one does not look for";
                self.config().observer.warn(&format!("{id}: {what}: {}", named(&damage)));
            }
            let (level, ok) = (report.level.name().into(), damage.is_empty());
            state.verified = Some(Verification { level, at, ok, damage });
            state.reads = Some(Reads::at(begun));
        });
        if let Err(e) = written {
            self.config().observer.warn(&format!("the result was not recorded: {e}"));
        }
    }
}

/// The first of several, and how many more there are.
fn named(damage: &[Damage]) -> String {
    let first = damage.first().map(|d| format!("{}: {}", d.path, d.detail)).unwrap_or_default();
    match damage.len() {
        0 | 1 => first,
        more => format!("{first}; and {} more", more - 1),
    }
}

/// The report on a snapshot whose manifests cannot be believed: nothing else of it can be judged.
fn unbelievable(id: SnapshotId, level: Level, e: IntegrityError) -> VerifyReport {
    let damage = match e.damage.is_empty() {
        true => vec![Damage { path: MANIFEST.into(), kind: DamageKind::Manifest, detail: e.what }],
        false => e.damage,
    };
    VerifyReport {
        id: id.to_string(),
        level,
        ok: false,
        files_checked: 2,
        bytes_checked: 0,
        damage,
        intact: BTreeMap::new(),
        extra: Vec::new(),
    }
}
