//! Getting the files of one directory into a staged snapshot, each by the cheapest method that is safe.

use std::sync::Arc;

use super::ahead::{Ahead, Links};
use super::budget::{Budget, Plan};
use super::previous::{PreviousFile, PreviousLog};
use crate::error::{Error, Result};
use crate::fs::{Deadline, Dir, Identity, Method, Open, Sharer, Stat, falls_back, try_link};
use crate::kafka::Profile;
use crate::log::{SealedSegment, SegmentFile};
use crate::observe::Observer;
use crate::store::{FileManifest, FileRole};

/// What every directory of one create has in common.
pub(in crate::snapshot) struct Context<'a> {
    pub(in crate::snapshot) profile: Profile,
    pub(in crate::snapshot) sharer: &'a Sharer,
    pub(in crate::snapshot) budget: &'a Budget,
    pub(in crate::snapshot) observer: &'a Observer,
    /// Until when to try for a lock.
    pub(in crate::snapshot) deadline: &'a Deadline,
    pub(in crate::snapshot) ahead: &'a Ahead<'a>,
    /// When the create began, milliseconds since 1970 UTC.
    pub(in crate::snapshot) now: i64,
    /// Whether a source that has lost records is taken as it is, with a warning.
    pub(in crate::snapshot) accept_loss: bool,
    /// Whether logs that do not come to rest may be missing.
    pub(in crate::snapshot) allow_partial: bool,
}

/// One file of the source that is to be taken as it is.
pub(in crate::snapshot) struct Wanted {
    pub(in crate::snapshot) name: String,
    pub(in crate::snapshot) role: FileRole,
    /// The proof that it is never appended to again; side files have none and are never hard-linked.
    pub(in crate::snapshot) sealed: Option<SealedSegment>,
    /// Whether a hard link is safe, given the writer.
    pub(in crate::snapshot) may_link: bool,
}

impl Wanted {
    /// A file that belongs to no sealed segment.
    pub(in crate::snapshot) fn side(name: String) -> Self {
        let role = FileRole::of_side_file(&name);
        Wanted { name, role, sealed: None, may_link: false }
    }

    fn is_segments(&self) -> bool {
        use FileRole::{Index, Log, Producers, TimeIndex, TxnIndex};
        matches!(self.role, Log | Index | TimeIndex | TxnIndex | Producers)
    }
}

/// What is wanted of a file whose name the links have: there may be very many.
struct Nameless {
    role: FileRole,
    sealed: Option<SealedSegment>,
    may_link: bool,
}

impl Nameless {
    fn of(Wanted { name, role, sealed, may_link }: Wanted) -> (String, Nameless) {
        (name, Nameless { role, sealed, may_link })
    }

    fn named(self, name: &str) -> Wanted {
        Wanted { name: name.to_owned(), role: self.role, sealed: self.sealed, may_link: self.may_link }
    }
}

/// A file that is in the staging directory.
pub(in crate::snapshot) struct Staged {
    pub(in crate::snapshot) manifest: FileManifest,
    /// Missing where the bytes have yet to be read.
    pub(in crate::snapshot) digest: Option<blake3::Hash>,
    /// Whether this create made the inode, so that its bytes are not durable yet.
    pub(in crate::snapshot) fresh: bool,
}

/// One directory on its way into a snapshot: first what can be inherited, then, once the plan for the rest has
/// been accepted, the rest.
pub(in crate::snapshot) struct Capture<'a> {
    pub(in crate::snapshot) source: &'a Dir,
    pub(in crate::snapshot) staging: Dir,
    prefix: &'a str,
    previous: Option<&'a PreviousLog<'a>>,
    pub(in crate::snapshot) staged: Vec<Staged>,
    /// What the previous snapshot has too, and the links to that.
    known: (Vec<Nameless>, Option<Arc<Links>>),
    new: Vec<Wanted>,
    pending: Vec<(Wanted, Stat)>,
    /// The device on which all dirty pages were written since what is pending was looked at.
    written_back: Option<u64>,
}

impl<'a> Capture<'a> {
    pub(in crate::snapshot) fn new(
        source: &'a Dir,
        staging: Dir,
        prefix: &'a str,
        previous: Option<&'a PreviousLog<'a>>,
    ) -> Self {
        let (known, new) = ((Vec::new(), None), Vec::new());
        Capture {
            source,
            staging,
            prefix,
            previous,
            staged: Vec::new(),
            known,
            new,
            pending: Vec::new(),
            written_back: None,
        }
    }

    /// What is wanted. Of that, what the previous snapshot has too is to be linked from there in the background.
    pub(in crate::snapshot) fn expect(&mut self, wanted: Vec<Wanted>, context: &Context<'_>) {
        let Some(previous) = self.previous else {
            self.new = wanted;
            return;
        };
        let (known, new): (Vec<Wanted>, Vec<Wanted>) = wanted.into_iter().partition(|file| previous.has(&file.name));
        let (names, known) = known.into_iter().map(Nameless::of).unzip();
        let links = context.ahead.ask(&previous.dir, (&self.staging, self.prefix), names, context.observer);
        (self.known, self.new) = ((known, Some(links)), new);
    }

    /// How many files are wanted that have not been looked at yet.
    pub(in crate::snapshot) fn expected(&self) -> usize {
        self.known.0.len() + self.new.len()
    }

    /// The links that were asked for.
    pub(in crate::snapshot) fn links(&self) -> Option<Arc<Links>> {
        self.known.1.clone()
    }

    /// Finds out with one `stat` per file which are unchanged; the links of the others are taken back.
    /// A file that is gone meanwhile is an error; the source's lock or the caller's second look guards against it.
    pub(in crate::snapshot) fn inherit(&mut self, context: &Context<'_>) -> Result<()> {
        self.written_back = None;
        // Those of the active segment come on top: growing for them would ask for as much again.
        self.staged.reserve_exact(self.expected() + SegmentFile::ALL.len());
        if let (Some(previous), (known, Some(links))) = (self.previous, std::mem::take(&mut self.known)) {
            for ((at, file), name) in known.into_iter().enumerate().zip(links.names()) {
                context.observer.check()?;
                match self.look(name, previous, context)? {
                    (_, Some(staged)) => self.staged.push(staged),
                    (stat, None) => {
                        links.take_back(at)?;
                        self.pending.push((file.named(name), stat));
                    }
                }
            }
        }
        for file in std::mem::take(&mut self.new) {
            let stat = self.source.stat(&file.name)?;
            self.pending.push((file, stat));
        }
        Ok(())
    }

    /// The source's file, and what a link to the previous snapshot's amounts to if it is unchanged since.
    fn look(&self, name: &str, previous: &PreviousLog<'a>, context: &Context<'_>) -> Result<(Stat, Option<Staged>)> {
        let stat = self.source.stat(name)?;
        let found = previous.unchanged(name, &stat).filter(|found| !found.manifest.trimmed);
        let staged = found.map(|f| inherited(&f, &stat, previous.same_inode(&f, &stat), context.now));
        Ok((stat, staged))
    }

    /// A file whose previous version is known to be right, whatever the rules above say of its source.
    pub(in crate::snapshot) fn inherit_one(
        &mut self,
        found: &PreviousFile<'_>,
        name: &str,
        now: Option<(&Stat, i64)>,
    ) -> Result<bool> {
        let Some(previous) = self.previous else { return Ok(false) };
        match try_link(&previous.dir, name, &self.staging) {
            Ok(()) => {}
            Err(e) if falls_back(&e) || e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("link", previous.dir.path_of(name), e)),
        }
        let mut staged = match now {
            Some((stat, now_ms)) => inherited(found, stat, previous.same_inode(found, stat), now_ms),
            None => {
                let manifest = FileManifest { read_at: found.read_at, ..found.manifest.clone() };
                Staged { manifest, digest: Some(found.digest), fresh: false }
            }
        };
        staged.manifest.method = Method::Inherit;
        self.staged.push(staged);
        Ok(true)
    }

    /// The segments whose `.log` is new.
    pub(in crate::snapshot) fn new_segments(&self) -> impl Iterator<Item = &SealedSegment> {
        self.pending.iter().filter(|(file, _)| file.role == FileRole::Log).filter_map(|(file, _)| file.sealed.as_ref())
    }

    /// Finds out, with the first new sealed file, what the filesystems can do, and what would have to be copied.
    pub(in crate::snapshot) fn plan(&self, context: &Context<'_>) -> Result<Plan> {
        if let Some((file, stat)) = self.pending.iter().find(|(f, _)| f.sealed.is_some()) {
            context.sharer.probe(self.source, &file.name, stat, &self.staging, file.may_link)?;
        }
        let inherited = self.staged.iter().map(|s| s.manifest.size).sum();
        let mut plan = Plan { total: inherited, ..Plan::default() };
        for (file, stat) in &self.pending {
            let copied = if context.sharer.expects_to_share(file.may_link) { 0 } else { stat.size };
            let sealed = if file.sealed.is_some() { copied } else { 0 };
            plan = plan + Plan { total: stat.size, copied, sealed };
        }
        Ok(plan)
    }

    /// How many files are to be shared.
    pub(in crate::snapshot) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// All dirty pages on this device were written after the last file was looked at.
    pub(in crate::snapshot) fn was_written_back(&mut self, device: u64) {
        self.written_back = Some(device);
    }

    pub(in crate::snapshot) fn into_staged(self) -> Vec<Staged> {
        self.staged
    }

    /// Shares of what was not inherited everything that is named like a segment's file.
    pub(in crate::snapshot) fn share_segments(&mut self, context: &Context<'_>) -> Result<()> {
        let (segments, rest) = std::mem::take(&mut self.pending).into_iter().partition(|(file, _)| file.is_segments());
        self.pending = segments;
        self.share_rest(context)?;
        self.pending = rest;
        Ok(())
    }

    /// Shares everything that was not inherited.
    pub(in crate::snapshot) fn share_rest(&mut self, context: &Context<'_>) -> Result<()> {
        for (file, before) in std::mem::take(&mut self.pending) {
            context.observer.check()?;
            let staged = self.share(&file, &before, context)?;
            self.staged.push(staged);
            context.observer.advance(1, 0);
        }
        Ok(())
    }

    fn share(&self, file: &Wanted, before: &Stat, context: &Context<'_>) -> Result<Staged> {
        let opened = self.source.open_file(&file.name, Open::Read)?;
        if context.profile != Profile::Native && self.written_back != Some(before.dev) {
            // Before its identity is taken: a later write through a mapping then moves the mtime.
            opened.sync()?;
        }
        let shared = context.sharer.share(self.source, &file.name, before, &self.staging, file.may_link)?;
        if shared.method == Method::Copy && file.sealed.is_some() {
            context.budget.spend(&self.path(&file.name), shared.bytes)?;
        }
        // After sharing: a hard link moves the ctime.
        let after = self.source.stat(&file.name)?;
        let attributes = opened.attributes()?;
        let size = match shared.method {
            Method::Copy => shared.bytes,
            _ => self.staging.stat(&file.name)?.size,
        };
        let manifest = FileManifest {
            path: self.path(&file.name),
            kind: file.role,
            size,
            method: shared.method,
            exposed: shared.method == Method::Hardlink,
            trimmed: false,
            uid: after.uid,
            gid: after.gid,
            mode: after.mode,
            mtime: after.mtime,
            xattrs: attributes.xattrs,
            read_at: context.now,
            // What was copied while it changed is not what the identity stands for.
            source: (Identity::from(before).same_but_ctime(&Identity::from(&after)) && size == after.size)
                .then(|| Identity::from(&after)),
            trusted: Identity::from(&after).trusted(context.now),
        };
        let fresh = shared.method != Method::Hardlink;
        Ok(Staged { manifest, digest: shared.digest, fresh })
    }

    pub(in crate::snapshot) fn path(&self, name: &str) -> String {
        path_in(self.prefix, name)
    }
}

pub(in crate::snapshot) fn path_in(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

fn inherited(found: &PreviousFile<'_>, now: &Stat, same_inode: bool, now_ms: i64) -> Staged {
    let source = Identity::from(now);
    let manifest = FileManifest {
        method: Method::Inherit,
        exposed: same_inode,
        // The ctime of a shared inode may have moved a moment ago.
        trusted: if same_inode { source.trusted(now_ms) } else { found.manifest.trusted },
        uid: now.uid,
        gid: now.gid,
        mode: now.mode,
        source: Some(source),
        read_at: found.read_at,
        ..found.manifest.clone()
    };
    Staged { manifest, digest: Some(found.digest), fresh: false }
}
