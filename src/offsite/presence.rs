//! Which blobs are there: asked for one by one, or out of a listing, whichever takes fewer requests.

use std::collections::{BTreeMap, BTreeSet};

use super::blobs::{Blob, BlobId};
use super::names::BLOBS;
use super::remote::Remote;
use crate::error::Result;

/// Up to here they are asked for one by one.
const FEW: usize = 300;
/// By the first two hex digits of a blob's name.
const SHELVES: usize = 256;
/// What a listing may have to go through for each blob that is asked for. A request lists 1,000, one after the other, while
/// single ones are asked for many at a time.
const LISTED_FOR_ONE: usize = 64;

impl Remote {
    /// Which of these blobs are there, in which form, with their sizes.
    pub(super) fn there(&self, ids: &[BlobId]) -> Result<BTreeMap<BlobId, (Blob, u64)>> {
        if self.listing_pays(ids.len(), ids.first())? {
            let wanted: BTreeSet<BlobId> = ids.iter().copied().collect();
            let all = self.all_blobs()?.into_iter().filter(|(blob, _)| wanted.contains(&blob.id));
            return Ok(all.map(|(blob, size)| (blob.id, (blob, size))).collect());
        }
        let found = self.each(ids, |id| {
            for blob in id.forms(self.is_encrypted()) {
                if let Some(size) = self.size_of(&blob)? {
                    return Ok(Some((*id, (blob, size))));
                }
            }
            Ok(None)
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The sizes of those of these objects that are there.
    pub(super) fn sizes_there(&self, blobs: &[Blob]) -> Result<BTreeMap<Blob, u64>> {
        if self.listing_pays(blobs.len(), blobs.first().map(|blob| &blob.id))? {
            let wanted: BTreeSet<Blob> = blobs.iter().copied().collect();
            return Ok(self.all_blobs()?.into_iter().filter(|(blob, _)| wanted.contains(blob)).collect());
        }
        let found = self.each(blobs, |blob| Ok(self.size_of(blob)?.map(|size| (*blob, size))))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// All that there are.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Blob, u64)>> {
        self.blobs_below(BLOBS)
    }

    /// Names are digests, so one shelf tells how many there are altogether.
    fn listing_pays(&self, asked_for: usize, one: Option<&BlobId>) -> Result<bool> {
        let Some(one) = one.filter(|_| asked_for > FEW) else { return Ok(false) };
        let on_its_shelf = self.blobs_below(&one.shelf())?.len();
        Ok(on_its_shelf.saturating_mul(SHELVES) / LISTED_FOR_ONE <= asked_for)
    }

    fn blobs_below(&self, dir: &str) -> Result<Vec<(Blob, u64)>> {
        let objects = self.bucket.list(dir)?;
        Ok(objects.into_iter().filter_map(|object| Some((Blob::parse(&object.key)?, object.size))).collect())
    }

    fn size_of(&self, blob: &Blob) -> Result<Option<u64>> {
        Ok(self.bucket.head(&blob.key())?.map(|meta| meta.size))
    }
}
