//! What is in a data directory, and what of it belongs into a snapshot.

use std::fmt;

use super::Profile;
use super::checkpoints::OffsetCheckpoint;
use crate::error::{Result, ValidationError};
use crate::fs::{Dir, File, FileKind, Open};
use crate::log::{CHECKPOINT, SegmentFile, parse_segment_name};

/// Below its offsets every record is committed.
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// The first offsets that readers may see.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// Below its offsets every byte has been flushed.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Up to its offsets compaction has come.
pub const CLEANED: &str = "cleaner-offset-checkpoint";
pub(crate) const META: &str = "meta.properties";
/// What only a broker puts into a data directory.
pub(crate) const MARKS: [&str; 4] = [META, HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS];
pub(crate) const BROKER_LOCK: &str = ".lock";
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// The file that ties a partition's directory to its topic's id.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// Larger than any checkpoint: a million partitions.
pub(crate) const MAX_CHECKPOINT: u64 = 64 << 20;

/// `<topic>-<partition>`; the last dash separates them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// The topic and partition that a directory is named after (`core: LocalLog.parseTopicPartitionName`).
pub fn parse_partition_name(name: &str) -> Option<TopicPartition> {
    let (topic, digits) = name.rsplit_once('-')?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if topic.is_empty() || !canonical {
        return None;
    }
    Some(TopicPartition { topic: topic.to_owned(), partition: digits.parse().ok()? })
}

/// Whether a topic can have this name (`clients: Topic.validate`).
pub fn is_topic_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

/// Everything in a data directory, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The logs.
    pub partitions: Vec<PartitionDir>,
    /// Files beside them that belong into a snapshot.
    pub root_files: Vec<String>,
    /// What does not.
    pub left_out: Vec<LeftOut>,
}

/// The directory of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDir {
    /// Its name.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// Something that does not belong into a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub path: String,
    /// Why it does not.
    pub why: String,
}

impl Inventory {
    /// Leaves out the marker of a clean stop: what is taken from a running broker was not stopped cleanly, and is to be
    /// recovered when a broker starts over it (`storage: CleanShutdownFileHandler`).
    pub fn leave_out_clean_shutdown(&mut self) {
        const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
        if let Some(at) = self.root_files.iter().position(|name| name == CLEAN_SHUTDOWN) {
            let why = "the broker has not been stopped".to_owned();
            self.left_out.push(LeftOut { path: self.root_files.remove(at), why });
        }
    }
}

/// Looks through a data directory.
///
/// # Errors
///
/// `Validation` for a name that is not UTF-8, which a manifest could not name.
pub fn inventory(dir: &Dir) -> Result<Inventory> {
    let mut found = Inventory::default();
    let mut entries = dir.list()?;
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let Some(name) = entry.name.to_str() else {
            let what =
                format!("{:?} in {} is not UTF-8, which a manifest cannot name", entry.name, dir.path().display());
            return Err(ValidationError::refused(what).into());
        };
        let why = match entry.kind {
            FileKind::Dir => match parse_partition_name(name) {
                Some(TopicPartition { topic, partition }) => {
                    found.partitions.push(PartitionDir { name: name.to_owned(), topic, partition });
                    continue;
                }
                None => unwanted_dir(name),
            },
            FileKind::File => match unwanted_root_file(name) {
                None => {
                    found.root_files.push(name.to_owned());
                    continue;
                }
                Some(why) => why,
            },
            FileKind::Other => "not a regular file",
        };
        found.left_out.push(LeftOut { path: name.to_owned(), why: why.to_owned() });
    }
    Ok(found)
}

fn unwanted_dir(name: &str) -> &'static str {
    match name.rsplit_once('-').map(|(_, suffix)| suffix) {
        Some("delete") => "a deleted topic's",
        Some("stray") => "a stray partition",
        Some("future") => "a partition on its way from another directory",
        _ => "not a partition's directory",
    }
}

fn unwanted_root_file(name: &str) -> Option<&'static str> {
    match name {
        BROKER_LOCK => Some("the broker's lock"),
        _ if name.ends_with(".tmp") => Some("a file in the making"),
        _ => None,
    }
}

/// Why a file of a partition's directory does not belong into a snapshot. `.swap` files do: they are complete, and
/// what they replace may be gone (`storage: LogLoader.completeSwapOperations`).
pub fn left_out_in_partition(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("deleted") => Some("deleted, to be unlinked"),
        Some("cleaned") => Some("a half-cleaned segment"),
        Some("tmp") => Some("a file in the making"),
        _ if name == BROKER_LOCK => Some("a lock"),
        _ => None,
    }
}

/// Whether a directory is one log: it has a segment, or one of the files that a log without segments has.
pub fn is_log_dir(dir: &Dir) -> Result<bool> {
    for mark in [CHECKPOINT, LEADER_EPOCHS, PARTITION_METADATA] {
        if dir.try_stat(mark)?.is_some_and(|stat| stat.kind == FileKind::File) {
            return Ok(true);
        }
    }
    Ok(dir
        .list()?
        .iter()
        .filter(|e| e.kind == FileKind::File)
        .filter_map(|e| e.name.to_str())
        .any(|name| matches!(parse_segment_name(name), Some((_, SegmentFile::Log)))))
}

/// Whether a directory holds logs: it has a broker's `meta.properties` or checkpoints, or a subdirectory that is named
/// like a partition and is a log.
pub fn is_data_dir(dir: &Dir) -> Result<bool> {
    let entries = dir.list()?;
    if entries.iter().any(|e| e.kind == FileKind::File && e.name.to_str().is_some_and(|n| MARKS.contains(&n))) {
        return Ok(true);
    }
    for entry in entries.iter().filter(|e| e.kind == FileKind::Dir) {
        if entry.name.to_str().and_then(parse_partition_name).is_some() && is_log_dir(&dir.open_dir(&entry.name)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a broker may start over it: one has marked it, or a partition of it as one of a topic.
pub(crate) fn is_for_brokers(dir: &Dir) -> Result<bool> {
    for entry in dir.list()? {
        let Some(name) = entry.name.to_str() else { continue };
        let marked = match entry.kind {
            FileKind::File => MARKS.contains(&name),
            FileKind::Dir if parse_partition_name(name).is_some() => {
                dir.try_stat(std::path::Path::new(name).join(PARTITION_METADATA))?.is_some()
            }
            FileKind::Dir | FileKind::Other => false,
        };
        if marked {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who writes a log: `checkpoint.json` is there in a native one only.
pub fn profile_of(log: &Dir) -> Result<Profile> {
    Ok(if log.try_stat(CHECKPOINT)?.is_some() { Profile::Native } else { Profile::Kafka })
}

/// The offsets that a broker keeps beside its logs.
#[derive(Debug, Clone, Default)]
pub struct RootCheckpoints {
    high_watermarks: OffsetCheckpoint,
    log_starts: OffsetCheckpoint,
    recovery_points: OffsetCheckpoint,
    warnings: Vec<String>,
}

impl RootCheckpoints {
    /// Reads what is there. A malformed file counts as one without entries and gives a warning: the snapshot keeps
    /// its bytes all the same.
    pub fn read(dir: &Dir) -> Result<Self> {
        let mut warnings = Vec::new();
        let mut read = |name: &str| -> Result<OffsetCheckpoint> {
            let Some(bytes) = dir.try_read(name, MAX_CHECKPOINT)? else { return Ok(OffsetCheckpoint::default()) };
            Ok(OffsetCheckpoint::parse(&bytes).unwrap_or_else(|why| {
                warnings.push(format!("{}: {why}", dir.path_of(name).display()));
                OffsetCheckpoint::default()
            }))
        };
        let high_watermarks = read(HIGH_WATERMARKS)?;
        let log_starts = read(LOG_STARTS)?;
        let recovery_points = read(RECOVERY_POINTS)?;
        Ok(RootCheckpoints { high_watermarks, log_starts, recovery_points, warnings })
    }

    /// Below it every record is committed.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.high_watermarks.get(topic, partition)
    }

    /// The first offset that readers may see.
    pub fn log_start(&self, topic: &str, partition: i32) -> Option<i64> {
        self.log_starts.get(topic, partition)
    }

    /// Below it every byte has been flushed.
    pub fn recovery_point(&self, topic: &str, partition: i32) -> Option<i64> {
        self.recovery_points.get(topic, partition)
    }

    /// What could not be read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Whether a sealed segment's file may be hard-linked although a broker goes on with the source. Only the `.log`,
/// and only when the segment ends at or below both marks: a truncation reaches no further down than the high
/// watermark, a recovery no further than the recovery point. A broker rewrites all other files in place.
pub fn may_hard_link(
    file: SegmentFile,
    segment_end: i64,
    high_watermark: Option<i64>,
    recovery_point: Option<i64>,
) -> bool {
    let below = |mark: Option<i64>| mark.is_some_and(|mark| segment_end <= mark);
    file == SegmentFile::Log && below(high_watermark) && below(recovery_point)
}

/// A broker that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker {
    /// Its process; 0 where the system does not tell.
    pub pid: u32,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => f.write_str("a process that the system does not name"),
            pid => write!(f, "process {pid}"),
        }
    }
}

/// The broker that holds a data directory: it keeps a record lock on `.lock` while it runs
/// (`server-common: FileLock`, Java's `FileChannel.lock`).
pub fn broker_on(data_dir: &Dir) -> Result<Option<Broker>> {
    let Some(lock) = data_dir.try_open(BROKER_LOCK)? else { return Ok(None) };
    Ok(lock.record_lock_holder()?.map(|pid| Broker { pid }))
}

/// Keeps brokers away from a data directory, by the lock that they take: one that starts meanwhile refuses to. Nothing is
/// held where the file is not there, or where this user may not write it.
///
/// # Errors
///
/// The broker that holds it.
pub(crate) fn keep_brokers_out(data_dir: &Dir) -> Result<Result<Option<File>, Broker>> {
    let lock = match data_dir.open_file(BROKER_LOCK, Open::Write) {
        Ok(lock) => lock,
        Err(e) if e.is_not_found() => return Ok(Ok(None)),
        // It may still be looked at.
        Err(e) => return broker_on(data_dir).map_err(|_| e).map(|broker| broker.map_or(Ok(None), Err)),
    };
    if lock.try_record_lock()? {
        return Ok(Ok(Some(lock)));
    }
    Ok(Err(Broker { pid: lock.record_lock_holder()?.unwrap_or(0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partitions() {
        let parse = |name| parse_partition_name(name).map(|t| (t.topic, t.partition));
        assert_eq!(parse("orders-0"), Some(("orders".into(), 0)));
        assert_eq!(parse("a.b-c-12"), Some(("a.b-c".into(), 12)));
        assert_eq!(parse("__cluster_metadata-0"), Some(("__cluster_metadata".into(), 0)));
        for bad in ["orders", "-0", "orders-", "orders-x", "orders-00", "orders--", "o-0-delete", "data.snapshots"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_logs_below_both_marks_are_linked() {
        assert!(may_hard_link(SegmentFile::Log, 10, Some(10), Some(10)));
        assert!(!may_hard_link(SegmentFile::Log, 10, Some(9), Some(10)));
        assert!(!may_hard_link(SegmentFile::Log, 10, Some(10), None));
        assert!(!may_hard_link(SegmentFile::Index, 10, Some(10), Some(10)));
    }
}
