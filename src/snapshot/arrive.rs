//! A snapshot that comes from elsewhere.

use std::path::Path;
use std::sync::Arc;

use super::create::staging::StagedSnapshot;
use super::inside;
use super::manager::SnapshotManager;
use super::outcome::{Restored, SnapshotInfo};
use super::restore::arrivals::Arrivals;
use super::restore::options::RestoreOptions;
use super::set;
use super::verify::Opened;
use super::verify::VerifiedSnapshot;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, LockMode, OsFs};
use crate::snapshot::SnapshotConfig;
use crate::store::{Loaded, Record, SnapshotId, Store};

/// A snapshot of the store, open for reading: nobody deletes it while this lives. Its manifests hold; of its files
/// nothing is known.
#[derive(Debug)]
pub struct Held {
    loaded: Loaded,
    _guard: crate::fs::Guard,
}

impl Held {
    /// What its manifests say.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The bytes of `manifest.json` and `manifest.b3`, as they were when they were held to be right.
    pub(crate) fn manifests(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let (manifest, digests) = self.loaded.manifest_bytes()?;
        let right = blake3::hash(&digests) == self.loaded.root
            && self.loaded.digests.get(crate::store::MANIFEST) == Some(blake3::hash(&manifest));
        match right {
            true => Ok((manifest, digests)),
            false => {
                let what = "its manifests were changed while it was read";
                Err(crate::error::IntegrityError::new(self.loaded.dir.path(), what).into())
            }
        }
    }
}

/// What became of a snapshot that arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) snapshot: SnapshotInfo,
    pub(crate) was_there: bool,
}

impl SnapshotManager {
    /// Opens a snapshot for reading and keeps it from being deleted.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot. `Integrity`: its manifests do not hold. `Concurrency`: it is being deleted.
    pub fn hold(&self, id: &str) -> Result<Held> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let Opened { guard, loaded } = self.open_snapshot(&store, id)?;
        let loaded = loaded?;
        let damage = self.root_damage(&store, &loaded)?;
        self.refuse(&store, &loaded, damage.into_iter().collect())?;
        Ok(Held { loaded, _guard: guard })
    }

    /// Takes a snapshot that comes from elsewhere into the store, which is made if it is not there. `fill` makes its
    /// files and manifests in an empty directory; it has found every byte right.
    ///
    /// After `Ok` it is published and durable.
    pub(crate) fn arrive(
        &self,
        id: SnapshotId,
        root: &blake3::Hash,
        fill: impl FnOnce(&Dir) -> Result<()>,
    ) -> Result<Arrived> {
        let (store, made) = self.store_for_arrivals()?;
        let arrived = self.arrive_in(&store, id, root, fill);
        if arrived.is_err() && made {
            store.abandon();
        }
        arrived
    }

    fn arrive_in(
        &self,
        store: &Store,
        id: SnapshotId,
        root: &blake3::Hash,
        fill: impl FnOnce(&Dir) -> Result<()>,
    ) -> Result<Arrived> {
        let show = |record| set::found(self.fs(), record, store.dir().path());
        let guard = store.lock(LockMode::Exclusive, &self.deadline())?;
        let _ = store.sweep(&guard);
        if store.ids()?.contains(&id) {
            let loaded = store.load(id)?;
            if loaded.root != *root {
                let what = format!("another snapshot {id} is in {}", store.dir().path().display());
                let hint = Some("name another place by `--store DIR`".into());
                return Err(ValidationError::Refused { what, path: None, hint }.into());
            }
            return Ok(Arrived { snapshot: show(Record::from(&loaded)), was_there: true });
        }
        let mode = store.dir().stat_self()?.mode & 0o777;
        let staged = StagedSnapshot::begin(store.dir(), id, mode).map_err(|e| being_made(e, store, id))?;
        drop(guard);
        fill(staged.dir())?;
        staged.dir().sync_filesystem()?;
        let loaded = Loaded::read(id, staged.dir().clone())?;
        self.config().observer.check()?;
        let guard = store.lock(LockMode::Exclusive, &self.deadline())?;
        let record = Record::from(&loaded);
        staged.publish(|| {
            let catalogue = store.published(record.clone()).and_then(|r| store.reconcile_with(Some(r)));
            store.settle(catalogue.map(|r| r.catalogue), &guard, &self.config().observer)
        })?;
        Ok(Arrived { snapshot: show(record), was_there: false })
    }

    fn store_for_arrivals(&self) -> Result<(Store, bool)> {
        if let Some(store) = self.find_store()? {
            inside::refuse_arrivals(store.dir())?;
            return Ok((store, false));
        }
        let path = self.config().store.as_deref().ok_or_else(|| -> Error {
            let what = "there is no store that snapshots could come into".to_owned();
            ValidationError::Refused { what, path: None, hint: Some("name one by `--store DIR`".into()) }.into()
        })?;
        let path = self.fs().canonical(path);
        inside::refuse_store(self.fs(), &path)?;
        // Where there is no source, it belongs to whoever owns the place.
        let above = Dir::open_on(self.fs().clone(), path.parent().unwrap_or(Path::new("/")))?.stat_self()?;
        Store::open_or_make(self.fs().clone(), &path, &above)
    }

    /// Refuses a directory for copies that lies where it would be lost with what is copied, or would disturb it.
    pub(crate) fn refuse_place(&self, path: &Path) -> Result<()> {
        let store = self.location()?.map(|found| found.path).or_else(|| self.config().store.clone());
        inside::refuse_place(self.fs(), path, self.source(), store.as_deref())
    }

    /// Restores a snapshot that comes from elsewhere, by the rules of [`restore`](Self::restore). `fill` makes its
    /// manifests, and the files that are wanted of it, and has found every byte of these right.
    pub(crate) fn restore_arriving(
        id: SnapshotId,
        bytes: u64,
        options: RestoreOptions,
        config: SnapshotConfig,
        fill: impl FnOnce(&Dir) -> Result<()>,
    ) -> Result<Restored> {
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let deadline = Deadline::after(config.lock_timeout, &config.observer);
        let arrivals = Arrivals::begin(&fs, &options, &deadline)?;
        arrivals.dir().expect_room(bytes)?;
        let dir = arrivals.dir().make_dir(id.to_string(), 0o700)?;
        fill(&dir)?;
        let store = Some(arrivals.dir().path().to_owned());
        let target = options.target.clone();
        let manager = SnapshotManager::open_on(fs, target, SnapshotConfig { store, ..config })?;
        let opened = manager.open_snapshot(&manager.store()?, id)?;
        let verified = VerifiedSnapshot::trusted(opened.loaded?, opened.guard);
        manager.restore(verified, options.taking())
    }
}

fn being_made(e: Error, store: &Store, id: SnapshotId) -> Error {
    match e {
        Error::Filesystem(e) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {
            let why = format!("another process brings {id} into it");
            crate::error::ConcurrencyError::Busy { path: store.dir().path().into(), why }.into()
        }
        e => e,
    }
}
