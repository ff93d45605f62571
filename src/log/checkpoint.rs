//! `checkpoint.json` and the other small files of a native log.

use serde::{Deserialize, Serialize};

use crate::error::{IntegrityError, Result};
use crate::fs::{Dir, replace_file};

/// Its presence means that the log is a native one.
pub const CHECKPOINT: &str = "checkpoint.json";
/// Held exclusively by the one writer for its lifetime. Permanent.
pub const WRITER_LOCK: &str = ".lock";
/// Held shared while a snapshot shares files, exclusively by truncation, retention and replacement. Permanent.
pub const SEGMENTS_LOCK: &str = ".segments.lock";

const VERSION: u32 = 1;
const MAX_BYTES: u64 = 64 * 1024;

/// What a native log keeps beside its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first offset that readers may see.
    pub log_start_offset: i64,
    /// Below it every record is committed. `None`: everything that is whole on disk is, as in a log that is not
    /// replicated.
    pub high_watermark: Option<i64>,
    /// How much of the active segment the writer knew to be durable when it closed the log. `None` while a log is open,
    /// and after a crash: what is read then may be bytes in memory whose sync has failed.
    pub durable: Option<Durable>,
}

/// The first `bytes` bytes of a segment are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// The segment's base offset.
    pub segment: i64,
    /// Bytes of its `.log`; its indexes are durable as far as they speak of these.
    pub bytes: u64,
}

impl Durable {
    /// Whether some of it is gone from a log whose last segment is `last` (base offset, bytes of whole batches) and whose
    /// records end at `end`. A segment that held nothing may be missing.
    pub(crate) fn is_gone(&self, last: Option<(i64, u64)>, end: i64) -> bool {
        match last {
            Some((base, bytes)) if base == self.segment => bytes < self.bytes,
            Some((base, _)) if base > self.segment => false,
            _ => self.bytes > 0 || end < self.segment,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    log_start_offset: i64,
    high_watermark: Option<i64>,
    #[serde(default)]
    durable: Option<Durable>,
}

impl Checkpoint {
    /// The bytes of `checkpoint.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let hw = self.high_watermark.map_or("null".to_owned(), |hw| hw.to_string());
        let start = self.log_start_offset;
        let durable = self.durable.map_or(String::new(), |Durable { segment, bytes }| {
            format!(",\"durable\":{{\"segment\":{segment},\"bytes\":{bytes}}}")
        });
        format!("{{\"version\":{VERSION},\"log_start_offset\":{start},\"high_watermark\":{hw}{durable}}}\n")
            .into_bytes()
    }

    /// Reads `checkpoint.json`; unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// `Integrity` where it is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |why: String| IntegrityError::new(CHECKPOINT, why);
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if stored.version != VERSION {
            return Err(bad(format!("version {} is not known", stored.version)).into());
        }
        if stored.log_start_offset < 0 || stored.high_watermark.is_some_and(|hw| hw < 0) {
            return Err(bad("a negative offset".into()).into());
        }
        Ok(Checkpoint {
            log_start_offset: stored.log_start_offset,
            high_watermark: stored.high_watermark,
            durable: stored.durable,
        })
    }

    /// Reads that of a log; `None` where there is none.
    pub fn read(log: &Dir) -> Result<Option<Self>> {
        let Some(bytes) = log.try_read(CHECKPOINT, MAX_BYTES)? else { return Ok(None) };
        Checkpoint::parse(&bytes).map(Some).map_err(|e| match e {
            crate::error::Error::Integrity(e) => {
                let hint = format!(
                    "restore a snapshot that verifies, or write {} in its place with the base offset of the first segment",
                    r#"`{"version":1,"log_start_offset":0,"high_watermark":null}`"#
                );
                IntegrityError { path: log.path_of(CHECKPOINT), hint: Some(hint), ..e }.into()
            }
            other => other,
        })
    }

    /// Replaces that of a log, durably and atomically.
    pub(crate) fn write(&self, log: &Dir) -> Result<()> {
        replace_file(log, CHECKPOINT, &self.to_bytes(), 0o666)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_segment_may_go() {
        let durable = Durable { segment: 5, bytes: 9 };
        assert!(!durable.is_gone(Some((5, 9)), 7) && !durable.is_gone(Some((8, 0)), 8));
        assert!(durable.is_gone(Some((5, 8)), 6) && durable.is_gone(Some((0, 99)), 5) && durable.is_gone(None, 5));
        let empty = Durable { segment: 5, bytes: 0 };
        assert!(!empty.is_gone(Some((0, 99)), 5) && !empty.is_gone(None, 5));
        assert!(empty.is_gone(Some((0, 98)), 4) && empty.is_gone(None, 0));
    }

    #[test]
    fn what_is_written_is_read() {
        for high_watermark in [None, Some(7)] {
            for durable in [None, Some(Durable { segment: 5, bytes: 9 })] {
                let checkpoint = Checkpoint { log_start_offset: 3, high_watermark, durable };
                assert_eq!(Checkpoint::parse(&checkpoint.to_bytes()).unwrap(), checkpoint);
            }
        }
        for bad in [
            "",
            "{}",
            r#"{"version":2,"log_start_offset":0,"high_watermark":0}"#,
            r#"{"version":1,"log_start_offset":-1,"high_watermark":0}"#,
        ] {
            assert!(Checkpoint::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
