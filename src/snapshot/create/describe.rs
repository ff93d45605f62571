//! The manifests of a new snapshot.

use std::collections::HashMap;
use std::io::{self, Write};

use blake3::{Hash, Hasher};

use super::ahead::Missed;
use super::budget::Budget;
use super::capture::{Staged, path_in};
use super::staging::StagedSnapshot;
use crate::error::{Damage, Error, Result, ValidationError};
use crate::fs::{Dir, File, Method, Open, Sharer, write_new_unsynced};
use crate::observe::Observer;
use crate::snapshot::verify::spread::same_content;
use crate::store::{self, DIGESTS, LeftOut, Loaded, MANIFEST, Manifest};

/// What stands in the staging directory, complete but for the manifests.
pub(in crate::snapshot) struct Assembled {
    pub(in crate::snapshot) files: Vec<Staged>,
    pub(in crate::snapshot) manifest: Manifest,
    pub(in crate::snapshot) dirs: Vec<Dir>,
    pub(in crate::snapshot) left_out: Vec<LeftOut>,
    pub(in crate::snapshot) bytes_hashed: u64,
}

impl Assembled {
    /// What a deep verification found in another snapshot that is in this one too.
    pub(in crate::snapshot) fn damage_of(&self, other: &Loaded) -> Vec<Damage> {
        let known = other.state.verified.as_ref().map(|verified| verified.damage.as_slice()).unwrap_or_default();
        if !known.iter().any(|damage| damage.kind.is_of_content()) {
            return Vec::new();
        }
        let files = self.files.iter().filter_map(|file| Some((file.manifest.path.as_str(), file.digest?)));
        let here: HashMap<&str, Hash> = files.collect();
        same_content(known, |path| other.digests.get(path), |path| here.get(path).copied())
    }
}

/// The same with its manifests, all of it durable but for the names.
pub(in crate::snapshot) struct Described {
    pub(in crate::snapshot) manifest: Manifest,
    /// Of the manifest's files, in their order.
    pub(in crate::snapshot) digests: Vec<Hash>,
    pub(in crate::snapshot) root: Hash,
    pub(in crate::snapshot) dirs: Vec<Dir>,
    pub(in crate::snapshot) left_out: Vec<LeftOut>,
    pub(in crate::snapshot) bytes_hashed: u64,
    /// What is known to be wrong with it.
    pub(in crate::snapshot) damage: Vec<Damage>,
}

impl Described {
    /// Writes the manifests.
    pub(in crate::snapshot) fn write(
        assembled: Assembled,
        staged: &StagedSnapshot,
        observer: &Observer,
    ) -> Result<Self> {
        let Assembled { mut files, mut manifest, dirs, left_out, bytes_hashed } = assembled;
        observer.phase("sync", 0, 0);
        files.sort_unstable_by(|a, b| a.manifest.path.cmp(&b.manifest.path));
        let digest = |file: &Staged| file.digest.ok_or_else(|| unread(&file.manifest.path));
        let digests = files.iter().map(digest).collect::<Result<Vec<_>>>()?;
        manifest.files = files.into_iter().map(|file| file.manifest).collect();
        let root = write_manifests(staged.dir(), &manifest, &digests)?;
        Ok(Described { manifest, digests, root, dirs, left_out, bytes_hashed, damage: Vec::new() })
    }

    /// Gets the files that could not be linked from the previous snapshot there by other means, and says so in the
    /// manifest. They are taken from that snapshot, not from the source, which may have moved on.
    pub(in crate::snapshot) fn share_missed(
        &mut self,
        missed: &[Missed<'_>],
        staged: &StagedSnapshot,
        sharer: &Sharer,
        budget: &Budget,
    ) -> Result<()> {
        if missed.is_empty() {
            return Ok(());
        }
        for Missed { from, to, prefix, name } in missed {
            let shared = sharer.share(from, name, &from.stat(name)?, to, false)?;
            let path = path_in(prefix, name);
            if shared.method == Method::Copy {
                budget.spend(&path, shared.bytes)?;
            }
            to.open_file(name, Open::Read)?.sync()?;
            let found = self.manifest.files.binary_search_by(|file| file.path.as_str().cmp(&path));
            let file = found.ok().and_then(|at| self.manifest.files.get_mut(at)).ok_or_else(|| unread(&path))?;
            (file.method, file.exposed) = (shared.method, false);
        }
        staged.dir().unlink(MANIFEST)?;
        staged.dir().unlink(DIGESTS)?;
        self.root = write_manifests(staged.dir(), &self.manifest, &self.digests)?;
        Ok(())
    }
}

/// `manifest.json`, `manifest.b3`: durable but for their names. Gives the root.
fn write_manifests(dir: &Dir, manifest: &Manifest, digests: &[Hash]) -> Result<Hash> {
    let mut json = Hashing::new(dir.open_file(MANIFEST, Open::CreateNew(0o666))?);
    let written = manifest.write_to(&mut json);
    let (json, digest) = json.finish(written)?;

    let files = manifest.files.iter().map(|file| file.path.as_str()).zip(digests.iter().copied());
    let before = manifest.files.partition_point(|file| file.path.as_str() < MANIFEST);
    let itself = std::iter::once((MANIFEST, digest));
    let listed = store::lines(files.clone().take(before).chain(itself).chain(files.skip(before)));
    let list = write_new_unsynced(dir, DIGESTS, &listed, 0o666)?;
    json.sync()?;
    list.sync()?;
    Ok(blake3::hash(&listed))
}

/// Writes a file and hashes it on the way.
struct Hashing {
    file: File,
    written: u64,
    hasher: Hasher,
    buffer: Vec<u8>,
    failed: Option<Error>,
}

impl Hashing {
    const BUFFER: usize = 256 << 10;

    fn new(file: File) -> Self {
        Hashing { file, written: 0, hasher: Hasher::new(), buffer: Vec::with_capacity(Self::BUFFER), failed: None }
    }

    /// The file, not yet synced, and its digest.
    fn finish(mut self, written: io::Result<()>) -> Result<(File, Hash)> {
        if let Err(e) = written.and_then(|()| self.flush()) {
            return Err(self.failed.take().unwrap_or_else(|| Error::io("write", self.file.path(), e)));
        }
        Ok((self.file, self.hasher.finalize()))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > Self::BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        if let Err(e) = self.file.write_all_at(&self.buffer, self.written) {
            self.failed = Some(e);
            return Err(io::Error::other("not written"));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn unread(path: &str) -> Error {
    ValidationError::refused(format!("{path} was not read; this is a fault of cowlog")).into()
}
