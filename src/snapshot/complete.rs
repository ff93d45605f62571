//! Going on with a replacement, or its undoing, that a dead process had begun.

use super::held::Held;
use super::home::{Home, Place};
use super::manager::SnapshotManager;
use super::swap::Entry;
use crate::error::{Error, Result};
use crate::fs::{Deadline, LockMode, locked, try_lock_dir};
use crate::store::{self, Journal, Scope, UndoState};
use std::ffi::OsStr;

/// Whether the journal of an entry says that something is left to be done.
///
/// # Errors
///
/// One that cannot be believed: it may be anything, so that nothing may be done where it lies. Who may not read it has
/// begun nothing there, and can complete nothing.
fn is_unfinished(place: &Place, name: &OsStr) -> Result<bool> {
    let read = || -> Result<bool> {
        let journal = Journal::read(&place.dir.open_dir(name)?)?;
        Ok(matches!(journal.state, UndoState::Replacing | UndoState::Undoing))
    };
    match read() {
        Err(e) if e.is_not_found() || e.is_denied() => Ok(false),
        // Discarded while it was read.
        Err(_) if place.dir.try_stat(name)?.is_none() => Ok(false),
        other => other,
    }
}

impl SnapshotManager {
    /// Looks for what dead processes left of the source, and of the data directory that it may be a partition of; goes on
    /// with it, and removes what never was in place. Whether there was anything.
    pub(super) fn complete(&self, deadline: &Deadline) -> Result<bool> {
        self.each_home(|home| self.complete_in(home, deadline))
    }

    /// Before a store is made or written to: where a journal cannot be believed the log that is there may be the wrong one.
    pub(super) fn refuse_unreadable(&self) -> Result<()> {
        let look = |home: &Home| {
            for (place, name, _, partial) in home.entries()? {
                if !partial {
                    is_unfinished(&place, &name)?;
                }
            }
            Ok(false)
        };
        self.each_home(look).map(drop)
    }

    fn each_home(&self, mut visit: impl FnMut(&Home) -> Result<bool>) -> Result<bool> {
        let path = self.fs().canonical(self.source());
        let data = path.parent().filter(|_| matches!(store::partition_scope(&path), Some(Scope::Partition { .. })));
        let mut any = false;
        for path in [Some(path.as_path()), data].into_iter().flatten() {
            any |= match Home::at(self.fs(), path).and_then(|home| visit(&home)) {
                // Nothing can be beside it.
                Err(Error::Validation(_)) if path.file_name().is_none() => false,
                Err(e) if e.is_not_found() => false,
                // Who may not look there has put nothing there.
                Err(e) if e.is_denied() => false,
                other => other?,
            };
        }
        Ok(any)
    }

    pub(super) fn complete_in(&self, home: &Home, deadline: &Deadline) -> Result<bool> {
        let mut any = false;
        for (place, name, id, partial) in home.entries()? {
            if partial {
                if let Ok(Some(_dead)) = try_lock_dir(&place.dir, &name, LockMode::Exclusive) {
                    // Its rename may not be durable yet: a power cut must not bring it back under its name, in part.
                    let _ = place.dir.sync().and_then(|()| place.dir.remove_tree(&name));
                }
                continue;
            }
            if !is_unfinished(&place, &name)? {
                continue;
            }
            any = true;
            // Its own process may be about to finish it.
            let entry = deadline.retry(|| match Entry::lock(&place, &name, id)? {
                Some(entry) => Ok(Some(Some(entry))),
                None => Ok((!is_unfinished(&place, &name)?).then_some(None)),
            })?;
            match entry {
                Some(Some(entry)) => self.go_on(home, entry, deadline)?,
                Some(None) => {}
                None => return Err(locked(place.dir.path_of(&name), "a replacement is at work", deadline, None)),
            }
        }
        Ok(any)
    }

    fn go_on(&self, home: &Home, mut entry: Entry, deadline: &Deadline) -> Result<()> {
        let observer = &self.config().observer;
        if !matches!(entry.journal.state, UndoState::Replacing | UndoState::Undoing) {
            return Ok(());
        }
        let (arrived, all) = entry.progress(home)?;
        let path = home.path.display().to_string();
        if arrived > 0 {
            // Whoever writes to the log has nothing to do with its store.
            entry.sync_moves(home).map_err(Error::unsettled)?;
            entry.bring_stores(home, observer)?;
        }
        // What has moved may be in use by now. Only what has not, and a broker's checkpoints, need it to be at rest.
        let needs_rest = !entry.journal.lines.is_empty() || 0 < arrived && arrived < all;
        let _held = match arrived {
            _ if needs_rest => entry.hold(home, deadline)?,
            0 => entry.hold_out(deadline)?,
            _ => Held::default(),
        };
        let what =
            if entry.journal.state == UndoState::Replacing { "a replacement" } else { "the undoing of a replacement" };
        if arrived == 0 {
            observer.warn(&format!("{what} of {path} was interrupted before anything had moved; it was taken back"));
            entry.take_back(home, observer).map_err(Error::unsettled)
        } else if arrived == all {
            entry.settle(home, observer).map_err(Error::unsettled)
        } else {
            observer.warn(&format!("{what} of {path} was interrupted; it was completed"));
            entry.finish(home, observer)
        }
    }
}
