//! Settings of a native log.

use std::time::Duration;

use super::index::INDEX_INTERVAL;
use crate::observe::Observer;

/// Settings of a [`Log`](super::Log).
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Size at which a segment is followed by a new one. At most 2 GiB less one byte, which positions in an index can name.
    pub segment_bytes: u64,
    /// Age at which it is: from the timestamp of its first batch to that of the batch to be appended.
    pub segment_age: Duration,
    /// Bytes between two entries of an index (`index.interval.bytes`).
    pub index_interval: u32,
    /// Retention removes segments while the log is larger than this.
    pub retention_bytes: Option<u64>,
    /// Retention removes segments whose newest record is older than this.
    pub retention_age: Option<Duration>,
    /// Who moves the high watermark.
    pub high_watermark: HighWatermark,
    /// Leader epoch of the batches that are appended.
    pub leader_epoch: i32,
    /// How long to wait for a lock.
    pub lock_timeout: Duration,
    /// Opens a log although records below its checkpointed high watermark are gone, and goes on where it ends now. Also one
    /// that misses segments elsewhere, as long as it does: reading passes over the gap.
    pub accept_loss: bool,
    /// Permission bits of new files, subject to the umask.
    pub file_mode: u32,
    /// Is told what recovery did.
    pub observer: Observer,
}

/// Who moves the high watermark of a native log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HighWatermark {
    /// Every flush, to the end of the log: what is durable is committed.
    #[default]
    FollowFlush,
    /// The application, by `Log::set_high_watermark`.
    Manual,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            index_interval: INDEX_INTERVAL,
            retention_bytes: None,
            retention_age: None,
            high_watermark: HighWatermark::FollowFlush,
            leader_epoch: 0,
            lock_timeout: Duration::from_secs(10),
            accept_loss: false,
            file_mode: 0o644,
            observer: Observer::default(),
        }
    }
}
