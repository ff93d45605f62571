//! Making things durable.

use super::{Attributes, Dir, File, Open, Rename, VolumeKind};
use crate::error::Result;

/// Replaces `name` by a file with these bytes. After `Ok` the new bytes are durable; after a crash at any
/// moment the name stands for the old or the new bytes, whole.
pub(crate) fn replace_file(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    replace_unsettled(dir, name, bytes, mode)?;
    dir.sync()
}

/// As [`replace_file`], with these attributes but for the time: nobody ever sees the name without them.
pub(crate) fn replace_file_as(dir: &Dir, name: &str, bytes: &[u8], like: &Attributes) -> Result<()> {
    let temp = temporary(name);
    let result = write_temp(dir, &temp, bytes, 0o600).and_then(|()| {
        let file = dir.open_file(&temp, Open::Read)?;
        file.set_attributes(&Attributes { mtime: file.stat()?.mtime, ..like.clone() })?;
        file.sync()?;
        dir.rename(&temp, dir, name, Rename::Replace)
    });
    if result.is_err() {
        let _ = dir.unlink(&temp);
    }
    result?;
    dir.sync()
}

/// As [`replace_file`], with this name for what is not whole yet.
pub(crate) fn replace_file_by(dir: &Dir, temp: &str, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    renamed_from(dir, temp, name, bytes, mode)?;
    dir.sync()
}

/// As [`replace_file`], but the caller syncs the directory: until then the name may stand for the old bytes after a crash.
pub(crate) fn replace_unsettled(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    renamed_from(dir, &temporary(name), name, bytes, mode)
}

fn renamed_from(dir: &Dir, temp: &str, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let result = write_temp(dir, temp, bytes, mode).and_then(|()| dir.rename(temp, dir, name, Rename::Replace));
    if result.is_err() {
        // The old file is still in place; only the leftover is in the way of the next attempt.
        let _ = dir.unlink(temp);
    }
    result
}

/// Under which name the next bytes of `name` are written.
pub(crate) fn temporary(name: &str) -> String {
    format!(".{name}.tmp")
}

fn write_temp(dir: &Dir, temp: &str, bytes: &[u8], mode: u32) -> Result<()> {
    if dir.try_stat(temp)?.is_some() {
        dir.unlink(temp)?;
    }
    write_new_file(dir, temp, bytes, mode)
}

/// Makes a file that must not exist yet. After `Ok` its bytes are durable; its name is only after the
/// directory has been synced.
pub(crate) fn write_new_file(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    write_new_unsynced(dir, name, bytes, mode)?.sync()
}

/// As [`write_new_file`], but the caller syncs.
pub(crate) fn write_new_unsynced(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<File> {
    let file = dir.open_file(name, Open::CreateNew(mode))?;
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

/// Makes many new links in `dirs` durable; the linked bytes are durable already.
///
/// ext4 and XFS order all metadata in one journal, so a sync of each directory is cheap. btrfs logs every
/// entry of a directory one by one, which costs more than committing the whole filesystem once there are many.
pub(crate) fn settle(dirs: &[Dir], links: usize) -> Result<()> {
    const MANY_LINKS: usize = 500;
    if let Some(first) = dirs.first()
        && links > MANY_LINKS
        && first.volume()?.kind == VolumeKind::Btrfs
    {
        return first.sync_filesystem();
    }
    dirs.iter().try_for_each(Dir::sync)
}
