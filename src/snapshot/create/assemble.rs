//! Everything of a snapshot but its manifests: links, clones, copies, digests.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::attempt::{Attempt, Outcome};
use super::budget::Plan;
use super::capture::{Capture, Context, Staged, Wanted};
use super::describe::Assembled;
use super::log_capture::CapturedLog;
use super::previous::{Previous, PreviousLog};
use super::staging::StagedSnapshot;
use crate::error::{ConcurrencyError, Result, ValidationError};
use crate::fs::{Dir, Identity, Method, Open};
use crate::kafka::Profile;
use crate::kafka::datadir::PARTITION_METADATA;
use crate::kafka::live::Turn;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::source::{Look, Source, SourceLog};
use crate::snapshot::verify::hash::hash_all;
use crate::store::{
    DirManifest, LeftOut, Manifest, Scope, SetMember, SourceKind, SourceManifest, Store, VERSION, rfc3339,
};

/// One directory that is to get into a staging directory.
pub(in crate::snapshot) struct Share<'a> {
    pub(in crate::snapshot) manager: &'a SnapshotManager,
    pub(in crate::snapshot) store: &'a Store,
    pub(in crate::snapshot) source: Source,
    pub(in crate::snapshot) staged: &'a StagedSnapshot,
    pub(in crate::snapshot) previous: Option<&'a Previous>,
    /// The other parts of the snapshot.
    pub(in crate::snapshot) set: Vec<SetMember>,
    pub(in crate::snapshot) context: &'a Context<'a>,
}

/// Gets the sources into their staging directories: the logs of each all at once, or, from a running broker, turn by turn
/// over all its directories. A log is listed in its own turn, so that it reaches at least as far as those of the turns before
/// it know.
pub(in crate::snapshot) fn assemble(mut shares: Vec<Share<'_>>) -> Result<Vec<Assembled>> {
    let roots = shares.iter().map(Share::previous_root).collect::<Result<Vec<_>>>()?;
    let begun = shares.iter().zip(&roots).map(|(share, root)| Ongoing::begin(share, root.as_ref()));
    let mut ongoing = begun.collect::<Result<Vec<_>>>()?;
    for turn in Turn::ALL {
        if turn == Turn::Metadata {
            ongoing.iter_mut().try_for_each(Ongoing::take_what_is_new)?;
            refuse_moved(&ongoing)?;
        }
        ongoing.iter_mut().try_for_each(|one| one.take_turn(turn))?;
    }
    shares.iter().for_each(|share| share.context.ahead.hurry());
    let taken = ongoing.into_iter().map(Ongoing::end).collect::<Result<Vec<_>>>()?;
    for (share, (taken, _)) in shares.iter_mut().zip(&taken) {
        share.source.still_at_rest()?;
        share.source.left_out.extend(taken.left_out.iter().cloned());
    }
    shares.into_iter().zip(taken).map(|(share, (taken, root))| finish(share, root, taken)).collect()
}

/// Above so many files one sync of the whole filesystem is cheaper than one of each, though it waits for other people's data too.
const MANY: usize = 500;

/// A partition that was moved from one directory to another meanwhile was taken in both, and a broker would not start.
fn refuse_moved(ongoing: &[Ongoing<'_>]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for one in ongoing {
        for log in one.taken.logs.iter().filter(|log| !log.manifest.dir.is_empty()) {
            if ongoing.len() > 1 && !seen.insert(log.manifest.dir.as_str()) {
                let path = one.share.source.dir.path_of(&log.manifest.dir);
                let why = "it is in another directory of the broker as well, or was a moment ago".to_owned();
                return Err(ConcurrencyError::Busy { path, why }.into());
            }
        }
    }
    Ok(())
}

impl Share<'_> {
    fn previous_root(&self) -> Result<Option<PreviousLog<'_>>> {
        let has_root = self.source.logs.iter().all(|l| !l.prefix.is_empty());
        if has_root { previous_log(self.previous, "") } else { Ok(None) }
    }
}

/// A source on its way.
struct Ongoing<'a> {
    share: &'a Share<'a>,
    root: Capture<'a>,
    /// What all logs need that were taken so far.
    plan: Plan,
    taken: Taken,
}

/// The logs as far as they were taken.
#[derive(Default)]
struct Taken {
    logs: Vec<CapturedLog>,
    /// What is gone, or was never whole.
    left_out: Vec<LeftOut>,
    /// What did not come to rest.
    missing: Vec<LeftOut>,
    /// Whether something was being made.
    unready: bool,
}

impl Taken {
    fn add(&mut self, log: &SourceLog, outcome: Outcome, staged: &StagedSnapshot) -> Result<()> {
        let left_out = |why| LeftOut { path: log.prefix.clone(), why };
        match outcome {
            Outcome::Taken(captured) => {
                self.logs.push(*captured);
                return Ok(());
            }
            Outcome::Gone => self.left_out.push(left_out("it was deleted while the snapshot was taken".into())),
            Outcome::Unready => {
                self.unready = true;
                self.left_out.push(left_out(format!("it has no {PARTITION_METADATA} yet")));
            }
            Outcome::Restless(why) => self.missing.push(left_out(why)),
        }
        staged.dir().remove_dir(&log.prefix)
    }
}

impl<'a> Ongoing<'a> {
    fn begin(share: &'a Share<'a>, previous_root: Option<&'a PreviousLog<'a>>) -> Result<Self> {
        let (source, context) = (&share.source, share.context);
        let mut root = Capture::new(&source.dir, share.staged.dir().clone(), "", previous_root);
        root.expect(source.root_files.iter().map(|name| Wanted::side(name.clone())).collect(), context);
        if source.broker.is_some() {
            // A broker's checkpoints must not be newer than its logs: before anything is listed that goes on.
            root.inherit(context)?;
            root.share_rest(context)?;
        }
        Ok(Ongoing { share, root, plan: Plan::default(), taken: Taken::default() })
    }

    /// What nobody writes to is taken in one turn.
    fn take_turn(&mut self, turn: Turn) -> Result<()> {
        let source = &self.share.source;
        let due = |log: &&SourceLog| if source.broker.is_some() { log.turn() == turn } else { turn == Turn::Data };
        let logs: Vec<&SourceLog> = source.logs.iter().filter(due).collect();
        if logs.is_empty() && turn != Turn::Data { Ok(()) } else { self.take(&logs) }
    }

    fn take(&mut self, sources: &[&SourceLog]) -> Result<()> {
        let Share { store, staged, previous, context, .. } = *self.share;
        let (previous_logs, looks) = rayon::join(
            || sources.par_iter().map(|log| previous_log(previous, &log.prefix)).collect::<Result<Vec<_>>>(),
            || sources.par_iter().map(|log| log.look(context.now)).collect::<Result<Vec<_>>>(),
        );
        let (previous_logs, looks) = (previous_logs?, looks?);
        let in_logs: usize = looks.iter().map(Look::files).sum();
        context.observer.phase("share", (in_logs + self.root.expected()) as u64, 0);
        let mut logs = Ok(Vec::new());
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| {
                let begun = sources.par_iter().zip(looks).zip(&previous_logs);
                let begun = begun.map(|((log, look), previous)| begin(log, look, staged, previous.as_ref(), context));
                logs = begun.collect::<Result<Vec<_>>>();
                context.ahead.begin();
            });
            // Everybody would wait for the manifests. Not in the pool: a worker that waits for another makes links
            // meanwhile, until there are no more.
            previous.and_then(Previous::loaded)
        });
        let mut logs = logs?;
        logs.par_iter_mut().try_for_each(|log| log.inherit(context))?;
        self.root.inherit(context)?;
        let mut copied = 0;
        let root = self.root.plan(context)?;
        for its in std::iter::once(Ok(root)).chain(logs.iter_mut().map(|log| log.plan(context))) {
            let its = its?;
            (self.plan, copied) = (self.plan + its, its.copied.saturating_add(copied));
        }
        context.budget.accept(&self.plan)?;
        store.dir().expect_room(copied)?;

        self.write_back(&mut logs)?;
        // A broker's checkpoints must not be newer than its logs: they go first.
        self.root.share_rest(context)?;
        let outcomes = logs.into_par_iter().with_max_len(1).map(|log| Ok((log.log(), log.finish(context)?)));
        for (log, outcome) in outcomes.collect::<Result<Vec<_>>>()? {
            self.taken.add(log, outcome, staged)?;
        }
        Ok(())
    }

    /// Has the dirty pages of many new files written at once. Otherwise each is synced before it is shared, which takes milliseconds: it was
    /// read a moment ago, and the time of that has to be written, too.
    fn write_back(&mut self, logs: &mut [Attempt<'_>]) -> Result<()> {
        let Share { source, context, .. } = self.share;
        let new = self.root.pending() + logs.iter().map(Attempt::pending).sum::<usize>();
        if context.profile == Profile::Native || new <= MANY {
            return Ok(());
        }
        source.dir.sync_filesystem()?;
        let device = source.dir.stat_self()?.dev;
        self.root.was_written_back(device);
        logs.iter_mut().for_each(|log| log.was_written_back(device));
        Ok(())
    }

    /// Partitions that were made while the others were taken. The cluster's metadata, which is taken last, will know them.
    fn take_what_is_new(&mut self) -> Result<()> {
        let Share { source, staged, context, .. } = self.share;
        if source.broker.is_none() {
            return Ok(());
        }
        let taken = &mut self.taken;
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
            // It may have been left out in its turn.
            taken.left_out.retain(|left| left.path != log.prefix);
            taken.add(&log, outcome, staged)?;
        }
        Ok(())
    }

    fn end(self) -> Result<(Taken, Vec<Staged>)> {
        refuse_missing(&self.share.source, &self.taken, self.share.context)?;
        Ok((self.taken, self.root.into_staged()))
    }
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
    // Of a topic or a partition nothing is left: a snapshot of nothing would pass for the latest of it.
    if taken.logs.is_empty() && (source.kind == SourceKind::Log || source.scope != Scope::All) {
        let path = source.path().to_owned();
        if taken.unready {
            return Err(ConcurrencyError::Busy { path, why: format!("it has no {PARTITION_METADATA} yet") }.into());
        }
        return Err(ValidationError::NoSuchSource { path }.into());
    }
    for left in &taken.left_out {
        context.observer.warn(&format!("{} is not in the snapshot: {}", left.path, left.why));
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
fn finish(share: Share<'_>, root: Vec<Staged>, taken: Taken) -> Result<Assembled> {
    let Share { manager, source, staged, set, context: Context { now, .. }, .. } = share;
    let of = source.dir.clone();
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
    refuse_changed_in_place(&of, &files, &staging)?;
    make_durable(&files, &staging)?;
    let manifest = Manifest {
        version: VERSION,
        requires: Vec::new(),
        id: staged.id(),
        created_at: rfc3339(*now),
        created_ms: *now,
        cowlog: env!("CARGO_PKG_VERSION").into(),
        source: source_manifest,
        logs,
        dirs,
        files: Vec::new(),
        missing,
        set,
    };
    let dirs = staging.into_values().collect();
    Ok(Assembled { files, manifest, dirs, left_out, bytes_hashed: bytes_to_hash })
}

/// What was linked is its writer's own inode: whatever came into it before it was hashed is in the digest.
fn refuse_changed_in_place(source: &Dir, files: &[Staged], staging: &BTreeMap<String, Dir>) -> Result<()> {
    for file in files.iter().filter(|f| f.manifest.method == Method::Hardlink) {
        let Some((dir, name)) = place(staging, &file.manifest.path) else { continue };
        let now = Identity::from(&dir.stat(name)?);
        if !file.manifest.source.is_some_and(|was| was.same_but_ctime(&now)) {
            let why = "its writer changed it in place while it was hashed".to_owned();
            return Err(ConcurrencyError::Busy { path: source.path_of(&file.manifest.path), why }.into());
        }
    }
    Ok(())
}

/// Clones and copies need a sync of their own; links of durable files do not. Serially: parallel syncs are slower on
/// btrfs, and no faster elsewhere. A clone that is not synced comes back empty after a power cut.
fn make_durable(files: &[Staged], staging: &BTreeMap<String, Dir>) -> Result<()> {
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
