//! A restored directory in the making, and the moment it appears under its name.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, Guard, LockMode, Rename, try_lock_dir};
use crate::snapshot::inside;

/// A hidden directory beside the target. Dropping it without [`publish`](Self::publish) removes it.
pub(in crate::snapshot) struct Target {
    place: Dir,
    parent: Dir,
    staging: OsString,
    name: OsString,
    dir: Dir,
    _guard: Guard,
    published: bool,
}

impl Target {
    /// Fails where the target exists or may not be; removes what a restore that died here left.
    pub(in crate::snapshot) fn begin(
        fs: &Arc<dyn Fs>,
        target: &Path,
        of_one_log: bool,
        deadline: &Deadline,
    ) -> Result<Self> {
        let path = fs.canonical(target);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ValidationError::TargetExists { path }.into());
        };
        Self::within(Dir::open_on(fs.clone(), parent)?, &parent.join(name), of_one_log, deadline)
    }

    /// The same, where the directory that is to hold it is open.
    pub(in crate::snapshot) fn within(
        parent: Dir,
        target: &Path,
        of_one_log: bool,
        deadline: &Deadline,
    ) -> Result<Self> {
        let path = target.to_owned();
        let Some(name) = path.file_name() else {
            return Err(ValidationError::TargetExists { path }.into());
        };
        if parent.try_stat(name)?.is_some() {
            return Err(ValidationError::TargetExists { path: target.into() }.into());
        }
        refuse_own_name(&path, name)?;
        inside::refuse_target(&path, &parent, of_one_log)?;
        let (place, staging) = place_of(&parent, name)?;
        let made = deadline.retry(|| {
            if let Some(taken) = make_locked(&place, &staging)? {
                return Ok(Some(taken));
            }
            let Some(_dead) = lock_if_there(&place, &staging)? else { return Ok(None) };
            place.remove_tree(&staging)?;
            make_locked(&place, &staging)
        })?;
        let Some((dir, guard)) = made else {
            return Err(
                ConcurrencyError::Busy { path: target.into(), why: "another restore writes to it".into() }.into()
            );
        };
        let name = name.to_owned();
        let target = Target { place, parent, staging, name, dir, _guard: guard, published: false };
        // Another restore may have ended while this one waited for it.
        match target.parent.try_stat(&target.name)? {
            Some(_) => Err(target.exists()),
            None => Ok(target),
        }
    }

    fn exists(&self) -> Error {
        ValidationError::TargetExists { path: self.parent.path_of(&self.name) }.into()
    }

    pub(in crate::snapshot) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The directory that is to hold it, and its name there.
    pub(in crate::snapshot) fn place(&self) -> (Dir, OsString) {
        (self.parent.clone(), self.name.clone())
    }

    /// The commit point. Everything inside is durable already; after `Ok` the name is too.
    pub(in crate::snapshot) fn publish(mut self) -> Result<()> {
        self.appear()?;
        self.settle()
    }

    /// Gives it its name, which is durable once it is [settled](Self::settle): that does for all that have the same parent.
    pub(in crate::snapshot) fn appear(&mut self) -> Result<()> {
        match self.place.rename(&self.staging, &self.parent, &self.name, Rename::NoReplace) {
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(self.exists());
            }
            other => other?,
        }
        self.published = true;
        Ok(())
    }

    pub(in crate::snapshot) fn settle(&self) -> Result<()> {
        self.parent.sync()?;
        self.place.sync()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.place.remove_tree(&self.staging);
        }
    }
}

/// A hidden directory in which something is tried; dropping it removes it, and the next one what a dead process left.
pub(in crate::snapshot) struct Probe {
    place: Dir,
    dir: Dir,
    _guard: Guard,
}

const PROBE: &str = ".cowlog-probe";

impl Probe {
    /// `None` where another process tries something in the same place.
    pub(in crate::snapshot) fn begin(place: &Dir) -> Result<Option<Probe>> {
        let probe = |(dir, guard)| Probe { place: place.clone(), dir, _guard: guard };
        if let Some(made) = make_locked(place, OsStr::new(PROBE))? {
            return Ok(Some(probe(made)));
        }
        let Some(_dead) = lock_if_there(place, OsStr::new(PROBE))? else { return Ok(None) };
        place.remove_tree(PROBE)?;
        Ok(make_locked(place, OsStr::new(PROBE))?.map(probe))
    }

    pub(in crate::snapshot) fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.place.remove_tree(PROBE);
    }
}

/// What is called so goes with the next restore or probe, as something that died.
fn refuse_own_name(path: &Path, name: &OsStr) -> Result<()> {
    let text = name.as_encoded_bytes();
    if !(text.starts_with(b".") && [RESTORING, ARRIVING].iter().any(|end| text.ends_with(end.as_bytes()))
        || name == PROBE)
    {
        return Ok(());
    }
    let what = format!("{} is a name that cowlog gives to what is not whole yet, and removes", path.display());
    let hint = Some("name another directory".into());
    Err(ValidationError::Refused { what, path: Some(path.to_owned()), hint }.into())
}

const RESTORING: &str = ".restoring";
/// Of [`Arrivals`](super::arrivals::Arrivals).
pub(super) const ARRIVING: &str = ".arriving";

/// Where a target is made, and under which name until it is whole.
pub(super) fn place_of(parent: &Dir, name: &OsStr) -> Result<(Dir, OsString)> {
    // A broker refuses to start over a directory that it does not know: nothing of ours in its data directory.
    let place = match (inside::is_brokers(parent), parent.path().parent()) {
        (true, Some(above)) => parent.open_parent(above)?,
        _ => parent.clone(),
    };
    // Above a mount point lies another filesystem, from which nothing can be renamed into place.
    let place = if place.stat_self()?.dev == parent.stat_self()?.dev { place } else { parent.clone() };
    let mut staging = OsString::from(".");
    staging.push(name);
    staging.push(RESTORING);
    Ok((place, staging))
}

/// Removes a directory, as far as it can be removed. First it gets the name that it had while it was made: whoever dies meanwhile
/// leaves nothing that looks whole, and what the next one to that name removes.
pub(in crate::snapshot) fn remove_hidden(parent: &Dir, name: &OsStr) {
    let hidden = place_of(parent, name).and_then(|(place, staging)| {
        parent.rename(name, &place, &staging, Rename::NoReplace)?;
        Ok((place, staging))
    });
    let _ = match hidden {
        Ok((place, staging)) => place.remove_tree(staging),
        Err(_) => parent.remove_tree(name),
    };
}

/// Removes what a restore to `name` in `parent` left that died on the way; nothing where there is none, or where it is
/// alive. Returns whether there was one.
pub fn sweep_restore(parent: &Dir, name: impl AsRef<OsStr>) -> Result<bool> {
    let (place, staging) = place_of(parent, name.as_ref())?;
    if place.try_stat(&staging)?.is_none() {
        return Ok(false);
    }
    let Some(_dead) = lock_if_there(&place, &staging)? else { return Ok(false) };
    place.remove_tree(&staging)?;
    Ok(true)
}

/// Removes what restores to names in `parent` left that died on the way, of those names that are meant. Gives what was
/// removed; what may not be, whoever wants that name is told.
pub(in crate::snapshot) fn sweep_restores(parent: &Dir, is_meant: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let (place, _) = place_of(parent, OsStr::new(""))?;
    let mut swept = Vec::new();
    for entry in place.list()? {
        let Some(hidden) = entry.name.to_str() else { continue };
        let name = hidden.strip_prefix('.').and_then(|rest| rest.strip_suffix(RESTORING));
        if name.is_some_and(&is_meant)
            && let Ok(Some(_dead)) = lock_if_there(&place, &entry.name)
            && place.remove_tree(&entry.name).is_ok()
        {
            swept.push(hidden.to_owned());
        }
    }
    Ok(swept)
}

/// `None` where it exists, or where another restore took it for one of the dead before it was locked.
pub(super) fn make_locked(place: &Dir, name: &OsStr) -> Result<Option<(Dir, Guard)>> {
    match place.make_dir(name, 0o700) {
        Ok(dir) => Ok(lock_if_there(place, name)?.map(|guard| (dir, guard))),
        Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn lock_if_there(place: &Dir, name: &OsStr) -> Result<Option<Guard>> {
    match try_lock_dir(place, name, LockMode::Exclusive) {
        Err(e) if e.is_not_found() => Ok(None),
        other => other,
    }
}
