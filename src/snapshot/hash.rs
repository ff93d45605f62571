//! BLAKE3 of many files at once.

use rayon::prelude::*;

use crate::error::Result;
use crate::fs::{Dir, Open};
use crate::observe::Observer;

/// Of one buffer per thread; larger ones fall out of the CPU's cache, smaller ones cost system calls.
const CHUNK: usize = 256 * 1024;

/// The digest of a file and how many bytes it had.
pub(super) type Hashed = (blake3::Hash, u64);

/// Hashes every `(directory, name)`, in parallel over files, each file with one thread's reused buffer.
pub(super) fn hash_all(files: &[(&Dir, &str)], observer: &Observer) -> Vec<Result<Hashed>> {
    files.par_iter().map_init(|| vec![0; CHUNK], |buf, (dir, name)| hash_file(dir, name, buf, observer)).collect()
}

fn hash_file(dir: &Dir, name: &str, buf: &mut [u8], observer: &Observer) -> Result<Hashed> {
    let file = dir.open_file(name, Open::Read)?;
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    loop {
        observer.check()?;
        let got = file.read_at(buf, at)?;
        hasher.update(buf.get(..got).unwrap_or_default());
        at += got as u64;
        observer.advance(0, got as u64);
        if got < buf.len() {
            break;
        }
    }
    observer.advance(1, 0);
    Ok((hasher.finalize(), at))
}
