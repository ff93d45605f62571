//! Taking records off the end of a native log.

use super::recover::{activate, damaged, scan_kept};
use super::scan::Stop;
use super::segment::SegmentFile;
use super::writer::Log;
use crate::error::Result;
use crate::fs::{LockMode, Open};

impl Log {
    /// Removes the batches that hold `offset` or more, and gives the offset where the log now ends: `offset`, or the base
    /// offset of the batch that held it. Durable after `Ok`. After a crash the log ends somewhere between there and where
    /// it ended before.
    ///
    /// The high watermark moves down with the end, and so does a log start offset in the midst of the batch that went.
    ///
    /// # Errors
    ///
    /// `Validation` below the log start offset; `Concurrency` while a snapshot shares files for longer than the
    /// lock timeout; `Integrity` where the segment that would be the last is damaged. Nothing was removed then.
    pub fn truncate_to(&mut self, offset: i64) -> Result<i64> {
        self.check()?;
        if offset >= self.log_end_offset() {
            self.flush()?;
            return Ok(self.log_end_offset());
        }
        self.check_range(offset, self.log_end_offset(), "the end of the log")?;
        let _guard = self.lock_segments(LockMode::Exclusive)?;
        let last = self.bases.partition_point(|base| *base < offset).saturating_sub(1);
        let Some(&base) = self.bases.get(last) else { return Ok(self.log_end_offset()) };
        let log = self.dir.open_file(SegmentFile::Log.name(base), Open::Read)?;
        let kept = scan_kept(&log, base, self.config.index_interval, offset)?;
        if !matches!(kept.stop, Stop::End | Stop::Enough) {
            return Err(damaged(&log, format!("at byte {}: {}", kept.bytes, kept.stop)));
        }
        let was_sealed = base != self.active.base;
        self.poisoning(|log| {
            // First, or the records would count as lost.
            log.log_start = log.log_start.min(kept.next_offset);
            log.high_watermark = log.high_watermark.min(kept.next_offset);
            log.write_checkpoint()?;
            log.remove_behind(last)?;
            let (mode, observer) = (log.config.file_mode, &log.config.observer);
            let all = Some(kept.bytes);
            log.active = activate(&log.dir, base, kept, all, was_sealed, mode, observer)?;
            Ok(())
        })?;
        Ok(self.log_end_offset())
    }

    /// Removes the segments behind the one at `last`: from the end, each durably before the next, so that no crash
    /// leaves a gap.
    fn remove_behind(&mut self, last: usize) -> Result<()> {
        while self.bases.len() > last + 1
            && let Some(base) = self.bases.pop()
        {
            for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
                self.dir.unlink(file.name(base))?;
            }
            self.dir.sync()?;
        }
        Ok(())
    }
}
