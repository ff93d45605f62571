//! Carrying a snapshot there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::blobs::{Blob, BlobId, BlobList, Form, may_be_of};
use super::bucket::Put;
use super::gate::Gate;
use super::intents::Intent;
use super::list::RemoteRecord;
use super::names::{BLOB_LIST, SnapshotKey, SourceName};
use super::remote::{Remote, Timing};
use super::sending::MEMORY;
use crate::error::{Error, IntegrityError, Result, ValidationError};
use crate::fs::{Dir, Open};
use crate::snapshot::{Held, SnapshotManager};
use crate::store::{DIGESTS, FileManifest, MANIFEST, MAX_MANIFEST, Record, Scope, SnapshotId};

/// What is pushed as what.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Under which name.
    pub name: SourceName,
    /// Whether files are sent that are there already: to replace blobs and manifests that were found damaged. No.
    pub again: bool,
    /// Whether the source is one that was somewhere else when its other snapshots there were taken: it moved, or came back to
    /// another directory. No.
    pub moved: bool,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The snapshot.
    pub id: String,
    /// `host/source`.
    pub of: SourceName,
    /// Where it is now.
    pub address: String,
    /// BLAKE3 of its `manifest.b3`, in hex: what `--expect` takes.
    pub root: String,
    /// It was there already, and nothing was sent.
    pub was_there: bool,
    /// Its files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// Bytes that were sent for them, compressed and encrypted.
    pub bytes_sent: u64,
    /// Blobs that were there already.
    pub blobs_there: u64,
}

type Files<'a> = BTreeMap<BlobId, (&'a FileManifest, blake3::Hash)>;

impl Remote {
    /// Carries a snapshot there, as far as it is not there yet. The log is not touched: what is read is the snapshot, which
    /// is locked against deletion meanwhile.
    ///
    /// After `Ok` the snapshot is there: all its blobs are, each made of bytes that had their digest. After an error or a
    /// crash it is not, or it was before; what has arrived is not sent again by the next push. After an error the announcement is withdrawn
    /// if the server can be reached and nothing can have been published; otherwise it keeps its blobs for a week.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot; another one, or another source, is there under its name. `Integrity`: it is damaged here, or the server
    /// lost what it had acknowledged. `Filesystem`: it cannot be read here, or the server cannot be reached. `Interrupted`.
    pub fn push(&self, manager: &SnapshotManager, id: &str, options: &PushOptions) -> Result<Pushed> {
        let held = manager.hold(id)?;
        let loaded = held.loaded();
        let key = SnapshotKey { of: options.name.clone(), id: loaded.id };
        let files: Files<'_> = loaded.files().map(|(file, digest)| (self.blob_of(&digest), (file, digest))).collect();
        let mut pushed = Pushed {
            id: key.id.to_string(),
            of: key.of.clone(),
            address: self.bucket.address(&key.object("")).display().to_string().trim_end_matches('/').to_owned(),
            root: loaded.root.to_hex().to_string(),
            was_there: false,
            files: loaded.manifest.files.len() as u64,
            bytes: loaded.manifest.files.iter().map(|f| f.size).sum(),
            blobs_sent: 0,
            bytes_sent: 0,
            blobs_there: files.len() as u64,
        };
        let there = self.what_is_there(&key, &loaded.root, options.again)?;
        if there == There::Whole && !options.again {
            pushed.was_there = true;
            return Ok(pushed);
        }
        let before = self.snapshots_of(&key.of)?;
        if !options.moved {
            self.refuse_other_source(&key.of, &before, &held)?;
        }
        let intent = Intent::announce(self, &key, files.keys().copied())?;
        let prepared = self.prepare(&held, &files, (&key, &intent, before.last()), (there, options.again), &mut pushed);
        if let Err(e) = prepared {
            intent.give_up();
            return Err(e);
        }
        // From here on it may be there even after an error, and needs its blobs.
        self.put_manifest(&key, DIGESTS, &held.manifests()?.1)?;
        intent.withdraw();
        Ok(pushed)
    }

    /// All but the commit point: `manifest.b3`.
    fn prepare(
        &self,
        held: &Held,
        files: &Files<'_>,
        (key, intent, newest): (&SnapshotKey, &Intent<'_>, Option<&SnapshotKey>),
        (there, again): (There, bool),
        pushed: &mut Pushed,
    ) -> Result<()> {
        if there == There::Damaged || again && there == There::Nothing {
            // Nothing can be restored from what is left, and it stands in the way of every gc, or of this push.
            for name in [DIGESTS, MANIFEST] {
                self.bucket.delete(&key.object(name))?;
            }
        }
        let blobs = self.send_all(held, files, (key, intent, newest), again, pushed)?;
        self.put_beside(key, held, &blobs, again)?;
        self.observer().check()?;
        intent.look().map(drop)
    }

    /// The snapshots of a source that are not there, oldest first; damaged ones are left out.
    pub fn missing(&self, manager: &SnapshotManager, name: &SourceName) -> Result<Vec<String>> {
        let there: BTreeSet<SnapshotId> = self.snapshots_of(name)?.into_iter().map(|key| key.id).collect();
        let new = |id: &String| id.parse::<SnapshotId>().is_ok_and(|id| !there.contains(&id));
        let good = manager.list()?.into_iter().filter(|info| info.damaged.is_none());
        Ok(good.map(|info| info.id).filter(new).collect())
    }

    fn what_is_there(&self, key: &SnapshotKey, root: &blake3::Hash, again: bool) -> Result<There> {
        if self.bucket.head(&key.object(DIGESTS))?.is_none() {
            return Ok(There::Nothing);
        }
        let found = match self.digests(key) {
            Ok((_, found, _)) => found,
            // Pruned between the two requests.
            Err(Error::Integrity(_)) if self.bucket.head(&key.object(DIGESTS))?.is_none() => return Ok(There::Nothing),
            Err(Error::Integrity(_)) if again => return Ok(There::Damaged),
            Err(e) => return Err(mended_by_again(e)),
        };
        // Other digests under a record of this snapshot: these were changed since.
        let was_this = || -> Result<bool> {
            Ok(self.record(key)?.is_some_and(|known| known.record.root == root.to_hex().as_str()))
        };
        match found == *root {
            true => match self.manifests(key) {
                Err(Error::Integrity(_)) if self.bucket.head(&key.object(DIGESTS))?.is_none() => Ok(There::Nothing),
                Err(Error::Integrity(_)) if again => Ok(There::Damaged),
                Err(e) => Err(mended_by_again(e)),
                Ok(_) => Ok(There::Whole),
            },
            false if again && was_this()? => Ok(There::Damaged),
            false => Err(ValidationError::Refused {
                what: format!("another snapshot is there as {key}"),
                path: Some(self.bucket.address(&key.object(""))),
                hint: Some(
                    "choose another name for this source by `--name NAME`, or for this machine by `--host NAME`; `--again` \
                     replaces it if it is this one, damaged"
                        .into(),
                ),
            }
            .into()),
        }
    }

    /// Two sources of the same name would look like one whose snapshots contradict each other.
    fn refuse_other_source(&self, of: &SourceName, keys: &[SnapshotKey], held: &Held) -> Result<()> {
        let Some(newest) = keys.last() else { return Ok(()) };
        let source = &held.loaded().manifest.source;
        let here = directory(&source.path, &source.scope);
        let is_here = |there: &RemoteRecord| directory(&there.path, &there.record.scope) == here;
        let Some(record) = self.record(newest)?.filter(|there| !is_here(there)) else { return Ok(()) };
        // It was said of an older one that the source moved.
        let known = self.each(keys, |key| Ok(self.record(key)?.is_some_and(|there| is_here(&there))))?;
        if known.contains(&true) {
            return Ok(());
        }
        let there = directory(&record.path, &record.record.scope);
        let what = format!("{of} holds snapshots of {there}, this is one of {here}");
        let hint = "if it is the same source, which moved or came back to another directory, say so once by `cowlog push \
                    --moved`; else choose another name by `--name NAME` or `--host NAME`";
        Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into())
    }

    /// Sends what is missing. After `Ok` all blobs are there, and none of them is about to be removed.
    fn send_all(
        &self,
        held: &Held,
        files: &Files<'_>,
        (key, intent, newest): (&SnapshotKey, &Intent<'_>, Option<&SnapshotKey>),
        again: bool,
        pushed: &mut Pushed,
    ) -> Result<BTreeMap<BlobId, (Blob, u64)>> {
        let dirs = open_dirs(held)?;
        let ids: Vec<BlobId> = files.keys().copied().collect();
        // What a `gc` that looked before the announcement may be removing at this moment is looked at again once it is
        // through. Marks first: one that is gone by now has been acted on before this push looks what is there.
        let condemned = self.condemned(intent.made)?;
        let mut there = self.there(&ids)?;
        if condemned.snapshots.contains(key) || there.keys().any(|id| condemned.blobs.contains(id)) {
            self.observer().warn("a gc may be removing what this push needs: waiting for its end");
            let Timing { window, margin, watch, .. } = &self.options.timing;
            watch.wait(*window + *margin, self.observer())?;
            let doubtful: Vec<BlobId> = ids.iter().copied().filter(|id| condemned.blobs.contains(id)).collect();
            there.retain(|id, _| !condemned.blobs.contains(id));
            there.extend(self.there(&doubtful)?);
        }
        // One that is not compressed tells by its size when it is not whole; of others the newest snapshot knows what was sent.
        let sent_before = newest.map(|newest| self.sizes(newest)).transpose()?.flatten().unwrap_or_default();
        let is_cut = |(blob, size): &(Blob, u64)| {
            let by_the_file = files.get(&blob.id).is_some_and(|(file, _)| match blob.form {
                Form { compressed: true, .. } => false,
                Form { encrypted: true, .. } => *size <= file.size,
                Form { .. } => *size != file.size,
            });
            by_the_file || sent_before.get(&blob.id).is_some_and(|sent| !may_be_of(*sent, (*blob, *size)))
        };
        let cut: BTreeSet<BlobId> = there.values().filter(|found| is_cut(found)).map(|(blob, _)| blob.id).collect();
        there.retain(|id, _| !cut.contains(id));
        let new: Vec<BlobId> = ids.iter().copied().filter(|id| again || !there.contains_key(id)).collect();
        let mut new: Vec<_> = new.iter().filter_map(|id| files.get(id)).collect();
        // The largest first: they must not be what all others end before.
        new.sort_by_key(|(file, _)| std::cmp::Reverse(file.size));
        self.observer().phase("push", new.len() as u64, new.iter().map(|(file, _)| file.size).sum());
        let gate = Gate::new(MEMORY);
        let sent = self.each(&new, |(file, digest)| {
            let again = again || cut.contains(&self.blob_of(digest));
            let done = self.send(&gate, file, *digest, again, || open(&dirs, held, file))?;
            self.observer().advance(1, 0);
            Ok(done)
        })?;
        let sent = self.arrived(sent)?;
        pushed.blobs_sent = sent.len() as u64;
        pushed.blobs_there -= pushed.blobs_sent;
        pushed.bytes_sent = sent.iter().map(|(_, size)| size).sum();
        there.extend(sent.into_iter().map(|(blob, size)| (blob.id, (blob, size))));
        Ok(there)
    }

    /// What has to be there before `manifest.b3` is.
    fn put_beside(
        &self,
        key: &SnapshotKey,
        held: &Held,
        blobs: &BTreeMap<BlobId, (Blob, u64)>,
        again: bool,
    ) -> Result<()> {
        let loaded = held.loaded();
        self.put_manifest(key, MANIFEST, &held.manifests()?.0)?;
        let list = BlobList::new(blobs.values().copied()).to_bytes()?;
        self.bucket.put(&key.object(BLOB_LIST), self.sealed(list)?)?;
        let record = RemoteRecord {
            record: Record { seen: None, ..Record::from(loaded) },
            path: loaded.manifest.source.path.clone(),
            pushed_at: self.options.clock.now(),
        };
        self.change_record(key, |there| {
            let mut there = there.filter(|there| there.record.root == record.record.root);
            // Every blob and both manifests were sent just now.
            if let Some(there) = there.as_mut().filter(|_| again) {
                there.record.damaged = None;
                there.record.verified.take_if(|(_, _, ok)| !*ok);
            }
            Ok(Some(there.unwrap_or_else(|| record.clone())))
        })
    }

    /// Only if there is none; after `Ok` what is there are these bytes.
    fn put_manifest(&self, key: &SnapshotKey, name: &str, bytes: &[u8]) -> Result<()> {
        const TRIES: u32 = 5;
        let object = key.object(name);
        let mut what = "";
        for _ in 0..TRIES {
            let put = self.bucket.put_new(&object, self.sealed(bytes.to_vec())?)?;
            let there = self.bucket.get(&object, MAX_MANIFEST)?.map(|there| self.unsealed(there));
            what = match (put, there) {
                (_, Some(Ok(there))) if there == bytes => return Ok(()),
                (Put::Exists, Some(_)) => "something else is there under its name",
                (Put::Made, Some(_)) => "the server does not give back the bytes that it acknowledged",
                // Pruned between the two requests, or lost.
                (_, None) => {
                    what = "the server does not have what it acknowledged, or somebody removes it all the time";
                    continue;
                }
            };
            break;
        }
        let hint = Some("`cowlog verify --from` tells what is there; push under another `--name`".into());
        Err(IntegrityError { hint, ..IntegrityError::new(self.bucket.address(&object), what) }.into())
    }
}

/// What the place has under the name of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Whole,
    /// Manifests of it that are not to be believed.
    Damaged,
}

/// Which directory a snapshot is of, or of a part of which.
fn directory<'a>(path: &'a str, scope: &Scope) -> &'a str {
    match (scope, path.rsplit_once('/')) {
        (Scope::Partition { .. }, Some((dir, name))) if scope.to_string() == name => dir,
        _ => path,
    }
}

fn mended_by_again(e: Error) -> Error {
    match e {
        Error::Integrity(mut e) => {
            e.hint = Some("`cowlog push --again` replaces it by what is here".into());
            e.into()
        }
        e => e,
    }
}

fn open_dirs(held: &Held) -> Result<HashMap<&str, Dir>> {
    let loaded = held.loaded();
    let open = |path: &str| if path.is_empty() { Ok(loaded.dir.clone()) } else { loaded.dir.open_dir(path) };
    loaded.manifest.dirs.iter().map(|dir| Ok((dir.path.as_str(), open(&dir.path)?))).collect()
}

fn open(dirs: &HashMap<&str, Dir>, held: &Held, file: &FileManifest) -> Result<crate::fs::File> {
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let missing = || Error::io("open", held.loaded().dir.path_of(&file.path), std::io::ErrorKind::NotFound.into());
    dirs.get(dir).ok_or_else(missing)?.open_file(name, Open::Read)
}
