//! What a snapshot is measured against: every byte copied and synced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{interruptible, io};
use crate::failure::Failure;
use crate::session::Session;

/// How much was copied and how long that took.
#[derive(Debug)]
pub struct FullCopy {
    pub bytes: u64,
    pub took: Duration,
}

/// Copies the files of a directory and syncs each of them and the directory. By hand: the system's own ways of copying
/// share blocks where the filesystem can.
pub fn copy(from: &Path, to: &Path, session: &Session) -> Result<FullCopy, Failure> {
    let started = Instant::now();
    fs::create_dir(to).map_err(io("make", to))?;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if !entry.file_type().map_err(io("look at", &source))?.is_file() {
            continue;
        }
        let mut input = match File::open(&source) {
            // The writer replaces its checkpoint by a rename.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(io("open", &source))?,
        };
        let mut output = File::create_new(&target).map_err(io("make", &target))?;
        loop {
            interruptible(session)?;
            let n = input.read(&mut buffer).map_err(io("read", &source))?;
            let data = buffer.get(..n).unwrap_or_default();
            if data.is_empty() {
                break;
            }
            output.write_all(data).map_err(io("write", &target))?;
            bytes += n as u64;
        }
        output.sync_all().map_err(io("sync", &target))?;
    }
    File::open(to).and_then(|dir| dir.sync_all()).map_err(io("sync", to))?;
    Ok(FullCopy { bytes, took: started.elapsed() })
}
