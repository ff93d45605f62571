//! What a disk has lost of an exchange that was said to be complete. After a failed sync the next one says that all is well,
//! so that a journal may tell of what a power cut took back.

use std::ffi::OsStr;
use std::path::Path;

use super::home::Home;
use super::swap::open_if_there;
use crate::error::Result;
use crate::fs::{Dir, FileKind};
use crate::store::{IN_LOG, Journal, SLOTS, UndoState};

/// Whether a pair of directories, or a store, is where it was before the exchange. Of one that is under way nothing is lost.
pub(in crate::snapshot) fn is_astray(home: &Home, entry: &Dir, journal: &Journal) -> Result<bool> {
    if !matches!(journal.state, UndoState::Replaced | UndoState::Undone) {
        return Ok(false);
    }
    let Some(slots) = open_if_there(entry, SLOTS)? else { return Ok(false) };
    let whole = journal.is_whole();
    let holder = if whole { Some(home.parent.clone()) } else { open_if_there(&home.parent, &home.name)? };
    let Some(holder) = holder else { return Ok(false) };
    for swap in &journal.swaps {
        let place = if whole { home.name.as_os_str() } else { OsStr::new(&swap.slot) };
        let ino = |dir: &Dir, name: &OsStr| Ok::<_, crate::error::Error>(dir.try_stat(name)?.map(|stat| stat.ino));
        let (there, out) = (ino(&holder, place)?, ino(&slots, OsStr::new(&swap.slot))?);
        let before = if journal.state == UndoState::Replaced { (swap.old, swap.new) } else { (swap.new, swap.old) };
        if (there, out) == before {
            return Ok(true);
        }
        let store = |dir: &Dir, name: &OsStr| dir.try_stat(Path::new(name).join(IN_LOG));
        let left = out.is_some() && store(&slots, OsStr::new(&swap.slot))?.is_some_and(|s| s.kind == FileKind::Dir);
        if left && there.is_some() && store(&holder, place)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}
