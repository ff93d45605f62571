//! Where nothing may be put: in a snapshot, in a store, among the files of a log or of a broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, ValidationError};
use crate::fs::{Dir, FileKind, Fs};
use crate::kafka::{Profile, datadir};
use crate::store::{self, DIGESTS, SnapshotId};

/// The snapshot that a canonical path names or lies in.
pub(super) fn snapshot(fs: &Arc<dyn Fs>, path: &Path) -> Option<PathBuf> {
    let is_snapshot = |path: &&Path| {
        let named = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.parse::<SnapshotId>().is_ok());
        named && Dir::open_on(fs.clone(), path).is_ok_and(|dir| is_there(&dir, DIGESTS))
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

/// A restored directory is to lie in none of these.
pub(super) fn refuse_target(target: &Path, parent: &Dir) -> Result<()> {
    let is_partition = target.file_name().and_then(|n| n.to_str()).and_then(datadir::parse_partition_name).is_some();
    match occupied(parent)? {
        Some(Occupied::DataDir) if is_partition => Ok(()),
        Some(by) => Err(refused(target, by.to_string(), "name a directory elsewhere")),
        None => Ok(()),
    }
}

/// A store that was named is to lie in none of these, nor to be one of them; in a native log only under its own name.
pub(super) fn refuse_store(fs: &Arc<dyn Fs>, path: &Path) -> Result<()> {
    let hint = "name a directory of its own, on the filesystem of the source";
    if let Ok(dir) = Dir::open_on(fs.clone(), path)
        && (datadir::is_log_dir(&dir)? || datadir::is_data_dir(&dir)?)
    {
        return Err(refused(path, "holds a log".into(), hint));
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
    if is_there(dir, store::CATALOGUE) && is_there(dir, store::LOCK) {
        return Ok(Some(Occupied::Store));
    }
    if datadir::is_log_dir(dir)? {
        return Ok(Some(Occupied::Log(datadir::profile_of(dir)?)));
    }
    Ok(is_there(dir, datadir::META).then_some(Occupied::DataDir))
}

fn is_there(dir: &Dir, name: &str) -> bool {
    dir.try_stat(name).is_ok_and(|stat| stat.is_some_and(|s| s.kind == FileKind::File))
}

fn refused(path: &Path, why: String, hint: &str) -> crate::error::Error {
    let what = format!("{} {why}", path.display());
    ValidationError::Refused { what, path: Some(path.to_owned()), hint: Some(hint.into()) }.into()
}
