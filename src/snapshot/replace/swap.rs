//! Directories that change places, all of them or none, whatever happens on the way.
//!
//! The journal is durable before the first of them moves and says `replacing` or `undoing` until all have arrived and
//! everything is durable. A successor that finds it so goes on where the dead one stopped; where nothing had moved, it takes
//! back what there is. Which of two directories is where, their inodes tell.

use std::ffi::{OsStr, OsString};

use super::held::Held;
use super::home::{Home, Place};
use super::lines;
use super::touched;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, FileKind, Guard, LockMode, Rename, try_lock_dir};
use crate::kafka::datadir;
use crate::observe::Observer;
use crate::snapshot::restore::adopt;
use crate::store::{IN_LOG, Journal, Line, SLOTS, Swap, UndoState, undo_name};

/// What one replacement took out, locked.
pub(in crate::snapshot) struct Entry {
    pub(in crate::snapshot) place: Place,
    pub(in crate::snapshot) id: u64,
    pub(in crate::snapshot) dir: Dir,
    pub(in crate::snapshot) journal: Journal,
    pub(in crate::snapshot) _guard: Guard,
}

impl Entry {
    /// Locks and reads it. `None` where somebody is at work on it, or has just finished with it.
    pub(in crate::snapshot) fn lock(place: &Place, name: &OsStr, id: u64) -> Result<Option<Entry>> {
        let guard = match try_lock_dir(&place.dir, name, LockMode::Exclusive) {
            Ok(Some(guard)) => guard,
            Ok(None) => return Ok(None),
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        };
        let dir = place.dir.open_dir(name)?;
        let journal = Journal::read(&dir)?;
        Ok(Some(Entry { place: place.clone(), id, dir, journal, _guard: guard }))
    }

    pub(in crate::snapshot) fn name(&self, partial: bool) -> OsString {
        undo_name(&self.place.prefix, self.id, partial)
    }

    /// Keeps writers away from what is in place now, and from what changes places with it.
    pub(in crate::snapshot) fn hold(&self, home: &Home, deadline: &Deadline) -> Result<Held> {
        let parts = self.journal.swaps.iter().map(|s| s.slot.as_str()).filter(|_| !self.journal.is_whole());
        Held::exchange(home, Some(&self.slots()?), parts.peekable(), deadline)
    }

    /// Keeps writers away from what is not in place: one may have opened it when it was.
    pub(in crate::snapshot) fn hold_out(&self, deadline: &Deadline) -> Result<Held> {
        Held::out(&self.slots()?, self.journal.swaps.iter().map(|s| s.slot.as_str()), deadline)
    }

    /// The directory in which the others have their places.
    fn holder(&self, home: &Home) -> Result<Dir> {
        if self.journal.is_whole() { Ok(home.parent.clone()) } else { home.open() }
    }

    fn place_of<'a>(&self, home: &'a Home, swap: &'a Swap) -> &'a OsStr {
        if self.journal.is_whole() { &home.name } else { OsStr::new(&swap.slot) }
    }

    pub(in crate::snapshot) fn slots(&self) -> Result<Dir> {
        self.dir.open_dir(SLOTS)
    }

    /// Brings everything to where the journal's state says: what was restored in place, or out again. Writers are kept away
    /// by the caller. Where a directory cannot be moved, those that have been are moved back; after a failed sync nothing is,
    /// since nobody knows what is durable: the journal stays for whoever comes next.
    pub(in crate::snapshot) fn finish(mut self, home: &Home, observer: &Observer) -> Result<()> {
        match self.move_all(home) {
            Ok(()) => self.settle(home, observer).map_err(Error::unsettled),
            Err(e) if e.is_of_sync() => Err(e.unsettled()),
            Err(e) => Err(self.back_out(home, observer, e)),
        }
    }

    fn wants_in_place(&self) -> bool {
        matches!(self.journal.state, UndoState::Replacing | UndoState::Replaced)
    }

    fn move_all(&self, home: &Home) -> Result<()> {
        let (holder, slots) = (self.holder(home)?, self.slots()?);
        if !self.journal.lines.is_empty() {
            lines::write_between(&home.open()?, &self.journal)?;
        }
        for swap in &self.journal.swaps {
            let place = self.place_of(home, swap);
            match is_in_place(&holder, place, &slots, swap)? {
                Some(there) if there != self.wants_in_place() => exchange(&holder, place, &slots, swap)?,
                // A sync of it may have failed. What is done again is durable with the next one, and the lines need it to be.
                Some(_) if !self.journal.lines.is_empty() => {
                    exchange(&holder, place, &slots, swap)?;
                    exchange(&holder, place, &slots, swap)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes durable that everything has arrived, and says so in the journal.
    pub(in crate::snapshot) fn settle(&mut self, home: &Home, observer: &Observer) -> Result<()> {
        self.sync_moves(home)?;
        self.bring_stores(home, observer)?;
        let into_place = self.wants_in_place();
        self.write_lines(home, |line| if into_place { line.new } else { line.old })?;
        self.journal.state = if into_place { UndoState::Replaced } else { UndoState::Undone };
        self.journal.write(&self.dir)
    }

    /// Of both directories, so that nothing has two names, or none.
    pub(in crate::snapshot) fn sync_moves(&self, home: &Home) -> Result<()> {
        self.holder(home)?.sync()?;
        self.slots()?.sync()
    }

    /// How many of the directories are where the journal's state wants them, and how many there are.
    ///
    /// # Errors
    ///
    /// `Validation` where one is neither here nor there: it was copied or moved by somebody else, and is left alone.
    pub(in crate::snapshot) fn progress(&self, home: &Home) -> Result<(usize, usize)> {
        let into_place = self.wants_in_place();
        let (holder, slots) = (self.holder(home)?, self.slots()?);
        let mut arrived = 0;
        for swap in &self.journal.swaps {
            let place = self.place_of(home, swap);
            match is_in_place(&holder, place, &slots, swap)? {
                Some(there) => arrived += usize::from(there == into_place),
                None => {
                    let (place, kept) = (holder.path_of(place), slots.path_of(&swap.slot));
                    return Err(ValidationError::Refused {
                        what: format!("neither {} nor {} is what it was", place.display(), kept.display()),
                        path: Some(self.dir.path().to_owned()),
                        hint: Some("put in place yourself what belongs there, then remove the rest".into()),
                    }
                    .into());
                }
            }
        }
        Ok((arrived, self.journal.swaps.len()))
    }

    /// The store that lies in a log has gone with it: it belongs to the log that is in place.
    pub(in crate::snapshot) fn bring_stores(&self, home: &Home, observer: &Observer) -> Result<()> {
        let (holder, slots) = (self.holder(home)?, self.slots()?);
        for swap in &self.journal.swaps {
            let (Some(out), Some(place)) =
                (open_if_there(&slots, &swap.slot)?, open_if_there(&holder, self.place_of(home, swap))?)
            else {
                continue;
            };
            bring_store(&out, &place, observer)?;
            for part in parts_with_stores(&out)? {
                if let Some(place) = open_if_there(&place, &part)? {
                    bring_store(&out.open_dir(&part)?, &place, observer)?;
                }
            }
        }
        Ok(())
    }

    fn write_lines(&self, home: &Home, to: impl Fn(&Line) -> Option<i64>) -> Result<()> {
        if self.journal.lines.is_empty() {
            return Ok(());
        }
        lines::write_settled(&home.open()?, &self.journal, to)
    }

    /// Before an undoing: what is in place by now goes out, whatever has become of what was restored, if it is of the topic
    /// that it was then; and what comes back is what was taken out.
    pub(in crate::snapshot) fn take_up(&mut self, home: &Home) -> Result<()> {
        let (holder, slots, whole) = (self.holder(home)?, self.slots()?, self.journal.is_whole());
        for swap in &mut self.journal.swaps {
            let place = if whole { home.name.as_os_str() } else { OsStr::new(&swap.slot) };
            adopt::refuse_made_anew(&holder, place, &slots, swap)?;
            let (there, out) = (holder.try_stat(place)?, slots.try_stat(&swap.slot)?);
            let refuse = |what: String, hint: &str| -> Error {
                ValidationError::Refused { what, path: Some(holder.path_of(place)), hint: Some(hint.into()) }.into()
            };
            if out.map(|stat| stat.ino) != swap.old {
                let what = format!("{} is not what was taken out", slots.path_of(&swap.slot).display());
                return Err(refuse(what, "put in place yourself what belongs there"));
            }
            if there.is_some_and(|stat| stat.kind != FileKind::Dir) {
                let what = format!("{} is not a directory", holder.path_of(place).display());
                return Err(refuse(what, "move it elsewhere"));
            }
            if there.is_none() && swap.old.is_none() {
                let what =
                    format!("{} is gone, and there was nothing before it either", holder.path_of(place).display());
                return Err(refuse(what, "there is nothing to undo; `cowlog undo --discard` removes the entry"));
            }
            swap.new = there.map(|stat| stat.ino);
        }
        if !self.journal.lines.is_empty() {
            lines::take_up(&home.open()?, &mut self.journal.lines)?;
        }
        Ok(())
    }

    /// Takes back what there is of it, where nothing has moved, or all has been moved back.
    pub(in crate::snapshot) fn take_back(mut self, home: &Home, observer: &Observer) -> Result<()> {
        self.sync_moves(home)?;
        self.bring_stores(home, observer)?;
        let replacing = self.wants_in_place();
        self.write_lines(home, |line| if replacing { line.old } else { line.new })?;
        if replacing && !self.is_touched()? {
            return self.remove();
        }
        self.journal.state = if replacing { UndoState::Undone } else { UndoState::Replaced };
        if replacing {
            let kept = self.dir.path().display();
            observer.warn(&format!("what was restored has been written to since; it is kept in {kept}"));
        }
        self.journal.write(&self.dir)
    }

    /// Whether somebody has written to what was restored, or may have: it was in place for a moment, perhaps.
    fn is_touched(&self) -> Result<bool> {
        let slots = self.slots()?;
        for swap in &self.journal.swaps {
            let out = open_if_there(&slots, &swap.slot)?;
            if out.map(|out| touched::print_of(&out)).transpose()? != swap.untouched {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After `e`. What cannot be moved back now, the next command that opens the source completes.
    fn back_out(self, home: &Home, observer: &Observer, e: Error) -> Error {
        let back = || -> Result<()> {
            let (holder, slots) = (self.holder(home)?, self.slots()?);
            for swap in self.journal.swaps.iter().rev() {
                let place = self.place_of(home, swap);
                if is_in_place(&holder, place, &slots, swap)? == Some(self.wants_in_place()) {
                    exchange(&holder, place, &slots, swap)?;
                }
            }
            Ok(())
        };
        match back().and_then(|()| self.take_back(home, observer)) {
            Err(stuck) if stuck.is_of_sync() => {
                observer.warn(&e.to_string());
                stuck.unsettled()
            }
            Err(stuck) => {
                observer.warn(&format!("{stuck}; the next command that opens it goes on with this"));
                e
            }
            Ok(()) => e,
        }
    }

    /// Removes it with all that is in it. After a crash it is there as it was, or the next open goes on.
    ///
    /// # Errors
    ///
    /// `Validation` where a store of snapshots lies in it.
    pub(in crate::snapshot) fn remove(mut self) -> Result<()> {
        // Where it was being removed before, they may be gone.
        let slots = open_if_there(&self.dir, SLOTS)?;
        for (swap, slots) in self.journal.swaps.iter().zip(slots.iter().cycle()) {
            let Some(out) = open_if_there(slots, &swap.slot)? else { continue };
            let mut parts: Vec<Dir> = vec![out.clone()];
            for part in parts_with_stores(&out)? {
                parts.push(out.open_dir(&part)?);
            }
            for dir in parts {
                if dir.try_stat(IN_LOG)?.is_some() {
                    return Err(ValidationError::Refused {
                        what: format!("the snapshots in {} would go with it", dir.path_of(IN_LOG).display()),
                        path: Some(dir.path_of(IN_LOG)),
                        hint: Some("move them elsewhere first, or delete them".into()),
                    }
                    .into());
                }
            }
        }
        // A power cut may bring it back under its name, in part.
        self.journal.state = UndoState::Discarding;
        self.journal.write(&self.dir)?;
        let partial = self.name(true);
        self.place.dir.rename(self.name(false), &self.place.dir, &partial, Rename::NoReplace)?;
        self.place.dir.sync()?;
        remove_dead(&self.place, &partial)
    }
}

/// Removes what somebody holds the lock of; the journal last, since that says what is in there.
pub(in crate::snapshot) fn remove_dead(place: &Place, name: &OsStr) -> Result<()> {
    let dir = place.dir.open_dir(name)?;
    dir.remove_tree(SLOTS)?;
    dir.sync()?;
    place.dir.remove_tree(name)
}

/// Whether what was restored is where it belongs; `None` where neither of the two is to be found any more.
fn is_in_place(holder: &Dir, place: &OsStr, slots: &Dir, swap: &Swap) -> Result<Option<bool>> {
    let out = slots.try_stat(&swap.slot)?.map(|stat| stat.ino);
    let there = holder.try_stat(place)?.map(|stat| stat.ino);
    Ok(match (out, there) {
        (Some(_), _) if out == swap.new => Some(false),
        (Some(_), _) if out == swap.old => Some(true),
        (_, Some(_)) if there == swap.new => Some(true),
        (_, Some(_)) if there == swap.old => Some(false),
        _ => None,
    })
}

/// Atomically, whichever of the two is there: these two, and no others.
fn exchange(holder: &Dir, place: &OsStr, slots: &Dir, swap: &Swap) -> Result<()> {
    let slot = swap.slot.as_str();
    let there = holder.try_stat(place)?.map(|stat| stat.ino);
    let out = slots.try_stat(slot)?.map(|stat| stat.ino);
    let stranger = || -> Error {
        ValidationError::Refused {
            what: format!(
                "{} is not what was to be exchanged: it was removed meanwhile, or something else put there",
                holder.path_of(place).display()
            ),
            path: Some(holder.path_of(place)),
            hint: Some("find out who did, and begin again".into()),
        }
        .into()
    };
    if (there, out) != (swap.old, swap.new) && (there, out) != (swap.new, swap.old) {
        return Err(stranger());
    }
    let change = |there: bool, out: bool| match (there, out) {
        (_, false) => holder.rename(place, slots, slot, Rename::NoReplace),
        (true, true) => holder.rename(place, slots, slot, Rename::Exchange),
        (false, true) => slots.rename(slot, holder, place, Rename::NoReplace),
    };
    change(there.is_some(), out.is_some()).map_err(|e| explained(&holder.path_of(place), e))?;
    // Between the look and the rename somebody may have come.
    let now = (holder.try_stat(place)?.map(|stat| stat.ino), slots.try_stat(slot)?.map(|stat| stat.ino));
    if now != (out, there) {
        change(now.0.is_some(), now.1.is_some())?;
        return Err(stranger());
    }
    Ok(())
}

fn explained(path: &std::path::Path, e: Error) -> Error {
    let (why, hint) = match e.os_code() {
        Some(nix::libc::EXDEV) => (
            "it is on another filesystem than the place for what it is exchanged for, or behind another mount",
            "restore with `--to` to a directory beside it",
        ),
        Some(nix::libc::EBUSY) => (
            "it is a mount point, or one lies in it",
            "restore with `--to` into a directory in it, and let the writer use that",
        ),
        Some(nix::libc::EINVAL) => (
            "this filesystem cannot exchange two names at once",
            "restore with `--to`, and put it in place yourself while nobody writes",
        ),
        _ => return e,
    };
    let what = format!("{} cannot be exchanged: {why}", path.display());
    ValidationError::Refused { what, path: Some(path.to_owned()), hint: Some(hint.into()) }.into()
}

pub(in crate::snapshot) fn malformed(data: &Dir, file: &str, why: &str) -> Error {
    ValidationError::Refused {
        what: format!("{}: {why}: a broker does not start over it", data.path_of(file).display()),
        path: Some(data.path_of(file)),
        hint: Some("mend it, or remove it: a broker does without".into()),
    }
    .into()
}

pub(in crate::snapshot) fn open_if_there(dir: &Dir, name: impl AsRef<OsStr>) -> Result<Option<Dir>> {
    match dir.open_dir(name) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The partitions of a data directory that have a store in them.
fn parts_with_stores(data: &Dir) -> Result<Vec<OsString>> {
    let mut found = Vec::new();
    for entry in data.list()? {
        let is_part =
            entry.kind == FileKind::Dir && entry.name.to_str().and_then(datadir::parse_partition_name).is_some();
        if is_part && data.try_stat(std::path::Path::new(&entry.name).join(IN_LOG))?.is_some() {
            found.push(entry.name);
        }
    }
    Ok(found)
}

fn bring_store(from: &Dir, to: &Dir, observer: &Observer) -> Result<()> {
    if from.try_stat(IN_LOG)?.is_none_or(|stat| stat.kind != FileKind::Dir) {
        return Ok(());
    }
    if to.try_stat(IN_LOG)?.is_some() {
        let (here, there) = (to.path_of(IN_LOG), from.path_of(IN_LOG));
        observer.warn(&format!("{} is another store than {}, which stays there", here.display(), there.display()));
        return Ok(());
    }
    from.rename(IN_LOG, to, IN_LOG, Rename::NoReplace)?;
    to.sync()?;
    from.sync()
}
