//! One file out of its blob.

use std::io::{self, Read};

use super::blobs::{Blob, BlobId};
use super::body::Body;
use super::coding::{BodyReader, carried, decode};
use super::remote::Remote;
use crate::error::{Damage, DamageKind, Error, Result};

/// What is to be fetched.
pub(super) struct Wanted<'a> {
    /// What it is called in a report.
    pub(super) path: &'a str,
    pub(super) size: u64,
    pub(super) digest: blake3::Hash,
    /// In which forms it may be there, the likeliest first.
    pub(super) blobs: Vec<Blob>,
}

/// What came of it.
pub(super) enum Got {
    /// All bytes came and had their digest. How many bytes were fetched for them.
    Right(u64),
    Wrong(Damage),
}

impl Remote {
    /// A file of a snapshot: which blob it is expected in.
    pub(super) fn wanted<'a>(
        &self,
        file: &'a crate::store::FileManifest,
        digest: blake3::Hash,
        sizes: Option<&std::collections::BTreeMap<BlobId, (Blob, u64)>>,
    ) -> Wanted<'a> {
        let id = self.blob_of(&digest);
        let known = sizes.and_then(|sizes| sizes.get(&id)).map(|(blob, _)| *blob);
        let mut blobs: Vec<Blob> = known.into_iter().collect();
        blobs.extend(id.forms(self.is_encrypted()).into_iter().filter(|blob| known != Some(*blob)));
        Wanted { path: &file.path, size: file.size, digest, blobs }
    }

    /// Fetches a file. `write` gets its bytes in order, with where they belong; where the blob is replaced meanwhile, again from
    /// the beginning. They may be believed only after `Right`.
    pub(super) fn fetch(&self, wanted: &Wanted<'_>, write: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<Got> {
        let mut wrong = None;
        for blob in &wanted.blobs {
            match self.fetch_blob(wanted, blob, write) {
                Ok(Got::Right(bytes)) => return Ok(Got::Right(bytes)),
                // There may be an intact one in another form.
                Ok(Got::Wrong(damage)) => wrong = Some(damage),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        let missing = || {
            let keys: Vec<String> = wanted.blobs.iter().take(1).map(Blob::key).collect();
            let detail = format!("its blob {} is not there", keys.join(", "));
            Damage { path: wanted.path.to_owned(), kind: DamageKind::Missing, detail }
        };
        Ok(Got::Wrong(wrong.unwrap_or_else(missing)))
    }

    fn fetch_blob(
        &self,
        wanted: &Wanted<'_>,
        blob: &Blob,
        write: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<Got> {
        const TRIES: u32 = 4;
        let mut tries = 1;
        loop {
            match self.fetch_once(wanted, blob, write) {
                // Another machine replaced it in the middle.
                Err(Error::Filesystem(e))
                    if tries < TRIES && e.is_elsewhere() && e.source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    fn fetch_once(
        &self,
        wanted: &Wanted<'_>,
        blob: &Blob,
        write: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<Got> {
        const CHUNK: usize = 256 << 10;
        let mut body = Body::open(&self.bucket, &blob.key())?;
        let fetched = body.size;
        let arrived = |bytes: usize| self.limit.spend(bytes, self.observer());
        let reader = BodyReader::new(&mut body, &arrived);
        let identities = self.secret.as_ref().map(|secret| &secret.identities);
        let wrong = |kind, what: String| {
            let detail = format!("{what}; its blob is {}", blob.key());
            Ok(Got::Wrong(Damage { path: wanted.path.to_owned(), kind, detail }))
        };
        let mut hasher = blake3::Hasher::new();
        let some = CHUNK.min(usize::try_from(wanted.size.saturating_add(1)).unwrap_or(CHUNK));
        let (mut at, mut chunk) = (0, vec![0; some]);
        let outcome: io::Result<Result<()>> = (|| {
            let mut decoded = decode(blob.form, identities, reader)?;
            loop {
                let n = decoded.read(&mut chunk)?;
                let bytes = chunk.get(..n).unwrap_or_default();
                // One byte too many is enough.
                if n == 0 || at > wanted.size {
                    return Ok(Ok(()));
                }
                hasher.update(bytes);
                if let Err(e) = write(bytes, at) {
                    return Ok(Err(e));
                }
                at += n as u64;
            }
        })();
        match outcome {
            Ok(written) => written?,
            Err(e) if e.get_ref().is_some_and(|inner| inner.is::<Error>()) => return Err(carried(e)),
            Err(e) => return wrong(DamageKind::Unreadable, format!("it cannot be decoded: {e}")),
        }
        if at != wanted.size {
            let more = if at > wanted.size { "more than " } else { "" };
            return wrong(
                DamageKind::Size,
                format!("it has {more}{} bytes, {} are stated", at.min(wanted.size), wanted.size),
            );
        }
        match hasher.finalize() == wanted.digest {
            true => Ok(Got::Right(fetched)),
            false => wrong(DamageKind::Digest, "its bytes are not those that the manifest states".into()),
        }
    }
}
