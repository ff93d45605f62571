//! From a source that is open to a snapshot that is published; of several directories all at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ahead::{Ahead, Queue, missed};
use super::assemble::{Share, assemble};
use super::budget::Budget;
use super::capture::Context;
use super::describe::Described;
use super::previous::Previous;
use super::staging::StagedSnapshot;
use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, Guard, LockMode, Sharer, settle, try_lock_dir, write_new_file};
use crate::log::HeldCut;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::{Created, SnapshotInfo};
use crate::snapshot::set::incomplete;
use crate::snapshot::source::Source;
use crate::store::{Newest, Record, STATE, Scope, SetMember, SnapshotId, State, Stock, Store};

/// One directory of a snapshot, and the store of its part.
pub(in crate::snapshot) struct Part<'m> {
    manager: &'m SnapshotManager,
    store: Store,
    /// Whether the store was made for this snapshot.
    made: bool,
    source: Option<Source>,
}

/// What all parts have in common.
pub(in crate::snapshot) struct How {
    pub(in crate::snapshot) force: bool,
    pub(in crate::snapshot) accept_loss: bool,
    pub(in crate::snapshot) allow_partial: bool,
    pub(in crate::snapshot) state: State,
    pub(in crate::snapshot) started: Instant,
}

impl<'m> Part<'m> {
    pub(in crate::snapshot) fn open(manager: &'m SnapshotManager, cut: Option<HeldCut>) -> Result<Self> {
        let config = manager.config();
        let in_data_store = manager.location()?.is_some_and(|found| found.scope.is_some());
        let of = (manager.source(), manager.scope());
        let deadline = manager.deadline();
        let source = Source::open(manager.fs(), of, config.profile, in_data_store, cut, &deadline, &config.observer)?;
        let (store, made) = manager.make_store(&source)?;
        Ok(Part { manager, store, made, source: Some(source) })
    }

    /// Removes a store that was made for a snapshot that did not come about.
    pub(in crate::snapshot) fn abandon(&self) {
        if self.made {
            self.store.abandon();
        }
    }
}

/// A part with its staging directory.
struct Begun {
    staged: StagedSnapshot,
    previous: Option<Previous>,
    stock: Stock,
}

/// A part that is whole but for its publication.
struct Ready {
    staged: StagedSnapshot,
    record: Record,
    created: Created,
    /// As it was when this was begun.
    stock: Stock,
}

pub(in crate::snapshot) fn take(parts: &mut [Part<'_>], how: &How) -> Result<Vec<Created>> {
    let Some(config) = parts.first().map(|part| part.manager.config()) else { return Ok(Vec::new()) };
    let (observer, now) = (&config.observer, config.clock.now());
    for part in parts.iter() {
        refuse_strange_store(part)?;
    }
    let deadline = Deadline::after(config.lock_timeout, observer);
    let begun = begin(parts, how, now, &deadline)?;
    let ready = stage(parts, begun, how, now, &deadline)?;
    observer.check()?;
    publish(parts, ready, how)
}

/// The stores' locks, in the one order that keeps creates from waiting for each other.
fn lock_all(parts: &[Part<'_>], deadline: &Deadline) -> Result<Vec<Guard>> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|at| parts.get(*at).map(|part| part.store.dir().path()));
    let mut guards: Vec<(usize, Guard)> = Vec::with_capacity(parts.len());
    for (at, part) in order.into_iter().filter_map(|at| Some((at, parts.get(at)?))) {
        guards.push((at, part.store.lock(LockMode::Exclusive, deadline)?));
    }
    guards.sort_by_key(|(at, _)| *at);
    Ok(guards.into_iter().map(|(_, guard)| guard).collect())
}

/// Under the stores' locks: is it time, which id, which snapshots to inherit from.
fn begin(parts: &[Part<'_>], how: &How, now: i64, deadline: &Deadline) -> Result<Vec<Begun>> {
    let guards = lock_all(parts, deadline)?;
    let mut id: Option<SnapshotId> = None;
    let mut stocks = Vec::with_capacity(parts.len());
    for (part, guard) in parts.iter().zip(&guards) {
        let stock = part.store.stock()?;
        // Leftovers of the dead may be in the way of a full disk; that they cannot be removed is no reason to stop.
        let _ = part.store.sweep_of(&stock, guard);
        id = id.max(Some(stock.next_id(now)?));
        stocks.push(stock);
    }
    let Some(id) = id else { return Ok(Vec::new()) };
    parts.iter().zip(stocks).map(|(part, stock)| begin_part(part, stock, id, how, now)).collect()
}

fn begin_part(part: &Part<'_>, stock: Stock, id: SnapshotId, how: &How, now: i64) -> Result<Begun> {
    let Part { store, source: Some(source), manager, .. } = part else { return Err(taken_already()) };
    let mut newest = stock.newest(store);
    if !how.force {
        too_soon(manager, &mut newest, &source.scope, now)?;
    }
    let mode = store.dir().stat_self()?.mode & 0o777;
    let staged = StagedSnapshot::begin(store.dir(), id, mode)?;
    // The newest of the same scope, else the newest that holds it.
    let hold = |r: &Record, wanted: bool| {
        let is_fit = wanted && r.damaged.is_none();
        let guard = is_fit.then(|| try_lock_dir(store.dir(), r.id.to_string(), LockMode::Shared).ok().flatten())??;
        Some((r.id, guard))
    };
    let held = match newest.find_map(|r| hold(r, r.scope == source.scope))? {
        None => newest.find_map(|r| hold(r, r.scope.holds(&source.scope)))?,
        found => found,
    };
    let previous = held.and_then(|(id, guard)| Some(Previous::new(id, guard.dir()?.clone(), guard)));
    Ok(Begun { staged, previous, stock })
}

fn taken_already() -> Error {
    ValidationError::refused("a source was taken twice; this is a fault of cowlog").into()
}

/// Everything but the publication.
fn stage(
    parts: &mut [Part<'_>],
    mut begun: Vec<Begun>,
    how: &How,
    now: i64,
    deadline: &Deadline,
) -> Result<Vec<Ready>> {
    let tools: Vec<(Sharer, Budget)> = parts
        .iter()
        .filter_map(|part| {
            let (config, source) = (part.manager.config(), part.source.as_ref()?);
            let budget = Budget::new(config.max_copy, config.method, &source.dir, part.store.dir().path().to_owned());
            Some((Sharer::new(config.method, &config.observer), budget))
        })
        .collect();
    let sources: Vec<Source> = parts.iter_mut().filter_map(|part| part.source.take()).collect();
    let members = members(parts, &sources);
    // The scope ends when all links have been tried.
    let (described, links) = rayon::in_place_scope(|scope| {
        let start = |queue: Arc<Queue>| scope.spawn(move |_| queue.run());
        let queue = Arc::default();
        let aheads: Vec<Ahead<'_>> = sources.iter().map(|_| Ahead::new(&start, &queue)).collect();
        let with = parts.iter().zip(&sources).zip(&tools).zip(&aheads);
        let contexts: Vec<Context<'_>> = with
            .map(|(((part, source), (sharer, budget)), ahead)| Context {
                profile: source.profile,
                sharer,
                budget,
                observer: &part.manager.config().observer,
                deadline,
                ahead,
                now,
                accept_loss: how.accept_loss,
                allow_partial: how.allow_partial,
            })
            .collect();
        let with = parts.iter().zip(sources).zip(&begun).zip(&contexts).enumerate();
        let shares = with
            .map(|(at, (((part, source), begun), context))| Share {
                manager: part.manager,
                store: &part.store,
                source,
                staged: &begun.staged,
                previous: begun.previous.as_ref(),
                set: others(&members, at),
                context,
            })
            .collect();
        let assembled = assemble(shares)?;
        let mut described = Vec::with_capacity(assembled.len());
        for ((assembled, begun), context) in assembled.into_iter().zip(&mut begun).zip(&contexts) {
            let mut damage = Vec::new();
            // They are as large as the new ones; what is left of it keeps it from being deleted.
            if let Some(manifests) = begun.previous.as_mut().and_then(Previous::unload) {
                damage = assembled.damage_of(&manifests);
                scope.spawn(move |_| drop(manifests));
            }
            described.push(Described { damage, ..Described::write(assembled, &begun.staged, context.observer)? });
        }
        drop(contexts);
        Ok::<_, Error>((described, aheads.into_iter().map(Ahead::into_links).collect::<Vec<_>>()))
    })?;
    let mut whole = Vec::with_capacity(described.len());
    for (((mut described, links), begun), (sharer, budget)) in described.into_iter().zip(links).zip(begun).zip(&tools) {
        described.share_missed(&missed(&links)?, &begun.staged, sharer, budget)?;
        whole.push((described, begun.staged, begun.stock));
    }
    let roots: Vec<String> = whole.iter().map(|(described, ..)| described.root.to_hex().to_string()).collect();
    let whole = parts.iter().zip(whole).enumerate();
    whole
        .map(|(at, (part, (described, staged, stock)))| {
            let mut state = how.state.clone();
            let named = members.iter().zip(&roots).enumerate().filter(|(other, _)| *other != at);
            state.add_damage(described.damage.clone(), now);
            state.roots = named.map(|(_, (member, root))| (member.store.clone(), root.clone())).collect();
            ready(part, described, (staged, stock), &state, how.started)
        })
        .collect()
}

/// Where the parts of a snapshot are; nobody, where it has one part only.
fn members(parts: &[Part<'_>], sources: &[Source]) -> Vec<SetMember> {
    if parts.len() < 2 {
        return Vec::new();
    }
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let with = parts.iter().zip(sources);
    with.map(|(part, source)| SetMember {
        source: path(part.manager.fs().canonical(source.path())),
        store: path(part.manager.fs().canonical(part.store.dir().path())),
    })
    .collect()
}

fn others(members: &[SetMember], at: usize) -> Vec<SetMember> {
    members.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, member)| member.clone()).collect()
}

/// Writes the state and makes all names durable.
fn ready(
    part: &Part<'_>,
    described: Described,
    (staged, stock): (StagedSnapshot, Stock),
    state: &State,
    started: Instant,
) -> Result<Ready> {
    let Described { manifest, root, dirs, left_out, bytes_hashed, .. } = described;
    if *state != State::default() {
        write_new_file(staged.dir(), STATE, &state.to_bytes()?, 0o666)?;
    }
    settle(&dirs, manifest.files.len())?;
    let record = Record::of(&manifest, &root, state);
    let created = Created {
        snapshot: SnapshotInfo::of(record.clone(), part.store.dir().path()),
        elapsed_ms: started.elapsed().as_secs_f64() * 1000.0,
        bytes_hashed,
        left_out,
        missing: manifest.missing.clone(),
    };
    // To give back the memory of a large one takes as long as to publish.
    rayon::spawn(move || drop(manifest));
    part.manager.config().observer.publishing(&record.id.to_string(), &record.root);
    Ok(Ready { staged, record, created, stock })
}

fn publish(parts: &[Part<'_>], ready: Vec<Ready>, how: &How) -> Result<Vec<Created>> {
    // Staging may have taken longer than one waits for a lock.
    let Some(first) = parts.first().map(|part| part.manager) else { return Ok(Vec::new()) };
    let guards = lock_all(parts, &first.deadline())?;
    if !how.force {
        for (part, ready) in parts.iter().zip(&ready) {
            if ready.stock.still_holds(&part.store).unwrap_or(false) {
                continue;
            }
            // Another create may have come first meanwhile, also one that began later: its age is that of now.
            let stock = part.store.stock()?;
            let now = part.manager.config().clock.now();
            too_soon(part.manager, &mut stock.newest(&part.store), &ready.record.scope, now)?;
        }
    }
    let mut all = Vec::with_capacity(ready.len());
    for ((part, guard), Ready { staged, record, mut created, stock }) in parts.iter().zip(&guards).zip(ready) {
        let (store, observer) = (&part.store, &part.manager.config().observer);
        let record = staged.publish(|| {
            let record = store.published(record)?;
            store.settle(stock.catalogue_with(record.clone(), store), guard, observer)?;
            Ok(record)
        })?;
        created.snapshot = SnapshotInfo::of(record, store.dir().path());
        created.elapsed_ms = how.started.elapsed().as_secs_f64() * 1000.0;
        all.push(created);
    }
    Ok(all)
}

/// A store that was named must not be another source's: each would prune and restore what is the other's. Looked at before
/// the store is locked: reading a manifest may take longer than others should wait.
fn refuse_strange_store(part: &Part<'_>) -> Result<()> {
    let Part { store, source: Some(source), manager, .. } = part else { return Ok(()) };
    let Some(named) = &manager.config().store else { return Ok(()) };
    let last = last_of(&mut store.stock()?.newest(store), &source.scope)?;
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

/// The newest of a scope that is not known to be damaged.
fn last_of(newest: &mut Newest<'_>, scope: &Scope) -> Result<Option<Record>> {
    newest.find_map(|r| (r.scope == *scope && r.damaged.is_none()).then(|| r.clone()))
}

/// One of which another part is missing is none that could be enough.
fn too_soon(manager: &SnapshotManager, newest: &mut Newest<'_>, scope: &Scope, now: i64) -> Result<()> {
    let min_interval = manager.config().min_interval;
    let Some(last) = last_of(newest, scope)?.filter(|last| incomplete(manager.fs(), last).is_none()) else {
        return Ok(());
    };
    // A clock that went backwards makes the last one lie in the future: that is not "too soon".
    let Ok(age) = u64::try_from(now.saturating_sub(last.timestamp)) else { return Ok(()) };
    let age = Duration::from_millis(age);
    if age < min_interval {
        return Err(ConcurrencyError::TooSoon { last: last.id.to_string(), age, min_interval }.into());
    }
    Ok(())
}
