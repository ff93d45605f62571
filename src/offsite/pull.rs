//! Bringing snapshots back: into a store, or straight into a target.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::fetch::Got;
use super::manifests::Manifests;
use super::names::SnapshotKey;
use super::remote::Remote;
use crate::error::{Damage, Error, IntegrityError, Result, ValidationError};
use crate::fs::{Deadline, Dir, LockMode, Open, lock_file, write_new_unsynced};
use crate::snapshot::{RestoreOptions, Restored, SnapshotConfig, SnapshotInfo, SnapshotManager};
use crate::store::{DIGESTS, FileManifest, MANIFEST, Scope};

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pulled {
    /// `host/source`.
    pub of: String,
    /// The snapshot, as it is now in the store.
    pub snapshot: SnapshotInfo,
    /// It was there already, and nothing was fetched.
    pub was_there: bool,
    /// Bytes that were fetched.
    pub bytes_fetched: u64,
}

impl Remote {
    /// Brings a snapshot back into a store: the manager's, which has to be told where that is, and which is made if it is
    /// not there. It keeps its id, its manifests and its root.
    ///
    /// After `Ok` it is there, whole, durable, and every byte was found right. After an error or a crash it is not.
    ///
    /// # Errors
    ///
    /// `Validation`: no such snapshot, or another one of its id is in the store. `Integrity`: blobs are missing or
    /// damaged, with an account per file. `Filesystem`: the disk is full, the server cannot be reached. `Interrupted`.
    pub fn pull(&self, source: &str, id: &str, into: &SnapshotManager) -> Result<Pulled> {
        let key = self.find(source, id)?;
        let found = self.manifests(&key)?;
        let mut bytes_fetched = 0;
        let arrived = into.arrive(key.id, &found.root, |dir| {
            bytes_fetched = self.fetch_into(&found, dir, &|_| true)?;
            Ok(())
        })?;
        let (was_there, snapshot) = (arrived.was_there, arrived.snapshot);
        Ok(Pulled { of: key.of.to_string(), snapshot, was_there, bytes_fetched })
    }

    /// Restores a snapshot, or a part of it, straight into a target, by the rules of a local
    /// [`restore`](SnapshotManager::restore): every byte is found right before the target appears.
    ///
    /// # Errors
    ///
    /// As [`pull`](Self::pull), and as a local restore. Taking the place of the source is refused: only one with a store here
    /// can be undone.
    pub fn restore(
        &self,
        source: &str,
        id: &str,
        part: Option<&Scope>,
        options: RestoreOptions,
        config: SnapshotConfig,
    ) -> Result<Restored> {
        let key = self.find_part(source, id, part)?;
        let found = self.manifests(&key)?;
        let files = found.files_of(part);
        if files.is_empty() {
            let part = part.map(ToString::to_string).unwrap_or_default();
            let what = format!("{key} holds nothing of {part}");
            let hint = Some("`cowlog show --from` lists its logs".into());
            return Err(
                ValidationError::Refused { what, path: Some(self.bucket.address(&key.object(""))), hint }.into()
            );
        }
        let wanted: std::collections::HashSet<&str> = files.iter().map(|(file, _)| file.path.as_str()).collect();
        let bytes = files.iter().map(|(file, _)| file.size).sum();
        let options = match part {
            Some(part) => options.only(part.clone()),
            None => options,
        };
        SnapshotManager::restore_arriving(key.id, bytes, options, config, |dir| {
            self.fetch_into(&found, dir, &|file| wanted.contains(file.path.as_str())).map(drop)
        })
    }

    /// Brings some files of a snapshot into a store of their own, as whatever reads logs wants them. The other files of
    /// the snapshot are missing there.
    pub fn pull_some(
        &self,
        source: &str,
        id: &str,
        into: &SnapshotManager,
        wanted: &(dyn Fn(&FileManifest) -> bool + Sync),
    ) -> Result<SnapshotInfo> {
        let key = self.find(source, id)?;
        let found = self.manifests(&key)?;
        let arrived = into.arrive(key.id, &found.root, |dir| self.fetch_into(&found, dir, wanted).map(drop))?;
        Ok(arrived.snapshot)
    }

    /// Brings one file of a snapshot, by its path there, into a directory, under a name that must be free.
    ///
    /// After `Ok` it is there, durable, with the digest that the manifest states.
    pub fn pull_file(&self, source: &str, id: &str, path: &str, to: &Path) -> Result<u64> {
        let key = self.find(source, id)?;
        let found = self.manifests(&key)?;
        let (file, digest) = found.files().find(|(file, _)| file.path == path).ok_or_else(|| -> Error {
            let what = format!("{key} has no file {path:?}");
            let hint = Some("`cowlog show --from` lists its files".into());
            ValidationError::Refused { what, path: None, hint }.into()
        })?;
        let (dir, name) = Dir::open_around(to)?;
        if dir.try_stat(name)?.is_some() {
            return Err(ValidationError::TargetExists { path: to.into() }.into());
        }
        let partial = format!(".{}.pulling", name.to_string_lossy());
        // Of two that bring it to the same name one would remove what the other writes.
        let now = Deadline::after(Duration::ZERO, self.observer());
        let _turn = lock_file(&dir, &partial, LockMode::Exclusive, &now, "another pull to this file")?;
        let wanted = self.wanted(file, digest, self.sizes(&key)?.as_ref());
        let done = dir.open_file(&partial, Open::Write).and_then(|output| {
            match self.fetch(&wanted, &mut |bytes, at| output.write_all_at(bytes, at))? {
                Got::Right(bytes) => {
                    // A try that broke off may have written more.
                    output.set_len(file.size)?;
                    output.sync()?;
                    dir.rename(&partial, &dir, name, crate::fs::Rename::NoReplace)?;
                    dir.sync()?;
                    Ok(bytes)
                }
                Got::Wrong(damage) => Err(self.refused(&key, vec![damage])),
            }
        });
        if done.is_err() {
            let _ = dir.unlink(&partial);
        }
        done
    }

    /// Makes the directory of a snapshot: its manifests, and those of its files that are wanted. Returns how many bytes were
    /// fetched. Nothing is synced.
    fn fetch_into(&self, found: &Manifests, dir: &Dir, wanted: &(dyn Fn(&FileManifest) -> bool + Sync)) -> Result<u64> {
        let files: Vec<_> = found.files().filter(|(file, _)| wanted(file)).collect();
        let bytes = files.iter().map(|(file, _)| file.size).sum();
        dir.expect_room(bytes)?;
        let mut dirs = HashMap::from([("", dir.clone())]);
        for made in found.manifest.dirs.iter().filter(|made| !made.path.is_empty()) {
            dirs.insert(&made.path, dir.make_dir(&made.path, 0o700)?);
        }
        let sizes = self.sizes(&found.key)?;
        self.observer().phase("pull", files.len() as u64, bytes);
        let groups = equal(files);
        let fetched = self.each(&groups, |files| {
            let Some((first, digest)) = files.first() else { return Ok(Got::Right(0)) };
            let wanted = self.wanted(first, *digest, sizes.as_ref());
            let got = if files.len() == 1 {
                let output = create(&dirs, first)?;
                let got = self.fetch(&wanted, &mut |bytes, at| {
                    self.observer().advance(0, bytes.len() as u64);
                    output.write_all_at(bytes, at)
                })?;
                // A try that broke off may have written more.
                output.set_len(first.size)?;
                got
            } else {
                let mut all = Vec::new();
                let got = self.fetch(&wanted, &mut |bytes, at| {
                    all.truncate(usize::try_from(at).unwrap_or(usize::MAX));
                    all.extend_from_slice(bytes);
                    Ok(())
                })?;
                if let Got::Right(_) = got {
                    files.iter().try_for_each(|(file, _)| create(&dirs, file)?.write_all_at(&all, 0))?;
                    self.observer().advance(0, all.len() as u64 * files.len() as u64);
                }
                got
            };
            self.observer().advance(files.len() as u64, 0);
            Ok(got)
        })?;
        let (mut damage, mut bytes_fetched) = (Vec::new(), 0);
        for (files, got) in groups.iter().zip(fetched) {
            match got {
                Got::Right(bytes) => bytes_fetched += bytes,
                Got::Wrong(found) => {
                    damage.extend(files.iter().map(|(file, _)| Damage { path: file.path.clone(), ..found.clone() }));
                }
            }
        }
        if !damage.is_empty() {
            damage.sort_by(|a, b| a.path.cmp(&b.path));
            return Err(self.refused(&found.key, damage));
        }
        write_new_unsynced(dir, MANIFEST, &found.manifest_bytes, 0o666)?;
        write_new_unsynced(dir, DIGESTS, &found.digest_bytes, 0o666)?;
        Ok(bytes_fetched)
    }

    fn refused(&self, key: &SnapshotKey, damage: Vec<Damage>) -> Error {
        IntegrityError {
            path: self.bucket.address(&key.object("")),
            what: "it is damaged and nothing was brought back from it".into(),
            damage,
            hint: Some("another snapshot may be intact: `cowlog verify --from` tells; a machine that still has it mends it by `cowlog push --again`".into()),
        }
        .into()
    }
}

/// Files with the same bytes side by side, to be fetched once, as long as they are small: most indexes of a log may be equal.
fn equal(files: Vec<(&FileManifest, blake3::Hash)>) -> Vec<Vec<(&FileManifest, blake3::Hash)>> {
    const SMALL: u64 = 1 << 20;
    let (small, large): (Vec<_>, Vec<_>) = files.into_iter().partition(|(file, _)| file.size <= SMALL);
    let mut groups: HashMap<(blake3::Hash, u64), Vec<(&FileManifest, blake3::Hash)>> = HashMap::new();
    for (file, digest) in small {
        groups.entry((digest, file.size)).or_default().push((file, digest));
    }
    large.into_iter().map(|one| vec![one]).chain(groups.into_values()).collect()
}

fn create(dirs: &HashMap<&str, Dir>, file: &FileManifest) -> Result<crate::fs::File> {
    let (at, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let no_dir = || ValidationError::refused(format!("{:?} lies in no directory", file.path));
    dirs.get(at).ok_or_else(no_dir)?.open_file(name, Open::CreateNew(0o600))
}
