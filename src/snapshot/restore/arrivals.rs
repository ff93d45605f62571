//! Where a snapshot that is restored at once comes to when it is fetched from elsewhere.

use std::ffi::OsString;
use std::sync::Arc;

use super::options::{Put, RestoreOptions};
use super::target::{ARRIVING, lock_if_there, make_locked, place_of};
use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Fs, Guard};

/// A hidden store beside a target, for a snapshot that is fetched to be restored there at once. Dropping it removes it,
/// and the next one for the same target what a dead process left.
pub(in crate::snapshot) struct Arrivals {
    place: Dir,
    name: OsString,
    dir: Dir,
    _guard: Guard,
}

impl Arrivals {
    pub(in crate::snapshot) fn begin(fs: &Arc<dyn Fs>, options: &RestoreOptions, deadline: &Deadline) -> Result<Self> {
        if let Put::Replace = options.put {
            let what = "what comes from elsewhere does not take the place of a source".to_owned();
            let hint = "`cowlog pull` it into the source's store, then `cowlog restore --replace` it";
            return Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into());
        }
        let path = fs.canonical(&options.target);
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
            return Err(ValidationError::TargetExists { path }.into());
        };
        let parent = Dir::open_on(fs.clone(), parent)?;
        let is_there = parent.try_stat(last)?.is_some();
        match options.put {
            Put::New if is_there => return Err(ValidationError::TargetExists { path }.into()),
            Put::Into if !is_there => return Err(ValidationError::NoSuchSource { path }.into()),
            Put::New | Put::Into | Put::Replace => {}
        }
        let (place, _) = place_of(&parent, last)?;
        let mut name = OsString::from(".");
        name.push(last);
        name.push(ARRIVING);
        let made = deadline.retry(|| {
            if let Some(taken) = make_locked(&place, &name)? {
                return Ok(Some(taken));
            }
            let Some(_dead) = lock_if_there(&place, &name)? else { return Ok(None) };
            place.remove_tree(&name)?;
            make_locked(&place, &name)
        })?;
        let why = "another restore to it fetches a snapshot";
        let (dir, guard) =
            made.ok_or_else(|| Error::from(ConcurrencyError::Busy { path: path.clone(), why: why.into() }))?;
        Ok(Arrivals { place, name, dir, _guard: guard })
    }

    pub(in crate::snapshot) fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let _ = self.place.remove_tree(&self.name);
    }
}
