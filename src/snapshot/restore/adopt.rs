//! Which topic a restored partition belongs to, and how it becomes one of another topic: of the same name in another
//! cluster, as a rule.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Open, write_new_file};
use crate::kafka::metadata::{TopicId, parse_partition_metadata, partition_metadata};
use crate::kafka::producer_state::{no_producers, parse_producer_state};
use crate::kafka::{Profile, datadir};
use crate::log::{LogReader, SegmentEntry, SegmentFile, list_log, parse_segment_name};
use crate::observe::Observer;
use crate::snapshot::replace::swap::open_if_there;
use crate::store::{Swap, WHOLE};

/// Of which topic a restored partition is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsTopicId {
    /// Of the one in the directory that it goes to.
    FromTarget,
    /// Of this one.
    Id(TopicId),
}

/// Larger than any producer snapshot.
const MAX_SMALL: u64 = 1 << 31;

/// Holds restored partitions against those that they replace: a broker sets one of another topic aside as stray. Where
/// `wanted` says so, they become partitions of that topic. `ends` are the offsets behind their last records. Whether one that
/// was to become another topic's was that topic's already.
pub(in crate::snapshot) fn fit(
    data: &Dir,
    slots: &Dir,
    ends: &BTreeMap<String, i64>,
    wanted: Option<&AsTopicId>,
    observer: &Observer,
) -> Result<bool> {
    let mut any_stays = false;
    for (name, end) in ends {
        let restored = slots.open_dir(name)?;
        if datadir::profile_of(&restored)? != Profile::Kafka {
            continue;
        }
        let is = id_of(&restored)?;
        let there = id_there(data, name)?;
        let to = match (wanted, &there) {
            (Some(AsTopicId::Id(id)), _) | (Some(AsTopicId::FromTarget), Some(id)) => id.clone(),
            (Some(AsTopicId::FromTarget), None) => {
                let what = format!("{} has no partition of this topic that could tell its id", data.path().display());
                return Err(refused(data, what, "name it: `--as-topic-id ID`; `kafka-topics --describe` shows it"));
            }
            (None, Some(id)) if is.as_ref().is_some_and(|is| is != id) => {
                let is = is.as_ref().map_or("", TopicId::as_str);
                let what = format!(
                    "{name} in {} is of the topic {}, what is restored of {is}: a broker would set it aside as stray",
                    data.path().display(),
                    id.as_str()
                );
                return Err(refused(data, what, "`--as-topic-id from-target` makes it one of the topic that is there"));
            }
            (None, _) => continue,
        };
        if is.as_ref() != Some(&to) {
            adopt(&restored, name, &to, *end, observer)?;
        } else {
            any_stays = true;
        }
    }
    Ok(any_stays)
}

fn refused(data: &Dir, what: String, hint: &str) -> Error {
    ValidationError::Refused { what, path: Some(data.path().to_owned()), hint: Some(hint.into()) }.into()
}

/// Before an undoing: a topic that was made anew since is another one, and its broker would set aside what came back. What
/// comes back has to be of the topic that it was of.
pub(in crate::snapshot) fn refuse_made_anew(holder: &Dir, place: &OsStr, slots: &Dir, swap: &Swap) -> Result<()> {
    let there = match swap.slot.as_str() {
        WHOLE => open_if_there(holder, place)?.map(|dir| id_of(&dir)).transpose()?.flatten(),
        part => id_there(holder, part)?,
    };
    let out = open_if_there(slots, &swap.slot)?.map(|dir| id_of(&dir)).transpose()?.flatten();
    let sides = [
        (holder.path_of(place), there, &swap.new_topic, "in place"),
        (slots.path_of(&swap.slot), out, &swap.old_topic, "what is kept"),
    ];
    for (path, is, was, which) in sides {
        if let (Some(is), Some(was)) = (is, was)
            && is.as_str() != was
        {
            let what = format!(
                "{}: {which} is the topic {} now, and was {was}: it was made anew since, and no broker takes one for the other",
                path.display(),
                is.as_str()
            );
            let hint = format!(
                "`cowlog restore --into DIR --as-topic-id from-target` puts a snapshot into the new topic; what was taken \
                 out is kept in {}",
                slots.path().display()
            );
            return Err(ValidationError::Refused { what, path: Some(path), hint: Some(hint) }.into());
        }
    }
    Ok(())
}

/// `None` where the file is missing, or says nothing that could be understood.
pub(in crate::snapshot) fn id_of(partition: &Dir) -> Result<Option<TopicId>> {
    let bytes = partition.try_read(datadir::PARTITION_METADATA, datadir::MAX_CHECKPOINT)?;
    Ok(bytes.and_then(|bytes| parse_partition_metadata(&bytes).ok()))
}

/// The id of a partition's topic, from its own directory or from another partition's.
fn id_there(data: &Dir, name: &str) -> Result<Option<TopicId>> {
    let topic = datadir::parse_partition_name(name).map(|of| of.topic);
    let others = datadir::inventory(data)?.partitions.into_iter().filter(|p| Some(&p.topic) == topic.as_ref());
    for name in [name.to_owned()].into_iter().chain(others.map(|p| p.name)) {
        if let Some(dir) = open_if_there(data, &name)?
            && let Some(id) = id_of(&dir)?
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Another cluster hands out producer ids from 0 again. A broker that knew the producers of this log would take the batches
/// of a new one with the same id for repeated ones: acknowledged, and not written. So the log ends in an empty segment
/// with a producer snapshot that names none. After a clean stop a broker loads that one (`storage:
/// ProducerStateManager.truncateAndReload`); after an unclean one it reads what lies behind the recovery point, which is
/// the empty segment alone (`storage: LogLoader.recoverLog`).
fn adopt(partition: &Dir, name: &str, to: &TopicId, end: i64, observer: &Observer) -> Result<()> {
    if let Some(first) = open_transaction(partition, end)? {
        observer.warn(&format!(
            "a transaction was open in {name} from offset {first} on; in another cluster nobody ends it, and those who read \
             committed records only will read those as well"
        ));
    }
    let listing = list_log(partition)?;
    let last = listing.segments.last().map(SegmentEntry::base);
    let like = match last {
        Some(base) => partition.open_file(SegmentFile::Log.name(base), Open::Read)?.attributes()?,
        None => partition.attributes()?,
    };
    for entry in partition.list()? {
        if let Some((_, SegmentFile::ProducerState)) = entry.name.to_str().and_then(parse_segment_name) {
            partition.unlink(&entry.name)?;
        }
    }
    let mut made = vec![(SegmentFile::ProducerState.name(end), no_producers())];
    if last != Some(end) {
        for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
            made.push((file.name(end), Vec::new()));
        }
    }
    if partition.try_stat(datadir::PARTITION_METADATA)?.is_some() {
        partition.unlink(datadir::PARTITION_METADATA)?;
    }
    made.push((datadir::PARTITION_METADATA.to_owned(), partition_metadata(to)));
    for (name, bytes) in made {
        write_new_file(partition, &name, &bytes, 0o644)?;
        let file = partition.open_file(&name, Open::Read)?;
        file.set_attributes(&crate::fs::Attributes { mtime: file.stat()?.mtime, ..like.clone() })?;
        file.sync()?;
    }
    partition.sync()
}

/// The first offset of the oldest transaction that is open at the end.
fn open_transaction(partition: &Dir, end: i64) -> Result<Option<i64>> {
    // From the newest producer snapshot on; from the beginning where there is none that holds.
    let mut snapshots: Vec<i64> = Vec::new();
    for entry in partition.list()? {
        if let Some((at, SegmentFile::ProducerState)) = entry.name.to_str().and_then(parse_segment_name) {
            snapshots.push(at);
        }
    }
    snapshots.sort_unstable();
    let mut open: BTreeMap<i64, i64> = BTreeMap::new();
    let mut from = 0;
    while let Some(at) = snapshots.pop() {
        let bytes = partition.read(SegmentFile::ProducerState.name(at), MAX_SMALL)?;
        if at <= end
            && let Ok(producers) = parse_producer_state(&bytes)
        {
            open = producers.into_iter().filter_map(|p| Some((p.id, p.open_since?))).collect();
            from = at;
            break;
        }
    }
    if list_log(partition)?.segments.is_empty() {
        return Ok(open.into_values().min());
    }
    for batch in LogReader::open_on(partition.clone())?.read_from(from) {
        let batch = batch?;
        let header = batch.header();
        if header.is_control() {
            open.remove(&header.producer_id);
        } else if header.is_transactional() {
            open.entry(header.producer_id).or_insert(header.base_offset);
        }
    }
    Ok(open.into_values().min())
}
