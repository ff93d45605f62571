//! Where the store of a source is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::Scope;
use super::{IN_LOG, SUFFIX};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, FileKind, Fs};
use crate::kafka::datadir;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The directory.
    pub path: PathBuf,
    /// In the store beside its data directory, the scope that the source's name gives.
    pub scope: Option<Scope>,
}

/// Looks for the store of `source`, which need not exist any more: at `explicit`, else in the source, beside it,
/// beside the data directory that it is a partition of.
pub fn locate(fs: &Arc<dyn Fs>, source: &Path, explicit: Option<&Path>) -> Result<Option<Location>> {
    let source = fs.canonical(source);
    let scope = partition_scope(&source);
    if let Some(path) = explicit {
        let path = fs.canonical(path);
        return match is_dir(fs, &path)? {
            None => Ok(None),
            Some(true) => Ok(Some(Location { path, scope: None })),
            Some(false) => Err(ValidationError::Refused {
                what: format!("{} is not a directory, so it is no store", path.display()),
                path: Some(path),
                hint: Some("name a directory, or one that is to be made".into()),
            }
            .into()),
        };
    }
    let beside_parent = source.parent().filter(|_| scope.is_some()).and_then(beside);
    let inside = Some(source.join(IN_LOG));
    for (path, scope) in [(inside, None), (beside(&source), None), (beside_parent, scope)] {
        let Some(path) = path else { continue };
        if is_dir(fs, &path)? == Some(true) {
            return Ok(Some(Location { path, scope }));
        }
    }
    Ok(None)
}

/// The places that [`locate`] looks at, for messages.
pub fn places(fs: &Arc<dyn Fs>, source: &Path, explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = explicit {
        return vec![path.to_owned()];
    }
    let source = fs.canonical(source);
    let beside_parent = source.parent().filter(|_| partition_scope(&source).is_some()).and_then(beside);
    [Some(source.join(IN_LOG)), beside(&source), beside_parent].into_iter().flatten().collect()
}

/// `<path>.snapshots`
pub fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(SUFFIX);
    Some(path.with_file_name(name))
}

/// The partition whose directory's name this is.
pub fn partition_scope(source: &Path) -> Option<Scope> {
    let found = datadir::parse_partition_name(source.file_name()?.to_str()?)?;
    Some(Scope::Partition { topic: found.topic, partition: found.partition })
}

/// Whether what is there is a directory, or a link to one; `None` where nothing is.
fn is_dir(fs: &Arc<dyn Fs>, path: &Path) -> Result<Option<bool>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match Dir::open_on(fs.clone(), parent) {
        Ok(parent) => {
            let stat = parent.try_stat(name)?;
            Ok(stat.map(|stat| stat.kind == FileKind::Dir || Dir::open_on(fs.clone(), path).is_ok()))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(e) => Err(e),
    }
}
