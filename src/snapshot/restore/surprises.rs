//! What a broker will do, soon after it has started over a restored directory, that its owner may not expect.

use std::collections::BTreeMap;

use crate::error::{IntegrityError, Result};
use crate::fs::{Dir, FileKind};
use crate::kafka::committed::CommittedOffsets;
use crate::kafka::retention::{AgingSegment, Retention};
use crate::kafka::transactions::Transactions;
use crate::kafka::{Profile, datadir};
use crate::log::{LogReader, SegmentFile, TimeEntry, parse_time_index};
use crate::snapshot::look::contents::{GROUP_OFFSETS, Reading};
use crate::snapshot::manager::SnapshotManager;
use crate::store::{Loaded, LogManifest};

/// `offsets.retention.minutes` (`group-coordinator: GroupCoordinatorConfig`): 7 days.
const GROUP_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// A time index of one segment: preallocated ones have 10 MB.
const MAX_INDEX: u64 = 1 << 30;
/// Names in one sentence.
const NAMED: usize = 5;

impl SnapshotManager {
    /// What a broker would do to a snapshot of its logs once it is restored and started over: segments that retention deletes,
    /// by topic; committed offsets beyond the end of a log; groups whose offsets expire; open transactions that nobody ends. In words; empty where nothing of that is
    /// to be expected, and for logs that no broker wrote. [`restore`](Self::restore) warns of the same.
    ///
    /// # Errors
    ///
    /// As [`contents`](Self::contents).
    pub fn surprises(&self, id: &str) -> Result<Vec<String>> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let opened = self.open_snapshot(&store, id)?;
        let loaded = opened.loaded?;
        let mut found = self.foresee(&loaded, &loaded, &loaded.manifest.logs)?;
        found.extend(self.foresee_hanging(&loaded, &loaded.manifest.logs)?);
        Ok(found)
    }

    /// The same for a part of a snapshot, of whose logs as much is restored as these say, but for open transactions; the settings of its topics are those
    /// of the whole.
    pub(in crate::snapshot) fn foresee(
        &self,
        part: &Loaded,
        whole: &Loaded,
        restored: &[LogManifest],
    ) -> Result<Vec<String>> {
        if part.manifest.source.profile != Profile::Kafka {
            return Ok(Vec::new());
        }
        let check = || self.config().observer.check();
        let now = self.config().clock.now();
        let mut found = deleted_by_retention(part, restored, &mut Reading::of(whole, &check), now)?;
        let ends = ends(restored);
        let end = |log: &LogManifest| end_of(log, &ends);
        found.extend(groups(&Reading::of(part, &check), end, now)?);
        Ok(found)
    }

    /// Transactions that are open and that nobody ends.
    pub(in crate::snapshot) fn foresee_hanging(
        &self,
        part: &Loaded,
        restored: &[LogManifest],
    ) -> Result<Option<String>> {
        if part.manifest.source.profile != Profile::Kafka {
            return Ok(None);
        }
        let ends = ends(restored);
        hanging(&mut Reading::of(part, &|| self.config().observer.check()), |log| end_of(log, &ends))
    }
}

/// Where logs end after they were restored, by their directories.
fn ends(restored: &[LogManifest]) -> BTreeMap<&str, i64> {
    restored.iter().map(|log| (log.dir.as_str(), log.cut.log_end_offset)).collect()
}

fn end_of(log: &LogManifest, ends: &BTreeMap<&str, i64>) -> i64 {
    ends.get(log.dir.as_str()).copied().unwrap_or(log.cut.log_end_offset)
}

/// What goes of a topic.
#[derive(Default)]
struct Doomed {
    segments: usize,
    of: usize,
    bytes: u64,
}

fn deleted_by_retention(
    part: &Loaded,
    restored: &[LogManifest],
    whole: &mut Reading<'_>,
    now: i64,
) -> Result<Vec<String>> {
    let topics = whole.cluster()?;
    let mut doomed: BTreeMap<&str, (Retention, Doomed)> = BTreeMap::new();
    for (log, restored) in part.manifest.logs.iter().zip(restored) {
        let Some(topic) = log.topic.as_deref() else { continue };
        let config = topics.get(topic).map(|t| t.config.clone()).unwrap_or_default();
        let Some(retention) = Retention::of(topic, &config) else { continue };
        let segments = aging(part, log, restored)?;
        let goes = retention.doomed(&segments, now);
        let (_, of_topic) = doomed.entry(topic).or_insert_with(|| (retention, Doomed::default()));
        of_topic.segments += goes;
        of_topic.of += segments.len();
        of_topic.bytes += segments.iter().take(goes).map(|s| s.bytes).sum::<u64>();
    }
    let told = |(topic, (retention, doomed)): (&str, (Retention, Doomed))| {
        let Doomed { segments, of, bytes } = doomed;
        let days = retention.ms / (24 * 60 * 60 * 1000);
        let why = match (retention.assumed, retention.bytes) {
            (true, -1) => format!("its retention is assumed to be a broker's own default, {days} days"),
            (true, bytes) => format!("retention.bytes is {bytes}, retention.ms is assumed to be {days} days"),
            (false, -1) => format!("retention.ms is {}", retention.ms),
            (false, bytes) => format!("retention.ms is {}, retention.bytes is {bytes}", retention.ms),
        };
        let remedy = match retention.assumed {
            true => "start it with log.retention.ms=-1 to keep them",
            false => "change that setting of the topic within 30 seconds of the start to keep them",
        };
        format!(
            "retention deletes {segments} of {of} segments of {topic} ({bytes} bytes) 30 seconds after a broker is started over \
             them: {why}; {remedy}"
        )
    };
    Ok(doomed.into_iter().filter(|(_, (_, doomed))| doomed.segments > 0).map(told).collect())
}

/// The segments of a log of which something is restored, as retention sees them.
fn aging(part: &Loaded, log: &LogManifest, restored: &LogManifest) -> Result<Vec<AgingSegment>> {
    let dir = part.dir_of(log)?;
    let (start, end) = (restored.cut.log_start_offset, restored.cut.log_end_offset);
    let ends = log.segments.iter().skip(1).copied().chain([i64::MAX]);
    let is_there = |(base, ends): &(&i64, i64)| *ends > start && **base < end.max(start.saturating_add(1));
    log.segments.iter().zip(ends).filter(is_there).map(|(base, _)| aging_segment(&dir, *base)).collect()
}

fn aging_segment(dir: &Dir, base: i64) -> Result<AgingSegment> {
    let stat = dir.stat(SegmentFile::Log.name(base))?;
    let index = dir.try_read(SegmentFile::TimeIndex.name(base), MAX_INDEX)?.unwrap_or_default();
    let last: Option<TimeEntry> = parse_time_index(&index).entries.last().copied();
    let written = stat.mtime.div_euclid(1_000_000);
    let largest_timestamp = last.map(|entry| entry.timestamp).filter(|t| *t >= 0).unwrap_or(written);
    Ok(AgingSegment { largest_timestamp, bytes: stat.size })
}

fn groups(part: &Reading<'_>, end: impl Fn(&LogManifest) -> i64, now: i64) -> Result<Vec<String>> {
    let Some(committed) = part.committed()? else { return Ok(Vec::new()) };
    let mut found = beyond_the_end(&committed, &part.ends(end));
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, at) in committed.iter() {
        let last = newest.entry(&key.group).or_insert(at.timestamp);
        *last = at.timestamp.max(*last);
    }
    let old: Vec<&str> = newest
        .into_iter()
        .filter(|(_, at)| now.saturating_sub(*at) > GROUP_RETENTION_MS)
        .map(|(group, _)| group)
        .collect();
    if !old.is_empty() {
        found.push(format!(
            "the committed offsets of {} groups are older than 7 days, after which a broker forgets those of a group without members \
             unless its offsets.retention.minutes says otherwise: {}",
            old.len(),
            some(&old)
        ));
    }
    Ok(found)
}

/// Of a data directory in which some partitions are to end at these offsets: what its own groups have committed beyond.
pub(in crate::snapshot) fn committed_beyond(
    data: &Dir,
    parts: &BTreeMap<String, i64>,
    check: impl Fn() -> Result<()>,
) -> Result<Vec<String>> {
    let ends = parts.iter().filter_map(|(name, end)| {
        let of = datadir::parse_partition_name(name)?;
        Some(((of.topic, of.partition), *end))
    });
    let mut committed = CommittedOffsets::default();
    for entry in data.list()?.into_iter().filter(|entry| entry.kind == FileKind::Dir) {
        let Some(name) = entry.name.to_str().filter(|name| !parts.contains_key(*name)) else { continue };
        if datadir::parse_partition_name(name).is_none_or(|of| of.topic != GROUP_OFFSETS) {
            continue;
        }
        let reader = LogReader::open_on(data.open_dir(name)?)?;
        for batch in reader.read_from(0) {
            check()?;
            committed.batch(&batch?).map_err(|why| IntegrityError::new(data.path_of(name), why))?;
        }
        committed.end_of_log();
    }
    Ok(beyond_the_end(&committed, &ends.collect()))
}

/// By topic.
fn beyond_the_end(committed: &CommittedOffsets, ends: &BTreeMap<(String, i32), i64>) -> Vec<String> {
    let mut beyond: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, at) in committed.iter() {
        if let Some(end) = ends.get(&(key.topic.clone(), key.partition)).filter(|end| at.offset > **end) {
            let told = format!("{}-{} ({}, the log ends at {end})", key.group, key.partition, at.offset);
            beyond.entry(&key.topic).or_default().push(told);
        }
    }
    let told = |(topic, offsets): (&str, Vec<String>)| {
        format!(
            "of {topic} {} committed offsets lie beyond the end of the log, group and partition: {}; their consumers go on where \
             auto.offset.reset says",
            offsets.len(),
            some(&offsets)
        )
    };
    beyond.into_iter().map(told).collect()
}

/// Transactions that are open and that no coordinator knows of: it was asked before they began, or is not in the part.
fn hanging(part: &mut Reading<'_>, end: impl Fn(&LogManifest) -> i64) -> Result<Option<String>> {
    let coordinators = part.transactions()?;
    let known = coordinators.as_ref().map(Transactions::known).unwrap_or_default();
    let mut open = Vec::new();
    for (log, topic, partition) in part.logs() {
        let seen = part.survey(log, end(log))?;
        let unknown = seen.open.iter().find(|t| !known.contains(&(t.producer_id, topic.as_str(), partition)));
        // The others of a partition lie behind the first.
        open.extend(unknown.map(|t| format!("{topic}-{partition} ({})", t.first_offset)));
    }
    if open.is_empty() {
        return Ok(None);
    }
    let (who, or) = match coordinators {
        Some(_) => ("their coordinator does not know of them", ""),
        None => (
            "the coordinators' own log is not restored with them",
            ", unless the coordinator of the broker's cluster knows of them",
        ),
    };
    Ok(Some(format!(
        "in {} partitions transactions are open that nobody will end, because {who}; readers of committed records get no further than \
         the offset of the first, partition and offset: {}{or}; `kafka-transactions.sh … abort --topic TOPIC --partition N \
         --start-offset OFFSET` ends one",
        open.len(),
        some(&open)
    )))
}

fn some(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
