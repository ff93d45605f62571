//! Bringing a snapshot back, into a directory that does not exist yet.

pub(in crate::snapshot) mod adopt;
#[cfg(feature = "offsite")]
pub(in crate::snapshot) mod arrivals;
pub(in crate::snapshot) mod at;
pub(in crate::snapshot) mod bound;
pub(in crate::snapshot) mod cut;
pub(in crate::snapshot) mod fork;
pub(in crate::snapshot) mod options;
pub(in crate::snapshot) mod plan;
pub(in crate::snapshot) mod scratch;
pub(in crate::snapshot) mod span;
pub(in crate::snapshot) mod surprises;
pub(in crate::snapshot) mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use crate::error::{Damage, DamageKind, Error, Result, ValidationError};
use crate::fs::{Attributes, Dir, File, FileKind, Method, Open, copy_range, falls_back, try_link_as};
use crate::kafka::{Profile, boot, datadir};
use crate::observe::Observer;
use crate::snapshot::each::each;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::{LogEnd, Restored};
use crate::snapshot::verify::VerifiedSnapshot;
use crate::snapshot::verify::blame::changed;
use crate::snapshot::verify::examine::{Dirs, open_dirs, place, unreadable};
use crate::store::{FileManifest, Loaded, LogManifest, SourceKind, Store};
use options::{Detach, Put, RestoreOptions};
use plan::{Content, Planned};
use target::Target;

impl SnapshotManager {
    /// Restores a snapshot that has been verified.
    ///
    /// After `Ok` the target is there, whole and durable: bytes, owner, mode, mtime and extended attributes as they
    /// were, as far as this user may set them ([`Restored::not_restored`] names the rest). Before that nothing is at
    /// the target; after a crash on the way a hidden directory beside it is left, which the next restore removes.
    ///
    /// # Errors
    ///
    /// `Validation`: the target exists, the offset is outside the log. `Integrity`: bytes changed since the
    /// verification. `Filesystem`: disk full, permission, I/O. `Interrupted`.
    pub fn restore(&self, snapshot: VerifiedSnapshot, options: RestoreOptions) -> Result<Restored> {
        self.put(&self.store()?, &plan::part_of(snapshot.loaded.clone(), &options)?, &options, true)
    }

    /// Verifies a snapshot and restores it. Where the bytes have to be copied they are verified on the way, which
    /// saves reading them twice; the target appears only after every digest was found right.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore) and [`verified`](Self::verified).
    pub fn restore_id(&self, id: &str, options: RestoreOptions) -> Result<Restored> {
        let store = self.store()?;
        let id = self.resolve(&store, id)?;
        // The lock is held until the restore is done.
        let opened = self.open_snapshot(&store, id)?;
        let loaded = opened.loaded?;
        let damage = self.root_damage(&store, &loaded)?;
        self.refuse(&store, &loaded, damage.into_iter().collect())?;
        self.tell_of_known(&store, id, DamageKind::is_of_content);
        self.put(&store, &plan::part_of(loaded, &options)?, &options, false)
    }

    fn put(&self, store: &Store, loaded: &Loaded, options: &RestoreOptions, verified: bool) -> Result<Restored> {
        if !matches!(options.put, Put::New) {
            return self.replace(store, loaded, options, verified);
        }
        if options.topic_id.is_some() {
            let what = "only partitions that go into a data directory can become those of another topic";
            return Err(ValidationError::refused(what).into());
        }
        let of_one_log = plan::is_one_log(loaded);
        let target = match &options.within {
            Some(dir) => Target::within(dir.clone(), &options.target, of_one_log, &self.deadline())?,
            None => Target::begin(self.fs(), &options.target, of_one_log, &self.deadline())?,
        };
        let filled = self.fill(store, loaded, options, verified, target.dir())?;
        target.publish()?;
        Ok(filled.restored)
    }

    /// Makes all of it in an empty directory, durably but for the directory's own name.
    pub(in crate::snapshot) fn fill(
        &self,
        store: &Store,
        loaded: &Loaded,
        options: &RestoreOptions,
        mut verified: bool,
        target: &Dir,
    ) -> Result<Filled> {
        let observer = &self.config().observer;
        let dirs = open_dirs(loaded)?;
        let reflink = match options.method {
            Detach::Copy => false,
            Detach::Auto | Detach::Reflink => can_reflink(loaded, &dirs, target)?,
        };
        if options.method == Detach::Reflink && !reflink {
            let what = format!("{} cannot share blocks with the snapshot", options.target.display());
            let hint = Some("leave the method out to copy instead".into());
            return Err(ValidationError::Refused { what, path: Some(options.target.clone()), hint }.into());
        }
        if !verified && (reflink || !options.bounds.are_none()) {
            // A clone does not share the page cache: the snapshot's own file is read, then cloned.
            self.refuse(store, loaded, self.examine_all(loaded)?)?;
            verified = true;
        }
        let plan::Plan { files: planned, logs, cuts } = plan::plan(loaded, &dirs, options.bounds)?;
        for changed in planned.iter().filter(|p| cuts.is_empty() && matches!(p.content, Content::Bytes(_))) {
            observer.warn(&format!("{} lets a log start beyond its end; it was changed to start there", changed.to));
        }
        if let Some(hidden) = plan::hidden_start(loaded, &planned)
            && !matches!(options.put, Put::Into)
        {
            observer.warn(&hidden);
        }
        let bytes: u64 = planned.iter().map(Planned::size).sum();
        if !reflink {
            target.expect_room(bytes)?;
        }
        if options.is_fork && !reflink {
            let to = options.target.display();
            observer.warn(&format!("{to} cannot share blocks with the snapshot: {bytes} bytes are copied"));
        }
        observer.phase("restore", planned.len() as u64, bytes);
        let to_dirs = make_dirs(loaded, target)?;
        let take = options.take && !reflink;
        let job = Job { loaded, from: &dirs, to: &to_dirs, reflink, take, verified, observer };
        let outcomes: Vec<Result<Done>> = each(&planned, || (), |(), p| job.put(p));
        let mut damage = Vec::new();
        let mut methods = BTreeMap::new();
        let mut not_restored = BTreeSet::new();
        for outcome in outcomes {
            match outcome? {
                Done::Right(method, denied) => {
                    *methods.entry(method).or_insert(0) += 1;
                    not_restored.extend(denied);
                }
                Done::Damaged(found) => damage.push(found),
            }
        }
        self.refuse(store, loaded, damage)?;
        for missing in &loaded.manifest.missing {
            observer.warn(&format!("{} is not in this snapshot: {}", missing.path, missing.why));
        }
        if loaded.manifest.source.kind == SourceKind::Data && loaded.manifest.source.profile == Profile::Kafka {
            for objection in boot::objections(target, &datadir::inventory(target)?)? {
                observer.warn(&objection);
            }
        }
        if loaded.manifest.source.profile == Profile::Kafka && !options.is_fork {
            let whole = store.load(loaded.id)?;
            // Other logs of the snapshot were not verified, so that this may fail where the restore does not.
            let foreseen = self.foresee(loaded, &whole, &logs).and_then(|mut found| {
                // Of what becomes another topic's, that is another matter.
                if options.topic_id.is_none() {
                    found.extend(self.foresee_hanging(loaded, &logs)?);
                }
                Ok(found)
            });
            match foreseen {
                Ok(surprises) => surprises.iter().for_each(|surprise| observer.warn(surprise)),
                Err(e @ Error::Interrupted) => return Err(e),
                Err(e) => observer.warn(&format!("what a broker will do to it could not be foreseen: {e}")),
            }
        }
        make_durable(&planned, &to_dirs, reflink)?;
        not_restored.extend(finish_dirs(loaded, &to_dirs)?);
        observer.check()?;
        let data = loaded.manifest.source.kind == SourceKind::Data;
        let restored = Restored {
            id: loaded.id.to_string(),
            target: options.target.clone(),
            files: planned.len() as u64,
            bytes,
            methods,
            end_offset: match logs.as_slice() {
                [one] if !data => Some(one.cut.log_end_offset),
                _ => None,
            },
            logs: logs
                .iter()
                .filter(|_| data)
                .filter_map(|l| {
                    Some(LogEnd { topic: l.topic.clone()?, partition: l.partition?, end_offset: l.cut.log_end_offset })
                })
                .collect(),
            cuts,
            not_restored: not_restored.into_iter().collect(),
            replaced: None,
        };
        Ok(Filled { restored, logs })
    }
}

/// What was made, and its logs as they are there.
pub(in crate::snapshot) struct Filled {
    pub(in crate::snapshot) restored: Restored,
    pub(in crate::snapshot) logs: Vec<LogManifest>,
}

/// What all files of a restore have in common.
pub(in crate::snapshot) struct Job<'a> {
    pub(in crate::snapshot) loaded: &'a Loaded,
    pub(in crate::snapshot) from: &'a Dirs<'a>,
    pub(in crate::snapshot) to: &'a BTreeMap<&'a str, Dir>,
    pub(in crate::snapshot) reflink: bool,
    pub(in crate::snapshot) take: bool,
    pub(in crate::snapshot) verified: bool,
    pub(in crate::snapshot) observer: &'a Observer,
}

pub(in crate::snapshot) enum Done {
    Right(Method, Vec<String>),
    Damaged(Damage),
}

impl Job<'_> {
    pub(in crate::snapshot) fn put(&self, planned: &Planned<'_>) -> Result<Done> {
        self.observer.check()?;
        let file = planned.file;
        let (to_dir, name) = split(self.to, &planned.to)?;
        let taken = self.take && matches!(planned.content, Content::Whole) && self.take_over(file, to_dir, name)?;
        let output = to_dir.open_file(name, if taken { Open::Write } else { Open::CreateNew(0o600) })?;
        let method = match &planned.content {
            _ if taken => Method::Copy,
            Content::Bytes(bytes) => {
                output.write_all_at(bytes, 0)?;
                Method::Copy
            }
            Content::Whole | Content::Range(_) => {
                let range = if let Content::Range(range) = &planned.content { range.clone() } else { 0..u64::MAX };
                match self.bring(file, &output, range) {
                    Ok(Some(method)) => method,
                    Ok(None) => {
                        let stat = place(self.from, &file.path).and_then(|(dir, name)| dir.try_stat(name).ok()?);
                        return Ok(Done::Damaged(changed(file, stat.as_ref())));
                    }
                    Err(e) => return Ok(Done::Damaged(unreadable_source(file, e, output.path())?)),
                }
            }
        };
        let denied = output.set_attributes(&Attributes {
            uid: file.uid,
            gid: file.gid,
            mode: file.mode,
            mtime: file.mtime,
            xattrs: file.xattrs.clone(),
        })?;
        self.observer.advance(1, 0);
        Ok(Done::Right(method, denied))
    }

    /// The very file, whose other name goes away before anybody writes to it; where the filesystem can.
    fn take_over(&self, file: &FileManifest, to: &Dir, name: &str) -> Result<bool> {
        let Some((dir, from)) = place(self.from, &file.path) else { return Ok(false) };
        match try_link_as(dir, from, to, name) {
            Ok(()) => {
                self.observer.advance(0, file.size);
                Ok(true)
            }
            Err(e) if falls_back(&e) => Ok(false),
            Err(e) => Err(Error::io("link", dir.path_of(from), e)),
        }
    }

    /// `None` where the bytes do not have their digest.
    fn bring(&self, file: &FileManifest, output: &File, range: Range<u64>) -> Result<Option<Method>> {
        let missing = || Error::io("open", self.loaded.dir.path_of(&file.path), std::io::ErrorKind::NotFound.into());
        let (dir, name) = place(self.from, &file.path).ok_or_else(missing)?;
        let input = dir.open_file(name, Open::Read)?;
        if input.stat()?.kind != FileKind::File {
            return Ok(None);
        }
        let (from, limit) = (range.start, range.end);
        // Blocks that are shared stay where they are in the file.
        if self.reflink && from == 0 {
            match output.fs().clone_file(input.handle(), output.handle()) {
                Ok(()) => {
                    if limit < file.size {
                        output.set_len(limit)?;
                    }
                    self.observer.advance(0, file.size.min(limit));
                    return Ok(Some(Method::Reflink));
                }
                Err(e) if falls_back(&e) => {}
                Err(e) => return Err(Error::io("reflink", output.path(), e)),
            }
        }
        let mut hasher = blake3::Hasher::new();
        // One byte too many is enough to see that the file is not what it was.
        copy_range(&input, output, from..limit.min(file.size.saturating_add(1)), self.observer, |chunk| {
            hasher.update(chunk);
        })?;
        let right = (from > 0 || limit < file.size) && self.verified
            || self.loaded.digests.get(&file.path) == Some(hasher.finalize());
        Ok(right.then_some(Method::Copy))
    }
}

/// A failure to write is an error of the restore; one to read is damage of the snapshot.
fn unreadable_source(file: &FileManifest, e: Error, target: &Path) -> Result<Damage> {
    if e.path() == Some(target) { Err(e) } else { unreadable(&file.path, e) }
}

fn split<'a>(dirs: &'a BTreeMap<&str, Dir>, path: &'a str) -> Result<(&'a Dir, &'a str)> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let open = dirs.get(dir).ok_or_else(|| ValidationError::refused(format!("{path:?} lies in no directory")))?;
    Ok((open, name))
}

pub(in crate::snapshot) fn make_dirs<'a>(loaded: &'a Loaded, target: &Dir) -> Result<BTreeMap<&'a str, Dir>> {
    let strip = plan::stripped(loaded);
    let mut dirs = BTreeMap::from([("", target.clone())]);
    for dir in &loaded.manifest.dirs {
        if !dir.path.is_empty() && dir.path != strip {
            dirs.insert(&dir.path, target.make_dir(&dir.path, 0o700)?);
        }
    }
    Ok(dirs)
}

/// One by one, or all at once where there are many, which waits for what others have written, too. To sync a copy takes milliseconds
/// more than that of all of them, to sync a reflink less than one.
fn make_durable(planned: &[Planned<'_>], dirs: &BTreeMap<&str, Dir>, reflink: bool) -> Result<()> {
    let few = if reflink { 500 } else { 32 };
    if planned.len() > few
        && let Some(root) = dirs.get("")
    {
        return root.sync_filesystem();
    }
    for p in planned {
        let (dir, name) = split(dirs, &p.to)?;
        dir.open_file(name, Open::Read)?.sync()?;
    }
    Ok(())
}

/// Attributes last, since every new name moves a directory's mtime.
fn finish_dirs(loaded: &Loaded, dirs: &BTreeMap<&str, Dir>) -> Result<Vec<String>> {
    let strip = plan::stripped(loaded);
    let mut denied = Vec::new();
    for dir in loaded.manifest.dirs.iter().rev() {
        // Of a log that stood in a data directory only the log's own directory is restored.
        let name = match dir.path.as_str() {
            "" if !strip.is_empty() => continue,
            path if path == strip => "",
            path => path,
        };
        let Some(open) = dirs.get(name) else { continue };
        denied.extend(open.set_attributes(&Attributes {
            uid: dir.uid,
            gid: dir.gid,
            mode: dir.mode,
            mtime: dir.mtime,
            xattrs: dir.xattrs.clone(),
        })?);
        open.sync()?;
    }
    Ok(denied)
}

/// Tries with the first file; leaves nothing behind.
pub(in crate::snapshot) fn can_reflink(loaded: &Loaded, dirs: &Dirs<'_>, target: &Dir) -> Result<bool> {
    const PROBE: &str = ".probe";
    let Some(file) = loaded.manifest.files.iter().find(|f| f.size > 0) else { return Ok(false) };
    let Some((dir, name)) = place(dirs, &file.path) else { return Ok(false) };
    // What is wrong with it, the restore itself tells.
    let Ok(Some(input)) = dir.try_open(name) else { return Ok(false) };
    if input.stat()?.kind != FileKind::File {
        return Ok(false);
    }
    let output = target.open_file(PROBE, Open::CreateNew(0o600))?;
    let result = output.fs().clone_file(input.handle(), output.handle());
    target.unlink(PROBE)?;
    match result {
        Ok(()) => Ok(true),
        Err(e) if falls_back(&e) => Ok(false),
        Err(e) => Err(Error::io("reflink", target.path(), e)),
    }
}

impl Planned<'_> {
    fn size(&self) -> u64 {
        match &self.content {
            Content::Whole => self.file.size,
            Content::Range(range) => range.end.saturating_sub(range.start),
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }
}
