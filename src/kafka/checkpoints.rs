//! The text checkpoints of a broker.
//!
//! Offset checkpoints (`server-common: OffsetCheckpointFile`, `storage: CheckpointFile`): a version line `0`, a
//! count line, then `topic partition offset` lines. Leader epochs (`storage: LeaderEpochCheckpointFile`): the same
//! with `epoch startOffset` lines. A file of 0 bytes is one that was never written: it has no entries.

use std::collections::HashMap;

use super::Malformed;

/// One file of offsets by topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint {
    entries: HashMap<(String, i32), i64>,
}

impl OffsetCheckpoint {
    /// Reads a checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut entries = HashMap::new();
        for line in lines(bytes)? {
            // A topic name has no spaces in it: `clients: Topic.validate`.
            let mut words = line.split(' ');
            let entry = (|| {
                let topic = words.next().filter(|t| !t.is_empty())?;
                let partition = words.next()?.parse().ok().filter(|p: &i32| *p >= 0)?;
                let offset = words.next()?.parse().ok()?;
                words.next().is_none().then_some(((topic.to_owned(), partition), offset))
            })();
            let (key, offset) = entry.ok_or_else(|| format!("{line:?} is not `topic partition offset`"))?;
            if entries.insert(key, offset).is_some() {
                return Err(format!("{line:?} names a partition twice"));
            }
        }
        Ok(OffsetCheckpoint { entries })
    }

    /// The offset of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.entries.get(&(topic.to_owned(), partition)).copied()
    }

    /// How many partitions it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A checkpoint with other offsets of some partitions: `None` takes a line out. All other lines stay as they are, in their
/// order; the count is right.
///
/// # Errors
///
/// What is wrong with it. A broker does not start over such a file.
pub fn amend(bytes: &[u8], changes: &[(&str, i32, Option<i64>)]) -> Result<Vec<u8>, Malformed> {
    let read = OffsetCheckpoint::parse(bytes)?;
    if changes.iter().all(|(topic, partition, to)| read.get(topic, *partition) == *to) {
        return Ok(bytes.to_vec());
    }
    let changed = |line: &&str| changes.iter().any(|(t, p, _)| line.starts_with(&format!("{t} {p} ")));
    let mut entries: Vec<String> = lines(bytes)?.into_iter().filter(|line| !changed(line)).map(str::to_owned).collect();
    entries.extend(changes.iter().filter_map(|(t, p, to)| Some(format!("{t} {p} {}", (*to)?))));
    let mut out = format!("0\n{}\n", entries.len());
    for entry in entries {
        out.push_str(&entry);
        out.push('\n');
    }
    Ok(out.into_bytes())
}

/// A partition's `leader-epoch-checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    /// Epoch and the first offset written in it, ascending in both.
    pub entries: Vec<(i32, i64)>,
}

impl LeaderEpochs {
    /// Reads a checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut entries: Vec<(i32, i64)> = Vec::new();
        for line in lines(bytes)? {
            let entry =
                line.split_once(' ').and_then(|(epoch, start)| Some((epoch.parse().ok()?, start.parse().ok()?)));
            let (epoch, start) = entry.ok_or_else(|| format!("{line:?} is not `epoch startOffset`"))?;
            if entries.last().is_some_and(|(e, s)| *e >= epoch || *s > start) {
                return Err(format!("{line:?} is out of order"));
            }
            entries.push((epoch, start));
        }
        Ok(LeaderEpochs { entries })
    }

    /// Without the epochs that begin at or beyond the end of a log that was cut.
    pub fn cut(mut self, end: i64) -> Self {
        self.entries.retain(|(_, start)| *start < end);
        self
    }

    /// Without the epochs that ended before the log now starts; the one that it starts in begins there, as a broker has it
    /// (`storage: LeaderEpochFileCache.truncateFromStart`).
    pub fn cut_before(mut self, start: i64) -> Self {
        let ended = self.entries.iter().take_while(|(_, begun)| *begun <= start).count().saturating_sub(1);
        self.entries.drain(..ended);
        if let Some((_, begun)) = self.entries.first_mut() {
            *begun = start.max(*begun);
        }
        self
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            out.push_str(&format!("{epoch} {start}\n"));
        }
        out.into_bytes()
    }
}

/// The entry lines, once version and count have been found right.
fn lines(bytes: &[u8]) -> Result<Vec<&str>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version != "0" {
        return Err(format!("version {version:?} is not known"));
    }
    let count: usize =
        lines.next().and_then(|l| l.parse().ok()).ok_or_else(|| "the second line is not a count".to_owned())?;
    let entries: Vec<&str> = lines.filter(|l| !l.is_empty()).collect();
    if entries.len() != count {
        return Err(format!("{} entries where the count says {count}", entries.len()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        let c = OffsetCheckpoint::parse(b"0\n2\norders 0 12\na.b-c_d 10 -1\n").unwrap();
        assert_eq!((c.get("orders", 0), c.get("a.b-c_d", 10), c.get("orders", 1)), (Some(12), Some(-1), None));
        assert!(OffsetCheckpoint::parse(b"").unwrap().is_empty());
        assert!(OffsetCheckpoint::parse(b"0\n0\n").unwrap().is_empty());
        for bad in
            ["1\n0\n", "0\n", "0\n1\n", "0\n1\na 0 1\nb 0 1\n", "0\n1\na 0\n", "0\n1\na b c\n", "0\n2\na 0 1\na 0 2\n"]
        {
            assert!(OffsetCheckpoint::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_are_amended_and_counted() {
        let bytes = b"0\n3\na 1 8\nb 0 1000\na 10 100\n";
        let changes = [("a", 1, Some(7)), ("b", 0, None), ("c", 0, Some(5)), ("d", 0, None)];
        assert_eq!(amend(bytes, &changes).unwrap(), b"0\n3\na 10 100\na 1 7\nc 0 5\n");
        assert_eq!(amend(bytes, &[("a", 1, Some(8)), ("d", 0, None)]).unwrap(), bytes);
        assert_eq!(amend(b"", &[("d", 0, None)]).unwrap(), b"", "one that was never written stays so");
        assert_eq!(amend(b"", &[("d", 0, Some(3))]).unwrap(), b"0\n1\nd 0 3\n");
        assert!(amend(b"0\n9\na 1 8\n", &changes).is_err());
    }

    #[test]
    fn leader_epochs() {
        let bytes = b"0\n2\n0 0\n3 700\n";
        let epochs = LeaderEpochs::parse(bytes).unwrap();
        assert_eq!(epochs.to_bytes(), bytes);
        assert_eq!(epochs.clone().cut(700).entries, [(0, 0)]);
        assert_eq!(epochs.clone().cut(701).entries, [(0, 0), (3, 700)]);
        assert_eq!(epochs.clone().cut_before(699).entries, [(0, 699), (3, 700)]);
        assert_eq!(epochs.clone().cut_before(700).entries, [(3, 700)]);
        assert_eq!(epochs.clone().cut_before(900).entries, [(3, 900)]);
        assert_eq!(LeaderEpochs { entries: vec![(1, 5)] }.cut_before(3).entries, [(1, 5)]);
        assert!(LeaderEpochs::default().cut_before(3).entries.is_empty());
        assert!(LeaderEpochs::parse(b"0\n2\n3 0\n0 700\n").is_err());
    }
}
