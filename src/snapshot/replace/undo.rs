//! Bringing back what a replacement took out.

use std::path::PathBuf;

use serde::Serialize;

use super::home::Home;
use super::swap::Entry;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, FileKind, locked};
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::lossy;
use crate::store::{Journal, SLOTS, UndoState, rfc3339};

/// What a replacement took out of a source, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UndoEntry {
    /// `undo-<ms>`.
    pub id: String,
    /// When the replacement was made: RFC 3339, UTC.
    pub timestamp: String,
    /// The snapshot that was restored.
    pub snapshot: String,
    /// `replaced`: the old is kept here, `undo` brings it back. `undone`: the old is in place again, what had been restored
    /// is kept here. `replacing`, `undoing`: under way, or waiting for a broker or a writer to stop. One that is being discarded
    /// is not listed.
    pub state: UndoState,
    /// The partitions; none where the log or data directory was replaced as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
    /// The directory that keeps it.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Files in it.
    pub files: u64,
    /// Bytes of them. What a discard frees is at most this: snapshots may share them.
    pub bytes: u64,
}

impl UndoEntry {
    fn of(id: u64, journal: &Journal, dir: &Dir) -> Result<UndoEntry> {
        let (files, bytes) = size(&dir.open_dir(SLOTS)?)?;
        Ok(UndoEntry {
            id: format!("undo-{id}"),
            timestamp: rfc3339(journal.at_ms),
            snapshot: journal.snapshot.to_string(),
            state: journal.state,
            partitions: match journal.is_whole() {
                true => Vec::new(),
                false => journal.swaps.iter().map(|swap| swap.slot.clone()).collect(),
            },
            path: dir.path().to_owned(),
            files,
            bytes,
        })
    }
}

fn size(dir: &Dir) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in dir.list()? {
        if entry.kind == FileKind::Dir {
            let (more_files, more_bytes) = size(&dir.open_dir(&entry.name)?)?;
            (files, bytes) = (files + more_files, bytes + more_bytes);
        } else if let Some(stat) = dir.try_stat(&entry.name)? {
            (files, bytes) = (files + 1, bytes + stat.size);
        }
    }
    Ok((files, bytes))
}

impl SnapshotManager {
    /// Takes the newest replacement back that has not been taken back yet: what it took out is exchanged for what is in place
    /// now, which is kept in its stead, with all that was written to it since.
    ///
    /// A replacement and its undoing are atomic for each directory, and together for all of them: after `Ok` all have changed
    /// places, durably, and a broker's checkpoints have the lines that belong to them; after an error none has, unless the
    /// error was one of a sync, after which the outcome is unknown. After a crash each directory is the old or the new one,
    /// whole. Where some had moved, the next [`open`](Self::open) of the source completes it; where none had, it takes it back.
    ///
    /// # Errors
    ///
    /// `Validation`: there is nothing to undo, or it has been undone already, or the newest replacement is of more than this
    /// partition; a mount point or another filesystem is in the way. `Concurrency`: a writer or a broker has it open.
    pub fn undo(&self) -> Result<UndoEntry> {
        let home = Home::of(self.fs(), self.source())?;
        let deadline = self.deadline();
        self.complete_in(&home, &deadline)?;
        let mut undone = None;
        for (place, name, id, partial) in home.entries()?.into_iter().rev() {
            if partial {
                continue;
            }
            let path = place.dir.path_of(&name);
            let Some(mut entry) = deadline.retry(|| Entry::lock(&place, &name, id))? else {
                return Err(locked(path, "another command is at work on it", &deadline, None));
            };
            let concerns =
                |part: &String| entry.journal.is_whole() || entry.journal.swaps.iter().any(|s| s.slot == *part);
            if !home.part.as_ref().is_none_or(concerns) {
                continue;
            }
            match entry.journal.state {
                UndoState::Replaced => {}
                UndoState::Undone => {
                    undone = undone.or(Some(path));
                    continue;
                }
                // Completing it has told why it could not be.
                UndoState::Replacing | UndoState::Undoing | UndoState::Discarding => {
                    return Err(locked(path, "it is under way", &deadline, None));
                }
            }
            if let Some(part) = &home.part
                && (entry.journal.is_whole() || entry.journal.swaps.len() > 1)
            {
                let what = format!("what replaced {part} replaced more than that, and is undone as a whole");
                let hint = Some(format!("`cowlog undo {}`", home.path.display()));
                return Err(ValidationError::Refused { what, path: Some(path), hint }.into());
            }
            let _held = entry.hold(&home, &deadline)?;
            entry.take_up(&home)?;
            entry.progress(&home)?;
            entry.journal.state = UndoState::Undoing;
            entry.journal.write(&entry.dir).map_err(Error::unsettled)?;
            let dir = entry.dir.clone();
            entry.finish(&home, &self.config().observer)?;
            return UndoEntry::of(id, &Journal::read(&dir)?, &dir);
        }
        Err(nothing(&home, undone))
    }

    /// What replacements took out of the source and is kept, oldest first.
    ///
    /// # Errors
    ///
    /// `Integrity` where a journal cannot be believed.
    pub fn undo_list(&self) -> Result<Vec<UndoEntry>> {
        let home = match Home::of(self.fs(), self.source()) {
            Err(e) if e.is_not_found() => return Ok(Vec::new()),
            home => home?,
        };
        let mut found = Vec::new();
        for (place, name, id, partial) in home.entries()? {
            if partial {
                continue;
            }
            let read = place.dir.open_dir(&name).and_then(|dir| UndoEntry::of(id, &Journal::read(&dir)?, &dir));
            match read {
                Ok(entry) => found.push(entry),
                // Discarded meanwhile.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        found.retain(|entry| {
            let of_part = |part| entry.partitions.is_empty() || entry.partitions.contains(part);
            entry.state != UndoState::Discarding && home.part.as_ref().is_none_or(of_part)
        });
        Ok(found)
    }

    /// Removes for good what a replacement took out, or what its undoing did.
    ///
    /// After `Ok` it is gone and stays gone. After a crash it is there as it was, or the next open removes the rest.
    ///
    /// # Errors
    ///
    /// `Validation` where there is no such entry, or a store of snapshots lies in it; `Concurrency` where another command is at
    /// work on it, or it waits for a broker or a writer to stop.
    pub fn undo_discard(&self, id: &str) -> Result<UndoEntry> {
        let home = Home::of(self.fs(), self.source())?;
        let deadline = self.deadline();
        self.complete_in(&home, &deadline)?;
        let wanted = id.strip_prefix("undo-").unwrap_or(id);
        let found = home.entries()?.into_iter().find(|(_, _, id, partial)| !partial && id.to_string() == wanted);
        let Some((place, name, number, _)) = found else {
            let what = format!("nothing is kept as {id:?} of {}", home.path.display());
            let hint = Some("`cowlog undo --list` shows what there is".into());
            return Err(ValidationError::Refused { what, path: Some(home.path), hint }.into());
        };
        let Some(entry) = deadline.retry(|| Entry::lock(&place, &name, number))? else {
            return Err(locked(place.dir.path_of(&name), "another command is at work on it", &deadline, None));
        };
        // Only what was complete when it was locked.
        if !matches!(entry.journal.state, UndoState::Replaced | UndoState::Undone) {
            return Err(locked(place.dir.path_of(&name), "it is under way", &deadline, None));
        }
        let gone = UndoEntry::of(number, &entry.journal, &entry.dir)?;
        entry.remove()?;
        Ok(gone)
    }
}

fn nothing(home: &Home, undone: Option<PathBuf>) -> Error {
    let path = home.path.clone();
    match undone {
        Some(kept) => ValidationError::Refused {
            what: format!("every replacement of {} has been undone", path.display()),
            path: Some(path),
            hint: Some(format!("what was undone last is kept in {}", kept.display())),
        },
        None => ValidationError::Refused {
            what: format!("nothing of {} was replaced, or it has been discarded", path.display()),
            path: Some(path),
            hint: Some("`cowlog restore --replace` keeps what it replaces".into()),
        },
    }
    .into()
}
