//! Removing blobs that no snapshot needs, while others push.
//!
//! It takes two runs. The first *marks*: it looks at announcements, then at snapshots, and writes down which blobs none of
//! them names. A later one, once the mark is older than the grace period, *sweeps*: it looks at announcements and
//! snapshots again, and removes what still nobody names. Why that is safe beside pushes of other machines:
//!
//! * A push announces its blobs before it looks which of them are there, and withdraws the announcement after it has
//!   published. Whoever looks at announcements first and at snapshots then sees it in one of the two.
//! * A sweep removes only within a short window after such a look, and looks again for the next batch.
//! * So what a push finds when it looks can vanish only by a sweep that looked before the announcement, and only within the
//!   window after it. A push that finds a blob on a mark that is due waits for that window to pass, and looks again.
//!
//! Ages are told by the server's clock alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blobs::BlobId;
use super::config::run;
use super::names::{BLOB_LIST, CONFIG, GC, SNAPSHOTS, SnapshotKey};
use super::remote::{Remote, Timing};
use crate::error::{Error, IntegrityError, Result};
use crate::store::{DIGESTS, MANIFEST, MAX_MANIFEST, seal, unseal};

/// How much a `gc` does.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// How old a mark has to be before what it names is removed. 24 hours.
    pub grace: Duration,
    /// Whether it only tells what it would do.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        GcOptions { grace: Duration::from_secs(24 * 3600), dry_run: false }
    }
}

/// What a `gc` did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Blobs that are there.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Blobs that were removed.
    pub removed: u64,
    /// Bytes of them.
    pub bytes_removed: u64,
    /// Blobs that nothing names, which a run after the grace period will remove.
    pub marked: u64,
    /// Bytes of them.
    pub bytes_marked: u64,
    /// Blobs that the server did not let go, as it does while an object is locked.
    pub kept: u64,
    /// What it said, for one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_because: Option<String>,
    /// Announcements of pushes that have died.
    pub announcements_removed: u64,
    /// Files in a directory that uploads have left that died long ago.
    pub unfinished_removed: u64,
    /// Bytes of them.
    pub bytes_unfinished: u64,
}

/// What one run found that nothing names.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Seconds from when the mark was written until it may be acted on.
    grace: u64,
    blobs: Vec<String>,
    /// Of which something is there, but not `manifest.b3`: pruned, or never published.
    snapshots: Vec<SnapshotKey>,
}

/// A mark and when it is due, by the server's clock.
struct Marked {
    key: String,
    due: i64,
    named: Unneeded,
}

/// What nothing names.
#[derive(Debug, Default)]
pub(super) struct Unneeded {
    pub(super) blobs: BTreeSet<BlobId>,
    pub(super) snapshots: BTreeSet<SnapshotKey>,
}

/// What one look at announcements and snapshots found to be needed.
struct Needed {
    blobs: HashSet<BlobId>,
    /// Published or announced.
    snapshots: HashSet<SnapshotKey>,
}

/// What an object that is to go is, or is of.
enum Of {
    Blob(BlobId),
    Snapshot(SnapshotKey),
}

/// Blobs of snapshots that have been read once: manifests never change.
type Known = HashMap<SnapshotKey, HashSet<BlobId>>;

impl Remote {
    /// Marks blobs that no snapshot names, and removes those that a run before the grace period marked and that still
    /// nothing names. Any number of machines may push, prune and collect meanwhile.
    ///
    /// After `Ok` what is reported as removed is gone; everything that a snapshot names is there. After an error or a crash
    /// the latter holds too.
    ///
    /// # Errors
    ///
    /// `Integrity`: the manifest of a snapshot cannot be read, so that nobody knows what it needs; nothing was removed.
    /// `Filesystem`: the server cannot be reached. `Interrupted`.
    pub fn gc(&self, options: &GcOptions) -> Result<Collected> {
        let mut done = Collected::default();
        let now = self.server_time()?;
        self.bury_announcements(now, options.dry_run, &mut done)?;
        (done.unfinished_removed, done.bytes_unfinished) = self.remove_unfinished(now, options.dry_run)?;
        let mut known = Known::default();
        let marks = self.marks()?;
        for mark in marks.iter().filter(|mark| mark.due <= now) {
            self.sweep(mark, &mut known, options.dry_run, &mut done)?;
        }
        let needed = self.needed(&mut known)?;
        let marked: Vec<&Unneeded> = marks.iter().filter(|m| m.due > now).map(|m| &m.named).collect();
        let mut new = Unneeded::default();
        for (blob, size) in self.all_blobs()? {
            done.blobs += 1;
            done.bytes += size;
            if needed.blobs.contains(&blob.id) {
                continue;
            }
            done.marked += 1;
            done.bytes_marked += size;
            if !marked.iter().any(|m| m.blobs.contains(&blob.id)) {
                new.blobs.insert(blob.id);
            }
        }
        for object in self.bucket.list(SNAPSHOTS)? {
            let Some((key, _)) = SnapshotKey::parse(&object.key) else { continue };
            if !needed.snapshots.contains(&key) && !marked.iter().any(|m| m.snapshots.contains(&key)) {
                new.snapshots.insert(key);
            }
        }
        let found_some = !new.blobs.is_empty() || !new.snapshots.is_empty();
        if found_some && !options.dry_run {
            self.write_mark(options.grace, &new)?;
        }
        Ok(done)
    }

    /// What a mark names and nothing else does goes.
    fn sweep(&self, mark: &Marked, known: &mut Known, dry_run: bool, done: &mut Collected) -> Result<()> {
        const BATCH: usize = 1000;
        let ids: Vec<BlobId> = mark.named.blobs.iter().copied().collect();
        let there = self.there(&ids)?;
        let blobs = there.into_values().map(|(blob, size)| (blob.key(), Of::Blob(blob.id), size));
        let mut going: Vec<(String, Of, u64)> = blobs.collect();
        for key in &mark.named.snapshots {
            let left = self.bucket.list(key.object("").trim_end_matches('/'))?;
            going.extend(left.into_iter().map(|object| (object.key, Of::Snapshot(key.clone()), 0)));
        }
        going.sort_by(|a, b| a.0.cmp(&b.0));
        for batch in going.chunks(BATCH) {
            self.sweep_batch(batch, known, dry_run, done)?;
        }
        match dry_run {
            true => Ok(()),
            false => self.put_away(&mark.key),
        }
    }

    /// Removes what nobody needs any more. Where the server keeps it, it only takes up room.
    fn put_away(&self, key: &str) -> Result<()> {
        match self.bucket.delete(key) {
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::PermissionDenied => {
                self.observer().warn(&format!("{}: it stays", Error::Filesystem(e)));
                Ok(())
            }
            other => other,
        }
    }

    /// Looks, and removes within the window after that.
    fn sweep_batch(
        &self,
        batch: &[(String, Of, u64)],
        known: &mut Known,
        dry_run: bool,
        done: &mut Collected,
    ) -> Result<()> {
        let Timing { window, watch, .. } = &self.options.timing;
        let looked = watch.elapsed();
        let needed = self.needed(known)?;
        let is_needed = |of: &Of| match of {
            Of::Blob(id) => needed.blobs.contains(id),
            Of::Snapshot(key) => needed.snapshots.contains(key),
        };
        let going: BTreeMap<&str, Option<u64>> = batch
            .iter()
            .filter(|(_, of, _)| !is_needed(of))
            .map(|(key, of, size)| (key.as_str(), matches!(of, Of::Blob(_)).then_some(*size)))
            .collect();
        let keys: Vec<String> = going.keys().map(|key| (*key).to_owned()).collect();
        let left = window.checked_sub(watch.elapsed().saturating_sub(looked)).filter(|_| !keys.is_empty());
        let gone = match left {
            _ if dry_run => keys,
            // It took too long: the next run looks again.
            None => return Ok(()),
            Some(_) => {
                let removed = self.bucket.delete_all(&keys, watch.left(looked + *window))?;
                done.kept += removed.kept.len() as u64;
                let refused = removed.refused.filter(|_| !removed.kept.is_empty()).map(|e| e.to_string());
                done.kept_because = done.kept_because.take().or(refused);
                removed.gone
            }
        };
        for size in gone.iter().filter_map(|key| going.get(key.as_str()).copied().flatten()) {
            done.removed += 1;
            done.bytes_removed += size;
        }
        Ok(())
    }

    /// What announcements and snapshots name, looked up in this order.
    fn needed(&self, known: &mut Known) -> Result<Needed> {
        let mut named = HashSet::new();
        let mut at_work = HashSet::new();
        for intent in self.intents()? {
            named.extend(self.announced(&intent.key)?.into_iter().flatten());
            at_work.extend(SnapshotKey::of_intent(&intent.key));
        }
        let snapshots = self.snapshots()?;
        let new: Vec<SnapshotKey> = snapshots.iter().filter(|key| !known.contains_key(*key)).cloned().collect();
        let read = self.each(&new, |key| {
            let (digests, root, record) = match self.digests_and_record(key) {
                Ok((digests, root, _, record)) => (digests, root.to_hex(), record),
                // Pruned since it was listed.
                Err(Error::Integrity(_)) if self.bucket.head(&key.object(DIGESTS))?.is_none() => return Ok(None),
                Err(Error::Integrity(e)) => return Err(stands_in_the_way(e)),
                Err(e) => return Err(e),
            };
            // Lines that were changed or lost can look like those of a snapshot that needs other blobs, or none.
            let known_as = record.map(|r| r.record.root).filter(|known| !known.is_empty());
            if digests.get(MANIFEST).is_none() || known_as.is_some_and(|known| known != root.as_str()) {
                let what = format!("{DIGESTS} is not what it was");
                return Err(stands_in_the_way(IntegrityError::new(self.bucket.address(&key.object(DIGESTS)), what)));
            }
            let blobs = digests.iter().filter(|(path, _)| *path != MANIFEST).map(|(_, digest)| self.blob_of(&digest));
            let blobs: HashSet<BlobId> = blobs.collect();
            // With the key of another place the names of all blobs are others.
            if self.is_encrypted() && !self.sizes(key)?.is_some_and(|list| blobs.iter().all(|id| list.contains_key(id)))
            {
                let what = format!("{BLOB_LIST} is lost, or does not name the blobs that the key in {CONFIG} names");
                return Err(stands_in_the_way(IntegrityError::new(self.bucket.address(&key.object(BLOB_LIST)), what)));
            }
            Ok(Some((key.clone(), blobs)))
        })?;
        known.extend(read.into_iter().flatten());
        named.extend(snapshots.iter().filter_map(|key| known.get(key)).flat_map(|blobs| blobs.iter().copied()));
        at_work.extend(snapshots);
        Ok(Needed { blobs: named, snapshots: at_work })
    }

    /// What a sweep that looked before `announced` may still be removing.
    pub(super) fn condemned(&self, announced: i64) -> Result<Unneeded> {
        let margin = i64::try_from(self.options.timing.margin.as_millis()).unwrap_or(i64::MAX);
        let mut condemned = Unneeded::default();
        for mark in self.marks()?.into_iter().filter(|mark| mark.due <= announced.saturating_add(margin)) {
            condemned.blobs.extend(mark.named.blobs);
            condemned.snapshots.extend(mark.named.snapshots);
        }
        Ok(condemned)
    }

    fn marks(&self) -> Result<Vec<Marked>> {
        let mut marks = Vec::new();
        for object in self.bucket.list(GC)? {
            if !is_mark(&object.key) {
                continue;
            }
            // Another run may have acted on it meanwhile.
            let Some(bytes) = self.bucket.get(&object.key, MAX_MANIFEST)? else { continue };
            let bad = |what: String| {
                let hint = Some("remove this object: the next `cowlog gc` marks anew".into());
                IntegrityError { hint, ..IntegrityError::new(self.bucket.address(&object.key), what) }
            };
            let mark: Mark = unseal("a mark", &bytes).map_err(|e| bad(e.to_string()))?;
            let id = |text: &String| BlobId::from_hex(text).ok_or_else(|| bad(format!("{text:?} is no blob")));
            let blobs = mark.blobs.iter().map(id).collect::<Result<_, _>>()?;
            let grace = i64::try_from(mark.grace).unwrap_or(i64::MAX).saturating_mul(1000);
            let named = Unneeded { blobs, snapshots: mark.snapshots.into_iter().collect() };
            marks.push(Marked { key: object.key, due: object.modified.saturating_add(grace), named });
        }
        Ok(marks)
    }

    fn write_mark(&self, grace: Duration, unneeded: &Unneeded) -> Result<()> {
        let run = run()?;
        let blobs = unneeded.blobs.iter().map(|id| id.to_hex()).collect();
        let mark = Mark { grace: grace.as_secs(), blobs, snapshots: unneeded.snapshots.iter().cloned().collect() };
        self.bucket.put(&format!("{GC}/mark-{run}.json"), seal("a mark", &mark)?)
    }

    /// Of pushes that have died long ago; and what runs left that died while they asked for the time.
    fn bury_announcements(&self, now: i64, dry_run: bool, done: &mut Collected) -> Result<()> {
        let long = i64::try_from(self.options.timing.announced.as_millis()).unwrap_or(i64::MAX);
        for intent in self.intents()? {
            if now.saturating_sub(intent.modified) <= long {
                continue;
            }
            done.announcements_removed += 1;
            if !dry_run {
                self.put_away(&intent.key)?;
            }
        }
        let clocks = self.bucket.list(GC)?.into_iter().filter(|object| object.key.contains("/clock"));
        let old: Vec<String> = clocks.filter(|c| now.saturating_sub(c.modified) > long).map(|c| c.key).collect();
        if !old.is_empty() && !dry_run {
            let Timing { window, watch, .. } = &self.options.timing;
            let _ = self.bucket.delete_all(&old, watch.left(watch.elapsed() + *window));
        }
        Ok(())
    }

    /// Milliseconds since 1970 UTC, by the server's clock.
    fn server_time(&self) -> Result<i64> {
        // Under a new name: what is there may be locked.
        let key = format!("{GC}/clock-{}", run()?);
        self.bucket.put(&key, &b""[..])?;
        let missing = || Error::elsewhere("look at", self.bucket.address(&key), std::io::ErrorKind::NotFound.into());
        let now = self.bucket.head(&key)?.ok_or_else(missing)?.last_modified.timestamp_millis();
        let _ = self.bucket.delete(&key);
        Ok(now)
    }
}

/// Other names mean nothing.
fn is_mark(key: &str) -> bool {
    let named = key.strip_prefix(GC).and_then(|name| name.strip_prefix("/mark-")?.strip_suffix(".json"));
    named.is_some_and(|run| !run.is_empty() && run.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn stands_in_the_way(mut e: IntegrityError) -> Error {
    e.what = format!("{}: nobody knows which blobs it needs, and none was removed", e.what);
    let hint = format!(
        "`cowlog push --again` from where it was taken, or remove it by `cowlog delete --from`; it lies below {SNAPSHOTS}/"
    );
    e.hint = Some(hint);
    e.into()
}
