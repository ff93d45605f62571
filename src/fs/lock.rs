//! Locks between processes and threads: `flock`, always tried, never waited for in the kernel.

use std::ffi::OsStr;
use std::thread;
use std::time::{Duration, Instant};

use super::{Dir, File, LockMode, Open, Stat};
use crate::error::{ConcurrencyError, Error, Result};
use crate::observe::Observer;

/// Until when to try.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    start: Instant,
    patience: Duration,
    observer: Observer,
}

impl Deadline {
    pub(crate) fn after(patience: Duration, observer: &Observer) -> Deadline {
        Deadline { start: Instant::now(), patience, observer: observer.clone() }
    }

    /// Calls `attempt` until it gives something or the time is over.
    pub(crate) fn retry<T>(&self, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(got) = attempt()? {
                return Ok(Some(got));
            }
            self.observer.check()?;
            let left = self.patience.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn waited(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Guard {
    held: Held,
}

#[derive(Debug)]
enum Held {
    File(File),
    Dir(Dir),
    /// There is nothing to lock, and nobody can make it.
    Nothing,
}

impl Guard {
    /// The locked directory, where it is one. It is this very descriptor that carries the lock.
    pub(crate) fn dir(&self) -> Option<&Dir> {
        match &self.held {
            Held::Dir(dir) => Some(dir),
            Held::File(_) | Held::Nothing => None,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Explicitly, because a clone of the descriptor would keep the lock. Closing it is the fallback.
        let _ = match &self.held {
            Held::File(f) => f.fs().unlock(f.handle()),
            Held::Dir(d) => d.fs().unlock(d.handle()),
            Held::Nothing => Ok(()),
        };
    }
}

/// Locks the permanent lock file `name`, making it where it is missing. To share it, an existing file is locked through a
/// read-only descriptor where it may not be written; one that a read-only filesystem does not have is held by nobody.
pub(crate) fn lock_file(
    dir: &Dir,
    name: &str,
    mode: LockMode,
    deadline: &Deadline,
    what: &'static str,
) -> Result<Guard> {
    let mut holder = None;
    // Whoever owns the directory has to be able to take it too.
    let dir = &dir.clone().for_its_owner()?;
    let got = deadline.retry(|| {
        let file = match dir.open_file(name, Open::OpenOrCreate(0o666)) {
            Err(e) if mode == LockMode::Shared && is_read_only(&e) => match dir.try_open(name)? {
                Some(file) => file,
                None if e.os_code() == Some(nix::libc::EROFS) => return Ok(Some(Guard { held: Held::Nothing })),
                None => return Err(e),
            },
            other => other?,
        };
        if !file.try_lock(mode)? {
            holder = file.fs().lock_holder(file.handle());
            return Ok(None);
        }
        // The name must still mean the inode that is locked, or two processes hold "the" lock.
        let same = is_still(dir.try_stat(name)?, &file.stat()?);
        Ok(same.then_some(Guard { held: Held::File(file) }))
    })?;
    got.ok_or_else(|| locked(dir.path_of(name), what, deadline, holder))
}

/// Whether what a name means now is what was locked.
fn is_still(now: Option<Stat>, locked: &Stat) -> bool {
    now.is_some_and(|now| (now.dev, now.ino) == (locked.dev, locked.ino))
}

/// Locks the subdirectory `name` itself. `None` where somebody else holds it.
pub(crate) fn try_lock_dir(parent: &Dir, name: impl AsRef<OsStr>, mode: LockMode) -> Result<Option<Guard>> {
    let name = name.as_ref();
    let dir = parent.open_dir(name)?;
    if !dir.try_lock(mode)? {
        return Ok(None);
    }
    let same = is_still(parent.try_stat(name)?, &dir.stat_self()?);
    Ok(same.then_some(Guard { held: Held::Dir(dir) }))
}

/// As [`try_lock_dir`], trying until the deadline.
pub(crate) fn lock_dir(
    parent: &Dir,
    name: impl AsRef<OsStr>,
    mode: LockMode,
    deadline: &Deadline,
    what: &'static str,
) -> Result<Guard> {
    let name = name.as_ref();
    match deadline.retry(|| try_lock_dir(parent, name, mode))? {
        Some(guard) => Ok(guard),
        None => {
            let holder = parent.open_dir(name).ok().and_then(|d| d.fs().lock_holder(d.handle()));
            Err(locked(parent.path_of(name), what, deadline, holder))
        }
    }
}

pub(crate) fn locked(
    path: std::path::PathBuf,
    what: &'static str,
    deadline: &Deadline,
    holder: Option<String>,
) -> Error {
    ConcurrencyError::Locked { path, what, waited: deadline.waited(), holder }.into()
}

fn is_read_only(e: &Error) -> bool {
    matches!(e.os_code(), Some(nix::libc::EROFS | nix::libc::EACCES | nix::libc::EPERM))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nix::libc::{EACCES, EPERM, EROFS};

    use super::*;
    use crate::fs::mem::Op;
    use crate::fs::{Fs, MemFs};

    #[test]
    fn a_lock_file_that_cannot_be_made() {
        let fs = MemFs::new();
        let made: Arc<dyn Fs> = Arc::new(fs.clone());
        let dir = Dir::open_on(made, "/").unwrap();
        let lock =
            |mode| lock_file(&dir, "lock", mode, &Deadline::after(Duration::ZERO, &Observer::default()), "a test");
        for (mode, errno) in [
            (LockMode::Shared, EACCES),
            (LockMode::Shared, EPERM),
            (LockMode::Exclusive, EACCES),
            (LockMode::Exclusive, EROFS),
        ] {
            fs.fail(Op::Create, 1, errno);
            let error = lock(mode).unwrap_err();
            assert!(error.to_string().starts_with("cannot create /lock: "), "{error}");
            assert_eq!((error.os_code(), error.hint().is_some()), (Some(errno), true), "{error}");
        }
        fs.fail(Op::Create, 1, EROFS);
        drop(lock(LockMode::Shared).unwrap());
        assert!(dir.try_stat("lock").unwrap().is_none());
        // One that is there is locked, whoever may write it.
        let held = lock(LockMode::Exclusive).unwrap();
        // The first look is at the directory.
        fs.fail(Op::Open, 2, EROFS);
        assert!(matches!(lock(LockMode::Shared), Err(Error::Concurrency(_))));
        drop(held);
    }
}
