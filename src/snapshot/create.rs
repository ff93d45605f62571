//! Taking a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::ahead::{Ahead, Links, missed};
use super::budget::Budget;
use super::capture::{Capture, Context, Staged, Wanted};
use super::describe::{Assembled, Described};
use super::hash::hash_all;
use super::log_capture::{CapturedLog, LogCapture};
use super::manager::SnapshotManager;
use super::outcome::{Created, SnapshotInfo};
use super::previous::{Previous, PreviousLog};
use super::source::Source;
use super::staging::StagedSnapshot;
use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, LockMode, Method, Open, Sharer, settle, try_lock_dir};
use crate::log::{HeldCut, Listing};
use crate::store::{DirManifest, Manifest, Record, SourceManifest, State, Store, VERSION, rfc3339};

/// A snapshot about to be taken; see [`SnapshotManager::create`].
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Create<'m> {
    manager: &'m SnapshotManager,
    force: bool,
    accept_loss: bool,
    tags: BTreeSet<String>,
    cut: Option<HeldCut>,
}

impl<'m> Create<'m> {
    pub(super) fn new(manager: &'m SnapshotManager) -> Self {
        Create { manager, force: false, accept_loss: false, tags: BTreeSet::new(), cut: None }
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

    /// Gives the snapshot a tag.
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
    /// `Validation`: no such source, not a log, too much to copy. `Concurrency`: too soon after the last snapshot, a
    /// lock not had in time, a broker runs on the source. `Filesystem`: disk full, permission, I/O.
    /// `Integrity`: a cut was given and the log does not hold it; records are gone that were safe on the disk.
    /// `Interrupted`: the observer was cancelled.
    pub fn run(self) -> Result<Created> {
        let started = Instant::now();
        let Create { manager, force, accept_loss, tags, cut } = self;
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
        let created = take(manager, &store, source, (force, accept_loss), state, started);
        if made && created.is_err() {
            store.abandon();
        }
        created
    }
}

fn take(
    manager: &SnapshotManager,
    store: &Store,
    source: Source,
    (force, accept_loss): (bool, bool),
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
        let context = Context { profile: source.profile, sharer, budget, observer, ahead: &ahead, now, accept_loss };
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
    // To give back the memory of a large one takes as long as to publish.
    rayon::spawn(move || drop(manifest));
    observer.check()?;

    let guard = store.lock(LockMode::Exclusive, &deadline)?;
    if !force {
        // Another create may have come first meanwhile.
        let records = store.reconcile()?.catalogue.snapshots;
        too_soon(manager, records.iter().rfind(|r| r.scope == record.scope && r.damaged.is_none()), now)?;
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

/// Everything but the manifests: links, clones, copies, digests.
fn assemble(
    manager: &SnapshotManager,
    store: &Store,
    source: Source,
    staged: &StagedSnapshot,
    previous: Option<&Previous>,
    context: &Context<'_>,
) -> Result<Assembled> {
    let observer = context.observer;
    let (previous_logs, listings) = rayon::join(
        || source.logs.par_iter().map(|log| previous_log(previous, &log.prefix)).collect::<Result<Vec<_>>>(),
        || source.logs.par_iter().map(|log| log.list(context.now)).collect::<Result<Vec<_>>>(),
    );
    let (previous_logs, listings) = (previous_logs?, listings?);
    let has_root = source.logs.iter().all(|l| !l.prefix.is_empty());
    let previous_root = if has_root { previous_log(previous, "")? } else { None };

    let in_logs: usize = listings.iter().map(Listing::files).sum();
    observer.phase("share", (in_logs + source.root_files.len()) as u64, 0);
    let mut root = Capture::new(&source.dir, staged.dir().clone(), "", previous_root.as_ref());
    root.expect(source.root_files.iter().map(|name| Wanted::side(name.clone())).collect(), context);
    let mut logs = Ok(Vec::new());
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| {
            let begun = source.logs.par_iter().zip(&listings).zip(&previous_logs).map(|((log, listing), previous)| {
                let dir = match log.prefix.as_str() {
                    "" => staged.dir().clone(),
                    prefix => staged.dir().make_dir(prefix, log.dir.stat_self()?.mode & 0o777 | 0o700)?,
                };
                LogCapture::begin(log, listing, dir, previous.as_ref(), context)
            });
            logs = begun.collect::<Result<Vec<_>>>();
            context.ahead.begin();
        });
        // Everybody would wait for the manifests. Not in the pool: a worker that waits for another makes links meanwhile,
        // all of a large directory.
        previous.and_then(Previous::loaded)
    });
    let mut logs = logs?;
    logs.par_iter_mut().try_for_each(|log| log.inherit(context))?;
    root.inherit(context)?;

    let mut plan = root.plan(context)?;
    for log in &logs {
        plan = plan + log.plan(context)?;
    }
    context.budget.accept(&plan)?;
    store.dir().expect_room(plan.copied)?;

    // A broker's checkpoints must not be newer than its logs: they go first.
    root.share_rest(context)?;
    let captured = logs.into_par_iter().map(|l| l.finish(context)).collect::<Result<Vec<_>>>()?;
    let root = root.into_staged();
    source.still_at_rest()?;
    finish(manager, source, staged, root, captured, context.now)
}

fn previous_log<'a>(previous: Option<&'a Previous>, prefix: &'a str) -> Result<Option<PreviousLog<'a>>> {
    previous.map_or(Ok(None), |previous| previous.log(prefix))
}

/// Digests, durability of the new bytes, and the manifest.
fn finish(
    manager: &SnapshotManager,
    source: Source,
    staged: &StagedSnapshot,
    root: Vec<Staged>,
    captured: Vec<CapturedLog>,
    now: i64,
) -> Result<Assembled> {
    let observer = &manager.config().observer;
    let mut dirs = vec![DirManifest::new("", &source.dir.attributes()?)];
    let mut left_out = source.left_out.clone();
    let mut staging = BTreeMap::from([(String::new(), staged.dir().clone())]);
    let mut files = root;
    let mut logs = Vec::with_capacity(captured.len());
    for (mut log, from) in captured.into_iter().zip(&source.logs) {
        if !from.prefix.is_empty() {
            dirs.push(DirManifest::new(&from.prefix, &from.dir.attributes()?));
            staging.insert(from.prefix.clone(), log.staging);
        }
        if files.len() < log.staged.len() {
            std::mem::swap(&mut files, &mut log.staged);
        }
        files.append(&mut log.staged);
        logs.push(log.manifest);
        left_out.extend(log.left_out);
    }
    // Truncation and retention may go on: what was shared is in the staging directory.
    let source_manifest = SourceManifest {
        path: manager.fs().canonical(source.path()).to_string_lossy().into_owned(),
        kind: source.kind,
        profile: source.profile,
        scope: source.scope.clone(),
    };
    drop(source);

    let unread = || files.iter().filter(|f| f.digest.is_none());
    let to_hash: Vec<(&Dir, &str)> = unread().filter_map(|f| place(&staging, &f.manifest.path)).collect();
    let bytes_to_hash = unread().map(|f| f.manifest.size).sum();
    observer.phase("hash", to_hash.len() as u64, bytes_to_hash);
    let hashed = hash_all(&to_hash, observer);
    for (file, hashed) in files.iter_mut().filter(|f| f.digest.is_none()).zip(hashed) {
        let (digest, size) = hashed?;
        file.digest = Some(digest);
        file.manifest.size = size;
    }
    make_durable(&files, &staging)?;
    let manifest = Manifest {
        version: VERSION,
        requires: Vec::new(),
        id: staged.id(),
        created_at: rfc3339(now),
        created_ms: now,
        cowlog: env!("CARGO_PKG_VERSION").into(),
        source: source_manifest,
        logs,
        dirs,
        files: Vec::new(),
    };
    let dirs = staging.into_values().collect();
    Ok(Assembled { files, manifest, dirs, left_out, bytes_hashed: bytes_to_hash })
}

/// Clones and copies need a sync of their own; links of durable files do not. Serially: parallel syncs are slower on
/// btrfs, and no faster elsewhere. A clone that is not synced comes back empty after a power cut.
fn make_durable(files: &[Staged], staging: &BTreeMap<String, Dir>) -> Result<()> {
    /// Above so many one sync of the whole filesystem is cheaper, though it waits for other people's data too.
    const MANY: usize = 500;
    let fresh: Vec<&Staged> = files.iter().filter(|f| f.fresh && f.manifest.method != Method::Inherit).collect();
    if fresh.len() > MANY
        && let Some(first) = staging.values().next()
    {
        return first.sync_filesystem();
    }
    for (dir, name) in fresh.iter().filter_map(|f| place(staging, &f.manifest.path)) {
        dir.open_file(name, Open::Read)?.sync()?;
    }
    Ok(())
}

/// The directory and the name of a file that is staged.
fn place<'a>(staging: &'a BTreeMap<String, Dir>, path: &'a str) -> Option<(&'a Dir, &'a str)> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    Some((staging.get(dir)?, name))
}
