//! The native log: the one that appends.

use super::batch::Batch;
use super::checkpoint::{Checkpoint, Durable};
use super::config::{HighWatermark, LogConfig};
use super::cut::{Cut, CutQuality, HeldCut};
use super::header::BatchError;
use super::open::{Recovery, lock_segments};
use super::read::View;
use super::recover::{Active, create_segment};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Guard, LockMode};

/// A log that this process appends to, byte for byte in Kafka's format.
///
/// One writer at a time, over all processes. What `append` wrote is in the file, and durable after the next
/// [`flush`](Log::flush), [`roll`](Log::roll), [`cut`](Log::cut) or [`close`](Log::close). After a crash the log ends with
/// the last batch that is whole, at or above what was last flushed.
///
/// A segment is sealed when a later one exists; from then on its files' inodes are never written again. That is what
/// lets snapshots share them. To truncate into a sealed segment is to put a new inode in its place.
///
/// When a sync fails nothing is known any more about what is durable: every later call errs, and only opening anew
/// finds out.
#[derive(Debug)]
pub struct Log {
    pub(super) dir: Dir,
    pub(super) config: LogConfig,
    pub(super) bases: Vec<i64>,
    pub(super) active: Active,
    pub(super) log_start: i64,
    pub(super) high_watermark: i64,
    /// What stands in `checkpoint.json`.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) recovery: Recovery,
    pub(super) poisoned: bool,
    pub(super) _writer: Guard,
}

impl Log {
    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// What opening had to mend.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Base offsets of the segments, ascending; the last is the active one.
    pub fn segments(&self) -> &[i64] {
        &self.bases
    }

    /// The first offset that readers may see.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start
    }

    /// Below it every record is committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> i64 {
        self.active.next_offset
    }

    /// Writes a batch to the end of the log and gives its base offset. Durable after the next flush.
    ///
    /// # Errors
    ///
    /// `Validation` for a batch that no producer makes: without a record, not one record for every offset, an unknown codec,
    /// records that cannot be decoded, unpack to more than [`Batch::UNPACKED_LIMIT`] or belie the header's timestamp.
    /// Nothing is written then. After a file system error nothing of the batch is left in the log.
    pub fn append(&mut self, mut batch: Batch) -> Result<i64> {
        self.check()?;
        batch.check_produced().map_err(|e| self.refused(&e))?;
        if self.must_roll(&batch) {
            self.roll()?;
        }
        let base_offset = self.active.next_offset;
        let full = || ValidationError::refused("the log has used up its offsets");
        batch.place(base_offset, self.config.leader_epoch).map_err(|_| full())?;
        let active = &mut self.active;
        if let Err(e) = active.log.write_all_at(batch.as_bytes(), active.bytes) {
            // A part of it may stand there; where it cannot be removed, nothing may be written behind it.
            if active.log.set_len(active.bytes).is_err() {
                self.poisoned = true;
            }
            return Err(e);
        }
        let header = batch.header();
        active.builder.add(active.bytes, header);
        active.bytes += batch.as_bytes().len() as u64;
        active.next_offset = header.next_offset();
        active.first_timestamp.get_or_insert(header.max_timestamp);
        active.last_epoch = Some(header.leader_epoch);
        Ok(base_offset)
    }

    fn refused(&self, why: &BatchError) -> Error {
        ValidationError::Refused {
            what: format!("cannot append the batch to {}: {why}", self.dir.path().display()),
            path: Some(self.dir.path().to_owned()),
            hint: Some("put its records into a new one with `BatchBuilder`".to_owned()),
        }
        .into()
    }

    /// By size, by age (`LogSegment.shouldRoll`), or because 32 bits no longer hold the offsets relative to the base.
    fn must_roll(&self, batch: &Batch) -> bool {
        let active = &self.active;
        if active.bytes == 0 {
            return false;
        }
        let header = batch.header();
        let last = active.next_offset.saturating_add(header.last_offset_delta.into());
        let age = active.first_timestamp.map_or(0, |first| header.max_timestamp.saturating_sub(first));
        active.bytes.saturating_add(batch.as_bytes().len() as u64) > self.config.segment_bytes
            || u128::try_from(age).is_ok_and(|ms| ms > self.config.segment_age.as_millis())
            || last.saturating_sub(active.base) > i32::MAX.into()
    }

    /// Batches from the one that holds `offset` on: at least one if there is one, then as many as fit `max_bytes`.
    /// Offsets below the log start count as the log start.
    pub fn read(&self, offset: i64, max_bytes: u64) -> Result<Vec<Batch>> {
        self.check()?;
        let mut bytes = 0u64;
        let mut batches = Vec::new();
        for batch in self.view().batches(offset) {
            let batch = batch?;
            bytes = bytes.saturating_add(batch.as_bytes().len() as u64);
            if bytes > max_bytes && !batches.is_empty() {
                break;
            }
            batches.push(batch);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(batches)
    }

    /// The first offset whose record's timestamp is `timestamp` (milliseconds since 1970 UTC) or later.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<i64>> {
        self.check()?;
        self.view().offset_for_timestamp(timestamp)
    }

    fn view(&self) -> View<'_> {
        View {
            dir: &self.dir,
            bases: &self.bases,
            active_bytes: Some(self.active.bytes),
            log_start: self.log_start,
            log_end: self.active.next_offset,
            active_indexes: Some(self.active.builder.so_far()),
        }
    }

    /// Makes everything that was appended durable. Where the high watermark follows, it is then the log's end.
    pub fn flush(&mut self) -> Result<()> {
        self.check()?;
        self.poisoning(|log| {
            log.write_indexes()?;
            log.active.log.sync_data()
        })?;
        self.follow();
        self.write_checkpoint()
    }

    fn follow(&mut self) {
        if self.config.high_watermark == HighWatermark::FollowFlush {
            self.high_watermark = self.active.next_offset;
        }
    }

    /// Appends the entries that are due to the index files. They are synced when the segment is sealed; until then
    /// recovery builds them anew.
    fn write_indexes(&mut self) -> Result<()> {
        let active = &mut self.active;
        let (offset, time) = active.written;
        let files = active.builder.so_far();
        active.index.write_all_at(files.offset.get(offset..).unwrap_or_default(), offset as u64)?;
        active.time.write_all_at(files.time.get(time..).unwrap_or_default(), time as u64)?;
        active.written = (files.offset.len(), files.time.len());
        Ok(())
    }

    /// Completes the index files of the active segment and makes its three files durable.
    fn settle_active(&mut self) -> Result<()> {
        self.write_indexes()?;
        let active = &self.active;
        let whole = active.builder.clone().finish();
        let (offset, time) = active.written;
        active.time.write_all_at(whole.time.get(time..).unwrap_or_default(), time as u64)?;
        active.index.set_len(offset as u64)?;
        active.time.set_len(whole.time.len() as u64)?;
        active.log.sync()?;
        active.index.sync()?;
        active.time.sync()
    }

    /// Seals the active segment and begins a new one; nothing where the active one is empty. All that was appended
    /// is durable afterwards.
    pub fn roll(&mut self) -> Result<()> {
        self.check()?;
        if self.active.bytes == 0 {
            return Ok(());
        }
        // The segment's names have been durable since it was made; its bytes must be before a later one exists.
        self.poisoning(Log::settle_active)?;
        let base = self.active.next_offset;
        // A full disk is no reason to give up: the segment goes on as the active one.
        let next = create_segment(&self.dir, base, self.config.index_interval, self.config.file_mode)?;
        self.active = next;
        self.bases.push(base);
        self.poisoning(|log| log.dir.sync())?;
        self.follow();
        self.write_checkpoint()
    }

    /// Names the log's end as the end of a snapshot, after a flush, and keeps truncation and retention away until the
    /// [`HeldCut`] is used or dropped. Appending goes on meanwhile.
    ///
    /// # Errors
    ///
    /// `Concurrency` where truncation or retention in progress does not end in time.
    pub fn cut(&mut self) -> Result<HeldCut> {
        let guard = self.lock_segments(LockMode::Shared)?;
        self.flush()?;
        let cut = Cut {
            log_start_offset: self.log_start,
            high_watermark: self.high_watermark,
            log_end_offset: self.active.next_offset,
            leader_epoch: self.active.last_epoch,
            active_base: self.active.base,
            active_bytes: self.active.bytes,
            quality: CutQuality::Writer,
        };
        Ok(HeldCut::new(cut, self.dir.clone(), guard))
    }

    /// Moves the high watermark, within the log. It is durable with the next flush, roll, cut or close: after a crash an
    /// older one may be found.
    ///
    /// # Errors
    ///
    /// `Validation` outside of log start and log end, and where the high watermark follows the flush.
    pub fn set_high_watermark(&mut self, offset: i64) -> Result<()> {
        self.check()?;
        if self.config.high_watermark == HighWatermark::FollowFlush {
            return Err(ValidationError::refused("the high watermark of this log follows its flushes").into());
        }
        self.check_range(offset, self.active.next_offset, "the high watermark")?;
        self.high_watermark = offset;
        Ok(())
    }

    /// Hides the records below `offset` for good; retention removes their segments. Durable after `Ok`.
    ///
    /// # Errors
    ///
    /// `Validation` below the present log start or above the high watermark.
    pub fn set_log_start_offset(&mut self, offset: i64) -> Result<()> {
        self.check()?;
        self.check_range(offset, self.high_watermark, "the log start offset")?;
        let before = std::mem::replace(&mut self.log_start, offset);
        self.write_checkpoint().inspect_err(|_| self.log_start = before)
    }

    pub(super) fn check_range(&self, offset: i64, to: i64, what: &str) -> Result<()> {
        if (self.log_start..=to).contains(&offset) {
            return Ok(());
        }
        let start = self.log_start;
        Err(ValidationError::refused(format!("{what} cannot be {offset}: it lies between {start} and {to}")).into())
    }

    /// Makes everything durable, completes the indexes and lets the next writer in.
    pub fn close(mut self) -> Result<()> {
        self.check()?;
        self.poisoning(Log::settle_active)?;
        self.follow();
        self.write_checkpoint_with(Some(Durable { segment: self.active.base, bytes: self.active.bytes }))
    }

    /// Records log start and high watermark if they changed. A high watermark beyond what is durable is never recorded.
    pub(super) fn write_checkpoint(&mut self) -> Result<()> {
        self.write_checkpoint_with(None)
    }

    fn write_checkpoint_with(&mut self, durable: Option<Durable>) -> Result<()> {
        let high_watermark = match self.config.high_watermark {
            HighWatermark::FollowFlush => None,
            HighWatermark::Manual => Some(self.high_watermark),
        };
        let now = Checkpoint { log_start_offset: self.log_start, high_watermark, durable };
        if self.checkpoint != Some(now) {
            self.poisoning(|log| now.write(&log.dir))?;
            self.checkpoint = Some(now);
        }
        Ok(())
    }

    pub(super) fn lock_segments(&self, mode: LockMode) -> Result<Guard> {
        lock_segments(&self.dir, &self.config, mode)
    }

    /// After an error in `work` the state on disk is unknown.
    pub(super) fn poisoning<T>(&mut self, work: impl FnOnce(&mut Log) -> Result<T>) -> Result<T> {
        work(self).inspect_err(|_| self.poisoned = true)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !self.poisoned {
            return Ok(());
        }
        let why = "an earlier error left it in an unknown state; open it anew";
        Err(Error::io("use", self.dir.path(), std::io::Error::other(why)))
    }
}
