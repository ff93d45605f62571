//! The active segment: the one file that is always copied, and cut where its last whole batch ends.

use crate::error::{IntegrityError, Result};
use crate::fs::{Dir, Open, copy_range};
use crate::kafka::live::EpochChanges;
use crate::log::{BatchHeader, BatchScanner, Cut, IndexBytes, IndexChecker, Stop};
use crate::observe::Observer;

/// A copied active segment, not durable yet.
pub(in crate::snapshot) struct ActiveCopy {
    pub(in crate::snapshot) digest: blake3::Hash,
    /// Where the copy ends: the byte behind the last batch whose CRC holds.
    pub(in crate::snapshot) bytes: u64,
    /// The offset after the last record.
    pub(in crate::snapshot) end_offset: i64,
    /// The header of the last batch.
    pub(in crate::snapshot) last: Option<BatchHeader>,
    /// Why it ends there.
    pub(in crate::snapshot) stop: Stop,
    /// The index files that fit.
    pub(in crate::snapshot) indexes: IndexBytes,
    /// The leader epochs of its batches.
    pub(in crate::snapshot) epochs: EpochChanges,
}

/// Copies `from/name` into `to`: one pass that reads, parses, hashes and writes.
///
/// With a cut that the writer named, exactly its bytes are copied and every batch in them must hold. Without one
/// the file is copied as far as it reaches now and cut behind the last batch whose CRC holds; the writer may go on
/// appending meanwhile.
pub(in crate::snapshot) fn copy_active(
    (from, name, base): (&Dir, &str, i64),
    named: Option<&Cut>,
    own: &IndexBytes,
    to: &Dir,
    mode: u32,
    observer: &Observer,
) -> Result<ActiveCopy> {
    let input = from.open_file(name, Open::Read)?;
    let output = to.open_file(name, Open::CreateNew(mode))?;
    let mut scan = BatchScanner::new(base);
    let mut checker = IndexChecker::new(base, &own.offset, &own.time);
    let mut epochs = EpochChanges::default();
    let mut digest = PrefixHash::new();
    let mut at = 0;
    let limit = match named {
        Some(cut) => cut.active_bytes,
        None => input.len()?,
    };
    let copied = copy_range(&input, &output, 0..limit, observer, |chunk| {
        scan.feed_with(chunk, |batch| {
            checker.batch(batch.position, &batch.header);
            epochs.batch(batch.header.base_offset, batch.header.leader_epoch);
        });
        digest.extend(at, chunk, scan.valid_end());
        at += chunk.len() as u64;
    })?;
    let bytes = scan.valid_end();
    if let Some(cut) = named
        && bytes != cut.active_bytes
    {
        let what = format!("{name} does not hold the {} bytes of the cut that its writer named", cut.active_bytes);
        return Err(IntegrityError::new(from.path(), what).into());
    }
    if bytes < copied {
        output.set_len(bytes)?;
    }
    let verdict = checker.finish();
    let last = scan.last_header().copied();
    let indexes = choose_indexes(own, verdict.index_bytes, verdict.time_index_bytes, scan.indexes());
    let end = scan.finish();
    Ok(ActiveCopy {
        digest: digest.whole.finalize(),
        bytes,
        end_offset: end.next_offset,
        last,
        stop: end.stop,
        indexes,
        epochs,
    })
}

/// The writer's own entries as far as they agree with the batches, without a preallocated tail; rebuilt ones where
/// the writer's are missing, wrong, or lag behind.
fn choose_indexes(own: &IndexBytes, agreeing: u64, agreeing_times: u64, rebuilt: IndexBytes) -> IndexBytes {
    let prefix =
        |bytes: &[u8], len: u64| usize::try_from(len).ok().and_then(|len| bytes.get(..len)).map(<[u8]>::to_vec);
    let (Some(offset), Some(time)) = (prefix(&own.offset, agreeing), prefix(&own.time, agreeing_times)) else {
        return rebuilt;
    };
    // A writer adds the last time entry only when it rolls or closes.
    const TIME_ENTRY: usize = 12;
    if offset.len() >= rebuilt.offset.len() && time.len() + TIME_ENTRY >= rebuilt.time.len() {
        IndexBytes { offset, time }
    } else {
        rebuilt
    }
}

/// BLAKE3 of a growing prefix that ends on batch boundaries while chunks arrive that do not.
struct PrefixHash {
    /// Of everything that came.
    all: blake3::Hasher,
    /// Of what lies before the last boundary that is known.
    whole: blake3::Hasher,
}

impl PrefixHash {
    fn new() -> Self {
        PrefixHash { all: blake3::Hasher::new(), whole: blake3::Hasher::new() }
    }

    /// Takes the next chunk, which begins at `at`. With it all bytes before `end` have come, where a boundary is.
    fn extend(&mut self, at: u64, chunk: &[u8], end: u64) {
        let before = end.checked_sub(at).and_then(|before| usize::try_from(before).ok());
        match before.and_then(|before| chunk.split_at_checked(before)) {
            Some((before, behind)) if !before.is_empty() => {
                self.all.update(before);
                self.whole.clone_from(&self.all);
                self.all.update(behind);
            }
            // The last boundary is that of an earlier chunk.
            _ => drop(self.all.update(chunk)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PrefixHash;

    #[test]
    fn a_prefix_has_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| ((n * n) >> 3) as u8).collect();
        for chunk in [1, 7, 1000, 1024, 5000] {
            for batch in [1, 3, 999, 1024, 1025, 4999, 5000] {
                let mut hash = PrefixHash::new();
                for (n, piece) in bytes.chunks(chunk).enumerate() {
                    let (at, come) = (n * chunk, n * chunk + piece.len());
                    let end = come / batch * batch;
                    hash.extend(at as u64, piece, end as u64);
                    assert_eq!(hash.whole.finalize(), blake3::hash(&bytes[..end]), "{chunk}, {batch}, {come}");
                }
            }
        }
    }
}
