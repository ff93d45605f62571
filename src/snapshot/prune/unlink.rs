//! Removing what a deleted snapshot was made of, and what that gives back.

use crate::error::Result;
use crate::fs::{Dir, Entry, FileKind, VolumeKind, ignore_missing};
use crate::snapshot::space::ledger::Bounds;

/// A snapshot holds logs, and they hold files. What lies deeper is removed, but not counted.
const DEEPEST: usize = 8;

/// How many files are looked at while as many are unlinked: to look takes a fifth as long.
const AT_ONCE: usize = 512;

/// Removes a tree. It gives back the blocks of inodes that have no other name, and where blocks can be shared too, that is the
/// most; `None` where it cannot be had.
pub(super) fn unlink_tree(store: &Dir, name: &str) -> (Option<Bounds>, Result<()>) {
    let dir = match store.open_dir(name) {
        Ok(dir) => dir,
        Err(e) => return (None, if e.is_not_found() { Ok(()) } else { Err(e) }),
    };
    let volume = dir.volume();
    let mut blocks = Some(0);
    let removed = unlink_all(&dir, DEEPEST, &mut blocks).and_then(|()| ignore_missing(store.remove_dir(name)));
    let bounds = blocks.zip(volume.ok()).map(|(most, volume)| {
        let least = if volume.kind == VolumeKind::Ext { most } else { 0 };
        Bounds { least, most }
    });
    (bounds, removed)
}

fn unlink_all(dir: &Dir, deeper: usize, blocks: &mut Option<u64>) -> Result<()> {
    add(blocks, dir.stat_self().ok().map(|stat| stat.allocated));
    let (dirs, files): (Vec<_>, Vec<_>) = dir.list()?.into_iter().partition(|entry| entry.kind == FileKind::Dir);
    for entry in dirs {
        if deeper > 0 {
            unlink_all(&dir.open_dir(&entry.name)?, deeper - 1, blocks)?;
            ignore_missing(dir.remove_dir(&entry.name))?;
        } else {
            dir.remove_tree(&entry.name)?;
        }
    }
    let look = |files: &[Entry]| {
        let each = files.iter().map(|entry| match entry.kind {
            FileKind::File => dir.stat(&entry.name).ok().map(|stat| if stat.nlink == 1 { stat.allocated } else { 0 }),
            FileKind::Dir | FileKind::Other => Some(0),
        });
        each.sum::<Option<u64>>()
    };
    let mut chunks = files.chunks(AT_ONCE);
    let mut next = chunks.next();
    add(blocks, next.map_or(Some(0), look));
    while let Some(chunk) = next {
        next = chunks.next();
        let unlink = || chunk.iter().try_for_each(|entry| ignore_missing(dir.unlink(&entry.name)));
        let Some(ahead) = next else { return unlink() };
        let (looked, unlinked) = rayon::join(|| look(ahead), unlink);
        add(blocks, looked);
        unlinked?;
    }
    Ok(())
}

fn add(to: &mut Option<u64>, more: Option<u64>) {
    *to = to.zip(more).map(|(to, more)| to.saturating_add(more));
}
