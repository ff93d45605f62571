//! Whether what is elsewhere is what it was.

use std::collections::BTreeMap;

use serde::Serialize;

use super::blobs::{Blob, BlobId, may_be_of};
use super::config::random;
use super::fetch::Got;
use super::manifests::Manifests;
use super::names::SnapshotKey;
use super::remote::Remote;
use crate::error::{Damage, DamageKind, Error, Result};
use crate::store::FileManifest;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RemoteLevel {
    /// That every blob is there, of its size. Nothing of them is fetched.
    Presence,
    /// This many percent of the blobs, chosen by chance, at least one, are fetched and held against their digests; of the
    /// others that they are there.
    Sample(f64),
    /// Every byte.
    Full,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteReport {
    /// `host/source`.
    pub of: String,
    /// The snapshot.
    pub id: String,
    /// `presence`, `sample` or `full`.
    pub level: &'static str,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Files that were looked at.
    pub files_checked: u64,
    /// Files whose bytes were read.
    pub files_read: u64,
    /// Bytes that were fetched.
    pub bytes_fetched: u64,
    /// BLAKE3 of `manifest.b3`, in hex; empty where it cannot be read.
    pub root: String,
    /// File by file. Of a blob that several files share, each is named.
    pub damage: Vec<Damage>,
}

impl Remote {
    /// Verifies a snapshot: its manifests, and as much of its blobs as the level says. Damage is a report, not an error.
    /// It is recorded there, and so is a full verification, if this user may write.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or one that needs a newer cowlog. `Filesystem`: the server cannot be reached or
    /// does not let this user read. `Interrupted`.
    pub fn verify(&self, source: &str, id: &str, level: RemoteLevel) -> Result<RemoteReport> {
        let key = self.find(source, id)?;
        self.verify_key(&key, level)
    }

    pub(super) fn verify_key(&self, key: &SnapshotKey, level: RemoteLevel) -> Result<RemoteReport> {
        let found = match self.manifests(key) {
            Ok(found) => found,
            Err(Error::Integrity(e)) => {
                let why = e.to_string();
                let report = report(key, level, String::new(), e.damage);
                self.remember(key, &report, Some(&why));
                return Ok(report);
            }
            Err(e) => return Err(e),
        };
        let sizes = self.sizes(key)?;
        let mut files: BTreeMap<BlobId, Vec<(&FileManifest, blake3::Hash)>> = BTreeMap::new();
        for (file, digest) in found.files() {
            files.entry(self.blob_of(&digest)).or_default().push((file, digest));
        }
        let ids: Vec<BlobId> = files.keys().copied().collect();
        let chosen = chosen(&ids, level)?;
        let mut report = report(key, level, found.root.to_hex().to_string(), Vec::new());
        report.files_checked = found.manifest.files.len() as u64;
        let mut damage = Vec::new();
        let mut add = |of: BlobId, found: &Damage| {
            let files = files.get(&of).into_iter().flatten();
            damage.extend(files.map(|(file, _)| Damage { path: file.path.clone(), ..found.clone() }));
        };
        if level != RemoteLevel::Full {
            self.look_for(&found, &ids, sizes.as_ref(), &mut add)?;
        }
        let wanted: Vec<_> = chosen.iter().filter_map(|id| Some((*id, files.get(id)?.first()?))).collect();
        self.observer().phase("verify", wanted.len() as u64, wanted.iter().map(|(_, (file, _))| file.size).sum());
        let fetched = self.each(&wanted, |(_, (file, digest))| {
            let wanted = self.wanted(file, *digest, sizes.as_ref());
            let got = self.fetch(&wanted, &mut |bytes, _| {
                self.observer().advance(0, bytes.len() as u64);
                Ok(())
            })?;
            self.observer().advance(1, 0);
            Ok(got)
        })?;
        for ((id, _), got) in wanted.iter().zip(fetched) {
            match got {
                Got::Right(bytes) => report.bytes_fetched += bytes,
                Got::Wrong(found) => add(*id, &found),
            }
        }
        report.files_read = wanted.len() as u64;
        report.damage = damage;
        report.damage.sort_by(|a, b| a.path.cmp(&b.path));
        report.damage.dedup_by(|a, b| a.path == b.path);
        report.ok = report.damage.is_empty();
        self.remember(key, &report, None);
        Ok(report)
    }

    /// That the blobs are there, of the sizes that they were sent with.
    fn look_for(
        &self,
        found: &Manifests,
        ids: &[BlobId],
        sizes: Option<&BTreeMap<BlobId, (Blob, u64)>>,
        add: &mut dyn FnMut(BlobId, &Damage),
    ) -> Result<()> {
        let there = self.there(ids)?;
        let plain: BTreeMap<BlobId, u64> =
            found.files().map(|(file, digest)| (self.blob_of(&digest), file.size)).collect();
        if sizes.is_none() {
            self.observer().warn("the list of its blobs is lost: sizes of compressed or encrypted ones are not known");
        }
        for id in ids {
            let mut of = |kind, detail: String| add(*id, &Damage { path: String::new(), kind, detail });
            let Some((blob, size)) = there.get(id) else {
                let known = sizes.and_then(|sizes| sizes.get(id)).map_or_else(|| id.to_hex(), |(blob, _)| blob.key());
                of(DamageKind::Missing, format!("its blob {known} is not there"));
                continue;
            };
            let sent = match blob.form.is_bare() {
                true => plain.get(id).map(|size| (*blob, *size)),
                false => sizes.and_then(|sizes| sizes.get(id)).copied(),
            };
            if let Some(sent) = sent.filter(|sent| !may_be_of(*sent, (*blob, *size))) {
                let detail = format!("its blob {} has {size} bytes, {} were sent", blob.key(), sent.1);
                of(DamageKind::Size, detail);
            }
        }
        Ok(())
    }

    /// Best effort: who may only read verifies all the same. `damaged` says why the manifests are not to be believed. Where
    /// the record is lost that is not written down, and found whenever the snapshot is listed: what could be written would
    /// state no root.
    fn remember(&self, key: &SnapshotKey, report: &RemoteReport, damaged: Option<&str>) {
        let now = self.options.clock.now();
        let written = self.change_record(key, |there| {
            let is_news = report.level == "full" || !report.ok;
            let there = match there {
                None if damaged.is_none() && is_news => self.record_again(key)?,
                there => there,
            };
            let Some(mut there) = there else { return Ok(None) };
            let is_later = there.record.verified.as_ref().is_none_or(|(at, _, _)| *at <= now);
            if is_news && is_later {
                there.record.verified = Some((now, report.level.to_owned(), report.ok));
            }
            there.record.damaged = damaged.map(str::to_owned);
            Ok(Some(there))
        });
        if let Err(e) = written {
            self.observer().warn(&format!("the result was not recorded: {e}"));
        }
    }
}

fn report(key: &SnapshotKey, level: RemoteLevel, root: String, damage: Vec<Damage>) -> RemoteReport {
    RemoteReport {
        of: key.of.to_string(),
        id: key.id.to_string(),
        level: match level {
            RemoteLevel::Presence => "presence",
            RemoteLevel::Sample(_) => "sample",
            RemoteLevel::Full => "full",
        },
        ok: damage.is_empty(),
        files_checked: 0,
        files_read: 0,
        bytes_fetched: 0,
        root,
        damage,
    }
}

/// By a hash of a random number and the name, so that no list has to be shuffled.
fn chosen(ids: &[BlobId], level: RemoteLevel) -> Result<Vec<BlobId>> {
    let percent = match level {
        RemoteLevel::Presence => return Ok(Vec::new()),
        RemoteLevel::Full => return Ok(ids.to_vec()),
        RemoteLevel::Sample(percent) => percent.clamp(0.0, 100.0),
    };
    let mut seed = [0; 32];
    random(&mut seed)?;
    let mut ranked: Vec<(blake3::Hash, BlobId)> =
        ids.iter().map(|id| (blake3::keyed_hash(&seed, id.to_hex().as_bytes()), *id)).collect();
    ranked.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let some = (ids.len() as f64 * percent / 100.0).ceil().max(1.0);
    // The number is not above that of the blobs.
    ranked.truncate(some as usize);
    Ok(ranked.into_iter().map(|(_, id)| id).collect())
}
