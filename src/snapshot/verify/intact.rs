//! Where an intact copy of a damaged file is.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::examine::{open_dirs, place};
use super::hash::hash_all;
use crate::error::{Damage, Result};
use crate::fs::Dir;
use crate::observe::Observer;
use crate::snapshot::manager::SnapshotManager;
use crate::store::{Loaded, SourceKind, Store};

/// For damaged files of a snapshot, as far as there is one, a file that has the recorded digest now: of the source
/// itself, or else of the newest other snapshot. Each candidate was read; an inode that is shared is read once.
pub(in crate::snapshot) fn find(
    manager: &SnapshotManager,
    store: &Store,
    damaged: &Loaded,
    damage: &[Damage],
) -> Result<BTreeMap<String, PathBuf>> {
    let observer = &manager.config().observer;
    let mut search = Search { damaged, observer, tried: HashSet::new(), found: BTreeMap::new() };
    // Where the digest holds, a copy with the same digest is as wrong.
    let mut wanted: Vec<&str> = damage.iter().filter(|d| d.kind.is_of_bytes()).map(|d| d.path.as_str()).collect();
    search.skip(&wanted)?;
    let source = Path::new(&damaged.manifest.source.path);
    for path in &wanted {
        let within = match damaged.manifest.source.kind {
            SourceKind::Data => path,
            SourceKind::Log => path.rsplit('/').next().unwrap_or(path),
        };
        if let (Some(parent), Some(name)) = (source.join(within).parent(), path.rsplit('/').next())
            && let Ok(dir) = Dir::open_on(manager.fs().clone(), parent)
        {
            search.look(path, &dir, name)?;
        }
    }
    for id in store.ids()?.into_iter().rev().filter(|id| *id != damaged.id) {
        wanted.retain(|path| !search.found.contains_key(*path));
        if wanted.is_empty() {
            break;
        }
        let Ok(other) = store.load(id) else { continue };
        let Ok(dirs) = open_dirs(&other) else { continue };
        for path in &wanted {
            if other.digests.get(path) == damaged.digests.get(path)
                && let Some((dir, name)) = place(&dirs, path)
            {
                search.look(path, dir, name)?;
            }
        }
    }
    Ok(search.found)
}

/// The same in words for whoever was refused a damaged snapshot; `None` where there is no intact copy.
pub(in crate::snapshot) fn where_from(
    manager: &SnapshotManager,
    store: &Store,
    damaged: &Loaded,
    damage: &[Damage],
) -> Result<Option<String>> {
    const NAMED: usize = 3;
    let found = find(manager, store, damaged, damage)?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut copies: Vec<String> = Vec::new();
    for (path, copy) in found.iter().take(NAMED) {
        let holder = copy.strip_prefix(store.dir().path()).ok().and_then(|within| within.iter().next());
        let of = holder.map_or("the live log".into(), |id| id.to_string_lossy().into_owned());
        copies.push(format!("{of} has an intact {path}: {}", copy.display()));
    }
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let all = damage.iter().all(|d| found.contains_key(&d.path));
    let mends = if all { "mends it" } else { "mends these" };
    Ok(Some(format!("`cowlog repair --heal` {mends}; {}{more}", copies.join("; "))))
}

struct Search<'a> {
    damaged: &'a Loaded,
    observer: &'a Observer,
    /// Device and inode, with the path: a damaged file is not read again under another name.
    tried: HashSet<(u64, u64, String)>,
    found: BTreeMap<String, PathBuf>,
}

impl Search<'_> {
    /// The damaged inodes themselves.
    fn skip(&mut self, wanted: &[&str]) -> Result<()> {
        let dirs = open_dirs(self.damaged)?;
        for path in wanted {
            if let Some((dir, name)) = place(&dirs, path)
                && let Ok(Some(stat)) = dir.try_stat(name)
            {
                self.tried.insert((stat.dev, stat.ino, (*path).to_owned()));
            }
        }
        Ok(())
    }

    fn look(&mut self, path: &str, dir: &Dir, name: &str) -> Result<()> {
        self.observer.check()?;
        let (Ok(Some(stat)), Some(digest)) = (dir.try_stat(name), self.damaged.digests.get(path)) else {
            return Ok(());
        };
        let files = &self.damaged.manifest.files;
        let file = files.binary_search_by(|f| f.path.as_str().cmp(path)).ok().and_then(|at| files.get(at));
        if file.is_none_or(|f| f.size != stat.size) || !self.tried.insert((stat.dev, stat.ino, path.to_owned())) {
            return Ok(());
        }
        // One that cannot be read is no copy.
        if let Some(Ok((found, _))) = hash_all(&[(dir, name)], self.observer).pop()
            && found == digest
        {
            self.found.insert(path.to_owned(), dir.path_of(name));
        }
        Ok(())
    }
}
