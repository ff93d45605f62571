//! Copies of a verified snapshot for a moment: what a test or a fuzzer begins every round with.

use std::sync::atomic::{AtomicU64, Ordering};

use super::restore::{Done, Job, can_reflink, make_dirs};
use super::restore_plan;
use super::verify::{VerifiedSnapshot, open_dirs};
use crate::error::{Error, IntegrityError, Result};
use crate::fs::Dir;
use crate::observe::Observer;

/// A copy of a snapshot that is removed when it is dropped. It is not durable and may be written to.
#[derive(Debug)]
pub struct Scratch {
    place: Dir,
    name: String,
    dir: Dir,
    kept: bool,
}

impl VerifiedSnapshot {
    /// Makes a copy in `place`, which exists, under a name of its own: by reflink where the filesystem can, else by
    /// copying, with owners, modes and times as they were. Nothing is synced, so that it can be had hundreds of times a
    /// second. Digests were checked when the snapshot was verified and are checked again where bytes are copied.
    ///
    /// # Errors
    ///
    /// `Filesystem`: disk full, permission, I/O. `Integrity`: bytes changed since the verification. Nothing is left then.
    pub fn scratch(&self, place: &Dir) -> Result<Scratch> {
        let loaded = &self.loaded;
        let from = open_dirs(loaded)?;
        let scratch = Scratch::make(place)?;
        let reflink = can_reflink(loaded, &from, &scratch.dir)?;
        let to = make_dirs(loaded, &scratch.dir)?;
        let observer = &Observer::default();
        let job = Job { loaded, from: &from, to: &to, reflink, verified: true, observer };
        for planned in restore_plan::whole(loaded) {
            if let Done::Damaged(damage) = job.put(&planned)? {
                let changed = IntegrityError::new(loaded.dir.path(), "it has changed since it was verified");
                return Err(IntegrityError { damage: vec![damage], ..changed }.into());
            }
        }
        Ok(scratch)
    }
}

impl Scratch {
    fn make(place: &Dir) -> Result<Scratch> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("scratch-{}", NEXT.fetch_add(1, Ordering::Relaxed));
            match place.make_dir(&name, 0o700) {
                Ok(dir) => return Ok(Scratch { place: place.clone(), name, dir, kept: false }),
                // Of another process, or of one that died.
                Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Leaves it where it is, to be looked at.
    pub fn keep(mut self) -> Dir {
        self.kept = true;
        self.dir.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.place.remove_tree(&self.name);
        }
    }
}
