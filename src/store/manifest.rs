//! `manifest.json`: what a snapshot is.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::digests::is_clean_path;
use super::id::SnapshotId;
use crate::error::{IntegrityError, Result, ValidationError};
use crate::fs::{Attributes, Identity, Method};
use crate::kafka::Profile;
use crate::log::{Cut, SegmentFile};

/// The version of the manifest that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Features that a manifest may name in `requires` and that this code has.
const KNOWN_REQUIREMENTS: &[&str] = &[];

/// What a snapshot is: its source, its cut, its files. Digests stand in `manifest.b3` only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's version. Unknown fields are ignored; a later version is refused.
    pub version: u32,
    /// Names of features without which the snapshot cannot be understood.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was taken: RFC 3339, UTC.
    pub created_at: String,
    /// The same in milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// The version of cowlog that took it.
    pub cowlog: String,
    /// What it was taken of.
    pub source: SourceManifest,
    /// The logs in it.
    pub logs: Vec<LogManifest>,
    /// Its directories: the snapshot's own (empty path) and one per log of a data directory.
    pub dirs: Vec<DirManifest>,
    /// Its files, sorted by path.
    pub files: Vec<FileManifest>,
    /// Logs of the source that are not in it although they should be: they did not come to rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<LeftOut>,
    /// The other directories that it was taken of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<SetMember>,
}

/// One directory of a snapshot of several: its part lies in its own store, under the same id.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMember {
    /// The directory.
    pub source: String,
    /// Its store.
    pub store: String,
}

/// Something of the source that a snapshot does not contain.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Relative to the source.
    pub path: String,
    /// Why.
    pub why: String,
}

/// What a snapshot was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceManifest {
    /// The path, as it was then.
    pub path: String,
    /// One log, or a directory of logs.
    pub kind: SourceKind,
    /// Who wrote it.
    pub profile: Profile,
    /// How much of it the snapshot covers.
    pub scope: Scope,
}

/// One log, or a directory of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A log directory.
    Log,
    /// A data directory.
    Data,
}

/// How much of a data directory a snapshot covers. min_interval, prune and `latest` count per scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything; also the scope of a log that stands alone.
    All,
    /// All partitions of a topic.
    Topic(String),
    /// One partition.
    Partition {
        /// The topic.
        topic: String,
        /// The partition's number.
        partition: i32,
    },
}

impl Scope {
    /// Whether a snapshot of this scope holds one of the other.
    pub fn holds(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::All, _) => true,
            (Scope::Topic(topic), Scope::Partition { topic: of, .. }) => topic == of,
            _ => self == other,
        }
    }

    /// Whether a partition belongs to it.
    pub fn has(&self, topic: &str, partition: i32) -> bool {
        match self {
            Scope::All => true,
            Scope::Topic(name) => name == topic,
            Scope::Partition { topic: name, partition: number } => name == topic && *number == partition,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.pad("all"),
            Scope::Topic(topic) => f.pad(topic),
            Scope::Partition { topic, partition } => f.pad(&format!("{topic}-{partition}")),
        }
    }
}

/// One log of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogManifest {
    /// Its directory within the snapshot; empty for a log that stands alone.
    pub dir: String,
    /// The topic, where the directory's name tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Where the snapshot ends in it.
    pub cut: Cut,
    /// The base offsets of its segments, ascending.
    pub segments: Vec<i64>,
}

/// A directory of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirManifest {
    /// Within the snapshot; empty for the snapshot's own.
    pub path: String,
    /// Owner of the source's directory.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "hex_map")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl DirManifest {
    /// Of a directory with these attributes.
    pub fn new(path: &str, attributes: &Attributes) -> Self {
        DirManifest {
            path: path.to_owned(),
            uid: attributes.uid,
            gid: attributes.gid,
            mode: attributes.mode,
            mtime: attributes.mtime,
            xattrs: attributes.xattrs.clone(),
        }
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileManifest {
    /// Within the snapshot, with `/` between directory and name.
    pub path: String,
    /// What sort of file.
    pub kind: FileRole,
    /// Bytes, in the snapshot.
    pub size: u64,
    /// How it got here.
    pub method: Method,
    /// Whether the source still named this very inode when the snapshot was taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exposed: bool,
    /// Whether the bytes differ from the source's file: cut, or rebuilt.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trimmed: bool,
    /// Owner of the source's file.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "hex_map")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// When the bytes behind the digest were read: milliseconds since 1970 UTC.
    pub read_at: i64,
    /// The source's file when it was shared; missing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Identity>,
    /// Whether an equal identity later proves equal bytes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trusted: bool,
}

/// What sort of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// Record batches.
    Log,
    /// Offset index.
    Index,
    /// Time index.
    TimeIndex,
    /// Index of aborted transactions.
    TxnIndex,
    /// State of the producers.
    Producers,
    /// A checkpoint of offsets or leader epochs, cowlog's own included.
    Checkpoint,
    /// `partition.metadata`, `meta.properties`.
    Metadata,
    /// Anything else.
    Other,
}

impl From<SegmentFile> for FileRole {
    fn from(file: SegmentFile) -> Self {
        match file {
            SegmentFile::Log => FileRole::Log,
            SegmentFile::Index => FileRole::Index,
            SegmentFile::TimeIndex => FileRole::TimeIndex,
            SegmentFile::TxnIndex => FileRole::TxnIndex,
            SegmentFile::ProducerState => FileRole::Producers,
        }
    }
}

impl FileRole {
    /// Of a file that belongs to no segment.
    pub fn of_side_file(name: &str) -> Self {
        match name {
            "partition.metadata" | "meta.properties" => FileRole::Metadata,
            _ if name.contains("checkpoint") => FileRole::Checkpoint,
            _ => FileRole::Other,
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    version: u32,
    #[serde(default)]
    requires: Vec<String>,
}

impl Manifest {
    /// The bytes of `manifest.json`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write_to(&mut out).map_err(|e| ValidationError::refused(format!("manifest: {e}")))?;
        Ok(out)
    }

    /// Writes the same piece by piece.
    pub(crate) fn write_to(&self, mut out: impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")
    }

    /// Reads `manifest.json`. The caller checks its digest, before or after.
    ///
    /// # Errors
    ///
    /// `Validation` where a newer cowlog is needed, `Integrity` where it makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let senseless = |e: serde_json::Error| IntegrityError::new(super::MANIFEST, e.to_string());
        // All at once, instead of string by string: a seventh of the time of 15,000 files.
        let text = std::str::from_utf8(bytes).map_err(|e| IntegrityError::new(super::MANIFEST, e.to_string()))?;
        let parsed = serde_json::from_str::<Manifest>(text);
        let envelope: Envelope = match &parsed {
            Ok(manifest) => Envelope { version: manifest.version, requires: manifest.requires.clone() },
            // What a newer cowlog wrote need not look like a manifest of ours.
            Err(_) => serde_json::from_str(text).map_err(senseless)?,
        };
        if envelope.version != VERSION {
            return Err(newer(format!("version {} of the manifest", envelope.version)));
        }
        if let Some(name) = envelope.requires.iter().find(|r| !KNOWN_REQUIREMENTS.contains(&r.as_str())) {
            return Err(newer(format!("the feature {name:?}")));
        }
        let manifest = parsed.map_err(senseless)?;
        manifest.check().map_err(|what| IntegrityError::new(super::MANIFEST, what))?;
        Ok(manifest)
    }

    /// What later code relies on.
    fn check(&self) -> Result<(), String> {
        let dirs: std::collections::HashSet<&str> = self.dirs.iter().map(|d| d.path.as_str()).collect();
        if dirs.len() != self.dirs.len() || !dirs.contains("") {
            return Err("its directories are not each named once".into());
        }
        if let Some(bad) = dirs.iter().find(|d| !d.is_empty() && (d.contains('/') || !is_clean_path(d))) {
            return Err(format!("{bad:?} is not the name of a directory"));
        }
        if !self.files.windows(2).all(|pair| matches!(pair, [a, b] if a.path < b.path)) {
            return Err("its files are not sorted by path, each named once".into());
        }
        for file in &self.files {
            let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            if !is_clean_path(&file.path) || !dirs.contains(dir) {
                return Err(format!("{:?} lies in no directory that it names", file.path));
            }
        }
        for log in &self.logs {
            let ascending = log.segments.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
            if !dirs.contains(log.dir.as_str()) || !ascending || log.segments.iter().any(|s| *s < 0) {
                return Err(format!("the log {:?} is not consistent", log.dir));
            }
            let cut = &log.cut;
            let ordered = cut.log_start_offset <= cut.high_watermark && cut.high_watermark <= cut.log_end_offset;
            if cut.log_start_offset < 0 || !ordered {
                return Err(format!("the cut of the log {:?} is not consistent", log.dir));
            }
        }
        Ok(())
    }
}

fn newer(what: String) -> crate::error::Error {
    ValidationError::Refused {
        what: format!("this snapshot needs {what}, which this cowlog does not know"),
        path: None,
        hint: Some("use a newer cowlog".into()),
    }
    .into()
}

fn is_false(b: &bool) -> bool {
    !*b
}

/// Bytes as hex text.
mod hex_map {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<String, Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(map.iter().map(|(name, bytes)| {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            (name, hex)
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        let text = BTreeMap::<String, String>::deserialize(d)?;
        let bytes = |hex: &str| -> Option<Vec<u8>> {
            if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
                return None;
            }
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
        };
        text.into_iter()
            .map(|(name, hex)| bytes(&hex).map(|b| (name, b)).ok_or_else(|| D::Error::custom("an odd attribute")))
            .collect()
    }
}
