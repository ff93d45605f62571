//! Finding out whether a snapshot still is what it was.

pub(in crate::snapshot) mod blame;
pub(in crate::snapshot) mod deep;
pub(in crate::snapshot) mod hash;
pub(in crate::snapshot) mod intact;
pub(in crate::snapshot) mod spread;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use blake3::Hash;
use rayon::prelude::*;

use crate::error::{Damage, DamageKind, Error, IntegrityError, Result, ValidationError};
use crate::fs::{Dir, FileKind, Guard, LockMode, Open, Stat, lock_dir};
use crate::log::CHECKPOINT;
use crate::observe::Observer;
use crate::snapshot::create::capture::path_in;
use crate::snapshot::manager::{SnapshotManager, or_deleted};
use crate::snapshot::outcome::{Level, VerifyReport};
use crate::store::{
    DIGESTS, FileManifest, Loaded, LogManifest, MANIFEST, Reads, STATE, SnapshotId, Store, Verification,
};
use blame::{changed, resized};
use deep::check_log;
use hash::{buffer, hash_to};

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
pub(in crate::snapshot) struct Opened {
    pub(in crate::snapshot) guard: Guard,
    pub(in crate::snapshot) loaded: Result<Loaded>,
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
        let opened = self.open_snapshot(&store, id)?;
        let loaded = match opened.loaded {
            Ok(loaded) => loaded,
            Err(Error::Integrity(e)) => return Ok(unbelievable(id, level, e)),
            Err(e) => return Err(e),
        };
        let begun = self.config().clock.now();
        let mut report = examine(&loaded, level, &self.config().observer)?;
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
        let opened = self.open_snapshot(&store, id)?;
        let loaded = opened.loaded?;
        let mut damage: Vec<Damage> = self.root_damage(&store, &loaded)?.into_iter().collect();
        damage.extend(self.examine_all(&loaded)?);
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
        Ok(examine(loaded, Level::Full, &self.config().observer)?.damage)
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
        Ok(examine(loaded, Level::Quick, &self.config().observer)?.damage)
    }

    pub(in crate::snapshot) fn open_snapshot(&self, store: &Store, id: SnapshotId) -> Result<Opened> {
        let what = "the snapshot, which is being deleted";
        let guard = lock_dir(store.dir(), id.to_string(), LockMode::Shared, &self.deadline(), what)
            .map_err(|e| or_deleted(store, id, e))?;
        let dir = match guard.dir() {
            Some(dir) => dir.clone(),
            None => store.dir().open_dir(id.to_string())?,
        };
        Ok(Opened { guard, loaded: store.load_from(id, dir) })
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

/// Reads what the level asks for. The manifests hold already.
fn examine(loaded: &Loaded, level: Level, observer: &Observer) -> Result<VerifyReport> {
    let dirs = open_dirs(loaded)?;
    let mut damage = Vec::new();
    let mut bytes_checked = 0;
    if level == Level::Quick {
        for file in &loaded.manifest.files {
            observer.check()?;
            match presence(&dirs, file) {
                Ok(found) => damage.extend(found),
                Err(e) => damage.push(unreadable(&file.path, e)?),
            }
        }
    } else {
        let files: Vec<_> = loaded.files().collect();
        observer.phase("verify", files.len() as u64, files.iter().map(|(file, _)| file.size).sum());
        let read = |buf: &mut Vec<u8>, (file, digest): &(&FileManifest, Hash)| {
            observer.check()?;
            match read_file(&dirs, file, *digest, buf, observer) {
                Ok(read) => Ok(read),
                Err(e @ Error::Filesystem(_)) => match presence(&dirs, file) {
                    Ok(Some(found)) => Ok(Read::Wrong(found)),
                    _ => unreadable(&file.path, e).map(Read::Wrong),
                },
                Err(e) => Err(e),
            }
        };
        for read in files.par_iter().map_init(buffer, read).collect::<Result<Vec<_>>>()? {
            match read {
                Read::Right(bytes) => bytes_checked += bytes,
                Read::Wrong(found) => damage.push(found),
            }
        }
    }
    if level == Level::Deep {
        let logs = &loaded.manifest.logs;
        let known: HashSet<String> = damage.iter().map(|d| d.path.clone()).collect();
        let check = |log| check_log(log, is_native(loaded, log), &dirs, &known, observer);
        let problems = logs.par_iter().map(check).collect::<Result<Vec<_>>>()?;
        damage.extend(problems.into_iter().flatten());
    }
    let extra = extra_files(loaded, &dirs)?;
    let files_checked = loaded.manifest.files.len() as u64 + 1;
    let ok = damage.is_empty();
    let (id, intact) = (loaded.id.to_string(), BTreeMap::new());
    Ok(VerifyReport { id, level, ok, files_checked, bytes_checked, damage, intact, extra })
}

pub(in crate::snapshot) type Dirs<'a> = HashMap<&'a str, Dir>;

/// The directories of a snapshot by name, without those that are gone.
pub(in crate::snapshot) fn open_dirs(loaded: &Loaded) -> Result<Dirs<'_>> {
    let mut dirs = HashMap::new();
    for dir in &loaded.manifest.dirs {
        let opened = if dir.path.is_empty() { Ok(loaded.dir.clone()) } else { loaded.dir.open_dir(&dir.path) };
        match opened {
            Ok(opened) => {
                dirs.insert(dir.path.as_str(), opened);
            }
            // Each of its files will be missed.
            Err(e) if is_missing(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(dirs)
}

/// The open directory of a file and its name there.
pub(in crate::snapshot) fn place<'a>(dirs: &'a Dirs<'_>, path: &'a str) -> Option<(&'a Dir, &'a str)> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    Some((dirs.get(dir)?, name))
}

/// Gone, or something else stands in its place.
fn is_missing(e: &Error) -> bool {
    e.is_not_found()
        || matches!(e, Error::Filesystem(e)
            if e.source.kind() == std::io::ErrorKind::NotADirectory)
}

/// What comes of reading all of a file.
enum Read {
    Right(u64),
    Wrong(Damage),
}

fn read_file(dirs: &Dirs<'_>, file: &FileManifest, digest: Hash, buf: &mut [u8], observer: &Observer) -> Result<Read> {
    let Some((dir, name)) = place(dirs, &file.path) else {
        return Ok(Read::Wrong(missing(file, "it is not there")));
    };
    let opened = dir.open_file(name, Open::Read)?;
    let stat = opened.stat()?;
    if let Some(found) = differs(file, &stat) {
        return Ok(Read::Wrong(found));
    }
    let (found, bytes) = hash_to(&opened, file.size, buf, observer)?;
    Ok(if found == digest { Read::Right(bytes) } else { Read::Wrong(changed(file, Some(&stat))) })
}

fn presence(dirs: &Dirs<'_>, file: &FileManifest) -> Result<Option<Damage>> {
    let stat = match place(dirs, &file.path) {
        Some((dir, name)) => dir.try_stat(name)?,
        None => None,
    };
    Ok(match stat {
        None => Some(missing(file, "it is not there")),
        Some(stat) => differs(file, &stat),
    })
}

/// What can be seen without reading it.
pub(in crate::snapshot) fn differs(file: &FileManifest, stat: &Stat) -> Option<Damage> {
    if stat.kind != FileKind::File {
        return Some(missing(file, "it is not a regular file"));
    }
    (stat.size != file.size).then(|| resized(file, stat))
}

pub(in crate::snapshot) fn missing(file: &FileManifest, detail: &str) -> Damage {
    Damage { path: file.path.clone(), kind: DamageKind::Missing, detail: detail.into() }
}

/// A file that cannot be read is damaged, unless it is this user who may not.
pub(in crate::snapshot) fn unreadable(path: &str, e: Error) -> Result<Damage> {
    let kind = match &e {
        _ if e.is_denied() => return Err(e),
        Error::Filesystem(_) if is_missing(&e) => DamageKind::Missing,
        Error::Filesystem(_) => DamageKind::Unreadable,
        _ => return Err(e),
    };
    Ok(Damage { path: path.to_owned(), kind, detail: e.to_string() })
}

/// Whether cowlog's own writer wrote the log: only then it has a checkpoint of its own, and no offset is missing.
fn is_native(loaded: &Loaded, log: &LogManifest) -> bool {
    loaded.digests.get(&path_in(&log.dir, CHECKPOINT)).is_some()
}

fn extra_files(loaded: &Loaded, dirs: &Dirs<'_>) -> Result<Vec<String>> {
    let known: HashSet<&str> = loaded.digests.iter().map(|(path, _)| path).collect();
    let mut extra = Vec::new();
    for (prefix, dir) in dirs {
        for entry in dir.list()? {
            let Some(name) = entry.name.to_str() else {
                extra.push(entry.name.to_string_lossy().into_owned());
                continue;
            };
            let path = if prefix.is_empty() { Cow::from(name) } else { format!("{prefix}/{name}").into() };
            let ours = prefix.is_empty() && [DIGESTS, STATE].contains(&name) || dirs.contains_key(&*path);
            if !ours && !known.contains(&*path) {
                extra.push(path.into_owned());
            }
        }
    }
    extra.sort_unstable();
    Ok(extra)
}
