//! Going on with a replacement, or its undoing, that a dead process had begun.

use super::astray::is_astray;
use super::held::Held;
use super::home::{Home, Place};
use super::swap::{Entry, remove_dead};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Deadline, LockMode, locked, try_lock_dir};
use crate::snapshot::manager::SnapshotManager;
use crate::store::{self, Journal, Scope, UndoState};
use std::ffi::OsStr;

/// Whether something is left to be done with an entry: its journal says so, or the disk has lost what was done.
///
/// # Errors
///
/// A journal that cannot be believed, or may not be read: it may be anything, so that nothing may be done where it lies.
fn is_unfinished(home: &Home, place: &Place, name: &OsStr) -> Result<bool> {
    let read = || -> Result<bool> {
        let dir = place.dir.open_dir(name)?;
        let journal = Journal::read(&dir)?;
        Ok(!matches!(journal.state, UndoState::Replaced | UndoState::Undone) || is_astray(home, &dir, &journal)?)
    };
    match read() {
        Err(e) if e.is_not_found() => Ok(false),
        // Discarded while it was read.
        Err(_) if place.dir.try_stat(name)?.is_none() => Ok(false),
        Err(e) if e.is_denied() => {
            let path = place.dir.path_of(name);
            let hint = format!(
                "run as its owner or as root; or give it to whoever owns the log: `chown --reference=DIR {0} {0}/undo.json \
                 {0}/dirs`, with what was replaced for DIR",
                path.display()
            );
            let what = format!("{e}: nobody can tell whether a replacement is under way");
            Err(ValidationError::Refused { what, path: Some(path), hint: Some(hint) }.into())
        }
        other => other,
    }
}

/// Whether an entry keeps nothing: it is in the making, or on its way out.
fn is_dead(place: &Place, name: &OsStr, partial: bool) -> bool {
    partial || place.dir.open_dir(name).and_then(|dir| dir.list()).is_ok_and(|entries| entries.is_empty())
}

impl SnapshotManager {
    /// Looks for what dead processes left of the source, and of the data directory that it may be a partition of; goes on
    /// with it, and removes what never was in place. Whether there was anything.
    pub(in crate::snapshot) fn complete(&self, deadline: &Deadline) -> Result<bool> {
        self.each_home(|home| self.complete_in(home, deadline))
    }

    /// Before a store is made or written to: where a journal cannot be believed the log that is there may be the wrong one.
    pub(in crate::snapshot) fn refuse_unreadable(&self) -> Result<()> {
        let look = |home: &Home| {
            for (place, name, _, partial) in home.entries()? {
                if !is_dead(&place, &name, partial) {
                    is_unfinished(home, &place, &name)?;
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

    pub(in crate::snapshot) fn complete_in(&self, home: &Home, deadline: &Deadline) -> Result<bool> {
        let mut any = false;
        for (place, name, id, partial) in home.entries()? {
            if is_dead(&place, &name, partial) {
                if let Ok(Some(_dead)) = try_lock_dir(&place.dir, &name, LockMode::Exclusive) {
                    let _ = remove_dead(&place, &name);
                }
                continue;
            }
            if !is_unfinished(home, &place, &name)? {
                continue;
            }
            any = true;
            // Its own process may be about to finish it.
            let entry = deadline.retry(|| match Entry::lock(&place, &name, id)? {
                Some(entry) => Ok(Some(Some(entry))),
                None => Ok((!is_unfinished(home, &place, &name)?).then_some(None)),
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
        let lost = match entry.journal.state {
            UndoState::Replacing | UndoState::Undoing => false,
            UndoState::Replaced | UndoState::Undone if is_astray(home, &entry.dir, &entry.journal)? => true,
            UndoState::Replaced | UndoState::Undone => return Ok(()),
            UndoState::Discarding => return entry.remove(),
        };
        let (arrived, all) = entry.progress(home)?;
        let path = home.path.display().to_string();
        if arrived > 0 {
            // Whoever writes to the log has nothing to do with its store.
            entry.sync_moves(home).and_then(|()| entry.bring_stores(home, observer)).map_err(Error::unsettled)?;
        }
        // What has moved may be in use by now. Only what has not, and a broker's checkpoints, need it to be at rest.
        let afresh = !entry.journal.lines.is_empty();
        let needs_rest = afresh || arrived < all && (0 < arrived || lost);
        let _held = match arrived {
            _ if needs_rest => entry.hold(home, deadline)?,
            0 => entry.hold_out(deadline)?,
            _ => Held::default(),
        };
        let what = match entry.journal.state {
            UndoState::Replacing | UndoState::Replaced => "a replacement",
            _ => "the undoing of a replacement",
        };
        if arrived == 0 && !lost {
            observer.warn(&format!("{what} of {path} was interrupted before anything had moved; it was taken back"));
            return entry.take_back(home, observer).map_err(Error::unsettled);
        }
        if lost {
            observer
                .warn(&format!("the disk had lost {what} of {path}, of which a sync had failed; it was done again"));
        } else if arrived < all {
            observer.warn(&format!("{what} of {path} was interrupted; it was completed"));
        }
        if arrived == all && !afresh {
            entry.settle(home, observer).map_err(Error::unsettled)
        } else {
            entry.finish(home, observer)
        }
    }
}
