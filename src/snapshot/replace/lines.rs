//! The lines of partitions in the checkpoints that a broker keeps beside them.

use std::collections::BTreeMap;

use super::swap::{malformed, open_if_there};
use crate::error::{Error, Result};
use crate::fs::{Dir, replace_file, replace_file_as};
use crate::kafka::{Profile, checkpoints, datadir};
use crate::log::LogReader;
use crate::store::{Journal, Line, LogManifest};

/// Those of restored partitions, and what they are now. What was restored is whole and durable up to its end, so that is its
/// recovery point; compaction begins anew.
pub(in crate::snapshot) fn of(
    profile: Profile,
    restored: &[LogManifest],
    data: &Dir,
    parts: &[String],
) -> Result<Vec<Line>> {
    if profile != Profile::Kafka {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for file in [datadir::LOG_STARTS, datadir::RECOVERY_POINTS, datadir::HIGH_WATERMARKS, datadir::CLEANED] {
        let bytes = data.try_read(file, datadir::MAX_CHECKPOINT)?.unwrap_or_default();
        let read = checkpoints::OffsetCheckpoint::parse(&bytes).map_err(|why| malformed(data, file, &why))?;
        for (log, name) in restored.iter().zip(parts) {
            let Some(of) = datadir::parse_partition_name(name) else { continue };
            let end = log.cut.log_end_offset;
            let new = match file {
                datadir::LOG_STARTS => Some(log.cut.log_start_offset.min(end)),
                datadir::RECOVERY_POINTS => Some(end),
                datadir::HIGH_WATERMARKS => Some(log.cut.high_watermark.min(end)),
                _ => None,
            };
            let old = read.get(&of.topic, of.partition);
            found.push(Line { file: file.to_owned(), topic: of.topic, partition: of.partition, old, new });
        }
    }
    Ok(found)
}

/// Before an undoing: what it changes are the lines of today, not those of the replacement.
pub(in crate::snapshot) fn take_up(data: &Dir, lines: &mut [Line]) -> Result<()> {
    let mut read: BTreeMap<String, checkpoints::OffsetCheckpoint> = BTreeMap::new();
    for line in lines {
        if !read.contains_key(&line.file) {
            let bytes = data.try_read(&line.file, datadir::MAX_CHECKPOINT)?.unwrap_or_default();
            let parsed =
                checkpoints::OffsetCheckpoint::parse(&bytes).map_err(|why| malformed(data, &line.file, &why))?;
            read.insert(line.file.clone(), parsed);
        }
        line.new = read.get(&line.file).and_then(|read| read.get(&line.topic, line.partition));
    }
    Ok(())
}

/// While directories change places: a line of one log must not stand where the other could be. A log that starts beyond its
/// end loses every segment, and one without a recovery point is read as a whole.
pub(in crate::snapshot) fn write_between(data: &Dir, journal: &Journal) -> Result<()> {
    write(data, journal, |line| Ok(if is_bounded(line) { None } else { line.old }))
}

/// What `to` gives for each of them, none where it gives none; of logs that are in place by now. Neither a log start nor a
/// recovery point lies beyond the end of the log that is there, whatever it is.
pub(in crate::snapshot) fn write_settled(
    data: &Dir,
    journal: &Journal,
    to: impl Fn(&Line) -> Option<i64>,
) -> Result<()> {
    write(data, journal, |line| match to(line) {
        Some(offset) if is_bounded(line) => {
            let place = open_if_there(data, format!("{}-{}", line.topic, line.partition))?;
            let end = match place.map(LogReader::open_on).transpose() {
                // No broker loads it, and none needs a line for it.
                Err(Error::Validation(_)) => None,
                log => log?.map(|log| log.log_end()),
            };
            Ok(end.map(|end| offset.min(end)))
        }
        other => Ok(other),
    })
}

fn is_bounded(line: &Line) -> bool {
    matches!(line.file.as_str(), datadir::LOG_STARTS | datadir::RECOVERY_POINTS)
}

fn write(data: &Dir, journal: &Journal, to: impl Fn(&Line) -> Result<Option<i64>>) -> Result<()> {
    let mut files: Vec<&str> = journal.lines.iter().map(|line| line.file.as_str()).collect();
    files.dedup();
    for file in files {
        let mut changes: Vec<(&str, i32, Option<i64>)> = Vec::new();
        for line in journal.lines.iter().filter(|line| line.file == file) {
            changes.push((&line.topic, line.partition, to(line)?));
        }
        let bytes = data.try_read(file, datadir::MAX_CHECKPOINT)?.unwrap_or_default();
        let amended = checkpoints::amend(&bytes, &changes).map_err(|why| malformed(data, file, &why))?;
        // A broker that is another user has to be able to write it. One that has these bytes already may have got them by a
        // change whose sync failed.
        match data.try_open(file)?.map(|f| f.attributes()).transpose()? {
            Some(like) => replace_file_as(data, file, &amended, &like)?,
            None if amended == bytes => {}
            None => replace_file(data, file, &amended, 0o644)?,
        }
    }
    Ok(())
}
