//! Where nothing may be put: in a snapshot, in a store, among the files of a log or of a broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::refuse_running_broker;
use crate::error::{Result, ValidationError};
use crate::fs::{Dir, FileKind, Fs};
use crate::kafka::{Profile, datadir};
use crate::store::{self, DIGESTS, SnapshotId, Store};

/// The snapshot of a store that a canonical path names or lies in. A copy of a snapshot somewhere else is a log.
pub(super) fn snapshot(fs: &Arc<dyn Fs>, path: &Path) -> Option<PathBuf> {
    let is_snapshot = |path: &&Path| {
        let named = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.parse::<SnapshotId>().is_ok());
        let open = |path: &Path| Dir::open_on(fs.clone(), path);
        named
            && open(path).is_ok_and(|dir| is_there(&dir, DIGESTS))
            && path.parent().is_some_and(|above| open(above).is_ok_and(|above| is_store(&above)))
    };
    path.ancestors().find(is_snapshot).map(Path::to_owned)
}

/// A snapshot is no source: its files are not to be linked or locked by anybody else.
pub(super) fn refuse_source(dir: &Dir) -> Result<()> {
    match snapshot(dir.fs(), &dir.fs().canonical(dir.path())) {
        Some(found) => Err(refused(
            dir.path(),
            format!("is in the snapshot {}", found.display()),
            "restore it and snapshot what was restored",
        )),
        None => Ok(()),
    }
}

/// A store is no source either, nor is what lies in one.
pub(super) fn refuse_store_as_source(dir: &Dir) -> Result<()> {
    refuse_source(dir)?;
    if !is_store(dir) {
        return Ok(());
    }
    let store = Store::of(dir.clone());
    let newest = store.ids()?.into_iter().rev().find_map(|id| store.load(id).ok());
    let why = "is a store of snapshots, not a source".to_owned();
    Err(match newest {
        Some(of) => {
            let source = of.manifest.source.path;
            let hint =
                format!("name the source, {source}; `--store DIR` names the store where it is not found by itself");
            refused(dir.path(), why, &hint)
        }
        None => refused(dir.path(), why, "name the source that its snapshots are of"),
    })
}

/// A restored directory is to lie in none of these, but that of one log may go into a data directory under a partition's
/// name, while no broker runs on it.
pub(super) fn refuse_target(target: &Path, parent: &Dir, of_one_log: bool) -> Result<()> {
    let is_partition = target.file_name().and_then(|n| n.to_str()).and_then(datadir::parse_partition_name).is_some();
    match occupied(parent)? {
        Some(Occupied::DataDir) if is_partition && of_one_log => refuse_running_broker(parent),
        Some(by) => Err(refused(target, by.to_string(), "name a directory elsewhere")),
        None => Ok(()),
    }
}

/// A store that was named is to lie in none of these, nor to be one of them; in a native log only under its own name.
pub(super) fn refuse_store(fs: &Arc<dyn Fs>, path: &Path) -> Result<()> {
    let hint = "name a directory of its own, on the filesystem of the source";
    if let Ok(dir) = Dir::open_on(fs.clone(), path) {
        // Where snapshots have been taken it was looked at before the first.
        if is_there(&dir, store::CATALOGUE) && is_there(&dir, store::LOCK) && holds_one(&dir) {
            return Ok(());
        }
        if datadir::is_log_dir(&dir)? || datadir::is_data_dir(&dir)? {
            return Err(refused(path, "holds a log".into(), hint));
        }
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = match Dir::open_on(fs.clone(), parent) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    match occupied(&parent)? {
        Some(Occupied::Log(Profile::Native)) if path.file_name().is_some_and(|n| n == store::IN_LOG) => Ok(()),
        Some(by) => Err(refused(path, by.to_string(), hint)),
        None => Ok(()),
    }
}

/// What comes from elsewhere goes into what [`refuse_store`] lets be one and that is a store, or has nothing in it that is
/// not of a store in the making.
#[cfg(feature = "offsite")]
pub(super) fn refuse_arrivals(dir: &Dir) -> Result<()> {
    let path = dir.fs().canonical(dir.path());
    refuse_store(dir.fs(), &path)?;
    if is_there(dir, store::LOCK) && (is_there(dir, store::CATALOGUE) || holds_one(dir)) {
        return Ok(());
    }
    let is_stores = |name: &std::ffi::OsStr| {
        // Every filesystem of its own has the last.
        let plain = [store::LOCK, store::CATALOGUE, "lost+found"];
        name.to_str().is_some_and(|name| plain.contains(&name) || store::StoreName::parse(name).is_some())
    };
    match dir.list()?.into_iter().find(|entry| !is_stores(&entry.name)) {
        Some(entry) => {
            let why = format!("is no store of snapshots: {} is in it", entry.name.to_string_lossy());
            Err(refused(&path, why, "name a store, or a directory that is empty or not there yet"))
        }
        None => Ok(()),
    }
}

/// A place elsewhere that is a directory here must neither be nor lie in any of these, nor in the source or its store.
#[cfg(feature = "offsite")]
pub(super) fn refuse_place(fs: &Arc<dyn Fs>, path: &Path, source: &Path, store: Option<&Path>) -> Result<()> {
    let path = real(fs, path);
    let refuse = |why: &str, at: &Path| {
        let hint = "name a place of its own, best on another disk";
        Err(refused(&path, format!("lies in {}, {why}", at.display()), hint))
    };
    let ours = [(Some(source), "the source"), (store, "the store that is to be carried elsewhere")];
    for (at, why) in ours.into_iter().filter_map(|(at, why)| Some((fs.canonical(at?), why))) {
        if path.starts_with(&at) {
            return refuse(why, &at);
        }
    }
    for at in path.ancestors() {
        // What does not exist yet, or may not be looked at, is none of them.
        let Ok(dir) = Dir::open_on(fs.clone(), at) else { continue };
        if is_there(&dir, store::CATALOGUE) || is_there(&dir, store::LOCK) && holds_one(&dir) {
            return refuse("a store of snapshots", at);
        }
        if is_there(&dir, DIGESTS) && is_there(&dir, store::MANIFEST) {
            return refuse("a snapshot", at);
        }
        if is_brokers(&dir) || datadir::is_log_dir(&dir).unwrap_or(false) {
            return refuse("a directory of logs", at);
        }
    }
    Ok(())
}

/// The path without symbolic links, of what may not be there yet.
#[cfg(feature = "offsite")]
fn real(fs: &Arc<dyn Fs>, path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find(|at| Dir::open_on(fs.clone(), at).is_ok());
    match there.and_then(|at| Some((fs.canonical(at), absolute.strip_prefix(at).ok()?))) {
        Some((at, rest)) if rest.as_os_str().is_empty() => at,
        Some((at, rest)) => at.join(rest),
        None => fs.canonical(path),
    }
}

/// What a directory is that is not for others' files.
enum Occupied {
    Snapshot,
    Store,
    Log(Profile),
    DataDir,
}

impl std::fmt::Display for Occupied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Occupied::Snapshot => "would lie in a snapshot",
            Occupied::Store => "would lie among the snapshots of a store",
            Occupied::Log(_) => "would lie in a log",
            Occupied::DataDir => "would lie in a data directory, where a broker knows partitions only",
        })
    }
}

fn occupied(dir: &Dir) -> Result<Option<Occupied>> {
    let path = dir.fs().canonical(dir.path());
    if snapshot(dir.fs(), &path).is_some() {
        return Ok(Some(Occupied::Snapshot));
    }
    if is_store(dir) {
        return Ok(Some(Occupied::Store));
    }
    if datadir::is_log_dir(dir)? {
        return Ok(Some(Occupied::Log(datadir::profile_of(dir)?)));
    }
    Ok(is_brokers(dir).then_some(Occupied::DataDir))
}

/// Whether a broker has marked a directory as its own.
pub(super) fn is_brokers(dir: &Dir) -> bool {
    datadir::MARKS.iter().any(|mark| is_there(dir, mark))
}

/// By its name, its catalogue, or a snapshot beside a lock file: the catalogue may be missing.
fn is_store(dir: &Dir) -> bool {
    let named = dir.path().file_name().and_then(|n| n.to_str()).is_some_and(|n| n.ends_with(store::SUFFIX));
    named || is_there(dir, store::CATALOGUE) || is_there(dir, store::LOCK) && holds_one(dir)
}

fn holds_one(store: &Dir) -> bool {
    Store::of(store.clone()).ids().is_ok_and(|ids| !ids.is_empty())
}

fn is_there(dir: &Dir, name: &str) -> bool {
    dir.try_stat(name).is_ok_and(|stat| stat.is_some_and(|s| s.kind == FileKind::File))
}

fn refused(path: &Path, why: String, hint: &str) -> crate::error::Error {
    let what = format!("{} {why}", path.display());
    ValidationError::Refused { what, path: Some(path.to_owned()), hint: Some(hint.into()) }.into()
}
