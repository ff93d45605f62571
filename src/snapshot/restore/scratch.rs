//! Copies of a verified snapshot for a moment: what a test or a fuzzer begins every round with.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fork::Fork;
use super::plan;
use super::{Done, Job, can_reflink, make_dirs};
use crate::error::{Error, IntegrityError, Result};
use crate::fs::Dir;
use crate::observe::Observer;
use crate::snapshot::verify::VerifiedSnapshot;
use crate::snapshot::verify::examine::open_dirs;

impl VerifiedSnapshot {
    /// Makes a [fork](Fork) in `place`, which exists, under a name of its own: by reflink where the filesystem can, else by
    /// copying, with owners, modes and times as they were. Nothing is synced, so that it can be had hundreds of times a
    /// second; [`SnapshotManager::fork`](crate::snapshot::SnapshotManager::fork) makes durable ones. Digests were checked when
    /// the snapshot was verified and are checked again where bytes are copied.
    ///
    /// # Errors
    ///
    /// `Filesystem`: disk full, permission, I/O. `Integrity`: bytes changed since the verification. Nothing is left then.
    pub fn scratch(&self, place: &Dir) -> Result<Fork> {
        let loaded = &self.loaded;
        let from = open_dirs(loaded)?;
        let scratch = make(place)?;
        let reflink = can_reflink(loaded, &from, scratch.dir())?;
        let to = make_dirs(loaded, scratch.dir())?;
        let observer = &Observer::default();
        let job = Job { loaded, from: &from, to: &to, reflink, take: false, verified: true, observer };
        for planned in plan::whole(loaded) {
            if let Done::Damaged(damage) = job.put(&planned)? {
                let changed = IntegrityError::new(loaded.dir.path(), "it has changed since it was verified");
                return Err(IntegrityError { damage: vec![damage], ..changed }.into());
            }
        }
        Ok(scratch)
    }
}

fn make(place: &Dir) -> Result<Fork> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let name = format!("scratch-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match place.make_dir(&name, 0o700) {
            Ok(dir) => return Ok(Fork::new(place.clone(), name, dir)),
            // Of another process, or of one that died.
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}
