//! What a replacement took out, and the journal that makes it all or nothing.
//!
//! ```text
//! .orders.undo-1735998123000/    beside `orders`; in a store beside it: .undo-1735998123000
//! ├── undo.json                  the journal
//! └── dirs/                      what is not in place: first what was restored, then what was taken out for it
//! ```
//!
//! Under a name that ends in `.partial` there is nothing that was ever in place: it is in the making, or on its way out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use super::id::SnapshotId;
use super::sealed;
use crate::error::{Error, IntegrityError, Result, ValidationError};
use crate::fs::{Attributes, Dir, replace_file_as};

/// The journal's name.
pub(crate) const JOURNAL: &str = "undo.json";
/// Where an entry has its directories.
pub(crate) const SLOTS: &str = "dirs";
/// The name of the only one, where a log or a data directory was replaced as a whole.
pub(crate) const WHOLE: &str = "whole";
const MARK: &str = ".undo-";
const PARTIAL: &str = ".partial";
const VERSION: u32 = 1;
/// A million partitions.
const MAX_JOURNAL: u64 = 1 << 28;

/// How far a replacement, or its undoing, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndoState {
    /// What was restored is being put in place.
    Replacing,
    /// It is in place; what it replaced is kept.
    Replaced,
    /// What it replaced is being brought back.
    Undoing,
    /// That is in place again; what was restored is kept, with all that was written to it.
    Undone,
    /// It is being removed for good.
    Discarding,
}

/// `undo.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    /// What was restored.
    pub snapshot: SnapshotId,
    /// When: milliseconds since 1970 UTC.
    pub at_ms: i64,
    pub state: UndoState,
    /// Directories that change places. All of them do, or none.
    pub swaps: Vec<Swap>,
    /// What a broker keeps beside its partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
}

/// Two directories that change places, by their inodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swap {
    /// In `dirs`: [`WHOLE`], or the partition's name.
    pub slot: String,
    /// What was restored, or what an undoing found in its place; missing where that was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// What it replaces; missing where nothing was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<u64>,
    /// The topics whose partitions they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_topic: Option<String>,
    /// Tells whether anybody has written to what was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched: Option<String>,
}

/// What every journal begins with, whatever a newer cowlog may have made of the rest.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The line of a partition in one of a broker's checkpoints, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub file: String,
    pub topic: String,
    pub partition: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<i64>,
}

impl Journal {
    pub(crate) fn new(snapshot: SnapshotId, at_ms: i64, swaps: Vec<Swap>, lines: Vec<Line>) -> Journal {
        Journal { version: VERSION, snapshot, at_ms, state: UndoState::Replacing, swaps, lines }
    }

    /// Whether it is about a log or a data directory as a whole, not about partitions of one.
    pub(crate) fn is_whole(&self) -> bool {
        self.swaps.iter().all(|swap| swap.slot == WHOLE)
    }

    /// Reads and checks it.
    ///
    /// # Errors
    ///
    /// `Integrity` where it is missing or not to be believed; `Validation` for one of a newer cowlog.
    pub(crate) fn read(entry: &Dir) -> Result<Journal> {
        let bad = |what: String| -> Error {
            let hint = "what it keeps lies in its `dirs`; move that where it belongs, then remove the rest".into();
            IntegrityError { hint: Some(hint), ..IntegrityError::new(entry.path_of(JOURNAL), what) }.into()
        };
        let Some(bytes) = entry.try_read(JOURNAL, MAX_JOURNAL)? else { return Err(bad("it is missing".into())) };
        let versioned: Versioned = sealed::open("the journal", &bytes).map_err(|e| bad(e.to_string()))?;
        if versioned.version > VERSION {
            let what = format!("{} was written by a newer cowlog", entry.path_of(JOURNAL).display());
            return Err(ValidationError::Refused {
                what,
                path: Some(entry.path_of(JOURNAL)),
                hint: Some("use that one".into()),
            }
            .into());
        }
        let journal: Journal = sealed::open("the journal", &bytes).map_err(|e| bad(e.to_string()))?;
        if !journal.makes_sense() {
            return Err(bad("it makes no sense".into()));
        }
        Ok(journal)
    }

    /// No name leads anywhere else.
    fn makes_sense(&self) -> bool {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        let of_line = |line: &Line| is_name(&line.file) && is_name(&line.topic);
        !self.swaps.is_empty() && self.swaps.iter().all(|s| is_name(&s.slot)) && self.lines.iter().all(of_line)
    }

    /// Replaces it, durably.
    ///
    /// # Errors
    ///
    /// `Validation` for one that could not be read again.
    pub(crate) fn write(&self, entry: &Dir) -> Result<()> {
        if !self.makes_sense() {
            let what = format!("{} would have names that lead elsewhere, or none", entry.path_of(JOURNAL).display());
            return Err(ValidationError::refused(what).into());
        }
        // Whoever owns what was replaced has to be able to read it.
        let like = Attributes { mode: 0o600, xattrs: BTreeMap::new(), ..entry.attributes()? };
        replace_file_as(entry, JOURNAL, &sealed::seal("the journal", self)?, &like)
    }
}

/// The name of an entry, in the place where entries begin with `prefix`.
pub(crate) fn undo_name(prefix: &OsStr, id: u64, partial: bool) -> OsString {
    let mut name = prefix.to_owned();
    name.push(format!("{MARK}{id}{}", if partial { PARTIAL } else { "" }));
    name
}

/// The number of an entry, and whether it is partial.
pub(crate) fn parse_undo_name(prefix: &OsStr, name: &OsStr) -> Option<(u64, bool)> {
    let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes())?.strip_prefix(MARK.as_bytes())?;
    let rest = std::str::from_utf8(rest).ok()?;
    let (digits, partial) = rest.strip_suffix(PARTIAL).map_or((rest, false), |digits| (digits, true));
    let canonical =
        digits.bytes().all(|b| b.is_ascii_digit()) && (1..=16).contains(&digits.len()) && !digits.starts_with('0');
    canonical.then(|| digits.parse().ok()).flatten().map(|id| (id, partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let fs = crate::fs::MemFs::new();
        let dir = Dir::open_on(std::sync::Arc::new(fs), "/").unwrap();
        let swap = |slot: &str| Swap {
            slot: slot.into(),
            new: Some(1),
            old: None,
            new_topic: None,
            old_topic: None,
            untouched: None,
        };
        let id = SnapshotId::new(1_735_998_123_000).unwrap();
        for swaps in [vec![], vec![swap("..")], vec![swap("a/b")], vec![swap("")]] {
            assert!(Journal::new(id, 0, swaps, Vec::new()).write(&dir).is_err());
            assert!(dir.try_stat(JOURNAL).unwrap().is_none());
        }
        let journal = Journal::new(id, 0, vec![swap(WHOLE)], Vec::new());
        journal.write(&dir).unwrap();
        assert_eq!(Journal::read(&dir).unwrap(), journal);
    }

    #[test]
    fn names_of_entries() {
        for prefix in ["", ".orders", ".a.undo-7"].map(OsStr::new) {
            for partial in [false, true] {
                assert_eq!(parse_undo_name(prefix, &undo_name(prefix, 1_735, partial)), Some((1_735, partial)));
            }
        }
        for bad in [".undo-", ".undo-0", ".undo-07", ".undo-7x", ".undo-7.partial.partial", "undo-7", ".orders.undo-7"]
        {
            assert_eq!(parse_undo_name(OsStr::new(""), OsStr::new(bad)), None, "{bad}");
        }
    }
}
