//! Taking a snapshot.

pub(in crate::snapshot) mod active;
pub(in crate::snapshot) mod ahead;
pub(in crate::snapshot) mod assemble;
pub(in crate::snapshot) mod attempt;
pub(in crate::snapshot) mod budget;
pub(in crate::snapshot) mod capture;
pub(in crate::snapshot) mod describe;
pub(in crate::snapshot) mod log_capture;
pub(in crate::snapshot) mod marks;
pub(in crate::snapshot) mod previous;
pub(in crate::snapshot) mod second_look;
pub(in crate::snapshot) mod side;
pub(in crate::snapshot) mod staging;
pub(in crate::snapshot) mod take;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use crate::error::{Result, ValidationError};
use crate::log::HeldCut;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::Created;
use crate::store::State;
use take::{How, Part, take};

/// A snapshot about to be taken; see [`SnapshotManager::create`].
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Create<'m> {
    manager: &'m SnapshotManager,
    force: bool,
    accept_loss: bool,
    allow_partial: bool,
    tags: BTreeSet<String>,
    cut: Option<HeldCut>,
    others: Vec<&'m SnapshotManager>,
}

impl<'m> Create<'m> {
    pub(in crate::snapshot) fn new(manager: &'m SnapshotManager) -> Self {
        Create {
            manager,
            force: false,
            accept_loss: false,
            allow_partial: false,
            tags: BTreeSet::new(),
            cut: None,
            others: Vec::new(),
        }
    }

    /// Passes over `min_interval`.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Takes a source that has lost records as it is, with a warning. Without it that is an error, because a snapshot of
    /// what is left would in time push out the good ones.
    pub fn accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }

    /// Leaves out the logs of a running broker that do not come to rest, instead of failing with `Busy`;
    /// [`Created::missing`] and the snapshot's manifest name them.
    pub fn allow_partial(mut self, allow: bool) -> Self {
        self.allow_partial = allow;
        self
    }

    /// Gives the snapshot a tag: 1 to 128 bytes without control characters. It can have 64 of them.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Takes the log exactly up to a cut that its writer named with [`Log::cut`](crate::log::Log::cut).
    /// Without it the cut is decided from outside: behind the last batch whose CRC holds.
    pub fn at(mut self, cut: HeldCut) -> Self {
        self.cut = Some(cut);
        self
    }

    /// Takes another data directory along: the `log.dirs` of one broker. What is taken of each lies in its own store, under the
    /// same id; each part names the stores and roots of the others. Nothing is published before all of it is staged; where
    /// only some parts are there, listings say so ([`SnapshotInfo::incomplete`](crate::snapshot::SnapshotInfo::incomplete)).
    pub fn with(mut self, other: &'m SnapshotManager) -> Self {
        self.others.push(other);
        self
    }

    /// Takes the snapshot; of several directories this gives the first one's part.
    ///
    /// After `Ok` it is published and survives a power cut at any later moment. After an error nothing is listed
    /// that was not before, and what was staged is removed; only an error of the very last sync leaves the outcome
    /// unknown, and says so. Of several parts some may have been published before such an error: they are listed as incomplete. The log is never written to.
    ///
    /// A log that a broker is writing to is taken without its help: one moment of its history, or `Busy` where five more tries
    /// did not get one. Logs are taken one after the other; how far apart their moments may be, and what a broker makes of
    /// that, is in `docs/kafka.md`.
    ///
    /// # Errors
    ///
    /// `Validation`: no such source, not a log, too much to copy, more or longer tags than there may be. `Concurrency`:
    /// too soon after the last snapshot, a lock not had in time, a broker was started on the source meanwhile, or a log
    /// of one that runs did not come to rest. `Filesystem`: disk full, permission, I/O.
    /// `Integrity`: a cut was given and the log does not hold it; records are gone that were safe on the disk.
    /// `Interrupted`: the observer was cancelled.
    pub fn run(self) -> Result<Created> {
        let nothing = || ValidationError::refused("nothing was taken; this is a fault of cowlog");
        self.run_all()?.into_iter().next().ok_or_else(|| nothing().into())
    }

    /// The same, with the part of each directory in the order in which they were given.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); and where a part could not be published that others had been published before it.
    pub fn run_all(mut self) -> Result<Vec<Created>> {
        let started = Instant::now();
        check_tags(self.tags.iter().map(String::as_str))?;
        let mut managers = vec![self.manager];
        managers.append(&mut self.others);
        refuse_mixed(&managers, self.cut.is_some())?;
        let mut cut = self.cut.take();
        let mut parts = Vec::with_capacity(managers.len());
        for manager in managers {
            match Part::open(manager, cut.take()) {
                Ok(part) => parts.push(part),
                Err(e) => {
                    parts.iter().for_each(Part::abandon);
                    return Err(e);
                }
            }
        }
        let how = How {
            force: self.force,
            accept_loss: self.accept_loss,
            allow_partial: self.allow_partial,
            state: State { tags: self.tags, ..State::default() },
            started,
        };
        let created = take(&mut parts, &how);
        if created.is_err() {
            parts.iter().for_each(Part::abandon);
        }
        created
    }
}

/// Each directory has a store of its own, and is taken once.
fn refuse_mixed(managers: &[&SnapshotManager], cut: bool) -> Result<()> {
    let [first, _, ..] = managers else { return Ok(()) };
    if cut || managers.iter().any(|m| m.config().store.is_some() || m.scope().is_some()) {
        let what = "several directories are taken whole, each into its own store, and from outside";
        return Err(ValidationError::refused(what).into());
    }
    let mut paths: Vec<PathBuf> = managers.iter().map(|m| first.fs().canonical(m.source())).collect();
    paths.sort();
    for (one, other) in paths.iter().zip(paths.iter().skip(1)) {
        if other.starts_with(one) {
            let what = format!("{} and {} are the same directory, or one in the other", one.display(), other.display());
            return Err(ValidationError::refused(what).into());
        }
    }
    Ok(())
}

/// What every listing shows is bounded.
pub(crate) fn check_tags<'a>(tags: impl Iterator<Item = &'a str>) -> Result<()> {
    const MOST: usize = 64;
    const LONGEST: usize = 128;
    let mut count = 0;
    for tag in tags {
        count += 1;
        if !(1..=LONGEST).contains(&tag.len()) || tag.contains(char::is_control) {
            let what = "a tag has 1 to 128 bytes, none of them of a control character";
            return Err(ValidationError::refused(what).into());
        }
    }
    match count > MOST {
        true => Err(ValidationError::refused(format!("a snapshot has at most {MOST} tags")).into()),
        false => Ok(()),
    }
}
