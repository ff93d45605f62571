//! The manifests of a new snapshot.

use blake3::Hash;

use super::ahead::Missed;
use super::budget::Budget;
use super::capture::{Staged, path_in};
use super::outcome::LeftOut;
use super::staging::StagedSnapshot;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Method, Open, Sharer, write_new_file};
use crate::observe::Observer;
use crate::store::{DIGESTS, DigestList, MANIFEST, Manifest, STATE, State};

/// What stands in the staging directory, complete but for the manifests.
pub(super) struct Assembled {
    pub(super) files: Vec<Staged>,
    pub(super) manifest: Manifest,
    pub(super) dirs: Vec<Dir>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) bytes_hashed: u64,
}

/// The same with its manifests, all of it durable but for the names.
pub(super) struct Described {
    pub(super) manifest: Manifest,
    pub(super) digests: DigestList,
    pub(super) root: Hash,
    pub(super) dirs: Vec<Dir>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) bytes_hashed: u64,
}

impl Described {
    /// Writes the manifests and the state.
    pub(super) fn write(
        assembled: Assembled,
        staged: &StagedSnapshot,
        state: &State,
        observer: &Observer,
    ) -> Result<Self> {
        let Assembled { mut files, mut manifest, dirs, left_out, bytes_hashed } = assembled;
        observer.phase("sync", 0, 0);
        files.sort_unstable_by(|a, b| a.manifest.path.cmp(&b.manifest.path));
        let mut digests = Vec::with_capacity(files.len() + 1);
        for file in files {
            digests.push((file.manifest.path.clone(), file.digest.ok_or_else(|| unread(&file.manifest.path))?));
            manifest.files.push(file.manifest);
        }
        let (digests, root) = write_manifests(staged.dir(), &manifest, digests)?;
        if *state != State::default() {
            write_new_file(staged.dir(), STATE, &state.to_bytes()?, 0o666)?;
        }
        Ok(Described { manifest, digests, root, dirs, left_out, bytes_hashed })
    }

    /// Gets the files that could not be linked from the previous snapshot there by other means, and says so in the
    /// manifest. They are taken from that snapshot, not from the source, which may have moved on.
    pub(super) fn share_missed(
        &mut self,
        missed: &[Missed<'_>],
        staged: &StagedSnapshot,
        sharer: &Sharer,
        budget: &Budget<'_>,
    ) -> Result<()> {
        if missed.is_empty() {
            return Ok(());
        }
        for Missed { from, to, prefix, name } in missed {
            let shared = sharer.share(from, name, &from.stat(name)?, to, false)?;
            if shared.method == Method::Copy {
                budget.spend(shared.bytes)?;
            }
            to.open_file(name, Open::Read)?.sync()?;
            let path = path_in(prefix, name);
            let found = self.manifest.files.binary_search_by(|file| file.path.as_str().cmp(&path));
            let file = found.ok().and_then(|at| self.manifest.files.get_mut(at)).ok_or_else(|| unread(&path))?;
            (file.method, file.exposed) = (shared.method, false);
        }
        staged.dir().unlink(MANIFEST)?;
        staged.dir().unlink(DIGESTS)?;
        let files = self.digests.iter().filter(|(path, _)| *path != MANIFEST);
        let files = files.map(|(path, digest)| (path.to_owned(), digest)).collect();
        (self.digests, self.root) = write_manifests(staged.dir(), &self.manifest, files)?;
        Ok(())
    }
}

/// `manifest.json`, `manifest.b3`: durable but for their names.
fn write_manifests(dir: &Dir, manifest: &Manifest, mut digests: Vec<(String, Hash)>) -> Result<(DigestList, Hash)> {
    let bytes = manifest.to_bytes()?;
    digests.push((MANIFEST.to_owned(), blake3::hash(&bytes)));
    let digests = DigestList::new(digests);
    let listed = digests.to_bytes();
    write_new_file(dir, MANIFEST, &bytes, 0o666)?;
    write_new_file(dir, DIGESTS, &listed, 0o666)?;
    Ok((digests, blake3::hash(&listed)))
}

fn unread(path: &str) -> Error {
    ValidationError::refused(format!("{path} was not read; this is a fault of cowlog")).into()
}
