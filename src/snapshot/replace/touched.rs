//! Whether anybody has written to a restored directory.

use blake3::Hasher;

use crate::error::Result;
use crate::fs::{Dir, FileKind};
use crate::log::{SEGMENTS_LOCK, WRITER_LOCK};
use crate::store::IN_LOG;

/// Changes with every file that is made, removed, or written to, but for locks and a store.
pub(in crate::snapshot) fn print_of(dir: &Dir) -> Result<String> {
    let mut hasher = Hasher::new();
    add(dir, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn add(dir: &Dir, hasher: &mut Hasher) -> Result<()> {
    let mut entries = dir.list()?;
    entries.retain(|entry| ![IN_LOG, WRITER_LOCK, SEGMENTS_LOCK].iter().any(|name| entry.name == *name));
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let name = entry.name.as_encoded_bytes();
        hasher.update(&name.len().to_le_bytes()).update(name);
        if entry.kind == FileKind::Dir {
            hasher.update(b"dir");
            add(&dir.open_dir(&entry.name)?, hasher)?;
        } else {
            let stat = dir.stat(&entry.name)?;
            hasher.update(b"file").update(&stat.size.to_le_bytes()).update(&stat.mtime.to_le_bytes());
        }
    }
    hasher.update(b"end");
    Ok(())
}
