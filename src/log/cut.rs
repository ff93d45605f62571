//! Where a snapshot ends in a log.

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, Guard};

/// Where a snapshot ends in one log, always on the boundary of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The first offset that readers may see.
    pub log_start_offset: i64,
    /// What was acknowledged as safe: records below it.
    pub high_watermark: i64,
    /// The offset after the last record.
    pub log_end_offset: i64,
    /// Leader epoch of the last batch, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
    /// Base offset of the segment that was active.
    pub active_base: i64,
    /// Bytes of it that belong to the snapshot.
    pub active_bytes: u64,
    /// Who decided.
    pub quality: CutQuality,
}

/// Who decided where a [`Cut`] lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutQuality {
    /// The writer itself, after a flush: all records below it are durable.
    Writer,
    /// Somebody outside, as after a crash: the last batch whose CRC holds.
    Crash,
}

/// A [`Cut`] named by the writer, with the lock that keeps truncation and retention away until this is dropped.
/// Appending and rolling go on.
#[derive(Debug)]
pub struct HeldCut {
    cut: Cut,
    log: Dir,
    guard: Guard,
}

impl HeldCut {
    pub(crate) fn new(cut: Cut, log: Dir, guard: Guard) -> Self {
        HeldCut { cut, log, guard }
    }

    /// The cut.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }

    /// The log's directory.
    pub(crate) fn log(&self) -> &Dir {
        &self.log
    }

    /// Gives up the lock to whoever goes on with the cut.
    pub(crate) fn into_parts(self) -> (Cut, Guard) {
        (self.cut, self.guard)
    }
}
