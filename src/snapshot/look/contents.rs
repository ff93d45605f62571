//! What a snapshot of a broker's logs holds, in the broker's terms: topics, groups, transactions.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, IntegrityError, Result, ValidationError};
use crate::fs::{Dir, File, Open};
use crate::kafka::batches::{self, BatchSurvey};
use crate::kafka::checkpoints::LeaderEpochs;
use crate::kafka::cluster::Topics;
use crate::kafka::committed::CommittedOffsets;
use crate::kafka::datadir::{LEADER_EPOCHS, MAX_CHECKPOINT, PARTITION_METADATA};
use crate::kafka::live::CLUSTER_METADATA;
use crate::kafka::metadata::parse_partition_metadata;
use crate::kafka::producer_state::{Producer, parse_producer_state};
use crate::kafka::transactions::Transactions;
use crate::kafka::{Malformed, Profile};
use crate::log::{Batch, Codec, LogReader, scan};
use crate::snapshot::create::capture::path_in;
use crate::snapshot::manager::SnapshotManager;
use crate::store::{Loaded, LogManifest, rfc3339};

pub(in crate::snapshot) const GROUP_OFFSETS: &str = "__consumer_offsets";
const TRANSACTION_STATE: &str = "__transaction_state";
/// Larger than any producer snapshot: 20 million producers.
const MAX_PRODUCERS: u64 = 1 << 30;

/// What [`SnapshotManager::contents`] found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Contents {
    /// By name.
    pub topics: Vec<TopicContents>,
    /// In the snapshot's order.
    pub logs: Vec<LogContents>,
    /// By name; `None` where the snapshot has no `__consumer_offsets`. Groups that have committed nothing are not among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupContents>>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// A topic that has logs in the snapshot, or that its cluster's metadata know.
#[derive(Debug, Clone, Serialize)]
pub struct TopicContents {
    /// Its name.
    pub topic: String,
    /// Its id, from the cluster's metadata if the snapshot has them, else from its partitions'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The partitions that the snapshot has.
    pub partitions: Vec<i32>,
    /// The settings that it has of its own, where the snapshot has the cluster's metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// One log.
#[derive(Debug, Clone, Serialize)]
pub struct LogContents {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// As its checkpoint has them.
    pub leader_epochs: Vec<LeaderEpoch>,
    /// Of the first batch of each segment and all those of the last: other batches were not looked at.
    pub codecs: Vec<String>,
    /// Transactions without an end below the cut, by first offset.
    pub open_transactions: Vec<Transaction>,
}

/// A leader epoch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LeaderEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// An open transaction. A broker aborts it after the restore, once its timeout has passed, if the `__transaction_state` of the
/// snapshot knows of it; without that it stays open, see [`surprises`](SnapshotManager::surprises).
#[derive(Debug, Clone, Serialize)]
pub struct Transaction {
    /// Its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Its first offset in this log.
    pub first_offset: i64,
    /// The time of its first batch, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupContents {
    /// Its name.
    pub group: String,
    /// By topic and partition.
    pub offsets: Vec<GroupOffset>,
}

/// What a group committed.
#[derive(Debug, Clone, Serialize)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset that it wants to read.
    pub offset: i64,
    /// When it was committed, RFC 3339.
    pub committed_at: String,
    /// How far the log's end lies ahead; negative where the offset lies beyond it. `None` where the snapshot does not have
    /// the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
}

impl SnapshotManager {
    /// What a snapshot of a broker's logs holds: topics, leader epochs, open transactions, groups. Reads
    /// `__consumer_offsets` and `__cluster_metadata`, and of all other logs the headers of the last segment's batches. It takes
    /// memory for the groups' offsets and one batch. The bytes are taken as they are: [`verify`](Self::verify) tells whether they are
    /// right.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or one of a log that no broker wrote. `Integrity`: its manifests do not hold, or what
    /// should be a batch is none. `Concurrency`: it is being deleted. `Filesystem`. `Interrupted`.
    pub fn contents(&self, id: &str) -> Result<Contents> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        let opened = self.open_snapshot(&store, id)?;
        let loaded = opened.loaded?;
        if loaded.manifest.source.profile != Profile::Kafka {
            let what = format!("{id} is not of a log that Kafka wrote");
            return Err(ValidationError::refused(what).into());
        }
        Reading::of(&loaded, &|| self.config().observer.check()).all()
    }
}

/// A snapshot that is being read.
pub(in crate::snapshot) struct Reading<'a> {
    loaded: &'a Loaded,
    check: &'a dyn Fn() -> Result<()>,
    unread: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(in crate::snapshot) fn of(loaded: &'a Loaded, check: &'a dyn Fn() -> Result<()>) -> Self {
        Reading { loaded, check, unread: Vec::new() }
    }

    fn all(mut self) -> Result<Contents> {
        let groups = self.groups()?;
        let topics = self.topics()?;
        let mut logs = Vec::new();
        for (log, topic, partition) in self.logs() {
            logs.push(self.log(log, topic, partition)?);
        }
        Ok(Contents { topics, logs, groups, unread: self.unread })
    }

    /// The logs that have a name.
    pub(in crate::snapshot) fn logs(&self) -> Vec<(&'a LogManifest, String, i32)> {
        let named = |log: &'a LogManifest| Some((log, log.topic.clone()?, log.partition?));
        self.loaded.manifest.logs.iter().filter_map(named).collect()
    }

    /// The committed offsets; `None` where the snapshot does not have them.
    pub(in crate::snapshot) fn committed(&self) -> Result<Option<CommittedOffsets>> {
        let of_groups = self.logs_of(GROUP_OFFSETS);
        if of_groups.is_empty() {
            return Ok(None);
        }
        let mut committed = CommittedOffsets::default();
        for log in of_groups {
            self.batches(log, |batch| committed.batch(batch))?;
            committed.end_of_log();
        }
        Ok(Some(committed))
    }

    /// The transactions that their coordinators know; `None` where the snapshot does not have those.
    pub(in crate::snapshot) fn transactions(&self) -> Result<Option<Transactions>> {
        let of_coordinators = self.logs_of(TRANSACTION_STATE);
        if of_coordinators.is_empty() {
            return Ok(None);
        }
        let mut transactions = Transactions::default();
        for log in of_coordinators {
            self.batches(log, |batch| transactions.batch(batch))?;
        }
        Ok(Some(transactions))
    }

    fn logs_of(&self, topic: &str) -> Vec<&'a LogManifest> {
        self.loaded.manifest.logs.iter().filter(|log| log.topic.as_deref() == Some(topic)).collect()
    }

    fn batches(&self, log: &LogManifest, mut take: impl FnMut(&Batch) -> Result<(), Malformed>) -> Result<()> {
        let reader = LogReader::open_on(self.loaded.dir_of(log)?)?.with_log_start(log.cut.log_start_offset);
        for batch in reader.read_from(log.cut.log_start_offset) {
            (self.check)()?;
            let batch = batch?;
            take(&batch).map_err(|why| self.broken(&log.dir, batch.header().base_offset, &why))?;
        }
        Ok(())
    }

    /// Where the logs end, by topic and partition.
    pub(in crate::snapshot) fn ends(&self, end: impl Fn(&LogManifest) -> i64) -> BTreeMap<(String, i32), i64> {
        self.logs().into_iter().map(|(log, topic, partition)| ((topic, partition), end(log))).collect()
    }

    /// The committed offsets, with the lag against the cut.
    fn groups(&mut self) -> Result<Option<Vec<GroupContents>>> {
        let Some(committed) = self.committed()? else { return Ok(None) };
        let ends = self.ends(|log| log.cut.log_end_offset);
        let mut groups: Vec<GroupContents> = Vec::new();
        for (key, at) in committed.iter() {
            let end = ends.get(&(key.topic.clone(), key.partition));
            let offset = GroupOffset {
                topic: key.topic.clone(),
                partition: key.partition,
                offset: at.offset,
                committed_at: rfc3339(at.timestamp),
                lag: end.map(|end| end.saturating_sub(at.offset)),
            };
            match groups.last_mut().filter(|last| last.group == key.group) {
                Some(group) => group.offsets.push(offset),
                None => groups.push(GroupContents { group: key.group.clone(), offsets: vec![offset] }),
            }
        }
        if let Some((wrong, why)) = committed.unread() {
            self.unread.push(format!("{GROUP_OFFSETS}: {wrong} records, the first at {why}"));
        }
        Ok(Some(groups))
    }

    /// The topics of the logs, and those that the cluster's metadata know.
    fn topics(&mut self) -> Result<Vec<TopicContents>> {
        let mut topics: BTreeMap<String, TopicContents> = BTreeMap::new();
        let known = self.cluster()?;
        let named = |topic: &str| TopicContents {
            topic: topic.to_owned(),
            topic_id: known.get(topic).map(|t| t.id.as_str().to_owned()),
            partitions: Vec::new(),
            config: known.get(topic).map(|t| t.config.clone()).unwrap_or_default(),
        };
        for (log, name, partition) in self.logs() {
            let topic = topics.entry(name.clone()).or_insert_with(|| named(&name));
            topic.partitions.push(partition);
            if topic.topic_id.is_none()
                && let Some(bytes) = self.loaded.dir_of(log)?.try_read(PARTITION_METADATA, MAX_CHECKPOINT)?
            {
                topic.topic_id = parse_partition_metadata(&bytes).ok().map(|id| id.as_str().to_owned());
            }
        }
        if self.loaded.manifest.source.scope == crate::store::Scope::All {
            for (name, _) in known.iter() {
                topics.entry(name.to_owned()).or_insert_with(|| named(name));
            }
        }
        let mut topics: Vec<_> = topics.into_values().collect();
        topics.iter_mut().for_each(|topic| topic.partitions.sort_unstable());
        Ok(topics)
    }

    /// What the cluster's metadata say: the newest checkpoint and the log behind it. What cannot be read is told, not an error: it
    /// is about names alone.
    pub(in crate::snapshot) fn cluster(&mut self) -> Result<Topics> {
        let mut topics = Topics::default();
        let logs = self.loaded.manifest.logs.iter();
        let Some(log) = logs.clone().find(|log| log.topic.as_deref() == Some(CLUSTER_METADATA)) else {
            return Ok(topics);
        };
        let dir = self.loaded.dir_of(log)?;
        let mut from = log.cut.log_start_offset;
        let newest = self.files_of(log).filter_map(|name| Some((checkpoint_offset(name)?, name))).max();
        let mut wrong = None;
        if let Some((offset, name)) = newest {
            wrong = checkpoint(&dir.open_file(name, Open::Read)?, &mut topics)?;
            from = from.max(offset);
        }
        let reader = LogReader::open_on(dir)?.with_log_start(log.cut.log_start_offset);
        for batch in reader.read_from(from) {
            (self.check)()?;
            wrong = wrong.or(topics.batch(&batch?).err());
        }
        topics.end_of_log();
        self.unread.extend(wrong.map(|why| format!("{}: {why}", log.dir)));
        Ok(topics)
    }

    fn log(&mut self, log: &'a LogManifest, topic: String, partition: i32) -> Result<LogContents> {
        let dir = self.loaded.dir_of(log)?;
        let epochs = match dir.try_read(LEADER_EPOCHS, MAX_CHECKPOINT)?.map(|bytes| LeaderEpochs::parse(&bytes)) {
            Some(Ok(epochs)) => epochs.entries,
            Some(Err(why)) => {
                self.unread.push(format!("{}: {why}", path_in(&log.dir, LEADER_EPOCHS)));
                Vec::new()
            }
            None => Vec::new(),
        };
        let seen = self.survey(log, log.cut.log_end_offset)?;
        let transaction = |open: batches::OpenTransaction| Transaction {
            producer_id: open.producer_id,
            producer_epoch: open.producer_epoch,
            first_offset: open.first_offset,
            since: open.since.map(rfc3339),
        };
        Ok(LogContents {
            topic,
            partition,
            leader_epochs: epochs
                .into_iter()
                .map(|(epoch, start_offset)| LeaderEpoch { epoch, start_offset })
                .collect(),
            codecs: seen.codecs.iter().map(Codec::to_string).collect(),
            open_transactions: seen.open.into_iter().map(transaction).collect(),
        })
    }

    /// What the headers of the batches below `end` tell.
    pub(in crate::snapshot) fn survey(&mut self, log: &'a LogManifest, end: i64) -> Result<BatchSurvey> {
        let dir = self.loaded.dir_of(log)?;
        let producers = self.producers(log, &dir, end)?;
        let known = producers.as_ref().map(|(at, producers)| (*at, producers.as_slice()));
        batches::survey(&dir, &log.segments, known, end, self.check)
    }

    /// The newest producer snapshot of the log that can be read and does not reach beyond `end`.
    fn producers(&mut self, log: &'a LogManifest, dir: &Dir, end: i64) -> Result<Option<(i64, Vec<Producer>)>> {
        let offset = |name: &str| name.strip_suffix(".snapshot").and_then(|digits| digits.parse::<i64>().ok());
        let mut found: Vec<(i64, &str)> = self.files_of(log).filter_map(|name| Some((offset(name)?, name))).collect();
        found.retain(|(at, _)| *at <= end);
        found.sort_unstable();
        let mut told = Vec::new();
        let mut newest = None;
        for (at, name) in found.into_iter().rev() {
            match parse_producer_state(&dir.read(name, MAX_PRODUCERS)?) {
                Ok(producers) => {
                    newest = Some((at, producers));
                    break;
                }
                Err(why) => told.push(format!("{}: {why}", path_in(&log.dir, name))),
            }
        }
        self.unread.extend(told);
        Ok(newest)
    }

    /// The names of the files in a log's directory.
    fn files_of(&self, log: &'a LogManifest) -> impl Iterator<Item = &'a str> + use<'a> {
        self.loaded.files_in(&log.dir).map(|(file, _)| file.path.rsplit('/').next().unwrap_or(&file.path))
    }

    fn broken(&self, dir: &str, offset: i64, why: &str) -> Error {
        let what = format!("the batch at offset {offset} cannot be read: {why}");
        IntegrityError::new(self.loaded.dir.path_of(dir), what).into()
    }
}

/// `<offset>-<epoch>.checkpoint` (`raft: Snapshots.filenameFromSnapshotId`): the records below the offset.
fn checkpoint_offset(name: &str) -> Option<i64> {
    let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    epoch.parse::<i32>().ok()?;
    offset.parse().ok()
}

/// Takes a checkpoint's records. Gives what is wrong with it.
fn checkpoint(file: &File, topics: &mut Topics) -> Result<Option<String>> {
    let mut wrong = None;
    let end = scan(file, 0, u64::MAX, 0, |batch| {
        let size = batch.header.total_size();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = file.read_at(&mut bytes, batch.position)?;
        bytes.truncate(read);
        let taken = Batch::from_bytes(bytes).map_err(|e| e.to_string()).and_then(|batch| topics.batch(&batch));
        wrong = wrong.take().or(taken.err());
        Ok(())
    })?;
    topics.end_of_log();
    Ok(wrong.or_else(|| (!end.stop.is_end()).then(|| format!("{}: {}", file.path().display(), end.stop))))
}
