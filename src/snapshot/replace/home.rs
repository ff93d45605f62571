//! Where that lies which replacements took out of a source: never in a data directory, always on its filesystem.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, FileKind, Fs};
use crate::snapshot::inside;
use crate::store::{self, Scope, parse_undo_name};

/// A log that stands alone, or a data directory: what entries belong to. They lie beside it or in the store beside it and
/// are found by where they lie, so that all of it may be moved together.
pub(in crate::snapshot) struct Home {
    pub(in crate::snapshot) path: PathBuf,
    pub(in crate::snapshot) parent: Dir,
    pub(in crate::snapshot) name: OsString,
    /// The partition that the source is of it.
    pub(in crate::snapshot) part: Option<String>,
}

/// A directory that has entries, and how their names begin.
#[derive(Clone)]
pub(in crate::snapshot) struct Place {
    pub(in crate::snapshot) dir: Dir,
    pub(in crate::snapshot) prefix: OsString,
}

impl Home {
    /// That of a source, which need not exist. A partition belongs to its data directory where a broker has marked that, or
    /// where its snapshots are in the data directory's store.
    pub(in crate::snapshot) fn of(fs: &Arc<dyn Fs>, source: &Path) -> Result<Home> {
        let path = fs.canonical(source);
        if let (Some(Scope::Partition { .. }), Some(data)) = (store::partition_scope(&path), path.parent()) {
            let located = store::locate(fs, &path, None)?;
            let in_data_store = located.is_some_and(|found| found.scope.is_some());
            if in_data_store || inside::is_brokers(&Dir::open_on(fs.clone(), data)?) {
                let part = path.file_name().and_then(OsStr::to_str).map(str::to_owned);
                return Ok(Home { part, ..Home::at(fs, data)? });
            }
        }
        Home::at(fs, &path)
    }

    /// That of exactly this directory.
    pub(in crate::snapshot) fn at(fs: &Arc<dyn Fs>, path: &Path) -> Result<Home> {
        let path = fs.canonical(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let what = format!("{} cannot be replaced: nothing can be put beside it", path.display());
            return Err(ValidationError::refused(what).into());
        };
        Ok(Home { parent: Dir::open_on(fs.clone(), parent)?, name: name.to_owned(), path, part: None })
    }

    /// The directory itself, open.
    pub(in crate::snapshot) fn open(&self) -> Result<Dir> {
        self.parent.open_dir(&self.name)
    }

    fn beside(&self) -> Place {
        let mut prefix = OsString::from(".");
        prefix.push(&self.name);
        Place { dir: self.parent.clone(), prefix }
    }

    fn in_store(&self) -> Result<Option<Place>> {
        let Some(path) = store::beside(&self.path) else { return Ok(None) };
        match Dir::open_on(self.parent.fs().clone(), &path) {
            Ok(dir) => Ok(Some(Place { dir, prefix: OsString::new() })),
            Err(e) if e.is_not_found() => Ok(None),
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Where entries may be.
    pub(in crate::snapshot) fn places(&self) -> Result<Vec<Place>> {
        Ok(self.in_store()?.into_iter().chain([self.beside()]).collect())
    }

    /// Where a new one is to be: in the store beside it where that is on the same filesystem, else beside it.
    pub(in crate::snapshot) fn place(&self) -> Result<Place> {
        let device = self.device()?;
        if let Some(place) = self.in_store()?
            && place.dir.stat_self()?.dev == device
        {
            return Ok(place);
        }
        if self.parent.stat_self()?.dev == device {
            return Ok(self.beside());
        }
        Err(ValidationError::Refused {
            what: format!(
                "{} is a mount point, so what is taken out of it would have to lie in it, where it may not be",
                self.path.display()
            ),
            path: Some(self.path.clone()),
            hint: Some(
                "use a directory of that filesystem, not its root; or restore with `--to` and move it yourself".into(),
            ),
        }
        .into())
    }

    fn device(&self) -> Result<u64> {
        match self.parent.try_stat(&self.name)? {
            Some(stat) if stat.kind == FileKind::Dir => Ok(stat.dev),
            Some(_) => Err(ValidationError::refused(format!("{} is not a directory", self.path.display())).into()),
            None => Ok(self.parent.stat_self()?.dev),
        }
    }

    /// A mount point has no place that could be exchanged for another.
    pub(in crate::snapshot) fn refuse_mount_point(&self) -> Result<()> {
        if self.device()? == self.parent.stat_self()?.dev {
            return Ok(());
        }
        Err(ValidationError::Refused {
            what: format!(
                "{} is a mount point, or a subvolume of its own: it cannot be exchanged for another directory",
                self.path.display()
            ),
            path: Some(self.path.clone()),
            hint: Some("restore with `--to` into a directory in it, and let the writer use that".into()),
        }
        .into())
    }

    /// All entries, oldest first: place, name, number, and whether it is partial.
    pub(in crate::snapshot) fn entries(&self) -> Result<Vec<(Place, OsString, u64, bool)>> {
        let mut found = Vec::new();
        for place in self.places()? {
            for entry in place.dir.list()? {
                if let Some((id, partial)) = parse_undo_name(&place.prefix, &entry.name)
                    && entry.kind == FileKind::Dir
                {
                    found.push((place.clone(), entry.name, id, partial));
                }
            }
        }
        found.sort_by_key(|(_, _, id, _)| *id);
        Ok(found)
    }
}
