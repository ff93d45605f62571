//! The active segment: the one file that is always copied, and cut where its last whole batch ends.

use crate::error::{Error, IntegrityError, Result};
use crate::fs::{Dir, File, Open, copy_range};
use crate::log::{BatchHeader, BatchScanner, Cut, IndexBytes, IndexChecker, Stop};
use crate::observe::Observer;

/// A copied active segment, not durable yet.
pub(super) struct ActiveCopy {
    pub(super) digest: blake3::Hash,
    /// Where the copy ends: the byte behind the last batch whose CRC holds.
    pub(super) bytes: u64,
    /// The offset after the last record.
    pub(super) end_offset: i64,
    /// The header of the last batch.
    pub(super) last: Option<BatchHeader>,
    /// Why it ends there.
    pub(super) stop: Stop,
    /// The index files that fit.
    pub(super) indexes: IndexBytes,
}

/// Copies `from/name` into `to`: one pass that reads, parses, hashes and writes.
///
/// With a cut that the writer named, exactly its bytes are copied and every batch in them must hold. Without one
/// the file is copied as far as it reaches now and cut behind the last batch whose CRC holds; the writer may go on
/// appending meanwhile.
pub(super) fn copy_active(
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
    let mut digest = PrefixHash::new(&output);
    let mut failed = Ok(());
    let mut at = 0;
    let limit = match named {
        Some(cut) => cut.active_bytes,
        None => input.len()?,
    };
    let copied = copy_range(&input, &output, limit, observer, |chunk| {
        scan.feed_with(chunk, |batch| checker.batch(batch.position, &batch.header));
        if failed.is_ok() {
            failed = digest.extend(at, chunk, scan.valid_end());
        }
        at += chunk.len() as u64;
    })?;
    failed?;
    let bytes = scan.valid_end();
    if let Some(cut) = named
        && bytes != cut.active_bytes
    {
        let what = format!("{name} does not hold the {} bytes of the cut that its writer named", cut.active_bytes);
        return Err(IntegrityError::new(from.path(), what).into());
    }
    // The hash must cover the bytes behind the last chunk's end too.
    digest.catch_up(bytes)?;
    if bytes < copied {
        output.set_len(bytes)?;
    }
    let verdict = checker.finish();
    let last = scan.last_header().copied();
    let indexes = choose_indexes(own, verdict.index_bytes, verdict.time_index_bytes, scan.indexes());
    let end = scan.finish();
    Ok(ActiveCopy {
        digest: digest.hasher.finalize(),
        bytes,
        end_offset: end.next_offset,
        last,
        stop: end.stop,
        indexes,
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
struct PrefixHash<'a> {
    hasher: blake3::Hasher,
    hashed: u64,
    written: &'a File,
}

impl<'a> PrefixHash<'a> {
    fn new(written: &'a File) -> Self {
        PrefixHash { hasher: blake3::Hasher::new(), hashed: 0, written }
    }

    /// Takes the part of a chunk at `at` that lies before `end`. What was held back of earlier chunks, because
    /// their last batch was not whole yet, is read again from the copy: at most one batch a chunk.
    fn extend(&mut self, at: u64, chunk: &[u8], end: u64) -> Result<()> {
        self.catch_up(end.min(at))?;
        if end > self.hashed && self.hashed >= at {
            let from = usize::try_from(self.hashed - at).unwrap_or(usize::MAX);
            let to = usize::try_from(end - at).unwrap_or(usize::MAX);
            self.hasher.update(chunk.get(from..to.min(chunk.len())).unwrap_or_default());
            self.hashed = end.min(at + chunk.len() as u64);
        }
        Ok(())
    }

    fn catch_up(&mut self, end: u64) -> Result<()> {
        if self.hashed >= end {
            return Ok(());
        }
        let mut buf = vec![0; 64 * 1024];
        while self.hashed < end {
            let want = usize::try_from((end - self.hashed).min(buf.len() as u64)).unwrap_or(usize::MAX);
            let room = buf.get_mut(..want).unwrap_or_default();
            let got = self.written.read_at(room, self.hashed)?;
            if got == 0 {
                let e = std::io::ErrorKind::UnexpectedEof.into();
                return Err(Error::io("read back", self.written.path(), e));
            }
            self.hasher.update(room.get(..got).unwrap_or_default());
            self.hashed += got as u64;
        }
        Ok(())
    }
}
