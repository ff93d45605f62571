//! One file on its way to becoming a blob.

use std::io::{self, Write};

use super::blobs::{Blob, Form};
use super::bucket::{Bucket, Put, Upload};
use super::coding::{carried, carry, encode, shrinks};
use super::config::Compression;
use super::gate::Gate;
use super::remote::Remote;
use super::trouble::is_broken;
use crate::error::{Damage, DamageKind, Error, IntegrityError, Result};
use crate::fs::{Buffer, File};
use crate::store::FileManifest;

/// What objects that are sent in one piece are not larger than; others are sent in parts of this size, or larger ones
/// where there would be too many.
const PART: u64 = 8 << 20;
/// Servers take 10,000.
const MOST_PARTS: u64 = 9_000;
const CHUNK: usize = 1 << 20;

/// What may be on the way at a time.
pub(super) const MEMORY: u64 = 96 << 20;

/// What sending one file takes at most: a part that is being filled, one that is on the way, and the coders.
fn memory(size: u64) -> u64 {
    2 * size.min(part_size(size)) + 2 * (CHUNK as u64).min(size) + (256 << 10)
}

fn part_size(size: u64) -> u64 {
    PART.max(size / MOST_PARTS + 1)
}

impl Remote {
    /// Sends a file. After `Ok` the server has acknowledged the blob, or that there is one, and it came of bytes with this
    /// digest; otherwise there is nothing under its name that was not there before. Returns which blob, and its size. One
    /// that is there is replaced only where `again` says so.
    pub(super) fn send(
        &self,
        gate: &Gate,
        file: &FileManifest,
        digest: blake3::Hash,
        again: bool,
        open: impl Fn() -> Result<File>,
    ) -> Result<(Blob, u64)> {
        const TRIES: u32 = 3;
        let mut tries = 1;
        loop {
            match self.send_once(gate, file, digest, again, &open) {
                // Nobody knows whether an upload is complete whose end was not answered.
                Err(Error::Filesystem(e)) if e.is_elsewhere() && tries < TRIES && is_lost(&e.source) => tries += 1,
                other => return other,
            }
        }
    }

    fn send_once(
        &self,
        gate: &Gate,
        file: &FileManifest,
        digest: blake3::Hash,
        again: bool,
        open: impl Fn() -> Result<File>,
    ) -> Result<(Blob, u64)> {
        let _pass = gate.enter(memory(file.size));
        let input = open()?;
        let mut chunk = Buffer::new(CHUNK.min(usize::try_from(file.size).unwrap_or(CHUNK)).max(1));
        let mut filled = read_full(&input, &mut chunk, 0)?;
        let beginning = chunk.get(..filled).unwrap_or_default();
        let compressed = self.config.compression == Compression::Zstd && shrinks(beginning);
        let form = Form { compressed, encrypted: self.is_encrypted() };
        let blob = Blob { id: self.blob_of(&digest), form };
        let recipients = self.secret.as_ref().map(|secret| &secret.recipients);
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        let sink = Sink::new(self, blob.key(), part_size(file.size), again);
        let sink = encode(compressed, recipients, file.size, sink, |out| {
            // One byte too many is enough to see that the file is not what it was.
            while filled > 0 && offset <= file.size {
                let bytes = chunk.get(..filled).unwrap_or_default();
                hasher.update(bytes);
                out.write_all(bytes).map_err(carried)?;
                offset += filled as u64;
                self.observer().advance(0, filled as u64);
                filled = read_full(&input, &mut chunk, offset)?;
            }
            Ok(())
        });
        let sink = match sink {
            // A compressor that was promised another number of bytes fails of itself.
            Err(Error::Validation(_)) => return Err(changed(file, input.path())),
            other => other?,
        };
        if offset != file.size || hasher.finalize() != digest {
            sink.abandon();
            return Err(changed(file, input.path()));
        }
        let size = sink.finish()?;
        Ok((blob, size))
    }

    /// What of these is there, with the sizes that they have there.
    ///
    /// # Errors
    ///
    /// `Integrity`: the server does not have what it acknowledged.
    pub(super) fn arrived(&self, sent: Vec<(Blob, u64)>) -> Result<Vec<(Blob, u64)>> {
        let blobs: Vec<Blob> = sent.iter().map(|(blob, _)| *blob).collect();
        let there = self.sizes_there(&blobs)?;
        let look = |(blob, size): (Blob, u64)| match there.get(&blob) {
            Some(found) if *found == size => Ok((blob, size)),
            // Another machine was faster, with bytes of its own: encrypted they always differ.
            Some(found) if blob.form.encrypted => Ok((blob, *found)),
            found => Err(lost(self, &blob, size, found.copied())),
        };
        sent.into_iter().map(look).collect()
    }
}

/// Whether a connection broke, or the server does not know of an upload any more.
fn is_lost(e: &io::Error) -> bool {
    is_broken(e) || e.kind() == io::ErrorKind::NotFound
}

/// What this machine has does not have its digest.
fn changed(file: &FileManifest, path: &std::path::Path) -> crate::error::Error {
    let detail = "its bytes are not those that the manifest states".into();
    IntegrityError {
        path: path.into(),
        what: "the snapshot is damaged; nothing of it was published elsewhere".into(),
        damage: vec![Damage { path: file.path.clone(), kind: DamageKind::Digest, detail }],
        hint: Some("`cowlog verify` tells of all damage, `cowlog repair --heal` mends it where it can".into()),
    }
    .into()
}

/// What the server acknowledged is not there.
fn lost(remote: &Remote, blob: &Blob, sent: u64, found: Option<u64>) -> crate::error::Error {
    let detail = match found {
        None => format!("{sent} bytes were acknowledged, but there is no such object"),
        Some(found) => format!("{sent} bytes were acknowledged, but it has {found}"),
    };
    IntegrityError {
        path: remote.bucket.address(&blob.key()),
        what: "the server does not have what it acknowledged; nothing was published".into(),
        damage: vec![Damage { path: blob.key(), kind: DamageKind::Missing, detail }],
        hint: Some("push again; if it happens again, do not trust this server".into()),
    }
    .into()
}

fn read_full(file: &File, buf: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Where the bytes of an object go: into memory while they are few, then in parts.
struct Sink<'a> {
    remote: &'a Remote,
    key: String,
    part: usize,
    again: bool,
    filling: Vec<u8>,
    upload: Option<Upload>,
    sent: u64,
}

impl<'a> Sink<'a> {
    fn new(remote: &'a Remote, key: String, part: u64, again: bool) -> Self {
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        Sink { remote, key, part, again, filling: Vec::new(), upload: None, sent: 0 }
    }

    fn bucket(&self) -> &'a Bucket {
        &self.remote.bucket
    }

    fn flush_part(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.filling);
        self.remote.limit.spend(part.len(), self.remote.observer())?;
        self.sent += part.len() as u64;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => self.upload.insert(self.bucket().upload(&self.key)?),
        };
        upload.part(part)
    }

    /// The commit point of the object.
    fn finish(mut self) -> Result<u64> {
        if self.upload.is_some() {
            if !self.filling.is_empty() {
                self.flush_part()?;
            }
            if let Some(upload) = self.upload.take() {
                upload.complete()?;
            }
            return Ok(self.sent);
        }
        let bytes = std::mem::take(&mut self.filling);
        let size = bytes.len() as u64;
        self.remote.limit.spend(bytes.len(), self.remote.observer())?;
        // Another machine that was faster had the same file.
        if self.again {
            self.bucket().put(&self.key, bytes)?;
        } else {
            let (Put::Made | Put::Exists) = self.bucket().put_new(&self.key, bytes)?;
        }
        Ok(size)
    }

    fn abandon(mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.len() >= self.part {
            self.flush_part().map_err(carry)?;
        }
        let room = self.part - self.filling.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        self.filling.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
