//! Everything of a snapshot but its manifests: links, clones, copies, digests.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::attempt::{Attempt, Outcome};
use super::budget::Plan;
use super::capture::{Capture, Context, Staged, Wanted};
use super::describe::Assembled;
use super::hash::hash_all;
use super::log_capture::CapturedLog;
use super::manager::SnapshotManager;
use super::previous::{Previous, PreviousLog};
use super::source::{Look, Source, SourceLog};
use super::staging::StagedSnapshot;
use crate::error::{ConcurrencyError, Result, ValidationError};
use crate::fs::{Dir, Identity, Method, Open};
use crate::kafka::live::Turn;
use crate::store::{DirManifest, LeftOut, Manifest, SourceKind, SourceManifest, Store, VERSION, rfc3339};

/// Gets the source into the staging directory.
pub(super) fn assemble(
    manager: &SnapshotManager,
    store: &Store,
    mut source: Source,
    staged: &StagedSnapshot,
    previous: Option<&Previous>,
    context: &Context<'_>,
) -> Result<Assembled> {
    let has_root = source.logs.iter().all(|l| !l.prefix.is_empty());
    let previous_root = if has_root { previous_log(previous, "")? } else { None };
    let mut root = Capture::new(&source.dir, staged.dir().clone(), "", previous_root.as_ref());
    root.expect(source.root_files.iter().map(|name| Wanted::side(name.clone())).collect(), context);
    let with_logs = if source.broker.is_some() {
        // Before anything is listed that goes on.
        root.inherit(context)?;
        root.share_rest(context)?;
        None
    } else {
        Some(&mut root)
    };
    let mut taken = take_logs(store, &source, staged, previous, with_logs, context)?;
    let root = root.into_staged();
    source.still_at_rest()?;
    source.left_out.append(&mut taken.left_out);
    finish(manager, source, staged, root, taken, context.now)
}

/// The logs as far as they were taken.
#[derive(Default)]
struct Taken {
    logs: Vec<CapturedLog>,
    /// What is gone, or was never whole.
    left_out: Vec<LeftOut>,
    /// What did not come to rest.
    missing: Vec<LeftOut>,
}

impl Taken {
    fn add(&mut self, log: &SourceLog, outcome: Outcome, staged: &StagedSnapshot) -> Result<()> {
        let left_out = |why| LeftOut { path: log.prefix.clone(), why };
        match outcome {
            Outcome::Taken(captured) => {
                self.logs.push(*captured);
                return Ok(());
            }
            Outcome::LeftOut(why) => self.left_out.push(left_out(why)),
            Outcome::Restless(why) => self.missing.push(left_out(why)),
        }
        staged.dir().remove_dir(&log.prefix)
    }
}

/// Takes the logs: all at once, or, from a running broker, turn by turn. A log is listed in its own turn, so that it reaches at
/// least as far as those of the turns before it know.
fn take_logs<'a>(
    store: &Store,
    source: &'a Source,
    staged: &StagedSnapshot,
    previous: Option<&'a Previous>,
    mut root: Option<&mut Capture<'a>>,
    context: &Context<'_>,
) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut plan = Plan::default();
    if source.broker.is_none() {
        let all: Vec<&SourceLog> = source.logs.iter().collect();
        take(store, &all, staged, previous, (&mut root, &mut plan), &mut taken, context)?;
        return Ok(taken);
    }
    for turn in Turn::ALL {
        if turn == Turn::Metadata {
            take_what_is_new(source, staged, &mut taken, context)?;
        }
        let logs: Vec<&SourceLog> = source.logs.iter().filter(|log| log.turn() == turn).collect();
        take(store, &logs, staged, previous, (&mut root, &mut plan), &mut taken, context)?;
    }
    refuse_missing(source, &taken, context)?;
    Ok(taken)
}

/// Takes some logs, and what is expected of the root. `plan` is what all need that were taken so far.
fn take(
    store: &Store,
    sources: &[&SourceLog],
    staged: &StagedSnapshot,
    previous: Option<&Previous>,
    (root, plan): (&mut Option<&mut Capture<'_>>, &mut Plan),
    taken: &mut Taken,
    context: &Context<'_>,
) -> Result<()> {
    let (previous_logs, looks) = rayon::join(
        || sources.par_iter().map(|log| previous_log(previous, &log.prefix)).collect::<Result<Vec<_>>>(),
        || sources.par_iter().map(|log| log.look(context.now)).collect::<Result<Vec<_>>>(),
    );
    let (previous_logs, looks) = (previous_logs?, looks?);
    let in_logs: usize = looks.iter().map(Look::files).sum();
    context.observer.phase("share", (in_logs + root.as_ref().map_or(0, |root| root.expected())) as u64, 0);
    let mut logs = Ok(Vec::new());
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| {
            let begun = sources.par_iter().zip(looks).zip(&previous_logs);
            let begun = begun.map(|((log, look), previous)| begin(log, look, staged, previous.as_ref(), context));
            logs = begun.collect::<Result<Vec<_>>>();
            context.ahead.begin();
        });
        // Everybody would wait for the manifests. Not in the pool: a worker that waits for another makes links meanwhile,
        // all of a large directory.
        previous.and_then(Previous::loaded)
    });
    let mut logs = logs?;
    logs.par_iter_mut().try_for_each(|log| log.inherit(context))?;
    if let Some(root) = root {
        root.inherit(context)?;
        *plan = *plan + root.plan(context)?;
    }
    let mut copied = 0;
    for log in &mut logs {
        let its = log.plan(context)?;
        (*plan, copied) = (*plan + its, its.copied.saturating_add(copied));
    }
    context.budget.accept(plan)?;
    store.dir().expect_room(copied)?;

    // A broker's checkpoints must not be newer than its logs: they go first.
    if let Some(root) = root {
        root.share_rest(context)?;
    }
    let outcomes = logs.into_par_iter().map(|log| Ok((log.log(), log.finish(context)?)));
    for (log, outcome) in outcomes.collect::<Result<Vec<_>>>()? {
        taken.add(log, outcome, staged)?;
    }
    Ok(())
}

fn begin<'a>(
    log: &'a SourceLog,
    look: Look,
    staged: &StagedSnapshot,
    previous: Option<&'a PreviousLog<'a>>,
    context: &Context<'_>,
) -> Result<Attempt<'a>> {
    let dir = match log.prefix.as_str() {
        "" => staged.dir().clone(),
        prefix => staged.dir().make_dir(prefix, log.dir.stat_self()?.mode & 0o777 | 0o700)?,
    };
    Attempt::begin(log, look, dir, previous, context)
}

/// Partitions that were made while the others were taken. The cluster's metadata, which is taken last, will know them.
fn take_what_is_new(source: &Source, staged: &StagedSnapshot, taken: &mut Taken, context: &Context<'_>) -> Result<()> {
    let metadata: Vec<&str> =
        source.logs.iter().filter(|log| log.turn() == Turn::Metadata).map(|log| log.prefix.as_str()).collect();
    let known = |name: &str| {
        let missing = taken.missing.iter().any(|missing| missing.path == name);
        missing || taken.logs.iter().any(|log| log.manifest.dir == name) || metadata.contains(&name)
    };
    for log in source.partitions_but(known, context.deadline, context.observer)? {
        let mut attempt = begin(&log, log.look(context.now)?, staged, None, context)?;
        attempt.inherit(context)?;
        attempt.plan(context)?;
        let outcome = attempt.finish(context)?;
        taken.add(&log, outcome, staged)?;
    }
    Ok(())
}

/// A snapshot lacks a log only if that was allowed, and never all of them.
fn refuse_missing(source: &Source, taken: &Taken, context: &Context<'_>) -> Result<()> {
    if let Some(first) = taken.missing.first()
        && (!context.allow_partial || taken.logs.is_empty())
    {
        let others = match taken.missing.len() - 1 {
            0 => String::new(),
            n => format!(", nor did {n} others"),
        };
        let why = format!("it did not come to rest while its broker runs{others}: {}", first.why);
        let path =
            if source.kind == SourceKind::Log { source.path().to_owned() } else { source.dir.path_of(&first.path) };
        return Err(ConcurrencyError::Busy { path, why }.into());
    }
    if taken.logs.is_empty() && source.kind == SourceKind::Log {
        return Err(ValidationError::NoSuchSource { path: source.path().into() }.into());
    }
    for missing in &taken.missing {
        context.observer.warn(&format!("{} is not in the snapshot: {}", missing.path, missing.why));
    }
    Ok(())
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
    taken: Taken,
    now: i64,
) -> Result<Assembled> {
    let observer = &manager.config().observer;
    let mut dirs = vec![DirManifest::new("", &source.dir.attributes()?)];
    let mut left_out = source.left_out.clone();
    let Taken { logs: mut captured, missing, .. } = taken;
    captured.sort_by(|a, b| a.manifest.dir.cmp(&b.manifest.dir));
    let mut staging = BTreeMap::from([(String::new(), staged.dir().clone())]);
    let mut files = root;
    let mut logs = Vec::with_capacity(captured.len());
    for mut log in captured {
        let prefix = &log.manifest.dir;
        if !prefix.is_empty() {
            dirs.push(DirManifest::new(prefix, &log.attributes));
            staging.insert(prefix.clone(), log.staging);
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
    refuse_changed_in_place(manager.source(), &files, &staging)?;
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
        missing,
    };
    let dirs = staging.into_values().collect();
    Ok(Assembled { files, manifest, dirs, left_out, bytes_hashed: bytes_to_hash })
}

/// What was linked is its writer's own inode: whatever came into it before it was hashed is in the digest.
fn refuse_changed_in_place(source: &Path, files: &[Staged], staging: &BTreeMap<String, Dir>) -> Result<()> {
    for file in files.iter().filter(|f| f.manifest.method == Method::Hardlink) {
        let Some((dir, name)) = place(staging, &file.manifest.path) else { continue };
        let now = Identity::from(&dir.stat(name)?);
        if !file.manifest.source.is_some_and(|was| was.same_but_ctime(&now)) {
            let why = "its writer changed it in place while it was hashed".to_owned();
            return Err(ConcurrencyError::Busy { path: source.join(&file.manifest.path), why }.into());
        }
    }
    Ok(())
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
