//! What the verbs return. Everything here serialises as `docs/json.md` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::space::ledger::Bounds;
use crate::error::Damage;
use crate::fs::Method;
use crate::log::BatchHeader;
use crate::store::{LeftOut, LogRecord, Record, SetMember, rfc3339};

/// One snapshot, as `create` and `list` show it.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotInfo {
    /// `snapshot-<ms>`, also the name of its directory.
    pub id: String,
    /// When it was taken: RFC 3339, UTC, milliseconds.
    pub timestamp: String,
    /// The same in milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    /// What it covers: `all`, a topic, or `topic-partition`; `log` for a log that stands alone.
    pub scope: String,
    /// The base offset of the first segment. Of one log; for a data directory see `logs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_offset: Option<i64>,
    /// The high watermark. Of one log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<i64>,
    /// The offset after the last record. Of one log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_end_offset: Option<i64>,
    /// Segments, of all logs together.
    pub num_segments: u64,
    /// Bytes of all files together.
    pub total_size: u64,
    /// The segments' base offsets. Of one log; left out where there are more than 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_offsets: Option<Vec<i64>>,
    /// The logs of a data directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogInfo>,
    /// Files by the method that brought them here.
    #[cfg_attr(feature = "console", schema(value_type = BTreeMap<String, u64>))]
    pub methods: BTreeMap<Method, u64>,
    /// Bytes that `create` copied.
    pub bytes_copied: u64,
    /// Bytes that are shared with the source or an older snapshot.
    pub bytes_shared: u64,
    /// Files whose inode the live log still named when the snapshot was taken.
    pub exposed: u64,
    /// BLAKE3 of `manifest.b3`, in hex; empty where the manifest cannot be read.
    pub root: String,
    /// The snapshot's directory.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "console", schema(value_type = String))]
    pub path: PathBuf,
    /// Whether it is excepted from `prune`.
    pub pinned: bool,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When its oldest bytes were last read and hashed: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<String>,
    /// The last verification of every byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What is wrong with it, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
    /// The other directories that it was taken of, and where their parts are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<SetMember>,
    /// Which of these parts is missing, as listings find it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

impl SnapshotInfo {
    pub(crate) fn of(record: Record, store: &Path) -> Self {
        let id = record.id.to_string();
        SnapshotInfo {
            path: store.join(&id),
            id,
            timestamp: rfc3339(record.timestamp),
            timestamp_ms: record.timestamp,
            scope: record.scope.to_string(),
            base_offset: record.base_offset,
            high_watermark: record.high_watermark,
            log_end_offset: record.log_end_offset,
            num_segments: record.num_segments,
            total_size: record.total_size,
            segment_offsets: record.segment_offsets,
            logs: record.logs.into_iter().map(LogInfo::from).collect(),
            methods: record.methods,
            bytes_copied: record.bytes_copied,
            bytes_shared: record.total_size.saturating_sub(record.bytes_copied),
            exposed: record.exposed,
            root: record.root,
            pinned: record.pinned,
            tags: record.tags.into_iter().collect(),
            oldest_read: record.oldest_read.map(rfc3339),
            verified: record.verified.map(|(at, level, ok)| Verified { at: rfc3339(at), at_ms: at, level, ok }),
            damaged: record.damaged,
            set: record.set,
            incomplete: None,
        }
    }
}

impl From<LogRecord> for LogInfo {
    fn from(log: LogRecord) -> Self {
        LogInfo {
            topic: log.topic,
            partition: log.partition,
            base_offset: log.base_offset,
            log_start_offset: log.log_start_offset,
            high_watermark: log.high_watermark,
            log_end_offset: log.log_end_offset,
            num_segments: log.num_segments,
            total_size: log.total_size,
            segment_offsets: log.segment_offsets,
        }
    }
}

/// One log of a snapshot of a data directory.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogInfo {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The base offset of its first segment.
    pub base_offset: i64,
    /// The first offset that readers see.
    pub log_start_offset: i64,
    /// The high watermark.
    pub high_watermark: i64,
    /// The offset after the last record.
    pub log_end_offset: i64,
    /// Segments.
    pub num_segments: u64,
    /// Bytes of its files.
    pub total_size: u64,
    /// The segments' base offsets, where there are at most 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_offsets: Option<Vec<i64>>,
}

/// When a snapshot was last read through, and what was found.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// RFC 3339, UTC.
    pub at: String,
    /// The same in milliseconds since 1970. It is not in the JSON.
    #[serde(skip)]
    pub at_ms: i64,
    /// `full` or `deep`.
    pub level: String,
    /// Whether all was well.
    pub ok: bool,
}

/// What `create` did.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    /// The new snapshot.
    #[serde(flatten)]
    pub snapshot: SnapshotInfo,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// Bytes that had to be read to be hashed, besides those that were copied: of unchanged files there are none.
    pub bytes_hashed: u64,
    /// Files and directories of the source that were left out on purpose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Logs of a running broker that did not come to rest, where [`allow_partial`](super::Create::allow_partial) was set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<LeftOut>,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The snapshot.
    pub id: String,
    /// How thoroughly.
    pub level: Level,
    /// Whether all was well.
    pub ok: bool,
    /// Files looked at.
    pub files_checked: u64,
    /// Bytes read.
    pub bytes_checked: u64,
    /// File by file.
    pub damage: Vec<Damage>,
    /// For damaged files, as far as there is one: a file of the source or of another snapshot that has the recorded
    /// digest now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "lossy_paths")]
    pub intact: BTreeMap<String, PathBuf>,
    /// Files in the snapshot's directory that its manifest does not name. They are never restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
}

/// How thoroughly to verify. Each level does what the ones before it do.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The manifest's digests, and presence and size of every file.
    Quick,
    /// BLAKE3 of every byte.
    Full,
    /// The CRC of every batch, the order of offsets, the agreement of the indexes.
    Deep,
}

impl Level {
    /// As it stands in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Quick => "quick",
            Level::Full => "full",
            Level::Deep => "deep",
        }
    }
}

/// What `restore` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The snapshot.
    pub id: String,
    /// The new directory.
    #[serde(serialize_with = "lossy")]
    pub target: PathBuf,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files by method.
    pub methods: BTreeMap<Method, u64>,
    /// The offset after the last record. Of one log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_offset: Option<i64>,
    /// The ends of the logs of a data directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogEnd>,
    /// Where the logs were cut, of those that were to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<LogCut>,
    /// What this user was not allowed to set, such as owners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
    /// What it took the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// What a restore took out of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// What [`SnapshotManager::undo`](super::SnapshotManager::undo) knows it by.
    pub undo: String,
    /// Where it is kept.
    #[serde(serialize_with = "lossy")]
    pub kept: PathBuf,
    /// How many offsets of it lie beyond the ends of what was restored.
    pub offsets: i64,
}

/// The end of one restored log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEnd {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset after the last record.
    pub end_offset: i64,
}

/// Between which batches a restored log was cut: [`RestoreOptions::since`](super::RestoreOptions::since) and
/// [`until`](super::RestoreOptions::until).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogCut {
    /// The topic, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The first offset that readers see.
    pub start_offset: i64,
    /// The offset after the last record.
    pub end_offset: i64,
    /// The last batch that was left out at the beginning, where any was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<CutBatch>,
    /// The first that is there then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<CutBatch>,
    /// The last that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<CutBatch>,
    /// The first that was left out at the end, where any was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<CutBatch>,
}

/// A batch at a cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// Its last offset.
    pub last_offset: i64,
    /// The largest timestamp of its records: RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

impl CutBatch {
    pub(super) fn of(header: &BatchHeader) -> CutBatch {
        CutBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: (header.max_timestamp >= 0).then(|| rfc3339(header.max_timestamp)),
        }
    }
}

/// What `delete` or `prune` removed.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The snapshot.
    pub id: String,
    /// Why it went.
    pub reason: String,
    /// Its files.
    pub files: u64,
    /// Bytes of its files. What becomes free is at most this: other snapshots and the log may share them.
    pub bytes: u64,
    /// What becomes free, in blocks of the disk: where it was only planned, once those before it are gone. Absent where that could not be
    /// had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees: Option<Bounds>,
}

/// What `repair` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Snapshots found.
    pub snapshots: u64,
    /// Directories of dead processes that were removed.
    pub swept: Vec<String>,
    /// Whether the catalogue had to be written anew.
    pub catalogue_rebuilt: bool,
    /// Snapshots whose manifest is not to be believed, with the reason.
    pub damaged: Vec<Deleted>,
}

/// A path that is not Unicode still has to be shown: with U+FFFD where it is not.
fn lossy_paths<S: serde::Serializer>(paths: &BTreeMap<String, PathBuf>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(paths.iter().map(|(path, copy)| (path, copy.to_string_lossy())))
}

pub(super) fn lossy<S: serde::Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&path.to_string_lossy())
}
