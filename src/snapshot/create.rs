//! Taking a snapshot.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ahead::{Ahead, Links, missed};
use super::assemble::assemble;
use super::budget::Budget;
use super::capture::Context;
use super::describe::Described;
use super::manager::SnapshotManager;
use super::outcome::{Created, SnapshotInfo};
use super::previous::Previous;
use super::source::Source;
use super::staging::StagedSnapshot;
use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, LockMode, Sharer, settle, try_lock_dir};
use crate::log::HeldCut;
use crate::store::{Record, State, Store};

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
}

impl<'m> Create<'m> {
    pub(super) fn new(manager: &'m SnapshotManager) -> Self {
        Create { manager, force: false, accept_loss: false, allow_partial: false, tags: BTreeSet::new(), cut: None }
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

    /// Takes the snapshot.
    ///
    /// After `Ok` it is published and survives a power cut at any later moment. After an error nothing is listed
    /// that was not before, and what was staged is removed; only an error of the very last sync leaves the outcome
    /// unknown, and says so. The log is never written to.
    ///
    /// # Errors
    ///
    /// `Validation`: no such source, not a log, too much to copy, more or longer tags than there may be. `Concurrency`: too soon after the last snapshot, a
    /// lock not had in time, a broker runs on the source. `Filesystem`: disk full, permission, I/O.
    /// `Integrity`: a cut was given and the log does not hold it; records are gone that were safe on the disk.
    /// `Interrupted`: the observer was cancelled.
    pub fn run(self) -> Result<Created> {
        let started = Instant::now();
        let Create { manager, force, accept_loss, allow_partial, tags, cut } = self;
        check_tags(tags.iter().map(String::as_str))?;
        let config = manager.config();
        let observer = &config.observer;
        let deadline = manager.deadline();
        let in_data_store = manager.location()?.is_some_and(|found| found.scope.is_some());
        let source = Source::open(
            manager.fs(),
            (manager.source(), manager.scope()),
            config.profile,
            in_data_store,
            cut,
            &deadline,
            observer,
        )?;
        let (store, made) = manager.make_store(&source)?;
        let state = State { tags, ..State::default() };
        let created = take(manager, &store, source, (force, accept_loss, allow_partial), state, started);
        if made && created.is_err() {
            store.abandon();
        }
        created
    }
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

fn take(
    manager: &SnapshotManager,
    store: &Store,
    source: Source,
    (force, accept_loss, allow_partial): (bool, bool, bool),
    state: State,
    started: Instant,
) -> Result<Created> {
    let config = manager.config();
    let observer = &config.observer;
    let deadline = manager.deadline();
    let now = config.clock.now();
    refuse_strange_store(manager, store, &source)?;
    let (staged, mut previous) = begin(manager, store, &source, force, now, &deadline)?;
    let sharer = Sharer::new(config.method, observer);
    let store_path = store.dir().path();
    let budget = Budget::new(config.max_copy, config.method, &source.dir, store_path);
    // The scope ends when all links have been tried.
    let (mut described, links) = rayon::in_place_scope(|scope| {
        let start = |links: Arc<Links>| scope.spawn(move |_| links.make());
        let ahead = Ahead::new(&start);
        let (sharer, budget) = (&sharer, &budget);
        let (profile, deadline, ahead_of) = (source.profile, &deadline, &ahead);
        let context =
            Context { profile, sharer, budget, observer, deadline, ahead: ahead_of, now, accept_loss, allow_partial };
        let assembled = assemble(manager, store, source, &staged, previous.as_ref(), &context)?;
        // They are as large as the new ones; what is left of it keeps it from being deleted.
        if let Some(manifests) = previous.as_mut().and_then(Previous::unload) {
            scope.spawn(move |_| drop(manifests));
        }
        let described = Described::write(assembled, &staged, &state, observer)?;
        Ok::<_, Error>((described, ahead.into_links()))
    })?;
    described.share_missed(&missed(&links)?, &staged, &sharer, &budget)?;
    let Described { manifest, root, dirs, left_out, bytes_hashed, .. } = described;
    settle(&dirs, manifest.files.len())?;
    let record = Record::of(&manifest, &root, &state);
    let missing = manifest.missing.clone();
    // To give back the memory of a large one takes as long as to publish.
    rayon::spawn(move || drop(manifest));
    observer.publishing(&record.id.to_string(), &record.root);
    observer.check()?;

    let guard = store.lock(LockMode::Exclusive, &deadline)?;
    if !force {
        // Another create may have come first meanwhile, also one that began later: its age is that of now.
        let records = store.reconcile()?.catalogue.snapshots;
        let last = records.iter().rfind(|r| r.scope == record.scope && r.damaged.is_none());
        too_soon(manager, last, config.clock.now())?;
    }
    let record = staged.publish(|| {
        let record = store.published(record)?;
        let catalogue = store.reconcile_with(Some(record.clone())).map(|reconciled| reconciled.catalogue);
        store.settle(catalogue, &guard, observer)?;
        Ok(record)
    })?;
    drop(guard);
    Ok(Created {
        snapshot: SnapshotInfo::of(record, store.dir().path()),
        elapsed_ms: started.elapsed().as_secs_f64() * 1000.0,
        bytes_hashed,
        left_out,
        missing,
    })
}

/// Under the store's lock: is it time, which id, which snapshot to inherit from.
fn begin(
    manager: &SnapshotManager,
    store: &Store,
    source: &Source,
    force: bool,
    now: i64,
    deadline: &Deadline,
) -> Result<(StagedSnapshot, Option<Previous>)> {
    let guard = store.lock(LockMode::Exclusive, deadline)?;
    // Leftovers of the dead may be in the way of a full disk; that they cannot be removed is no reason to stop.
    let _ = store.sweep(&guard);
    let records = store.reconcile()?.catalogue.snapshots;
    let of_scope = |r: &&Record| r.scope == source.scope && r.damaged.is_none();
    if !force {
        too_soon(manager, records.iter().rfind(of_scope), now)?;
    }
    let id = store.next_id(now, &guard)?;
    let mode = store.dir().stat_self()?.mode & 0o777;
    let staged = StagedSnapshot::begin(store.dir(), id, mode)?;
    // The newest of the same scope, else the newest that holds it.
    let newest = records.iter().filter(of_scope).rev();
    let wider = records.iter().filter(|r| r.scope.holds(&source.scope) && r.damaged.is_none()).rev();
    let held = newest.chain(wider).find_map(|r| {
        let guard = try_lock_dir(store.dir(), r.id.to_string(), LockMode::Shared).ok().flatten()?;
        Some((r.id, guard))
    });
    drop(guard);
    let previous = held.and_then(|(id, guard)| Some(Previous::new(id, guard.dir()?.clone(), guard)));
    Ok((staged, previous))
}

/// A store that was named must not be another source's: each would prune and restore what is the other's. Looked at before
/// the store is locked: reading a manifest may take longer than others should wait.
fn refuse_strange_store(manager: &SnapshotManager, store: &Store, source: &Source) -> Result<()> {
    let Some(named) = &manager.config().store else { return Ok(()) };
    let records = store.reconcile()?.catalogue.snapshots;
    let last = records.iter().rfind(|r| r.scope == source.scope && r.damaged.is_none());
    let Some(Ok(loaded)) = last.map(|r| store.load(r.id)) else { return Ok(()) };
    let (theirs, ours) = (PathBuf::from(loaded.manifest.source.path), manager.fs().canonical(source.path()));
    // One that is gone was moved.
    if theirs == ours || Dir::open_on(manager.fs().clone(), &theirs).is_err() {
        return Ok(());
    }
    Err(ValidationError::Refused {
        what: format!("{} holds the snapshots of {}", named.display(), theirs.display()),
        path: Some(named.clone()),
        hint: Some("give each source a store of its own".into()),
    }
    .into())
}

fn too_soon(manager: &SnapshotManager, last: Option<&Record>, now: i64) -> Result<()> {
    let min_interval = manager.config().min_interval;
    let Some(last) = last else { return Ok(()) };
    // A clock that went backwards makes the last one lie in the future: that is not "too soon".
    let Ok(age) = u64::try_from(now.saturating_sub(last.timestamp)) else { return Ok(()) };
    let age = Duration::from_millis(age);
    if age < min_interval {
        return Err(ConcurrencyError::TooSoon { last: last.id.to_string(), age, min_interval }.into());
    }
    Ok(())
}
