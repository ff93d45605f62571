//! What differs between two snapshots, or between one and the source.

use serde::Serialize;

use super::At;
use super::diff_sides::{Content, Side, SideLog, look_at};
use super::present::has_vanished;
use crate::error::{ConcurrencyError, Error, Result};
use crate::fs::Buffer;
use crate::log::{SegmentFile, parse_segment_name};
use crate::observe::Observer;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::verify::hash::buffer;
use crate::store::Scope;

/// How often a comparison with the source is begun anew whose files vanish meanwhile.
const ATTEMPTS: usize = 5;

/// What differs on the way from `a` to `b`.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The snapshot's id, or `live`.
    pub a: String,
    /// The same of the other side.
    pub b: String,
    /// Whether nothing differs.
    pub equal: bool,
    /// How many logs are the same on both sides.
    pub logs_equal: u64,
    /// The others.
    pub logs: Vec<LogDiff>,
    /// Files beside the logs of a data directory that differ.
    pub files: Vec<FileDiff>,
}

/// A log that differs.
#[derive(Debug, Clone, Serialize)]
pub struct LogDiff {
    /// Its directory within the data directory; empty for a log that stands alone.
    pub dir: String,
    /// Where its name tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// `added` and `removed`: only one side has it.
    pub change: Change,
    /// What `a` has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<LogState>,
    /// What `b` has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<LogState>,
    /// How many segments are the same on both sides.
    pub segments_equal: u64,
    /// The others, by base offset.
    pub segments: Vec<SegmentDiff>,
    /// Other files that differ, but for the indexes of segments that differ, and those of the last segment.
    pub files: Vec<FileDiff>,
}

/// One side's state of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LogState {
    /// The first offset that readers see.
    pub log_start_offset: i64,
    /// The high watermark.
    pub high_watermark: i64,
    /// The offset after the last record.
    pub log_end_offset: i64,
    /// Segments.
    pub num_segments: u64,
    /// Of the segments' `.log` files, up to the end of the last whole batch.
    pub bytes: u64,
}

/// A segment that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SegmentDiff {
    /// Its base offset.
    pub base_offset: i64,
    /// How its `.log` differs.
    pub change: Change,
    /// Its bytes in `a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_a: Option<u64>,
    /// Its bytes in `b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_b: Option<u64>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Its name.
    pub name: String,
    /// `added`, `removed`, `changed`.
    pub change: Change,
}

/// From `a` to `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only `b` has it.
    Added,
    /// Only `a` has it.
    Removed,
    /// `b` begins with all that `a` has, and goes on.
    Appended,
    /// `a` begins with all that `b` has, and goes on.
    Truncated,
    /// Anything else: compacted, rewritten.
    Changed,
}

/// Two sides that were compared; snapshots cannot be deleted while this lives.
#[derive(Debug)]
pub struct Comparison {
    diff: Diff,
    pub(in crate::snapshot) pairs: Vec<Pair>,
    pub(in crate::snapshot) observer: Observer,
    _sides: [Side; 2],
}

/// The two sides of one [`LogDiff`], and what was found equal.
#[derive(Debug)]
pub(in crate::snapshot) struct Pair {
    pub(in crate::snapshot) a: Option<SideLog>,
    pub(in crate::snapshot) b: Option<SideLog>,
    pub(in crate::snapshot) equal: Vec<i64>,
}

impl SnapshotManager {
    /// Compares two snapshots, or one with the source: all of it, or a topic or partition. Between snapshots the digests of
    /// their manifests decide; a file is read where one has grown out of the other. What is compared with the source is
    /// read where its identity does not tell. Nothing of the source is locked: it is told as it was at one moment, up to its last
    /// whole batch, and looked at anew where files vanish meanwhile. A part of which nothing is there any more was removed.
    ///
    /// # Errors
    ///
    /// As [`logs_at`](Self::logs_at), and `Concurrency` where the source does not come to rest.
    pub fn compare(&self, a: At<'_>, b: At<'_>, part: Option<&Scope>) -> Result<Comparison> {
        let part = part.or(self.scope()).filter(|part| **part != Scope::All);
        let live = a == At::Live || b == At::Live;
        for _ in 0..ATTEMPTS {
            match self.compare_once(a, b, part) {
                Err(e) if live && has_vanished(&e) => {}
                Ok(comparison) => {
                    self.tell_of_sides(&comparison.diff)?;
                    return Ok(comparison);
                }
                other => return other,
            }
        }
        let why = "its files change faster than they can be compared".into();
        Err(ConcurrencyError::Busy { path: self.source().into(), why }.into())
    }

    /// Digests are compared, so that damage does not show.
    fn tell_of_sides(&self, diff: &Diff) -> Result<()> {
        for id in [&diff.a, &diff.b].into_iter().filter_map(|side| side.parse().ok()) {
            self.tell_of_known(&self.store()?, id, |_| true);
        }
        Ok(())
    }

    fn compare_once(&self, a: At<'_>, b: At<'_>, part: Option<&Scope>) -> Result<Comparison> {
        let observer = self.config().observer.clone();
        let (mut a, mut b) = (look_at(self, a, part)?, look_at(self, b, part)?);
        let mut comparing = Comparing { buf: buffer(), observer: &observer };
        let mut diff = Diff {
            a: a.name.clone(),
            b: b.name.clone(),
            equal: false,
            logs_equal: 0,
            logs: Vec::new(),
            // What stands beside the logs is no topic's.
            files: comparing.files(&a.files, &b.files, |_| part.is_none())?,
        };
        let mut pairs = Vec::new();
        for (a, b) in paired(std::mem::take(&mut a.logs), std::mem::take(&mut b.logs)) {
            observer.check()?;
            let mut pair = Pair { a, b, equal: Vec::new() };
            match comparing.logs(&mut pair)? {
                Some(found) => {
                    diff.logs.push(found);
                    pairs.push(pair);
                }
                None => diff.logs_equal += 1,
            }
        }
        diff.equal = diff.logs.is_empty() && diff.files.is_empty();
        Ok(Comparison { diff, pairs, observer, _sides: [a, b] })
    }
}

impl Comparison {
    /// What was found.
    pub fn diff(&self) -> &Diff {
        &self.diff
    }
}

/// By topic and partition; where each side has one log, these are two states of one.
fn paired(a: Vec<SideLog>, b: Vec<SideLog>) -> Vec<(Option<SideLog>, Option<SideLog>)> {
    if let ([one], [other]) = (a.as_slice(), b.as_slice())
        && (one.topic.is_none() || other.topic.is_none())
    {
        return a.into_iter().map(Some).zip(b.into_iter().map(Some)).collect();
    }
    let mut all = std::collections::BTreeMap::new();
    for log in a {
        let key = (log.topic.clone(), if log.topic.is_some() { String::new() } else { log.dir.clone() });
        all.insert(key, (Some(log), None));
    }
    for log in b {
        let key = (log.topic.clone(), if log.topic.is_some() { String::new() } else { log.dir.clone() });
        all.entry(key).or_insert((None, None)).1 = Some(log);
    }
    all.into_values().collect()
}

struct Comparing<'a> {
    buf: Buffer,
    observer: &'a Observer,
}

impl Comparing<'_> {
    /// `None` where they are equal.
    fn logs(&mut self, pair: &mut Pair) -> Result<Option<LogDiff>> {
        let (a, b) = (pair.a.as_ref(), pair.b.as_ref());
        let states = (a.map(SideLog::state), b.map(SideLog::state));
        let mut found = LogDiff {
            dir: a.or(b).map(|log| log.name()).unwrap_or_default(),
            topic: a.or(b).and_then(|log| Some(log.topic.as_ref()?.0.clone())),
            partition: a.or(b).and_then(|log| Some(log.topic.as_ref()?.1)),
            change: Change::Changed,
            a: states.0,
            b: states.1,
            segments_equal: 0,
            segments: Vec::new(),
            files: Vec::new(),
        };
        let (Some(a), Some(b)) = (a, b) else {
            found.change = if a.is_some() { Change::Removed } else { Change::Added };
            return Ok(Some(found));
        };
        let mut bases: Vec<i64> = a.segments.keys().chain(b.segments.keys()).copied().collect();
        bases.sort_unstable();
        bases.dedup();
        for base_offset in bases {
            let (in_a, in_b) = (a.segments.get(&base_offset), b.segments.get(&base_offset));
            let change = match (in_a, in_b) {
                (Some(a), Some(b)) => self.segment(a, b)?,
                (Some(_), None) => Some(Change::Removed),
                _ => Some(Change::Added),
            };
            match change {
                None => pair.equal.push(base_offset),
                Some(change) => {
                    let (bytes_a, bytes_b) = (in_a.map(|c| c.size), in_b.map(|c| c.size));
                    found.segments.push(SegmentDiff { base_offset, change, bytes_a, bytes_b });
                }
            }
        }
        found.segments_equal = pair.equal.len() as u64;
        let last = a.segments.keys().next_back().min(b.segments.keys().next_back());
        // The indexes of a segment that differs differ; a writer keeps those of the last one as it likes.
        let settled = |name: &str| match parse_segment_name(name) {
            Some((base, SegmentFile::ProducerState)) => {
                !(a.segments.contains_key(&base) ^ b.segments.contains_key(&base))
            }
            Some((base, _)) => pair.equal.contains(&base) && Some(&base) < last,
            None => true,
        };
        found.files = self.files(&a.files, &b.files, settled)?;
        let same = found.segments.is_empty() && found.files.is_empty() && found.a == found.b;
        Ok((!same).then_some(found))
    }

    fn segment(&mut self, a: &Content, b: &Content) -> Result<Option<Change>> {
        let common = a.size.min(b.size);
        if !self.same(a, b, common)? {
            return Ok(Some(Change::Changed));
        }
        Ok(match a.size.cmp(&b.size) {
            std::cmp::Ordering::Less => Some(Change::Appended),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Change::Truncated),
        })
    }

    /// Whether the first `bytes` are the same.
    fn same(&mut self, a: &Content, b: &Content, bytes: u64) -> Result<bool> {
        if a.is_same_file(b)? {
            return Ok(true);
        }
        Ok(a.digest_of(bytes, &mut self.buf, self.observer)? == b.digest_of(bytes, &mut self.buf, self.observer)?)
    }

    fn files(
        &mut self,
        a: &std::collections::BTreeMap<String, Content>,
        b: &std::collections::BTreeMap<String, Content>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<FileDiff>> {
        let mut found = Vec::new();
        for (name, in_a) in a.iter().filter(|(name, _)| wanted(name)) {
            let change = match b.get(name) {
                None => Change::Removed,
                Some(in_b) if in_a.size == in_b.size && self.same(in_a, in_b, in_a.size)? => continue,
                Some(_) => Change::Changed,
            };
            found.push(FileDiff { name: name.clone(), change });
        }
        let only_b = b.keys().filter(|name| wanted(name) && !a.contains_key(*name));
        found.extend(only_b.map(|name| FileDiff { name: name.clone(), change: Change::Added }));
        found.sort_unstable_by(|x, y| x.name.cmp(&y.name));
        Ok(found)
    }
}

/// A file of the source that became shorter while it was read counts as one that vanished.
pub(in crate::snapshot) fn vanished(path: std::path::PathBuf) -> Error {
    Error::io("read", path, std::io::ErrorKind::NotFound.into())
}
