//! Writable copies of a snapshot, for tests and experiments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Filled;
use super::options::{Detach, RestoreOptions};
use super::plan;
use super::target::{Target, remove_hidden, sweep_restores};
use crate::error::{Result, ValidationError};
use crate::fs::Dir;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::Restored;
use crate::store::Scope;

/// A writable copy of a snapshot, which is removed when this is dropped unless it is kept. The snapshot stays as it is,
/// whatever is written to the copy.
#[derive(Debug)]
pub struct Fork {
    place: Dir,
    name: OsString,
    dir: Dir,
    kept: bool,
}

impl Fork {
    pub(in crate::snapshot) fn new(place: Dir, name: impl Into<OsString>, dir: Dir) -> Fork {
        Fork { place, name: name.into(), dir, kept: false }
    }

    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves it where it is.
    pub fn keep(mut self) -> Dir {
        self.kept = true;
        self.dir.clone()
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        if !self.kept {
            remove_hidden(&self.place, &self.name);
        }
    }
}

/// Where forks go, and how many.
#[derive(Debug, Clone)]
pub struct ForkOptions {
    target: PathBuf,
    count: Option<u32>,
    part: Option<Scope>,
    verify: bool,
}

impl ForkOptions {
    /// One, a directory that must not exist yet, in one that does.
    pub fn to(target: impl Into<PathBuf>) -> Self {
        ForkOptions { target: target.into(), count: None, part: None, verify: false }
    }

    /// So many instead, beside each other: the target's name followed by `-1`, `-2` and so on.
    pub fn count(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Only a topic, or a partition, of a snapshot that holds more.
    pub fn only(mut self, part: Scope) -> Self {
        self.part = Some(part);
        self
    }

    /// Reads every byte of the snapshot and holds it against its digest before anything is made. Without it that is done for
    /// bytes that have to be copied; of those that are shared only the sizes are looked at.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    fn targets(&self) -> Vec<PathBuf> {
        let Some(count) = self.count else { return vec![self.target.clone()] };
        let name = self.target.file_name().unwrap_or_default();
        let numbered = |n: u32| {
            let mut name = name.to_owned();
            name.push(format!("-{n}"));
            self.target.with_file_name(name)
        };
        (1..=count).map(numbered).collect()
    }
}

impl SnapshotManager {
    /// Makes writable copies of a snapshot by reflink, without reading what is shared: of a log in milliseconds. Where the
    /// filesystem cannot share blocks they are copies, with a warning. No file is ever a hard link of the snapshot's.
    ///
    /// The snapshot's manifests are held against each other and the catalogue, and presence and size of its files against
    /// them; bytes are read where [`ForkOptions::verify`] asks for it. After `Ok` each fork is whole and durable. All of them are made,
    /// and made durable, in hidden directories beside the target before the first gets its name, and then get them one right after the other.
    /// After an error none is there. After a crash none is, or, where it came between these renames, some of them, each
    /// whole. The hidden directories that are left then are removed by the next fork to the same name, of whatever count; the
    /// observer is told.
    /// What a broker will do to a fork of its logs, [`surprises`](Self::surprises) tells; here nobody looks.
    ///
    /// # Errors
    ///
    /// As [`restore_id`](Self::restore_id), and `Validation` for a count of 0.
    pub fn fork(&self, id: &str, options: &ForkOptions) -> Result<Vec<(Fork, Restored)>> {
        let targets = options.targets();
        if targets.is_empty() {
            return Err(ValidationError::refused("there is nothing to make: the count is 0").into());
        }
        let store = self.store()?;
        let id = match &options.part {
            Some(part) => self.id_holding(&store, id, part)?,
            None => id.to_owned(),
        };
        let id = self.resolve(&store, &id)?;
        // The lock is held until all are made.
        let opened = self.open_snapshot(&store, id)?;
        let mut wanted = RestoreOptions::to(&options.target).method(Detach::Auto).forking();
        if let Some(part) = &options.part {
            wanted = wanted.only(part.clone());
        }
        let whole = opened.loaded?;
        let mut damage: Vec<_> = self.root_damage(&store, &whole)?.into_iter().collect();
        let loaded = plan::part_of(whole, &wanted)?;
        damage.extend(if options.verify { self.examine_all(&loaded)? } else { self.examine_quickly(&loaded)? });
        self.refuse(&store, &loaded, damage)?;
        self.tell_of_known(&store, id, |kind| !options.verify || kind.is_of_content());
        self.sweep_forks(options)?;
        let mut staged = Vec::with_capacity(targets.len());
        for path in targets {
            let target = Target::begin(self.fs(), &path, plan::is_one_log(&loaded), &self.deadline())?;
            let wanted = RestoreOptions { target: path, ..wanted.clone() };
            let Filled { restored, .. } = self.fill(&store, &loaded, &wanted, true, target.dir())?;
            staged.push((target, restored));
        }
        self.config().observer.check()?;
        let mut forks = Vec::with_capacity(staged.len());
        for (target, restored) in &mut staged {
            let (place, name) = target.place();
            target.appear()?;
            let dir = place.open_dir(&name)?;
            forks.push((Fork::new(place, name, dir), restored.clone()));
        }
        // They have one parent.
        staged.last().map_or(Ok(()), |(target, _)| target.settle())?;
        Ok(forks)
    }

    /// Of several, those that another count would not take for its own.
    fn sweep_forks(&self, options: &ForkOptions) -> Result<()> {
        let path = self.fs().canonical(&options.target);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Ok(());
        };
        let is_numbered = |of: &str| {
            let number = of.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        };
        let swept = sweep_restores(&Dir::open_on(self.fs().clone(), parent)?, is_numbered)?;
        if !swept.is_empty() {
            let swept = swept.join(", ");
            self.config().observer.warn(&format!("removed what a fork that died had left: {swept}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lie_beside_each_other() {
        assert_eq!(ForkOptions::to("a/b").targets(), [PathBuf::from("a/b")]);
        assert_eq!(ForkOptions::to("a/b").count(2).targets(), [PathBuf::from("a/b-1"), PathBuf::from("a/b-2")]);
        assert_eq!(ForkOptions::to("a/b/").count(1).targets(), [PathBuf::from("a/b-1")]);
        assert!(ForkOptions::to("a").count(0).targets().is_empty());
    }
}
