//! What the snapshots of a store take up: a walk over their directories and the source's.

pub(in crate::snapshot) mod forecast;
pub(in crate::snapshot) mod ledger;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::fs::{Dir, FileKind, Open, VolumeKind};
use crate::log::{SegmentFile, parse_segment_name};
use crate::observe::Observer;
use crate::snapshot::manager::{SnapshotManager, no_such};
use crate::store::{IN_LOG, IdQuery, Scope, SnapshotId, Store};
use forecast::{Forecast, forecast};
use ledger::{Bounds, Holder, InodeId, Ledger, Pieces};

/// What the snapshots of a source take up, as it was while it was looked at. Where bounds differ, the upper one is what
/// becomes free unless somebody else shares the blocks.
#[derive(Debug, Clone, Serialize)]
pub struct Space {
    /// Each alone, oldest first.
    pub snapshots: Vec<SnapshotSpace>,
    /// Bytes of all files of all of them: what there is to read.
    pub logical: u64,
    /// What they take up on the disk, each byte once.
    pub physical: u64,
    /// Of that, what the source uses too.
    pub with_source: u64,
    /// Of that, what has another name neither in the store nor in the source.
    pub elsewhere: u64,
    /// Of that, what only the store keeps alive.
    pub held: Bounds,
    /// What deleting all of them would free: less than `held` where snapshots of other scopes hold some of it.
    pub frees: Bounds,
    /// Files whose inode the source names now: a write in place would reach them.
    pub exposed: u64,
    /// Bytes of these.
    pub exposed_bytes: u64,
    /// Bytes that this user can still write to the store's filesystem.
    pub available: u64,
    /// Bytes of all of that filesystem.
    pub size: u64,
    /// From the snapshots' history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// Why there is no forecast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_forecast: Option<String>,
    /// The segments, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentCopies>,
    #[serde(skip)]
    ids: Vec<SnapshotId>,
    #[serde(skip)]
    pieces: Pieces,
}

/// What one snapshot takes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotSpace {
    /// The snapshot.
    pub id: String,
    /// When it was taken: milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    /// Bytes of its files, the manifests included.
    pub logical: u64,
    /// What they take up on the disk, shared or not.
    pub physical: u64,
    /// Of that, what only the store keeps alive: this snapshot or another one.
    pub held: Bounds,
    /// What deleting this one alone would free.
    pub frees: Bounds,
    /// Its files whose inode the source names now.
    pub exposed: u64,
    /// Bytes of these.
    pub exposed_bytes: u64,
}

/// How often the bytes of a segment lie on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentCopies {
    /// Its `.log`, within a snapshot.
    pub path: String,
    /// Snapshots that have it.
    pub snapshots: u64,
    /// Whether the source has it.
    pub source: bool,
    /// Physical copies of it, the source's included. Inodes whose first blocks are the same are one.
    pub copies: u64,
}

impl Space {
    /// What deleting these snapshots together would free: more than the sum of each alone.
    pub fn freed_by<S: AsRef<str>>(&self, ids: &[S]) -> Bounds {
        let chosen = self.members(ids);
        self.pieces.freed(|member| chosen.contains(&member))
    }

    /// What these snapshots use and only the store keeps alive, be it by others as well.
    pub fn held_by<S: AsRef<str>>(&self, ids: &[S]) -> Bounds {
        let chosen = self.members(ids);
        self.pieces.held(|member| chosen.contains(&member))
    }

    fn members<S: AsRef<str>>(&self, ids: &[S]) -> HashSet<u32> {
        let ids: HashSet<&str> = ids.iter().map(AsRef::as_ref).collect();
        self.ids.iter().zip(0..).filter(|(id, _)| ids.contains(id.to_string().as_str())).map(|(_, n)| n).collect()
    }
}

impl SnapshotManager {
    /// What the snapshots take up and what their deletion would free. It opens no manifest, looks at every file once, and asks
    /// for its extents where the filesystem can share blocks. Nothing is locked.
    ///
    /// # Errors
    ///
    /// `Validation` where there is no store.
    pub fn space(&self) -> Result<Space> {
        self.survey(false)
    }

    /// The same, with the physical copies of each segment.
    pub fn space_by_segment(&self) -> Result<Space> {
        self.survey(true)
    }

    /// What deleting these snapshots together would free.
    ///
    /// # Errors
    ///
    /// `Validation` for an id that is no id, fits none or several.
    pub fn freed_by<S: AsRef<str>>(&self, ids: &[S]) -> Result<Bounds> {
        let store = self.store()?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(self.resolve(&store, id.as_ref())?.to_string());
        }
        let space = self.space()?;
        for id in &found {
            if !space.snapshots.iter().any(|s| s.id == *id) {
                return Err(no_such(&store, &id.parse::<IdQuery>()?));
            }
        }
        Ok(space.freed_by(&found))
    }

    fn survey(&self, by_segment: bool) -> Result<Space> {
        let store = self.store()?;
        let (records, scope) = self.scoped(&store)?;
        let mut ids = store.ids()?;
        let volume = store.dir().volume()?;
        let mut walk = Walk::new(volume.kind, by_segment, &self.config().observer);
        let mut logical = Vec::with_capacity(ids.len());
        walk.snapshots(&store, &mut ids, &mut logical)?;
        if let Some(source) = self.open_for_survey(scope.as_ref())? {
            walk.volume = source.volume()?.kind;
            walk.source(&source)?;
        }
        let segments = walk.segments();
        let pieces = walk.ledger.pieces();
        let mut snapshots = Vec::with_capacity(records.len());
        let mut selected = HashSet::new();
        for ((id, logical), member) in ids.iter().zip(logical).zip(0u32..) {
            let Some(record) = records.iter().find(|r| r.id == *id) else { continue };
            selected.insert(member);
            let this = |other: u32| other == member;
            let (exposed, exposed_bytes) = pieces.exposed(this);
            snapshots.push(SnapshotSpace {
                id: id.to_string(),
                timestamp_ms: record.timestamp,
                logical,
                physical: pieces.physical(this),
                held: pieces.held(this),
                frees: pieces.freed(this),
                exposed,
                exposed_bytes,
            });
        }
        let all = |member: u32| selected.contains(&member);
        let (exposed, exposed_bytes) = pieces.exposed(all);
        let (forecast, no_forecast) = match forecast(&records, volume.available) {
            Ok(forecast) => (Some(forecast), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Space {
            logical: snapshots.iter().map(|s| s.logical).fold(0, u64::saturating_add),
            snapshots,
            physical: pieces.physical(all),
            with_source: pieces.with_source(all),
            elsewhere: pieces.elsewhere(all),
            held: pieces.held(all),
            frees: pieces.freed(all),
            exposed,
            exposed_bytes,
            available: volume.available,
            size: volume.size,
            forecast,
            no_forecast,
            segments,
            ids,
            pieces,
        })
    }

    /// The log or data directory that the store is of; `None` where it is gone. Of a partition all of its data directory: its
    /// snapshots are in one store with those of the whole.
    fn open_for_survey(&self, scope: Option<&Scope>) -> Result<Option<Dir>> {
        let path = self.fs().canonical(self.source());
        let above: Option<PathBuf> = match (self.scope(), scope) {
            (None, Some(_)) => path.parent().map(Into::into),
            _ => None,
        };
        match Dir::open_on(self.fs().clone(), above.unwrap_or(path)) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// How deep directories are followed: a snapshot holds logs, and they hold files.
const DEEPEST: usize = 8;

struct Walk<'a> {
    ledger: Ledger,
    volume: VolumeKind,
    observer: &'a Observer,
    /// By path, where they are wanted.
    copies: Option<BTreeMap<String, Names>>,
}

/// Who names a segment, and which inodes the names stand for.
#[derive(Default)]
struct Names {
    snapshots: u64,
    source: bool,
    inodes: Vec<InodeId>,
}

impl<'a> Walk<'a> {
    fn new(volume: VolumeKind, by_segment: bool, observer: &'a Observer) -> Self {
        let ledger = Ledger::new(volume == VolumeKind::Btrfs);
        Walk { ledger, volume, observer, copies: by_segment.then(BTreeMap::new) }
    }

    /// Those that were deleted meanwhile are taken out of `ids`.
    fn snapshots(&mut self, store: &Store, ids: &mut Vec<SnapshotId>, logical: &mut Vec<u64>) -> Result<()> {
        let mut there = Vec::with_capacity(ids.len());
        for id in ids.iter() {
            let dir = match store.dir().open_dir(id.to_string()) {
                Ok(dir) => dir,
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            let member = u32::try_from(there.len()).unwrap_or(u32::MAX);
            logical.push(self.directory(&dir, "", Holder::Snapshot(member), DEEPEST)?);
            there.push(*id);
        }
        *ids = there;
        Ok(())
    }

    fn source(&mut self, source: &Dir) -> Result<()> {
        self.directory(source, "", Holder::Source, 1).map(drop)
    }

    /// Gives the bytes of the files.
    fn directory(&mut self, dir: &Dir, prefix: &str, holder: Holder, deeper: usize) -> Result<u64> {
        self.observer.check()?;
        if let Holder::Snapshot(member) = holder {
            self.ledger.own(member, dir.stat_self()?.allocated);
        }
        let mut bytes: u64 = 0;
        for entry in dir.list()? {
            match entry.kind {
                FileKind::File => {
                    // Whoever deletes meanwhile does not make this fail.
                    let Some(stat) = dir.try_stat(&entry.name)? else { continue };
                    bytes = bytes.saturating_add(stat.size);
                    let (inode, new) = self.ledger.name(holder, &stat);
                    if new && self.volume != VolumeKind::Ext {
                        let extents = dir.open_file(&entry.name, Open::Read).and_then(|file| file.extents());
                        // A file that this user may not open counts by its links.
                        self.ledger.extents(inode, extents.unwrap_or(None));
                    }
                    if let Some(name) = entry.name.to_str() {
                        self.copy(prefix, name, holder, inode);
                    }
                }
                FileKind::Dir if deeper > 0 && (holder != Holder::Source || entry.name != IN_LOG) => {
                    let below = match dir.open_dir(&entry.name) {
                        Ok(below) => below,
                        Err(e) if e.is_not_found() => continue,
                        // A mount's `lost+found`: what it may name as well counts as named elsewhere.
                        Err(e) if holder == Holder::Source && e.is_denied() => continue,
                        Err(e) => return Err(e),
                    };
                    let prefix = format!("{prefix}{}/", entry.name.to_string_lossy());
                    match self.directory(&below, &prefix, holder, deeper - 1) {
                        Ok(more) => bytes = bytes.saturating_add(more),
                        Err(e) if e.is_not_found() => {}
                        Err(e) => return Err(e),
                    }
                }
                FileKind::Dir | FileKind::Other => {}
            }
        }
        Ok(bytes)
    }

    fn copy(&mut self, prefix: &str, name: &str, holder: Holder, inode: InodeId) {
        let Some(copies) = &mut self.copies else { return };
        if !matches!(parse_segment_name(name), Some((_, SegmentFile::Log))) {
            return;
        }
        let names = copies.entry(format!("{prefix}{name}")).or_default();
        match holder {
            Holder::Snapshot(_) => names.snapshots += 1,
            Holder::Source => names.source = true,
        }
        if !names.inodes.contains(&inode) {
            names.inodes.push(inode);
        }
    }

    /// The segments that a snapshot has.
    fn segments(&mut self) -> Vec<SegmentCopies> {
        let Some(copies) = self.copies.take() else { return Vec::new() };
        let first = self.ledger.beginnings();
        let count = |inodes: Vec<InodeId>| {
            // An inode without a place of its own is a copy by itself.
            let places: HashSet<_> = inodes.into_iter().map(|inode| first.get(&inode).copied().ok_or(inode)).collect();
            places.len() as u64
        };
        copies
            .into_iter()
            .filter(|(_, names)| names.snapshots > 0)
            .map(|(path, Names { snapshots, source, inodes })| SegmentCopies {
                path,
                snapshots,
                source,
                copies: count(inodes),
            })
            .collect()
    }
}
