//! What a file becomes elsewhere: a blob that is named by its content.

use std::collections::BTreeMap;

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::config::IdKey;
use super::names::{BLOB_LIST, BLOBS};
use crate::error::{IntegrityError, Result};
use crate::store::{seal, unseal};

/// The name of a blob: the BLAKE3 of its file, or where names must not tell anything, a keyed BLAKE3 of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlobId(Hash);

impl PartialOrd for BlobId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BlobId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

/// What was done to a file before it was sent, in this order: compressed, encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
}

/// One object below `blobs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) id: BlobId,
    pub(super) form: Form,
}

impl Form {
    /// Whether the blob is the file as it is.
    pub(super) fn is_bare(self) -> bool {
        !self.compressed && !self.encrypted
    }
}

impl BlobId {
    /// Of a file with this digest.
    pub(super) fn of(digest: &Hash, key: Option<&IdKey>) -> Self {
        BlobId(match key {
            None => *digest,
            Some(key) => blake3::keyed_hash(key, digest.as_bytes()),
        })
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let lower = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        lower.then(|| Hash::from_hex(text).ok().map(BlobId)).flatten()
    }

    pub(super) fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    /// The directory that its blob is in.
    pub(super) fn shelf(&self) -> String {
        let name = self.to_hex();
        format!("{BLOBS}/{}", name.get(..2).unwrap_or_default())
    }

    /// The forms in which it may be there.
    pub(super) fn forms(self, encrypted: bool) -> [Blob; 2] {
        [true, false].map(|compressed| Blob { id: self, form: Form { compressed, encrypted } })
    }
}

impl Blob {
    /// `<id>`, `<id>.zst`, `<id>.age` or `<id>.zst.age`.
    pub(super) fn name(&self) -> String {
        let zst = if self.form.compressed { ".zst" } else { "" };
        let age = if self.form.encrypted { ".age" } else { "" };
        format!("{}{zst}{age}", self.id.to_hex())
    }

    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.id.shelf(), self.name())
    }

    pub(super) fn parse_name(name: &str) -> Option<Self> {
        let (id, suffix) = name.split_at_checked(64)?;
        let (compressed, encrypted) = match suffix {
            "" => (false, false),
            ".zst" => (true, false),
            ".age" => (false, true),
            ".zst.age" => (true, true),
            _ => return None,
        };
        Some(Blob { id: BlobId::from_hex(id)?, form: Form { compressed, encrypted } })
    }

    /// The blob under this key; `None` where it is none.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let (shelf, name) = key.strip_prefix(BLOBS)?.strip_prefix('/')?.split_once('/')?;
        let blob = Blob::parse_name(name)?;
        (name.get(..2) == Some(shelf)).then_some(blob)
    }
}

/// Whether an object of this size may be the one that was sent with that size. Another machine may have sent it in another
/// form; of two that encrypt the same file at the same time the later one's bytes stay.
pub(super) fn may_be_of(sent: (Blob, u64), there: (Blob, u64)) -> bool {
    const PLAY: u64 = 1024;
    sent.0 != there.0 || sent.1 == there.1 || there.0.form.encrypted && sent.1.abs_diff(there.1) < PLAY
}

/// `blobs.json`: how many bytes each blob of a snapshot takes up. It is a hint: what comes out of a blob has to have the
/// digest that `manifest.b3` states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobList {
    blobs: BTreeMap<String, u64>,
}

impl BlobList {
    pub(super) fn new(blobs: impl Iterator<Item = (Blob, u64)>) -> Self {
        BlobList { blobs: blobs.map(|(blob, size)| (blob.name(), size)).collect() }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        seal(BLOB_LIST, self)
    }

    /// By id: which form, and its size.
    pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<BlobId, (Blob, u64)>> {
        let list: BlobList = unseal(BLOB_LIST, bytes)?;
        let blob = |(name, size): (String, u64)| {
            let blob = Blob::parse_name(&name);
            let blob = blob.ok_or_else(|| IntegrityError::new(BLOB_LIST, format!("{name:?} is no blob")))?;
            Ok((blob.id, (blob, size)))
        };
        list.blobs.into_iter().map(blob).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_which_blob_it_is() {
        let digest = blake3::hash(b"x");
        let (plain, secret) = (BlobId::of(&digest, None), BlobId::of(&digest, Some(&[7; 32])));
        assert_eq!(plain.to_hex(), digest.to_hex().as_str());
        assert_ne!(plain, secret);
        for blob in plain.forms(false).into_iter().chain(secret.forms(true)) {
            assert_eq!(Blob::parse(&blob.key()), Some(blob), "{}", blob.key());
        }
        let name = plain.to_hex();
        for bad in [
            format!("blobs/00/{name}"),
            format!("blobs/{name}"),
            format!("blobs/49/{}", name.to_uppercase()),
            format!("blobs/49/{name}.gz"),
        ] {
            assert_eq!(Blob::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_that_was_changed_is_not_believed() {
        let blob = BlobId::of(&blake3::hash(b"x"), None).forms(false)[0];
        let bytes = BlobList::new([(blob, 17)].into_iter()).to_bytes().unwrap();
        assert_eq!(BlobList::parse(&bytes).unwrap().get(&blob.id), Some(&(blob, 17)));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            if let Ok(read) = BlobList::parse(&bad) {
                assert_eq!(read.get(&blob.id), Some(&(blob, 17)), "{at}");
            }
        }
    }
}
