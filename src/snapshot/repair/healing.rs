//! Mending names one snapshot after the other, each under its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::heal::{Healed, Mended, NotMended};
use super::mend::{Mender, Origin, Outcome, TEMPORARY};
use super::origins::{Bytes, Given, Live, Name, alike};
use crate::error::{Error, Result};
use crate::fs::{Dir, LockMode, Method, lock_dir};
use crate::snapshot::manager::{SnapshotManager, or_deleted};
use crate::snapshot::scrub::readings::Readings;
use crate::store::{DirManifest, Loaded, SnapshotId, Store};

/// Files that should have the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::snapshot) struct Group(pub(in crate::snapshot) [u8; 32], pub(in crate::snapshot) u64);

impl Group {
    pub(in crate::snapshot) fn bytes(self) -> Bytes {
        (blake3::Hash::from_bytes(self.0), self.1)
    }
}

pub(in crate::snapshot) struct Work<'a> {
    pub(in crate::snapshot) manager: &'a SnapshotManager,
    pub(in crate::snapshot) store: &'a Store,
    pub(in crate::snapshot) given: &'a Given,
    pub(in crate::snapshot) live: Live,
    pub(in crate::snapshot) readings: Readings<'a>,
    pub(in crate::snapshot) groups: BTreeMap<Group, Vec<Name>>,
    pub(in crate::snapshot) healed: Healed,
    /// A sync failed: nothing more is tried.
    pub(in crate::snapshot) stopped: Option<String>,
    /// The first snapshot that was in use.
    pub(in crate::snapshot) busy: Option<Error>,
}

impl Work<'_> {
    pub(in crate::snapshot) fn tell_of_exposed(&self) {
        for name in self.groups.values().flatten().filter(|name| !name.right && name.exposed) {
            if let Some(path) = &name.itself {
                let what = "is the damaged file itself, by a hard link; cowlog does not write to a log that is in use";
                self.manager.config().observer.warn(&format!("{} {what}", path.display()));
            }
        }
    }

    /// # Errors
    ///
    /// `Concurrency` where all that could not be mended is in use. `Interrupted`.
    pub(in crate::snapshot) fn mend_all(&mut self) -> Result<()> {
        let wrong =
            |(_, names): (&Group, &Vec<Name>)| names.iter().filter(|n| !n.right).map(|n| n.id).collect::<Vec<_>>();
        let ids: BTreeSet<SnapshotId> = self.groups.iter().flat_map(wrong).collect();
        ids.into_iter()
            .try_for_each(|id| if self.healed.dry_run { self.foresee(id) } else { self.mend_snapshot(id) })?;
        match self.busy.take() {
            Some(busy) if self.healed.mended.is_empty() => Err(busy),
            _ => Ok(()),
        }
    }

    fn wrong_in(&self, id: SnapshotId) -> Vec<(Group, usize)> {
        let of = |(group, names): (&Group, &Vec<Name>)| {
            let wrong = names.iter().enumerate().filter(|(_, n)| n.id == id && !n.right);
            wrong.map(|(at, _)| (*group, at)).collect::<Vec<_>>()
        };
        let mut wrong: Vec<_> = self.groups.iter().flat_map(of).collect();
        wrong.sort_by(|a, b| self.name(*a).map(|n| &n.file.path).cmp(&self.name(*b).map(|n| &n.file.path)));
        wrong
    }

    fn name(&self, (group, at): (Group, usize)) -> Option<&Name> {
        self.groups.get(&group)?.get(at)
    }

    /// Where a file's bytes can be had from, the best first.
    fn origins(&mut self, at: (Group, usize)) -> Result<Vec<Origin>> {
        let Some(name) = self.name(at).cloned() else { return Ok(Vec::new()) };
        let bytes = at.0.bytes();
        let mut origins: Vec<Origin> = Vec::new();
        for other in self.groups.get(&at.0).into_iter().flatten().filter(|other| other.right) {
            let may_link = !other.exposed && alike(&other.file, &name.file);
            if let Some(dir) = &other.dir {
                origins.push(Origin { dir: dir.clone(), name: other.name().to_owned(), may_link });
            }
        }
        origins.sort_by_key(|origin| !origin.may_link);
        // One that fails makes room for the next; a handful is enough.
        origins.truncate(4);
        for path in &name.live {
            origins.extend(self.live.origin(path, bytes, &mut self.readings)?);
        }
        if origins.is_empty() {
            origins.extend(self.given.origin(name.name(), bytes, &mut self.readings)?);
        }
        Ok(origins)
    }

    fn foresee(&mut self, id: SnapshotId) -> Result<()> {
        for at in self.wrong_in(id) {
            let Some(path) = self.name(at).map(|n| n.file.path.clone()) else { continue };
            match self.origins(at)?.first() {
                Some(origin) => self.mended(id, &path, origin.dir.path_of(&origin.name), None, at.0.1),
                None if at.0.1 == 0 => self.mended(id, &path, PathBuf::new(), None, 0),
                None => self.not_mended(id, &path, NO_COPY),
            }
        }
        Ok(())
    }

    fn mend_snapshot(&mut self, id: SnapshotId) -> Result<()> {
        let wrong = self.wrong_in(id);
        // Found before the lock is taken, since that may mean reading.
        let mut jobs = Vec::with_capacity(wrong.len());
        for at in wrong {
            jobs.push((at, self.origins(at)?));
        }
        let (store, deadline) = (self.store, self.manager.deadline());
        let what = "the snapshot, which is being read, restored or inherited from";
        let locked = lock_dir(store.dir(), id.to_string(), LockMode::Exclusive, &deadline, what);
        let guard = match locked.map_err(|e| or_deleted(store, id, e)) {
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e @ Error::Concurrency(_)) => {
                self.none_mended(id, &jobs, &e.to_string());
                self.busy.get_or_insert(e);
                return Ok(());
            }
            other => other?,
        };
        let Some(dir) = guard.dir().cloned() else { return Ok(()) };
        let loaded = match store.load_from(id, dir) {
            Ok(loaded) => loaded,
            Err(e) => {
                self.none_mended(id, &jobs, &e.to_string());
                return Ok(());
            }
        };
        let mut changed: BTreeMap<PathBuf, (Dir, Vec<Done>)> = BTreeMap::new();
        let mut interrupted = None;
        for (at, origins) in jobs {
            let Some(name) = self.name(at).cloned() else { continue };
            if let Some(why) = self.stopped.clone() {
                self.not_mended(id, &name.file.path, &why);
                continue;
            }
            if origins.is_empty() && name.file.size > 0 {
                self.not_mended(id, &name.file.path, NO_COPY);
                continue;
            }
            match self.mend_one(&loaded, &name, at.0.bytes(), &origins) {
                Ok((dir, Some((from, method)))) => {
                    let path = dir.path().to_owned();
                    changed.entry(path).or_insert_with(|| (dir, Vec::new())).1.push((at, name.file.path, from, method));
                }
                Ok((_, None)) => {}
                Err(Error::Interrupted) => {
                    interrupted = Some(Error::Interrupted);
                    break;
                }
                Err(e) => {
                    if e.is_of_sync() {
                        self.stopped = Some(format!("{e}; {STOPPED}"));
                    }
                    self.not_mended(id, &name.file.path, &e.to_string());
                }
            }
        }
        for (dir, done) in changed.into_values() {
            self.settle(id, &dir, done);
        }
        interrupted.map_or(Ok(()), Err)
    }

    /// `None` where there was nothing to do after all.
    fn mend_one(
        &self,
        loaded: &Loaded,
        name: &Name,
        (digest, size): Bytes,
        origins: &[Origin],
    ) -> Result<(Dir, Option<(PathBuf, Method)>)> {
        let observer = &self.manager.config().observer;
        let dir = directory(loaded, &name.file.path)?;
        let mender = Mender { dir: &dir, name: name.name(), file: &name.file, digest, observer };
        let refused = |why: &str| Error::io("mend", dir.path_of(name.name()), std::io::Error::other(why.to_owned()));
        if loaded.digests.get(&with_name(&name.file.path, TEMPORARY)).is_some() {
            return Err(refused("a file of the snapshot has the name under which the new bytes would be made"));
        }
        let nothing = [None];
        let some: Vec<Option<&Origin>> = origins.iter().map(Some).collect();
        let tried: &[Option<&Origin>] = if origins.is_empty() && size == 0 { &nothing } else { &some };
        let mut failed = None;
        for origin in tried {
            let from = origin.map(|o| o.dir.path_of(&o.name)).unwrap_or_default();
            match mender.mend(*origin) {
                Ok(Outcome::Mended(method)) => return Ok((dir.clone(), Some((from, method)))),
                Ok(Outcome::WasRight) => return Ok((dir, None)),
                Ok(Outcome::OriginWrong) => failed = Some(refused("its copy is not intact any more")),
                Err(e) if e.is_of_sync() || matches!(e, Error::Interrupted) => return Err(e),
                Err(e) => failed = Some(e),
            }
        }
        Err(failed.unwrap_or_else(|| refused("there is nothing to mend it from")))
    }

    /// Makes what was renamed in a directory durable; only then it counts.
    fn settle(&mut self, id: SnapshotId, dir: &Dir, done: Vec<Done>) {
        let synced = match &self.stopped {
            Some(why) => Err(why.clone()),
            None => dir.sync().map_err(|e| format!("{e}; {STOPPED}")),
        };
        for (at, path, from, method) in done {
            match &synced {
                Ok(()) => {
                    self.mended(id, &path, from, Some(method), at.0.1);
                    if let Some(name) = self.groups.get_mut(&at.0).and_then(|names| names.get_mut(at.1)) {
                        (name.right, name.exposed, name.dir) = (true, false, Some(dir.clone()));
                    }
                }
                Err(why) => self.not_mended(id, &path, why),
            }
        }
        if let Err(why) = synced {
            self.stopped = Some(why);
        }
    }

    fn mended(&mut self, id: SnapshotId, path: &str, from: PathBuf, method: Option<Method>, bytes: u64) {
        self.healed.mended.push(Mended { id: id.to_string(), path: path.to_owned(), from, method, bytes });
    }

    fn none_mended(&mut self, id: SnapshotId, jobs: &[((Group, usize), Vec<Origin>)], why: &str) {
        for (at, _) in jobs {
            if let Some(path) = self.name(*at).map(|n| n.file.path.clone()) {
                self.not_mended(id, &path, why);
            }
        }
    }

    fn not_mended(&mut self, id: SnapshotId, path: &str, why: &str) {
        let why = why.to_owned();
        self.healed.not_mended.push(NotMended { id: id.to_string(), path: path.to_owned(), why });
    }
}

/// Which file, its path, what it was made from, and how.
type Done = ((Group, usize), String, PathBuf, Method);

const NO_COPY: &str =
    "no intact copy was found: not in another snapshot, not in the live log, not in a directory that was named";
const STOPPED: &str =
    "after a failed sync nothing is known of what was written, and nothing more is tried: verify it anew";

/// The directory of a file within its snapshot, made where it is gone.
fn directory(loaded: &Loaded, path: &str) -> Result<Dir> {
    let Some((within, _)) = path.rsplit_once('/') else { return Ok(loaded.dir.clone()) };
    match loaded.dir.open_dir(within) {
        Err(e) if e.is_not_found() => {}
        other => return other,
    }
    let mode = |dir: &DirManifest| (dir.path == within).then_some(dir.mode);
    let mode = loaded.manifest.dirs.iter().find_map(mode).unwrap_or(0o755);
    let dir = loaded.dir.make_dir(within, mode | 0o700)?;
    loaded.dir.sync()?;
    Ok(dir)
}

fn with_name(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or(name.to_owned(), |(dir, _)| format!("{dir}/{name}"))
}
