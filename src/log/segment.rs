//! Names and listings: which files make up a log.

use std::ffi::OsString;
use std::fmt;

use crate::error::Result;
use crate::fs::{Dir, Entry, FileKind, Identity};

/// The files of a segment, by extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// `.log`: the batches.
    Log,
    /// `.index`: offset to position.
    Index,
    /// `.timeindex`: timestamp to offset.
    TimeIndex,
    /// `.txnindex`: aborted transactions.
    TxnIndex,
    /// `.snapshot`: the state of the producers at the segment's base offset.
    ProducerState,
}

impl SegmentFile {
    /// All of them, in the order in which they are to be copied from a live writer: the log first.
    pub const ALL: [SegmentFile; 5] = [
        SegmentFile::Log,
        SegmentFile::Index,
        SegmentFile::TimeIndex,
        SegmentFile::TxnIndex,
        SegmentFile::ProducerState,
    ];

    /// The extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            SegmentFile::Log => "log",
            SegmentFile::Index => "index",
            SegmentFile::TimeIndex => "timeindex",
            SegmentFile::TxnIndex => "txnindex",
            SegmentFile::ProducerState => "snapshot",
        }
    }

    /// The name of this file of the segment with this base offset.
    pub fn name(self, base: i64) -> String {
        segment_file_name(base, self.extension())
    }
}

impl fmt::Display for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

/// `{base:020}.{ext}` (`storage: LogFileUtils.filenamePrefixFromOffset`).
pub fn segment_file_name(base: i64, ext: &str) -> String {
    format!("{base:020}.{ext}")
}

/// The reverse of [`SegmentFile::name`]; `None` for anything that it does not make.
pub fn parse_segment_name(name: &str) -> Option<(i64, SegmentFile)> {
    let (digits, ext) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let file = SegmentFile::ALL.into_iter().find(|f| f.extension() == ext)?;
    Some((digits.parse().ok()?, file))
}

/// A segment of a [`Listing`]: it has a `.log`, and perhaps more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentEntry {
    base: i64,
    files: u8,
}

impl SegmentEntry {
    /// The base offset.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// Whether the segment has this file.
    pub fn has(&self, file: SegmentFile) -> bool {
        self.files & bit(file) != 0
    }

    /// Its files, the `.log` first.
    pub fn files(self) -> impl Iterator<Item = SegmentFile> {
        SegmentFile::ALL.into_iter().filter(move |f| self.has(*f))
    }
}

fn bit(file: SegmentFile) -> u8 {
    1 << file as u8
}

/// What is in a log directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By base offset, ascending.
    pub segments: Vec<SegmentEntry>,
    /// Files named like a segment's where there is no `.log` of that base: producer states at the log end, orphaned indexes.
    pub unattached: Vec<(i64, SegmentFile)>,
    /// Everything else, sorted by name: files and directories that are not segments'.
    pub side_files: Vec<Entry>,
}

impl Listing {
    /// How many files and directories were listed.
    pub fn files(&self) -> usize {
        let of_segments: u32 = self.segments.iter().map(|s| s.files.count_ones()).sum();
        of_segments as usize + self.unattached.len() + self.side_files.len()
    }

    /// The segment with the highest base offset.
    pub fn active(&self) -> Option<&SegmentEntry> {
        self.segments.last()
    }

    /// All others, each with the proof that a later one exists.
    pub fn sealed(&self) -> impl ExactSizeIterator<Item = SealedSegment> + '_ {
        self.segments
            .iter()
            .zip(self.segments.iter().skip(1))
            .map(|(entry, next)| SealedSegment { entry: *entry, end: next.base })
    }

    /// The position in [`segments`](Self::segments) of the segment that holds `offset`, if that is not below the first.
    pub fn position_of(&self, offset: i64) -> Option<usize> {
        self.segments.partition_point(|s| s.base <= offset).checked_sub(1)
    }
}

/// A segment below which a later one was seen: nothing is appended to it any more. There is no other way
/// to get one than from a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSegment {
    entry: SegmentEntry,
    end: i64,
}

impl SealedSegment {
    /// The base offset.
    pub fn base(&self) -> i64 {
        self.entry.base
    }

    /// The base offset of the segment after it.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Its files.
    pub fn entry(&self) -> SegmentEntry {
        self.entry
    }
}

/// Lists the directory of a log that nobody is appending to. Only regular files count as segments' files.
pub fn list_log(dir: &Dir) -> Result<Listing> {
    Ok(sort_entries(dir.list()?))
}

/// Lists a native log that somebody may be appending to, under the lock that keeps names from being removed.
///
/// Whether a listing sees a name that is made while it runs is open (POSIX `readdir`): it may see the second of two new
/// segments without the first. A second listing sees whatever was there before the first one ended, so it counts up to
/// the last segment that the first one saw. None is needed where nothing was made: the directory's ctime, settled before
/// `now` (milliseconds since 1970 UTC), has not moved.
pub(crate) fn list_live(dir: &Dir, now: Option<i64>) -> Result<Listing> {
    let before = dir.stat_self()?;
    let first = list_log(dir)?;
    let settled = now.is_some_and(|now| Identity::from(&before).trusted(now));
    if settled && dir.stat_self()?.ctime == before.ctime {
        return Ok(first);
    }
    let Some(active) = first.active().map(SegmentEntry::base) else { return Ok(first) };
    let mut listing = list_log(dir)?;
    listing.segments.retain(|segment| segment.base <= active);
    listing.unattached.retain(|(base, _)| *base <= active);
    Ok(listing)
}

pub(crate) fn sort_entries(entries: Vec<Entry>) -> Listing {
    let mut found = Vec::with_capacity(entries.len());
    let mut side_files = Vec::new();
    for entry in entries {
        match parse_entry(&entry.name).filter(|_| entry.kind == FileKind::File) {
            Some(file) => found.push(file),
            None => side_files.push(entry),
        }
    }
    found.sort_unstable();
    side_files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut listing = Listing { side_files, ..Listing::default() };
    for same_base in found.chunk_by(|a, b| a.0 == b.0) {
        let files = same_base.iter().fold(0, |bits, (_, file)| bits | bit(*file));
        match same_base.first() {
            // The log sorts first.
            Some(&(base, SegmentFile::Log)) => listing.segments.push(SegmentEntry { base, files }),
            _ => listing.unattached.extend_from_slice(same_base),
        }
    }
    listing
}

fn parse_entry(name: &OsString) -> Option<(i64, SegmentFile)> {
    parse_segment_name(name.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_nothing_else_does() {
        for file in SegmentFile::ALL {
            for base in [0, 7, i64::MAX] {
                assert_eq!(parse_segment_name(&file.name(base)), Some((base, file)));
            }
        }
        for name in [
            "",
            ".log",
            "0.log",
            "00000000000000000000",
            "00000000000000000000.",
            "00000000000000000000.log.deleted",
            "00000000000000000000.log.swap",
            "0000000000000000000x.log",
            "+0000000000000000000.log",
            "99999999999999999999.log",
            "00000000000000000000.LOG",
            "00000000000000000118-0000000001.checkpoint",
            "000000000000000000000.log",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_is_sorted_out() {
        let entry = |name: &str, kind| Entry { name: name.into(), kind, ino: 1 };
        let file = |name: &str| entry(name, FileKind::File);
        let listing = sort_entries(vec![
            file("leader-epoch-checkpoint"),
            file("00000000000000000020.log"),
            file("00000000000000000020.index"),
            file("00000000000000000020.snapshot"),
            file("00000000000000000000.timeindex"),
            file("00000000000000000000.log"),
            file("00000000000000000030.snapshot"),
            file("00000000000000000005.index"),
            entry("00000000000000000040.log", FileKind::Dir),
            entry("00000000000000000050.log", FileKind::Other),
            file(".lock"),
        ]);
        assert_eq!(listing.segments.iter().map(SegmentEntry::base).collect::<Vec<_>>(), [0, 20]);
        assert_eq!(listing.active().map(SegmentEntry::base), Some(20));
        let sealed: Vec<_> = listing.sealed().collect();
        assert_eq!((sealed.len(), sealed[0].base(), sealed[0].end()), (1, 0, 20));
        assert_eq!(sealed[0].entry().files().collect::<Vec<_>>(), [SegmentFile::Log, SegmentFile::TimeIndex]);
        assert_eq!(listing.unattached, [(5, SegmentFile::Index), (30, SegmentFile::ProducerState)]);
        let names: Vec<_> = listing.side_files.iter().map(|e| e.name.to_str().unwrap()).collect();
        assert_eq!(names, [".lock", "00000000000000000040.log", "00000000000000000050.log", "leader-epoch-checkpoint"]);
        assert_eq!(listing.position_of(-1), None);
        assert_eq!([0, 19, 20, 99].map(|o| listing.position_of(o)), [Some(0), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn one_segment_is_never_sealed() {
        let listing =
            sort_entries(vec![Entry { name: "00000000000000000000.log".into(), kind: FileKind::File, ino: 1 }]);
        assert_eq!(listing.sealed().count(), 0);
        assert_eq!(sort_entries(Vec::new()).sealed().count(), 0);
    }
}
