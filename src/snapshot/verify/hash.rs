//! BLAKE3 of many files at once.

use std::time::Instant;

use crate::error::Result;
use crate::fs::{Buffer, Dir, File, Open};
use crate::observe::Observer;
use crate::snapshot::each::each;

/// Of one buffer per thread; larger ones fall out of the CPU's cache, smaller ones cost system calls.
const CHUNK: usize = 256 * 1024;

/// The digest of a file and how many bytes it had.
pub(in crate::snapshot) type Hashed = (blake3::Hash, u64);

/// Hashes every `(directory, name)`, in parallel over files, each file with one thread's reused buffer.
pub(in crate::snapshot) fn hash_all(files: &[(&Dir, &str)], observer: &Observer) -> Vec<Result<Hashed>> {
    let hash = |buf: &mut Buffer, (dir, name): &(&Dir, &str)| {
        hash_to(&dir.open_file(name, Open::Read)?, u64::MAX, buf, observer)
    };
    each(files, buffer, hash)
}

/// A buffer for [`hash_to`].
pub(in crate::snapshot) fn buffer() -> Buffer {
    Buffer::new(CHUNK)
}

/// Hashes the first `limit` bytes, fewer where the file ends before.
pub(in crate::snapshot) fn hash_to(file: &File, limit: u64, buf: &mut [u8], observer: &Observer) -> Result<Hashed> {
    let (hasher, at) = feed(file, limit, buf, observer, || true)?;
    observer.advance(1, 0);
    Ok((hasher.finalize(), at))
}

/// As [`hash_to`]; `None` where the time is up before the end.
pub(in crate::snapshot) fn hash_until(
    file: &File,
    limit: u64,
    buf: &mut [u8],
    observer: &Observer,
    until: Option<Instant>,
) -> Result<Option<Hashed>> {
    let in_time = || until.is_none_or(|until| Instant::now() < until);
    let (hasher, at) = feed(file, limit, buf, observer, in_time)?;
    if at < limit && !in_time() {
        return Ok(None);
    }
    observer.advance(1, 0);
    Ok(Some((hasher.finalize(), at)))
}

fn feed(
    file: &File,
    limit: u64,
    buf: &mut [u8],
    observer: &Observer,
    go_on: impl Fn() -> bool,
) -> Result<(blake3::Hasher, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < limit && go_on() {
        observer.check()?;
        let wanted = usize::try_from(limit - at).unwrap_or(usize::MAX).min(buf.len());
        let Some(chunk) = buf.get_mut(..wanted) else { break };
        let got = file.read_at(chunk, at)?;
        hasher.update(chunk.get(..got).unwrap_or_default());
        at += got as u64;
        observer.advance(0, got as u64);
        if got < wanted {
            break;
        }
    }
    Ok((hasher, at))
}
