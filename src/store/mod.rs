//! What lies on disk: ids, manifests, states, the catalogue.
//!
//! ```text
//! .snapshots/                    the store
//! ├── .lock                      permanent
//! ├── snapshots.json             catalogue: an index, always rebuildable
//! ├── snapshot-1735998123000/
//! │   ├── manifest.json          what it is
//! │   ├── manifest.b3            digests of manifest.json and every data file
//! │   ├── state.json             pins, tags, verifications
//! │   └── …                      the files
//! ├── .staging-1735998124000/    a snapshot in the making
//! ├── .trash-1735990000000/      a snapshot being deleted
//! └── .undo-1735998125000/       what a replacement took out
//! ```

mod catalogue;
mod digests;
mod id;
mod load;
mod locate;
mod manifest;
mod reads;
mod sealed;
mod state;
mod stock;
mod sweep;
mod time;
mod undo;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use catalogue::{Catalogue, LogRecord, Record, Seen};
pub use digests::DigestList;
pub(crate) use digests::lines;
pub(crate) use id::StoreName;
pub use id::{IdQuery, SnapshotId};
pub use load::Loaded;
pub(crate) use load::MAX_MANIFEST;
#[cfg(feature = "offsite")]
pub(crate) use load::names_the_same;
pub use locate::{Location, beside, locate, partition_scope, places};
pub use manifest::{
    DirManifest, FileManifest, FileRole, LeftOut, LogManifest, Manifest, Scope, SetMember, SourceKind, SourceManifest,
    VERSION,
};
pub use reads::{Pass, Reads};
#[cfg(feature = "offsite")]
pub(crate) use sealed::{open as unseal, seal};
pub use state::{SCRUB, State, Verification};
pub(crate) use stock::{Newest, Stock};
pub use time::rfc3339;
pub use undo::UndoState;
pub(crate) use undo::{Journal, Line, SLOTS, Swap, WHOLE, parse_undo_name, undo_name};

use crate::error::{Error, Result, ValidationError};
use crate::fs::{
    Deadline, Dir, FileKind, Fs, Guard, LockMode, Owner, Stat, lock_file, replace_file, replace_unsettled, try_lock_dir,
};
use crate::observe::Observer;

/// The name of a store within a log directory.
pub const IN_LOG: &str = ".snapshots";
/// What is added to a data directory's name for the store beside it.
pub const SUFFIX: &str = ".snapshots";
/// The names within a snapshot.
pub const MANIFEST: &str = "manifest.json";
/// See [`MANIFEST`].
pub const DIGESTS: &str = "manifest.b3";
/// See [`MANIFEST`].
pub const STATE: &str = "state.json";
/// Under which name new bytes of a file are made, beside it. With nobody at work on the snapshot it may be removed.
pub(crate) const HEALING: &str = ".cowlog-healing.tmp";
/// What no file of a source may be called in a snapshot's own directory.
pub(crate) const RESERVED: [&str; 3] = [MANIFEST, DIGESTS, STATE];
/// Why such a file is left out.
pub(crate) const RESERVED_WHY: &str = "its name is one of a snapshot's own files";
/// The names within a store.
pub const CATALOGUE: &str = "snapshots.json";
/// See [`CATALOGUE`].
pub const LOCK: &str = ".lock";

const MAX_CATALOGUE: u64 = 1 << 30;

/// An open store.
#[derive(Debug, Clone)]
pub struct Store {
    dir: Dir,
}

/// The catalogue held against the directories.
#[derive(Debug, Clone)]
pub struct Reconciled {
    /// As it should be.
    pub catalogue: Catalogue,
    /// Whether it differs from what stands in `snapshots.json`.
    pub stale: bool,
}

impl Store {
    /// The store that an open directory is.
    pub(crate) fn of(dir: Dir) -> Store {
        Store { dir }
    }

    /// Opens an existing store.
    pub fn open(fs: Arc<dyn Fs>, path: &Path) -> Result<Store> {
        Ok(Store { dir: Dir::open_on(fs, path)?.for_its_owner()? })
    }

    /// Opens a store or makes it, durably, for whoever owns the source; also whether it was made.
    pub(crate) fn open_or_make(fs: Arc<dyn Fs>, path: &Path, source: &Stat) -> Result<(Store, bool)> {
        match Store::open(fs.clone(), path) {
            Err(e) if e.is_not_found() => {}
            other => return other.map(|store| (store, false)),
        }
        let parent = Dir::open_on(fs, path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or_default();
        let (dir, made) = match parent.make_dir(name, source.mode & 0o777 | 0o700) {
            // Another process was faster; its sync may still be on the way.
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {
                (parent.open_dir(name)?, false)
            }
            other => (other?, true),
        };
        if made {
            dir.give(Owner::of(source))?;
        }
        parent.sync()?;
        Ok((Store { dir: dir.for_its_owner()? }, made))
    }

    /// Removes a store that was made for a snapshot that did not come about, if there is nothing in it and nobody at
    /// work in it. Best effort.
    pub(crate) fn abandon(&self) {
        let now = Deadline::after(std::time::Duration::ZERO, &Observer::default());
        let path = self.dir.path();
        let (Ok(_guard), Some(parent), Some(name)) =
            (self.lock(LockMode::Exclusive, &now), path.parent(), path.file_name())
        else {
            return;
        };
        let is_empty = self.dir.list().is_ok_and(|entries| entries.iter().all(|e| e.name == LOCK));
        if is_empty && self.dir.unlink(LOCK).is_ok() {
            let _ = self.dir.open_parent(parent).and_then(|parent| parent.remove_dir(name));
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Takes the store's lock.
    pub(crate) fn lock(&self, mode: LockMode, deadline: &Deadline) -> Result<Guard> {
        lock_file(&self.dir, LOCK, mode, deadline, "the store of snapshots")
    }

    /// Everything in it that is a snapshot, was one, or will be one.
    pub(crate) fn names(&self) -> Result<Vec<(String, StoreName)>> {
        let entries = self.dir.list()?;
        let name = |e: crate::fs::Entry| {
            let name = e.name.into_string().ok()?;
            let what = StoreName::parse(&name)?;
            (e.kind == FileKind::Dir).then_some((name, what))
        };
        Ok(entries.into_iter().filter_map(name).collect())
    }

    /// The published snapshots, oldest first.
    pub fn ids(&self) -> Result<Vec<SnapshotId>> {
        Ok(published(&self.names()?))
    }

    /// Reads the manifests of a snapshot. See [`Loaded::read`] for the errors.
    pub fn load(&self, id: SnapshotId) -> Result<Loaded> {
        self.load_from(id, self.dir.open_dir(id.to_string())?)
    }

    /// As [`load`](Self::load), from the directory that is open already.
    pub(crate) fn load_from(&self, id: SnapshotId, dir: Dir) -> Result<Loaded> {
        match Loaded::read(id, dir.clone()) {
            Err(e @ Error::Integrity(_)) => self.read_again(id, dir, e),
            other => other,
        }
    }

    /// As [`load_from`](Self::load_from), by two threads and with more memory; and what `beside` makes of the digests while `manifest.json`
    /// is being parsed, which nothing vouches for yet. Its flag is set when that is done.
    pub(crate) fn load_beside<T: Send>(
        &self,
        id: SnapshotId,
        dir: Dir,
        beside: impl Fn(&DigestList, &AtomicBool) -> T + Sync,
    ) -> Result<(Loaded, T)> {
        match Loaded::read_beside(id, dir.clone(), &beside) {
            Err(e @ Error::Integrity(_)) => {
                let loaded = self.read_again(id, dir, e)?;
                let made = beside(&loaded.digests, &AtomicBool::new(true));
                Ok((loaded, made))
            }
            other => other,
        }
    }

    /// Where the manifests are wrong, the root that the catalogue remembers tells which of them it is.
    fn read_again(&self, id: SnapshotId, dir: Dir, e: Error) -> Result<Loaded> {
        let catalogue = self.read_catalogue()?;
        match catalogue.as_ref().and_then(|c| c.get(id)).filter(|r| !r.root.is_empty()) {
            Some(record) => Loaded::read_knowing(id, dir, Some(&record.root)),
            None => Err(e),
        }
    }

    /// The catalogue as it stands on disk; `None` where it is missing or not to be believed.
    pub fn read_catalogue(&self) -> Result<Option<Catalogue>> {
        match self.dir.try_read(CATALOGUE, MAX_CATALOGUE) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| Catalogue::parse(&bytes).ok())),
            Err(e) if e.is_no_file() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The record of a snapshot of which everything is known without reading it, once it is published.
    pub(crate) fn published(&self, record: Record) -> Result<Record> {
        Ok(Record { seen: load::look_at(&self.dir, &record.id.to_string())?, ..record })
    }

    /// Holds the catalogue against the directories, which decide what exists. A snapshot whose root is not the one
    /// that the catalogue remembers is damaged; only a repair that accepts it changes that.
    pub fn reconcile(&self) -> Result<Reconciled> {
        self.reconcile_with(None)
    }

    /// As [`reconcile`](Self::reconcile), with a record that need not be made from the disk.
    pub(crate) fn reconcile_with(&self, known: Option<Record>) -> Result<Reconciled> {
        let on_disk = self.read_catalogue()?;
        let mut stale = on_disk.is_none();
        let Catalogue { last_id, snapshots: remembered } = on_disk.unwrap_or_default();
        let ids = self.ids()?;
        let mut snapshots = Vec::with_capacity(ids.len());
        // Both are in order.
        let mut remembered = remembered.into_iter().peekable();
        for id in &ids {
            while remembered.next_if(|old| old.id < *id).is_some() {
                stale = true;
            }
            let old = remembered.next_if(|old| old.id == *id);
            if let Some(known) = known.as_ref().filter(|r| r.id == *id) {
                stale |= old.as_ref() != Some(known);
                snapshots.push(known.clone());
                continue;
            }
            match self.record(*id, old) {
                Ok((record, changed)) => {
                    stale |= changed;
                    snapshots.push(record);
                }
                // Deleted between the listing and the look.
                Err(e) if e.is_not_found() => stale = true,
                Err(e) => return Err(e),
            }
        }
        let newest = last_id.max(ids.last().copied());
        stale |= remembered.next().is_some() || newest != last_id;
        Ok(Reconciled { stale, catalogue: Catalogue { last_id: newest, snapshots } })
    }

    /// The record of a snapshot, and whether it is another one than the catalogue's.
    fn record(&self, id: SnapshotId, old: Option<Record>) -> Result<(Record, bool)> {
        let name = id.to_string();
        let seen = load::look_at(&self.dir, &name)?;
        match old {
            Some(old) if old.seen.is_some() && old.seen == seen => Ok((old, false)),
            old => {
                if let Some(renewed) = old.as_ref().and_then(|old| self.with_new_state(old, &name, seen)) {
                    return Ok((renewed, true));
                }
                let record = self.read_record(id, self.dir.open_dir(&name)?, seen, old.as_ref())?;
                let changed = old.as_ref() != Some(&record);
                Ok((record, changed))
            }
        }
    }

    /// The same record where nothing but the state has changed: the manifests may be large. A state that knows nothing of
    /// readings does not do, since then the manifest says when its files were read.
    fn with_new_state(&self, old: &Record, name: &str, seen: Option<Seen>) -> Option<Record> {
        let same = old.damaged.is_none() && old.seen.zip(seen).is_some_and(|(old, now)| old.same_manifests(&now));
        let state = self.dir.open_dir(name).and_then(|dir| load::read_state(&dir)).ok().filter(|_| same)?;
        let known = !state.unreadable && state.reads.is_some();
        known.then(|| Record { seen, ..old.clone().with_state(&state) })
    }

    fn read_record(&self, id: SnapshotId, dir: Dir, seen: Option<Seen>, old: Option<&Record>) -> Result<Record> {
        let known_root = old.map(|r| r.root.clone()).filter(|root| !root.is_empty());
        match Loaded::read_knowing(id, dir, known_root.as_deref()) {
            Ok(loaded) => {
                let root = loaded.root.to_hex();
                match known_root {
                    Some(known) if known != root.as_str() => {
                        let why = format!("its root is {root}, the catalogue remembers {known}");
                        Ok(Record { root: known, damaged: Some(why), seen: None, ..Record::from(&loaded) })
                    }
                    _ => Ok(Record { seen, ..Record::from(&loaded) }),
                }
            }
            Err(e @ (Error::Integrity(_) | Error::Validation(_))) => {
                let record = old.cloned().unwrap_or_else(|| Record::unknown(id, ""));
                Ok(Record { damaged: Some(reason(&e)), seen: None, ..record })
            }
            Err(e) => Err(e),
        }
    }

    /// Makes all names in the store durable, and brings the catalogue up to date where that is possible: one sync does for
    /// both. A catalogue that cannot be had or written is no failure of the operation that calls this, since it is rebuilt
    /// from the directories whenever it is read.
    pub(crate) fn settle(&self, catalogue: Result<Catalogue>, _exclusive: &Guard, observer: &Observer) -> Result<()> {
        if let Err(e) = catalogue.and_then(|catalogue| self.put_catalogue(&catalogue)) {
            observer.warn(&format!("{e}; the catalogue will be rebuilt, no snapshot is affected"));
        }
        self.dir.sync()
    }

    /// Replaces `snapshots.json`, durably.
    pub(crate) fn write_catalogue(&self, catalogue: &Catalogue, _exclusive: &Guard) -> Result<()> {
        self.put_catalogue(catalogue)?;
        self.dir.sync()
    }

    /// Replaces `snapshots.json`; the caller syncs the store.
    fn put_catalogue(&self, catalogue: &Catalogue) -> Result<()> {
        replace_unsettled(&self.dir, CATALOGUE, &catalogue.to_bytes()?, 0o666).map_err(|e| {
            let path = self.dir.path_of(CATALOGUE);
            match self.dir.try_stat(CATALOGUE) {
                Ok(Some(stat)) if stat.kind == FileKind::Dir => ValidationError::Refused {
                    what: format!("{} is a directory, where the catalogue belongs", path.display()),
                    path: Some(path),
                    hint: Some("move it away and run `cowlog repair`".into()),
                }
                .into(),
                _ => e,
            }
        })
    }

    /// Whether somebody holds the snapshot: verifies it, restores it, inherits from it. The store's lock keeps this
    /// short try from coming between a create and the snapshot that it wants to inherit from.
    pub(crate) fn is_in_use(&self, id: SnapshotId, _held: &Guard) -> bool {
        matches!(try_lock_dir(&self.dir, id.to_string(), LockMode::Exclusive), Ok(None))
    }

    /// Replaces the state of a snapshot, durably.
    pub(crate) fn write_state(&self, id: SnapshotId, state: &State, _exclusive: &Guard) -> Result<()> {
        replace_file(&self.dir.open_dir(id.to_string())?, STATE, &state.to_bytes()?, 0o666)
    }

    /// Reads the state of a snapshot.
    pub(crate) fn read_state(&self, id: SnapshotId) -> Result<State> {
        load::read_state(&self.dir.open_dir(id.to_string())?)
    }
}

/// Those of the names that are snapshots, oldest first.
fn published(names: &[(String, StoreName)]) -> Vec<SnapshotId> {
    let id = |(_, what): &(String, StoreName)| match what {
        StoreName::Snapshot(id) => Some(*id),
        StoreName::Staging(_) | StoreName::Trash(_) => None,
    };
    let mut ids: Vec<SnapshotId> = names.iter().filter_map(id).collect();
    ids.sort_unstable();
    ids
}

fn reason(e: &Error) -> String {
    match e {
        Error::Integrity(e) => match e.damage.first() {
            Some(d) => format!("{}: {}", d.path, d.detail),
            None => e.what.clone(),
        },
        e => e.to_string(),
    }
}
