//! The entrance: one manager per source.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::SnapshotConfig;
use super::create::Create;
use super::inside;
use super::known;
use super::outcome::SnapshotInfo;
use super::set;
use super::source::Source;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, LockMode, OsFs, VolumeKind};
use crate::kafka::{Profile, datadir};
use crate::store::{self, IN_LOG, IdQuery, Loaded, Record, Scope, SnapshotId, SourceKind, Store};

/// The snapshots of one source: a log, or a data directory.
///
/// All methods take `&self`; a manager may be shared between threads, and any number of managers, in this process and
/// in others, may work on one store. Nothing is held between calls: every call looks at the disk.
#[derive(Debug, Clone)]
pub struct SnapshotManager {
    fs: Arc<dyn Fs>,
    source: PathBuf,
    /// The topic or partition of a data directory that is meant.
    part: Option<Scope>,
    config: SnapshotConfig,
}

impl SnapshotManager {
    /// For a source with the default settings. The source need not exist any more, nor its store exist yet.
    pub fn open(source: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(source, SnapshotConfig::default())
    }

    /// For a source with other settings.
    pub fn open_with(source: impl AsRef<Path>, config: SnapshotConfig) -> Result<Self> {
        Self::open_on(Arc::new(OsFs), source, config)
    }

    /// On another implementation of the operating system.
    ///
    /// What dead processes left in the store is swept, if nobody holds the store at the moment; a replacement of the source
    /// that was interrupted is completed or taken back, if nobody writes to the source.
    pub fn open_on(fs: Arc<dyn Fs>, source: impl AsRef<Path>, config: SnapshotConfig) -> Result<Self> {
        let manager = SnapshotManager { fs, source: source.as_ref().to_owned(), part: None, config };
        if let Err(e) = manager.complete(&Deadline::after(std::time::Duration::ZERO, &manager.config.observer)) {
            manager.config.observer.warn(&format!("{e}: a replacement is not complete yet"));
        }
        if let Some(store) = manager.find_store()? {
            manager.sweep(&store);
        }
        Ok(manager)
    }

    /// The same for one topic or one partition of the data directory: it takes, lists, counts and prunes snapshots of that
    /// scope alone. They are in the data directory's store, so that they outlive the topic. [`Scope::All`] is the data
    /// directory itself.
    ///
    /// # Errors
    ///
    /// `Validation` for a name that no topic can have.
    pub fn part(&self, part: Scope) -> Result<Self> {
        let topic = match &part {
            Scope::All => return Ok(SnapshotManager { part: None, ..self.clone() }),
            Scope::Topic(topic) | Scope::Partition { topic, .. } => topic,
        };
        let negative = matches!(part, Scope::Partition { partition, .. } if partition < 0);
        if negative || !datadir::is_topic_name(topic) {
            let what = format!("{:?} is not a topic, or a partition of one", part.to_string());
            return Err(ValidationError::refused(what).into());
        }
        Ok(SnapshotManager { part: Some(part), ..self.clone() })
    }

    /// What is meant of a data directory, where that is not all of it.
    pub fn scope(&self) -> Option<&Scope> {
        self.part.as_ref()
    }

    /// The settings.
    pub fn config(&self) -> &SnapshotConfig {
        &self.config
    }

    /// The source.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Where the store is; `None` where there is none yet.
    pub fn store_path(&self) -> Result<Option<PathBuf>> {
        Ok(self.find_store()?.map(|s| s.dir().path().to_owned()))
    }

    /// Begins a snapshot.
    pub fn create(&self) -> Create<'_> {
        Create::new(self)
    }

    /// All snapshots of the source, oldest first; none where there is no store. Snapshots whose manifest cannot be
    /// believed are among them, with [`SnapshotInfo::damaged`] set.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let Some(store) = self.find_store()? else { return Ok(Vec::new()) };
        Ok(self.records(&store)?.into_iter().map(|r| set::found(&self.fs, r, store.dir().path())).collect())
    }

    /// One snapshot: `latest`, an id, its digits, or the beginning of either.
    ///
    /// # Errors
    ///
    /// `Validation` for an id that is no id, fits none or several; `Integrity` where its manifest is not to be
    /// believed.
    pub fn get(&self, id: &str) -> Result<SnapshotInfo> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let loaded = store.load(id)?;
        let record = match self.records(&store)?.into_iter().find(|r| r.id == id) {
            Some(record) => record,
            None => Record::from(&loaded),
        };
        Ok(set::found(&self.fs, record, store.dir().path()))
    }

    /// What the manifests of a snapshot say, once they have been found to hold.
    pub fn manifest(&self, id: &str) -> Result<Loaded> {
        let store = self.store()?;
        store.load(self.resolve(&store, id)?)
    }

    pub(super) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.config.lock_timeout, &self.config.observer)
    }

    pub(super) fn find_store(&self) -> Result<Option<Store>> {
        match self.location()? {
            Some(found) => Ok(Some(Store::open(self.fs.clone(), &found.path)?)),
            None => Ok(None),
        }
    }

    pub(super) fn location(&self) -> Result<Option<store::Location>> {
        let locate = || store::locate(&self.fs, &self.source, self.config.store.as_deref());
        if let Some(found) = locate()? {
            return Ok(Some(found));
        }
        if self.config.store.is_some() {
            return Ok(None);
        }
        // A replacement that is not complete may have taken the log away with the store in it.
        let completed = self.complete(&self.deadline());
        match locate()? {
            Some(found) => Ok(Some(found)),
            None => completed.map(|_| None),
        }
    }

    /// The store, which must be there.
    pub(super) fn store(&self) -> Result<Store> {
        self.find_store()?.ok_or_else(|| self.no_store())
    }

    /// The store, made where it is missing: in a native log that stands alone, beside everything else. Also whether it
    /// was made.
    pub(super) fn make_store(&self, source: &Source) -> Result<(Store, bool)> {
        self.refuse_unreadable()?;
        let path = match (self.location()?, &self.config.store) {
            (Some(found), _) => found.path,
            (None, Some(path)) => self.fs.canonical(path),
            (None, None) => self.place_for_store(source)?,
        };
        inside::refuse_store(&self.fs, &path)?;
        let (store, made) = Store::open_or_make(self.fs.clone(), &path, &source.dir.stat_self()?)?;
        match store.dir().volume()?.kind {
            VolumeKind::Network if !self.config.allow_network => Err(ValidationError::Refused {
                what: format!(
                    "{} is on a network filesystem, where locks may not reach other machines",
                    path.display()
                ),
                path: Some(path),
                hint: Some("put the store on a local filesystem, or allow it where no other machine uses it".into()),
            }
            .into()),
            VolumeKind::Overlay => {
                self.config.observer.warn("the store is on an overlay filesystem; a lower layer is copied, not shared");
                Ok((store, made))
            }
            _ => Ok((store, made)),
        }
    }

    pub(super) fn place_for_store(&self, source: &Source) -> Result<PathBuf> {
        let path = self.fs.canonical(&self.source);
        if self.part.is_some() {
            return beside(&path);
        }
        if source.kind == SourceKind::Log && source.profile == Profile::Native {
            return Ok(path.join(IN_LOG));
        }
        let whole = match source.scope {
            Scope::All => Some(path.as_path()),
            Scope::Topic(_) | Scope::Partition { .. } => path.parent(),
        };
        beside(whole.unwrap_or(&path))
    }

    /// What the store knows, without writing to it, restricted to the source's scope.
    pub(super) fn records(&self, store: &Store) -> Result<Vec<Record>> {
        Ok(self.scoped(store)?.0)
    }

    /// The records, and the scope that the source's path selects among them; `None` selects all.
    pub(super) fn scoped(&self, store: &Store) -> Result<(Vec<Record>, Option<Scope>)> {
        let mut records = store.reconcile()?.catalogue.snapshots;
        let scope = match (&self.part, &self.config.store) {
            (Some(part), _) => Some(part.clone()),
            (None, None) => self.location()?.and_then(|found| found.scope),
            // A store that was named may be that of a data directory, or of a log that stands alone under such a name.
            (None, Some(_)) if records.iter().all(|r| r.scope == Scope::All && r.logs.is_empty()) => None,
            (None, Some(_)) => store::partition_scope(&self.fs.canonical(&self.source)),
        };
        if let Some(scope) = &scope {
            // A snapshot that was never read could be of any scope.
            records.retain(|r| r.scope == *scope || r.root.is_empty());
        }
        Ok((records, scope))
    }

    /// The snapshot that is meant: of a partition only its own, by whatever name; the latest of a data directory is the
    /// latest that covers all of it. Damaged or not.
    pub(super) fn resolve(&self, store: &Store, id: &str) -> Result<SnapshotId> {
        let query: IdQuery = id.parse()?;
        let of_one_scope = self.part.is_none()
            && self.config.store.is_none()
            && self.location()?.is_none_or(|found| found.scope.is_none());
        let ids: Vec<SnapshotId> = if of_one_scope && !query.is_latest() {
            // Named outright: what others in the store are like does not matter.
            store.ids()?
        } else {
            let (records, scope) = self.scoped(store)?;
            if let Some(scope) = scope.as_ref().filter(|_| query.is_latest() && records.is_empty())
                && let Some(absent) = known::none_holds(&store.reconcile()?.catalogue.snapshots, scope)
            {
                return Err(absent.of(store));
            }
            let selected = |r: &&Record| scope.is_some() || !query.is_latest() || r.scope == Scope::All;
            records.iter().filter(selected).map(|r| r.id).collect()
        };
        query.resolve(&ids)?.ok_or_else(|| no_such(store, &query))
    }

    /// Best effort: whoever cannot write to the store cannot clean up in it either.
    fn sweep(&self, store: &Store) {
        let now = Deadline::after(std::time::Duration::ZERO, &self.config.observer);
        let Ok(names) = store.names() else { return };
        if names.iter().all(|(_, what)| matches!(what, store::StoreName::Snapshot(_))) {
            return;
        }
        if let Ok(guard) = store.lock(LockMode::Exclusive, &now) {
            let _ = store.sweep(&guard);
        }
    }

    /// Whether the source is a directory of logs.
    pub fn is_data_dir(&self) -> Result<bool> {
        datadir::is_data_dir(&Dir::open_on(self.fs.clone(), &self.source)?)
    }
}

fn beside(path: &Path) -> Result<PathBuf> {
    store::beside(path).ok_or_else(|| {
        ValidationError::Refused {
            what: format!("there is no place beside {}", path.display()),
            path: Some(path.to_owned()),
            hint: Some("name one with `--store DIR`".into()),
        }
        .into()
    })
}

pub(super) fn no_such(store: &Store, query: &IdQuery) -> Error {
    ValidationError::NoSuchSnapshot { id: query.to_string(), store: store.dir().path().into() }.into()
}

/// What it means that a snapshot's directory, which was there a moment ago, cannot be opened: another process deleted it.
pub(super) fn or_deleted(store: &Store, id: SnapshotId, e: Error) -> Error {
    if e.is_not_found() { no_such(store, &id.into()) } else { e }
}
