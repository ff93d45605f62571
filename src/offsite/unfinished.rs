//! What uploads that died have left in a directory. In a bucket it is the server that removes it.

use super::names::BLOBS;
use super::remote::Remote;
use crate::error::Result;
use crate::fs::{Dir, FileKind};

impl Remote {
    /// Removes what nobody has written to for as long as an announcement keeps its blobs. Returns how many files, and bytes.
    /// `now` is in milliseconds since 1970 UTC.
    pub(super) fn remove_unfinished(&self, now: i64, dry_run: bool) -> Result<(u64, u64)> {
        let Some(place) = &self.bucket.directory else { return Ok((0, 0)) };
        let long = i64::try_from(self.options.timing.announced.as_millis()).unwrap_or(i64::MAX);
        let (mut files, mut bytes) = (0, 0);
        let Some(shelves) = found(Dir::open(place).and_then(|dir| dir.open_dir(BLOBS)))? else { return Ok((0, 0)) };
        for shelf in shelves.list()?.into_iter().filter(|entry| entry.kind == FileKind::Dir) {
            self.observer().check()?;
            let Some(dir) = found(shelves.open_dir(&shelf.name))? else { continue };
            for entry in dir.list()?.into_iter().filter(|entry| is_unfinished(&entry.name.to_string_lossy())) {
                let Some(stat) = dir.try_stat(&entry.name)?.filter(|stat| stat.kind == FileKind::File) else {
                    continue;
                };
                if now.saturating_sub(stat.mtime / 1_000_000) <= long {
                    continue;
                }
                (files, bytes) = (files + 1, bytes + stat.size);
                if !dry_run {
                    found(dir.unlink(&entry.name))?;
                }
            }
        }
        Ok((files, bytes))
    }
}

/// `<blob>#<number>`: so the library calls an upload until it is complete. No blob has such a name.
fn is_unfinished(name: &str) -> bool {
    let of = name.split_once('#').filter(|(of, _)| super::blobs::Blob::parse_name(of).is_some());
    of.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Another `gc` may be faster.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(e) if e.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}
