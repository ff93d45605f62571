//! Putting what is restored in the place of what is there, which is kept.

pub(in crate::snapshot) mod astray;
pub(in crate::snapshot) mod complete;
pub(in crate::snapshot) mod held;
pub(in crate::snapshot) mod home;
pub(in crate::snapshot) mod lines;
pub(in crate::snapshot) mod remains;
pub(in crate::snapshot) mod swap;
pub(in crate::snapshot) mod touched;
pub(in crate::snapshot) mod undo;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Attributes, Deadline, Dir, FileKind, Guard, LockMode, Rename, locked, try_lock_dir};
use crate::kafka::datadir;
use crate::log::LogReader;
use crate::snapshot::inside;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::{Replaced, Restored};
use crate::snapshot::restore::Filled;
use crate::snapshot::restore::adopt;
use crate::snapshot::restore::bound::Bound;
use crate::snapshot::restore::options::{Put, RestoreOptions};
use crate::snapshot::restore::surprises::committed_beyond;
use crate::store::{Journal, Loaded, LogManifest, SLOTS, Scope, SourceKind, Store, Swap, WHOLE, undo_name};
use held::Held;
use home::{Home, Place};
use swap::{Entry, open_if_there};

/// What goes where.
struct Plan {
    home: Home,
    /// As it was named.
    target: PathBuf,
    /// Partitions of a data directory; none where all of it is replaced.
    parts: Vec<String>,
}

impl Plan {
    fn is_whole(&self) -> bool {
        self.parts.is_empty()
    }

    /// The directories that are to be replaced, as far as they are there, beside the logs of the snapshot.
    fn old(&self, name: &str) -> Result<Option<Dir>> {
        match self.is_whole() {
            true => open_if_there(&self.home.parent, &self.home.name),
            false => open_if_there(&self.home.open()?, name),
        }
    }
}

impl SnapshotManager {
    pub(in crate::snapshot) fn replace(
        &self,
        store: &Store,
        loaded: &Loaded,
        options: &RestoreOptions,
        verified: bool,
    ) -> Result<Restored> {
        let observer = &self.config().observer;
        let plan = self.plan_replacement(loaded, options)?;
        self.complete_in(&plan.home, &self.deadline())?;
        // Better now than after everything has been copied.
        drop(self.keep_out(&plan, None)?);
        if !plan.is_whole() {
            lines::of(loaded.manifest.source.profile, &loaded.manifest.logs, &plan.home.open()?, &plan.parts)?;
        }
        let warn = |offsets: i64| {
            if offsets > 0 {
                observer.warn(&format!(
                    "{} holds {offsets} offsets beyond the end of {}; they are taken out and kept for `cowlog undo`",
                    plan.home.path.display(),
                    loaded.id
                ));
            }
        };
        // Where a time lies in a log only its batches can tell, once they have been verified.
        let told = match options.bounds.until {
            Some(Bound::Time(_)) => false,
            Some(Bound::Offset(until)) => {
                let mut logs = loaded.manifest.logs.clone();
                logs.iter_mut().for_each(|log| log.cut.log_end_offset = log.cut.log_end_offset.min(until));
                warn(beyond(loaded, &logs, &plan)?);
                true
            }
            None => {
                warn(beyond(loaded, &loaded.manifest.logs, &plan)?);
                true
            }
        };
        let making = Making::begin(&plan.home, self.config().clock.now(), &self.deadline())?;
        let slots = make_owned(&making.dir, SLOTS, &plan.home)?;
        let put = if plan.is_whole() { Put::Replace } else { Put::Into };
        let options = RestoreOptions { target: plan.target.clone(), put, ..options.clone() };
        let place = if plan.is_whole() {
            slots.make_dir(WHOLE, 0o700)?
        } else if loaded.manifest.source.kind == SourceKind::Log {
            slots.make_dir(plan.parts.first().map_or(WHOLE, String::as_str), 0o700)?
        } else {
            slots.clone()
        };
        let Filled { mut restored, logs } = self.fill(store, loaded, &options, verified, &place)?;
        if !plan.is_whole() {
            // Of a broker's directory its partitions are wanted, not what stands beside them.
            for entry in slots.list()?.into_iter().filter(|e| e.kind != FileKind::Dir) {
                slots.unlink(&entry.name)?;
            }
            let ends = plan.parts.iter().cloned().zip(logs.iter().map(|log| log.cut.log_end_offset)).collect();
            let data = plan.home.open()?;
            if adopt::fit(&data, &slots, &ends, options.topic_id.as_ref(), observer)? {
                self.foresee_hanging(loaded, &logs)?.iter().for_each(|surprise| observer.warn(surprise));
            }
            match committed_beyond(&data, &ends, || observer.check()) {
                Ok(found) => found.iter().for_each(|surprise| observer.warn(surprise)),
                Err(e @ Error::Interrupted) => return Err(e),
                Err(e) => observer.warn(&format!("what the groups have committed could not be read: {e}")),
            }
        } else if options.topic_id.is_some() {
            let what = "only partitions that go into a data directory can become those of another topic";
            return Err(ValidationError::refused(what).into());
        }
        let _held = self.keep_out(&plan, Some(&slots))?;
        let offsets = beyond(loaded, &logs, &plan)?;
        if !told {
            warn(offsets);
        }
        let mut swaps = Vec::new();
        for slot in if plan.is_whole() { vec![WHOLE.to_owned()] } else { plan.parts.clone() } {
            let (old, new) = (plan.old(&slot)?, slots.open_dir(&slot)?);
            let topic = |dir: &Dir| Ok::<_, Error>(adopt::id_of(dir)?.map(|id| id.as_str().to_owned()));
            swaps.push(Swap {
                new: Some(new.stat_self()?.ino),
                old: old.as_ref().map(Dir::stat_self).transpose()?.map(|stat| stat.ino),
                new_topic: topic(&new)?,
                old_topic: old.as_ref().map(topic).transpose()?.flatten(),
                untouched: Some(touched::print_of(&new)?),
                slot,
            });
        }
        let lines = match plan.is_whole() {
            true => Vec::new(),
            false => lines::of(loaded.manifest.source.profile, &logs, &plan.home.open()?, &plan.parts)?,
        };
        slots.sync()?;
        observer.check()?;
        let journal = Journal::new(loaded.id, self.config().clock.now(), swaps, lines);
        let entry = making.publish(journal)?;
        let replaced =
            Replaced { undo: format!("undo-{}", entry.id), kept: entry.place.dir.path_of(entry.name(false)), offsets };
        entry.finish(&plan.home, observer)?;
        restored.replaced = Some(replaced);
        Ok(restored)
    }

    fn keep_out(&self, plan: &Plan, slots: Option<&Dir>) -> Result<Held> {
        let parts = plan.parts.iter().map(String::as_str);
        Held::exchange(&plan.home, slots, parts.peekable(), &self.deadline())
    }

    /// What is asked for has to be the same sort of thing as what is there: a log takes the place of a log.
    fn plan_replacement(&self, loaded: &Loaded, options: &RestoreOptions) -> Result<Plan> {
        let refuse = |what: String, hint: &str| -> Error {
            ValidationError::Refused { what, path: Some(self.source().into()), hint: Some(hint.into()) }.into()
        };
        let source = &loaded.manifest.source;
        let into = matches!(options.put, Put::Into);
        let target = if into { options.target.clone() } else { self.source().to_owned() };
        let home = if into { Home::at(self.fs(), &target)? } else { Home::of(self.fs(), &target)? };
        if let Some(snapshot) = inside::snapshot(self.fs(), &home.path) {
            return Err(refuse(
                format!("{} is in the snapshot {}", home.path.display(), snapshot.display()),
                "name a log",
            ));
        }
        let there = open_if_there(&home.parent, &home.name)?;
        let is_log = match &there {
            // Whatever it was, it is that no more.
            Some(dir) if remains::of_a_log(dir)? => None,
            there => there.as_ref().map(datadir::is_log_dir).transpose()?,
        };
        let parted = into || home.part.is_some() || options.part.is_some() && is_log != Some(true);
        if !parted {
            match (is_log, source.kind, &source.scope) {
                (Some(false), SourceKind::Log, _) | (Some(false), SourceKind::Data, Scope::Topic(_)) => {
                    let what = format!("{} holds {}, not all of {}", loaded.id, source.scope, home.path.display());
                    return Err(refuse(what, "say with `--topic` and `--partition` what is to be replaced"));
                }
                (Some(true), SourceKind::Data, _) => {
                    let what = format!("{} is a log, {} holds a data directory", home.path.display(), loaded.id);
                    return Err(refuse(
                        what,
                        "name the data directory, or say with `--topic` and `--partition` what is wanted",
                    ));
                }
                _ => {}
            }
            home.refuse_mount_point()?;
            return Ok(Plan { home, target, parts: Vec::new() });
        }
        match &there {
            Some(data) if datadir::is_data_dir(data)? => {}
            // All of its partitions may be gone: its own snapshots tell what it was.
            Some(data) if !into && !datadir::is_log_dir(data)? => {}
            _ => {
                let path = home.path.clone();
                return Err(ValidationError::NotALog { path, why: "it is no data directory".into() }.into());
            }
        }
        if into && options.part.is_none() {
            return Err(refuse(
                format!("{} is to get all of {}", home.path.display(), loaded.id),
                "say with `--topic` what of it; all of a data directory goes where `--replace` or `--to` says",
            ));
        }
        let mut parts = Vec::new();
        for log in &loaded.manifest.logs {
            let name = match (&log.topic, log.partition, &home.part) {
                (Some(topic), Some(partition), _) => format!("{topic}-{partition}"),
                // A log that stood alone when it was taken.
                (_, _, Some(part)) => part.clone(),
                _ => {
                    let what = format!("{} is of a log that belongs to no topic", loaded.id);
                    return Err(refuse(what, "restore it with `--to`"));
                }
            };
            if home.part.as_ref().is_some_and(|part| *part != name) {
                return Err(refuse(format!("{} holds {name}", loaded.id), "name the data directory with `--into`"));
            }
            let place = there.as_ref().map(|data| data.try_stat(&name)).transpose()?.flatten();
            if place.is_some_and(|stat| stat.kind != FileKind::Dir) {
                let what = format!("{} is a symbolic link, or no directory", home.path.join(&name).display());
                return Err(refuse(
                    what,
                    "only a directory that lies there itself can be exchanged; move it there first",
                ));
            }
            parts.push(name);
        }
        if parts.is_empty() {
            return Err(refuse(format!("{} holds no log", loaded.id), "`cowlog show` lists its logs"));
        }
        Ok(Plan { home, target, parts })
    }
}

/// How many offsets of what is there lie beyond the ends of what takes its place, which may be cut. A log that cannot be
/// read counts as none.
fn beyond(loaded: &Loaded, restored: &[LogManifest], plan: &Plan) -> Result<i64> {
    let mut offsets: i64 = 0;
    let whole = plan.is_whole();
    for (at, log) in restored.iter().enumerate() {
        let dir = match plan.old(plan.parts.get(at).map_or("", String::as_str))? {
            Some(dir) if whole && !log.dir.is_empty() && loaded.manifest.source.kind == SourceKind::Data => {
                open_if_there(&dir, &log.dir)?
            }
            dir => dir,
        };
        let Some(reader) = dir.and_then(|dir| LogReader::open_on(dir).ok()) else { continue };
        offsets = offsets.saturating_add(reader.log_end().saturating_sub(log.cut.log_end_offset).max(0));
    }
    Ok(offsets)
}

/// Makes a directory of an entry. Whoever owns what is replaced has to be able to undo that.
fn make_owned(parent: &Dir, name: impl AsRef<OsStr>, home: &Home) -> Result<Dir> {
    let dir = parent.make_dir(name, 0o700)?;
    let owner = open_if_there(&home.parent, &home.name)?.unwrap_or_else(|| home.parent.clone()).stat_self()?;
    let now = dir.attributes()?;
    if (now.uid, now.gid) != (owner.uid, owner.gid) {
        dir.set_attributes(&Attributes { uid: owner.uid, gid: owner.gid, ..now })?;
    }
    Ok(dir)
}

/// An entry in the making. Dropping it without [`publish`](Self::publish) removes it.
struct Making {
    place: Place,
    id: u64,
    dir: Dir,
    guard: Option<Guard>,
    published: bool,
}

impl Making {
    fn begin(home: &Home, now: i64, deadline: &Deadline) -> Result<Making> {
        let place = home.place()?;
        let newest = home.entries()?.last().map_or(0, |(_, _, id, _)| *id);
        let mut id = u64::try_from(now).unwrap_or(0).max(newest + 1);
        let made = deadline.retry(|| {
            let name = undo_name(&place.prefix, id, true);
            let dir = match make_owned(&place.dir, &name, home) {
                Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::AlreadyExists => {
                    id += 1;
                    return Ok(None);
                }
                made => made?,
            };
            match try_lock_dir(&place.dir, &name, LockMode::Exclusive) {
                Ok(Some(guard)) => Ok(Some((dir, guard))),
                // Another command has taken it for one of the dead, and removes it.
                Ok(None) => {
                    id += 1;
                    Ok(None)
                }
                Err(e) if e.is_not_found() => Ok(None),
                Err(e) => {
                    let _ = place.dir.remove_dir(&name);
                    Err(e)
                }
            }
        })?;
        match made {
            Some((dir, guard)) => Ok(Making { place, id, dir, guard: Some(guard), published: false }),
            None => {
                let path = place.dir.path_of(undo_name(&place.prefix, id, true));
                Err(locked(path, "other commands take it for one of the dead", deadline, None))
            }
        }
    }

    fn name(&self) -> OsString {
        undo_name(&self.place.prefix, self.id, true)
    }

    /// From here on a successor goes on with it.
    fn publish(mut self, journal: Journal) -> Result<Entry> {
        journal.write(&self.dir)?;
        let name = undo_name(&self.place.prefix, self.id, false);
        self.place.dir.rename(self.name(), &self.place.dir, &name, Rename::NoReplace)?;
        self.published = true;
        self.place.dir.sync().map_err(Error::unsettled)?;
        let dir = self.place.dir.open_dir(&name)?;
        match self.guard.take() {
            Some(guard) => Ok(Entry { place: self.place.clone(), id: self.id, dir, journal, _guard: guard }),
            None => {
                let why = "another command took it".into();
                Err(ConcurrencyError::Busy { path: dir.path().into(), why }.into())
            }
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.place.dir.remove_tree(self.name());
        }
    }
}
