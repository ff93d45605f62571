//! `snapshots.json`: an index over the snapshots of a store, always rebuildable from them.

use std::collections::{BTreeMap, BTreeSet};

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::id::SnapshotId;
use super::load::Loaded;
use super::manifest::{LogManifest, Manifest, Scope, SetMember};
use super::sealed;
use super::state::State;
use crate::error::Result;
use crate::fs::{Identity, Method, Stat};

/// Segment offsets are listed up to this many; the manifest has them all.
const MOST_OFFSETS: usize = 64;

/// What is known of all snapshots without opening any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The highest id that was ever given out, so that none comes twice.
    pub last_id: Option<SnapshotId>,
    /// Oldest first.
    pub snapshots: Vec<Record>,
}

/// What is known of one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The snapshot.
    pub id: SnapshotId,
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// How much it covers.
    pub scope: Scope,
    /// Of a snapshot of one log: the base offset of its first segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_offset: Option<i64>,
    /// Of one log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<i64>,
    /// Of one log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_end_offset: Option<i64>,
    /// Of all logs.
    pub num_segments: u64,
    /// Bytes of all files.
    pub total_size: u64,
    /// Of one log, where there are not too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_offsets: Option<Vec<i64>>,
    /// The logs of a data directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRecord>,
    /// Files by method.
    pub methods: BTreeMap<Method, u64>,
    /// Bytes that were copied.
    pub bytes_copied: u64,
    /// Files that are exposed.
    pub exposed: u64,
    /// When the oldest bytes were last read: milliseconds since 1970 UTC.
    pub oldest_read: Option<i64>,
    /// BLAKE3 of `manifest.b3`, in hex.
    pub root: String,
    /// From the state.
    #[serde(default)]
    pub pinned: bool,
    /// The state could not be read: nobody knows whether it is pinned, so it counts as pinned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state_unreadable: bool,
    /// From the state.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// From the state: time, level, result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<(i64, String, bool)>,
    /// Whether logs of a running broker are missing in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The other directories that it was taken of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<SetMember>,
    /// From the state: the roots of these parts, by their stores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_roots: BTreeMap<String, String>,
    /// Why it is not to be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
    /// The two manifests and the state when they were last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// One log of a snapshot of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Base offset of the first segment.
    pub base_offset: i64,
    /// First offset that readers may see.
    pub log_start_offset: i64,
    /// High watermark.
    pub high_watermark: i64,
    /// Offset after the last record.
    pub log_end_offset: i64,
    /// Segments.
    pub num_segments: u64,
    /// Bytes of its files.
    pub total_size: u64,
    /// Where there are not too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_offsets: Option<Vec<i64>>,
}

/// Which inodes a record was made from. The device is left out: its number changes from mount to mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    manifest: Identity,
    digests: Identity,
    state: Option<Identity>,
}

impl Seen {
    pub(super) fn new(manifest: &Stat, digests: &Stat, state: Option<&Stat>) -> Self {
        let anywhere = |stat: &Stat| Identity { dev: 0, ..Identity::from(stat) };
        Seen { manifest: anywhere(manifest), digests: anywhere(digests), state: state.map(anywhere) }
    }
}

impl Seen {
    /// Whether at most the state is another one.
    pub(super) fn same_manifests(&self, other: &Seen) -> bool {
        (self.manifest, self.digests) == (other.manifest, other.digests)
    }
}

impl Catalogue {
    /// The bytes of `snapshots.json`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        sealed::seal(super::CATALOGUE, self)
    }

    /// Reads `snapshots.json`.
    ///
    /// # Errors
    ///
    /// `Integrity` where the checksum does not hold or the form is unknown. The caller rebuilds it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        sealed::open(super::CATALOGUE, bytes)
    }

    /// The record of a snapshot.
    pub fn get(&self, id: SnapshotId) -> Option<&Record> {
        self.snapshots.iter().find(|r| r.id == id)
    }
}

impl Record {
    /// Of a snapshot whose manifests hold.
    pub(crate) fn of(manifest: &Manifest, root: &Hash, state: &State) -> Self {
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        let mut methods = BTreeMap::new();
        let (mut total_size, mut bytes_copied, mut exposed) = (0, 0, 0);
        for file in &manifest.files {
            let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            *sizes.entry(dir).or_default() += file.size;
            *methods.entry(file.method).or_default() += 1;
            total_size += file.size;
            bytes_copied += if file.method == Method::Copy { file.size } else { 0 };
            exposed += u64::from(file.exposed);
        }
        let one = match (manifest.logs.as_slice(), manifest.source.kind) {
            ([one], super::SourceKind::Log) => Some(one),
            _ => None,
        };
        let size_of = |log: &LogManifest| sizes.get(log.dir.as_str()).copied().unwrap_or(0);
        Record {
            id: manifest.id,
            timestamp: manifest.created_ms,
            scope: manifest.source.scope.clone(),
            base_offset: one.map(first_base),
            high_watermark: one.map(|l| l.cut.high_watermark),
            log_end_offset: one.map(|l| l.cut.log_end_offset),
            num_segments: manifest.logs.iter().map(|l| l.segments.len() as u64).sum(),
            total_size,
            segment_offsets: one.and_then(offsets),
            logs: manifest.logs.iter().filter_map(|l| LogRecord::of(l, size_of(l))).collect(),
            methods,
            bytes_copied,
            exposed,
            oldest_read: manifest.files.iter().map(|f| f.read_at).min(),
            root: root.to_hex().to_string(),
            partial: !manifest.missing.is_empty(),
            set: manifest.set.clone(),
            damaged: None,
            seen: None,
            ..Record::unknown(manifest.id, "")
        }
        .with_state(state)
    }

    /// Of a snapshot whose manifests cannot be believed.
    pub(crate) fn unknown(id: SnapshotId, why: impl Into<String>) -> Self {
        Record {
            id,
            timestamp: i64::try_from(id.ms()).unwrap_or(i64::MAX),
            scope: Scope::All,
            base_offset: None,
            high_watermark: None,
            log_end_offset: None,
            num_segments: 0,
            total_size: 0,
            segment_offsets: None,
            logs: Vec::new(),
            methods: BTreeMap::new(),
            bytes_copied: 0,
            exposed: 0,
            oldest_read: None,
            root: String::new(),
            pinned: false,
            state_unreadable: false,
            tags: BTreeSet::new(),
            verified: None,
            partial: false,
            set: Vec::new(),
            set_roots: BTreeMap::new(),
            damaged: Some(why.into()),
            seen: None,
        }
    }

    /// Of which nothing is known.
    #[cfg(test)]
    pub(crate) fn for_tests(id: SnapshotId) -> Self {
        Record::unknown(id, "")
    }

    /// How many files it has, and of how many bytes.
    pub(crate) fn files_and_bytes(&self) -> (u64, u64) {
        (self.methods.values().sum(), self.total_size)
    }

    pub(super) fn with_state(mut self, state: &State) -> Self {
        self.pinned = state.pinned;
        self.state_unreadable = state.unreadable;
        if state.unreadable {
            // Read again next time: it may have been a moment's error.
            self.seen = None;
        }
        self.tags = state.tags.clone();
        if let (Some(oldest), Some(reads)) = (&mut self.oldest_read, &state.reads) {
            *oldest = reads.oldest.max(*oldest);
        }
        self.set_roots = state.roots.clone();
        self.verified = state.verified.as_ref().map(|v| (v.at, v.level.clone(), v.ok));
        self
    }
}

impl From<&Loaded> for Record {
    fn from(loaded: &Loaded) -> Self {
        Record::of(&loaded.manifest, &loaded.root, &loaded.state)
    }
}

impl LogRecord {
    fn of(log: &LogManifest, total_size: u64) -> Option<Self> {
        Some(LogRecord {
            topic: log.topic.clone()?,
            partition: log.partition?,
            base_offset: first_base(log),
            log_start_offset: log.cut.log_start_offset,
            high_watermark: log.cut.high_watermark,
            log_end_offset: log.cut.log_end_offset,
            num_segments: log.segments.len() as u64,
            total_size,
            segment_offsets: offsets(log),
        })
    }
}

fn first_base(log: &LogManifest) -> i64 {
    log.segments.first().copied().unwrap_or(log.cut.log_start_offset)
}

fn offsets(log: &LogManifest) -> Option<Vec<i64>> {
    (log.segments.len() <= MOST_OFFSETS).then(|| log.segments.clone())
}
