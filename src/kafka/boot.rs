//! Would a broker accept this data directory, and what would it do to it?
//!
//! Learnt from a broker that was booted on such directories; where a class decides, it is named.

use std::collections::HashMap;

use super::checkpoints::{LeaderEpochs, OffsetCheckpoint};
use super::datadir::{Inventory, LEADER_EPOCHS, LOG_STARTS, MAX_CHECKPOINT, META, PARTITION_METADATA};
use super::metadata::{TopicId, parse_meta_properties, parse_partition_metadata};
use crate::error::Result;
use crate::fs::Dir;

/// What a broker would object to in a data directory, in words; empty where it would start and keep everything.
/// A snapshot is possible all the same, and keeps every byte.
///
/// Malformed checkpoints of offsets are told by
/// [`RootCheckpoints::warnings`](super::datadir::RootCheckpoints::warnings).
pub fn objections(data: &Dir, inventory: &Inventory) -> Result<Vec<String>> {
    let mut found = Vec::new();
    match data.try_read(META, MAX_CHECKPOINT)? {
        None => found.push(format!("{META} is missing: a broker does not start over this directory")),
        Some(bytes) => {
            if let Err(why) = parse_meta_properties(&bytes) {
                found.push(format!("{META}: {why}: a broker does not start over it"));
            }
        }
    }
    let mut topics: HashMap<&str, (TopicId, &str)> = HashMap::new();
    for partition in &inventory.partitions {
        let (dir, name) = (data.open_dir(&partition.name)?, &partition.name);
        if let Some(bytes) = dir.try_read(LEADER_EPOCHS, MAX_CHECKPOINT)?
            && let Err(why) = LeaderEpochs::parse(&bytes)
        {
            found.push(format!("{name}/{LEADER_EPOCHS}: {why}: a broker does not start over it"));
        }
        match dir.try_read(PARTITION_METADATA, MAX_CHECKPOINT)? {
            // `core: LogManager.isStrayKraftReplica`
            None => found.push(format!("{name} has no {PARTITION_METADATA}: a broker sets it aside as stray")),
            Some(bytes) => match parse_partition_metadata(&bytes) {
                Err(why) => found.push(format!("{name}/{PARTITION_METADATA}: {why}: a broker does not start over it")),
                Ok(id) => {
                    let (first, of) = topics.entry(&partition.topic).or_insert_with(|| (id.clone(), name));
                    if *first != id {
                        found.push(format!(
                            "{name} is of another topic ({}) than {of} ({}): a broker sets one aside as stray",
                            id.as_str(),
                            first.as_str()
                        ));
                    }
                }
            },
        }
    }
    Ok(found)
}

/// The name of the file that [`cap_log_starts`] is about.
pub const LOG_START_FILE: &str = LOG_STARTS;

/// `log-start-offset-checkpoint` with no log starting beyond its end: a broker deletes every segment of such a log,
/// with no more than a warning (`storage: LogLoader.recoverLog`). A log loses its end when it is cut at a broken batch or
/// at an offset. `None` where nothing has to be changed, or the file cannot be read. Lines keep their order.
pub fn cap_log_starts(bytes: &[u8], end: impl Fn(&str, i32) -> Option<i64>) -> Option<Vec<u8>> {
    let read = OffsetCheckpoint::parse(bytes).ok()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut changed = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let capped = line.rsplit_once(' ').and_then(|(partition, _)| {
            let (topic, number) = partition.rsplit_once(' ')?;
            let number = number.parse().ok()?;
            let end = end(topic, number)?;
            (read.get(topic, number)? > end).then(|| format!("{partition} {end}"))
        });
        changed |= capped.is_some();
        out.push_str(capped.as_deref().unwrap_or(line));
        out.push('\n');
    }
    changed.then(|| out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_starts_beyond_its_end() {
        let ends = |topic: &str, partition: i32| match (topic, partition) {
            ("a", 0) => Some(100),
            ("a", 1) => Some(7),
            _ => None,
        };
        let bytes = b"0\n3\na 1 8\nb 0 1000\na 0 100\n";
        assert_eq!(cap_log_starts(bytes, ends).unwrap(), b"0\n3\na 1 7\nb 0 1000\na 0 100\n");
        assert_eq!(cap_log_starts(b"0\n1\na 0 100\n", ends), None);
        assert_eq!(cap_log_starts(b"0\n0\n", ends), None);
        assert_eq!(cap_log_starts(b"", ends), None);
        assert_eq!(cap_log_starts(b"0\n9\na 1 8\n", ends), None, "what cannot be read is not rewritten");
    }
}
