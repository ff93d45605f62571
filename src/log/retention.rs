//! Taking old segments off the beginning of a native log.

use super::entries::Entries;
use super::scan::scan;
use super::seek::Seeker;
use super::segment::SegmentFile;
use super::writer::Log;
use crate::error::Result;
use crate::fs::{LockMode, Open};

impl Log {
    /// Removes segments from the beginning that lie wholly below the log start offset, whose newest record is older than
    /// `retention_age` at `now` (milliseconds since 1970 UTC), or without which the log is still as large as
    /// `retention_bytes`; gives their base offsets. Never the active segment, and none that reaches beyond the high
    /// watermark (`UnifiedLog.deleteOldSegments`).
    ///
    /// The new log start offset is durable before the first file goes, and it alone decides what the log holds: files that
    /// a power cut brings back are removed when the log is opened.
    ///
    /// # Errors
    ///
    /// `Concurrency` while a snapshot shares files for longer than the lock timeout: nothing was removed.
    pub fn apply_retention(&mut self, now: i64) -> Result<Vec<i64>> {
        self.check()?;
        let removable = self.removable(now)?;
        let Some(&start) = self.bases.get(removable) else { return Ok(Vec::new()) };
        if removable == 0 {
            return Ok(Vec::new());
        }
        let _guard = self.lock_segments(LockMode::Exclusive)?;
        self.poisoning(|log| {
            log.log_start = log.log_start.max(start);
            log.write_checkpoint()?;
            for base in log.bases.iter().take(removable) {
                for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
                    log.dir.unlink(file.name(*base))?;
                }
            }
            Ok(())
        })?;
        Ok(self.bases.drain(..removable).collect())
    }

    /// How many segments from the first may go.
    fn removable(&self, now: i64) -> Result<usize> {
        let sizes = match self.config.retention_bytes {
            Some(_) => self.sealed_sizes()?,
            None => Vec::new(),
        };
        let mut excess = self.config.retention_bytes.map_or(0, |limit| {
            let total = sizes.iter().fold(self.active.bytes, |sum, size| sum.saturating_add(*size));
            total.saturating_sub(limit)
        });
        let ends = self.bases.get(1..).unwrap_or_default();
        for (i, (&base, &end)) in self.bases.iter().zip(ends).enumerate() {
            if end > self.high_watermark {
                return Ok(i);
            }
            let size = sizes.get(i).copied().unwrap_or(u64::MAX);
            let too_large = excess > 0 && excess >= size;
            if !(end <= self.log_start || too_large || self.is_expired(base, now)?) {
                return Ok(i);
            }
            excess = excess.saturating_sub(size);
        }
        Ok(ends.len())
    }

    fn sealed_sizes(&self) -> Result<Vec<u64>> {
        let sealed = self.bases.split_last().map_or(&[][..], |(_, sealed)| sealed);
        sealed.iter().map(|base| Ok(self.dir.stat(SegmentFile::Log.name(*base))?.size)).collect()
    }

    fn is_expired(&self, base: i64, now: i64) -> Result<bool> {
        let Some(age) = self.config.retention_age else { return Ok(false) };
        let log = self.dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
        let entries = |which| Entries::of_file(&self.dir, base, which);
        let seeker = Seeker { log: &log, base, end: log.len()?, index: entries(SegmentFile::Index)? };
        let newest = match seeker.largest_timestamp(&entries(SegmentFile::TimeIndex)?)? {
            Some(largest) => largest,
            None => match scan(&log, 0, u64::MAX, base, |_| Ok(()))?.max_timestamp {
                Some(newest) => newest,
                None => log.stat()?.mtime.div_euclid(1_000_000),
            },
        };
        Ok(u128::try_from(now.saturating_sub(newest)).is_ok_and(|old| old > age.as_millis()))
    }
}
