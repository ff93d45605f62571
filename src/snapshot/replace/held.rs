//! Nobody writes to directories while they change places: neither to the one that is in place nor to the other.

use std::iter::Peekable;

use super::home::Home;
use super::remains;
use super::swap::open_if_there;
use crate::error::{ConcurrencyError, Result};
use crate::fs::{Attributes, Deadline, Dir, File, Guard, LockMode, Open, lock_file};
use crate::kafka::{Profile, datadir};
use crate::log::{SEGMENTS_LOCK, WRITER_LOCK};
use crate::store::WHOLE;

/// The locks of writers, brokers and snapshots, until this is dropped. They go where their directories go.
#[derive(Default)]
pub(in crate::snapshot) struct Held {
    logs: Vec<Guard>,
    brokers: Vec<File>,
}

impl Held {
    /// Of what changes places: some `parts` of a data directory, or all of what is at home where there are none, with what is
    /// in `slots` for them. Without those it is a look ahead, for which no broker's lock is made.
    pub(in crate::snapshot) fn exchange<'a>(
        home: &Home,
        slots: Option<&Dir>,
        mut parts: Peekable<impl Iterator<Item = &'a str>>,
        deadline: &Deadline,
    ) -> Result<Held> {
        if parts.peek().is_some() {
            return Held::parts(&home.open()?, slots, parts, deadline);
        }
        let there = open_if_there(&home.parent, &home.name)?;
        let out = slots.map(|slots| open_if_there(slots, WHOLE)).transpose()?.flatten();
        let held = Held::whole(there.as_ref(), out.as_ref(), slots.is_some(), deadline)?;
        Ok(held.and(Held::whole(out.as_ref(), there.as_ref(), slots.is_some(), deadline)?))
    }

    /// Of what is in `slots` alone.
    pub(in crate::snapshot) fn out<'a>(
        slots: &Dir,
        names: impl Iterator<Item = &'a str>,
        deadline: &Deadline,
    ) -> Result<Held> {
        let mut held = Held::default();
        for name in names {
            held = held.and(Held::whole(open_if_there(slots, name)?.as_ref(), None, true, deadline)?);
        }
        Ok(held)
    }

    /// Of a log, or of a data directory with its logs; of nothing where none is there. What is left of an emptied log is of
    /// the sort of `other`, with which it changes places.
    ///
    /// # Errors
    ///
    /// `Locked` where a writer has one of the native logs open, or a snapshot of it is being taken; `Busy` where a broker
    /// runs.
    fn whole(dir: Option<&Dir>, other: Option<&Dir>, provided: bool, deadline: &Deadline) -> Result<Held> {
        let Some(dir) = dir else { return Ok(Held::default()) };
        let model = if remains::of_a_log(dir)? { other.unwrap_or(dir) } else { dir };
        if datadir::is_log_dir(model)? {
            return Ok(Held { logs: log(dir, Some(model), deadline)?, brokers: Vec::new() });
        }
        let names: Vec<String> = datadir::inventory(dir)?.partitions.into_iter().map(|found| found.name).collect();
        let mut held = Held { logs: Vec::new(), brokers: broker(dir, other, provided)? };
        for name in &names {
            held.logs.extend(log(&dir.open_dir(name)?, None, deadline)?);
        }
        Ok(held)
    }

    /// Of some partitions of a data directory and of those that they change places with, as far as they are there.
    fn parts<'a>(
        data: &Dir,
        slots: Option<&Dir>,
        names: impl Iterator<Item = &'a str>,
        deadline: &Deadline,
    ) -> Result<Held> {
        let mut held = Held { logs: Vec::new(), brokers: broker(data, None, slots.is_some())? };
        for name in names {
            let there = open_if_there(data, name)?;
            let out = slots.map(|slots| open_if_there(slots, name)).transpose()?.flatten();
            for (dir, other) in [(&there, &out), (&out, &there)] {
                if let Some(dir) = dir {
                    held.logs.extend(log(dir, other.as_ref(), deadline)?);
                }
            }
        }
        Ok(held)
    }

    fn and(mut self, other: Held) -> Held {
        self.logs.extend(other.logs);
        self.brokers.extend(other.brokers);
        self
    }
}

/// Where no broker has made the lock, this does, if it is to be `provided`.
fn broker(data: &Dir, other: Option<&Dir>, provided: bool) -> Result<Vec<File>> {
    let is_for_brokers = || -> Result<bool> {
        Ok(datadir::is_for_brokers(data)? || other.map(datadir::is_for_brokers).transpose()?.unwrap_or(false))
    };
    if provided && is_for_brokers()? {
        provide(data, &[datadir::BROKER_LOCK])?;
    }
    match datadir::keep_brokers_out(data)? {
        Ok(lock) => Ok(lock.into_iter().collect()),
        Err(broker) => {
            let why = format!("a broker runs on it ({broker}); stop it first");
            Err(ConcurrencyError::Busy { path: data.path().into(), why }.into())
        }
    }
}

fn log(dir: &Dir, other: Option<&Dir>, deadline: &Deadline) -> Result<Vec<Guard>> {
    let is_native = |dir: &Dir| -> Result<bool> { Ok(datadir::profile_of(dir)? == Profile::Native) };
    let native = is_native(dir)?
        || dir.try_stat(SEGMENTS_LOCK)?.is_some()
        || remains::of_a_log(dir)? && other.map(is_native).transpose()?.unwrap_or(false);
    if !native {
        return Ok(Vec::new());
    }
    provide(dir, &[WRITER_LOCK, SEGMENTS_LOCK])?;
    let exclusive = |name, what| lock_file(dir, name, LockMode::Exclusive, deadline, what);
    let writer = exclusive(WRITER_LOCK, "a writer has the log open")?;
    let segments = exclusive(SEGMENTS_LOCK, "a snapshot of the log is being taken")?;
    Ok(vec![writer, segments])
}

/// Makes lock files that are missing, for good, as a writer or a broker would have. One that is another user has to be able
/// to lock them.
fn provide(dir: &Dir, names: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for name in names {
        if dir.try_stat(name)?.is_none() {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let before = dir.attributes()?;
    for name in missing {
        let file = dir.open_file(name, Open::OpenOrCreate(0o600))?;
        let (mode, mtime) = (before.mode & 0o666 | 0o600, file.stat()?.mtime);
        file.set_attributes(&Attributes { uid: before.uid, gid: before.gid, mode, mtime, ..file.attributes()? })?;
    }
    // A restored directory has the time that it had.
    dir.set_attributes(&before)?;
    dir.sync()
}
