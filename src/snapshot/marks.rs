//! What a writer says of a log beside the log itself, and whether the log still bears it out.

use crate::error::{Error, IntegrityError, Result};
use crate::fs::Dir;
use crate::kafka::{Profile, datadir};
use crate::log::{self, Durable, Stop};
use crate::observe::Observer;

/// What the writer's checkpoints say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) log_start: Option<i64>,
    pub(super) high_watermark: Option<i64>,
    /// A broker's: below it all is on the disk.
    pub(super) recovery_point: Option<i64>,
    /// A native log's that was closed.
    pub(super) durable: Option<Durable>,
}

/// Where a log was found to end.
pub(super) struct End<'a> {
    /// Base offset and bytes of whole batches of the last segment.
    pub(super) last: Option<(i64, u64)>,
    pub(super) offset: i64,
    pub(super) stop: &'a Stop,
}

impl Marks {
    pub(super) fn of_kafka(root: &datadir::RootCheckpoints, topic: &str, partition: i32) -> Marks {
        Marks {
            log_start: root.log_start(topic, partition),
            high_watermark: root.high_watermark(topic, partition),
            recovery_point: root.recovery_point(topic, partition),
            durable: None,
        }
    }

    pub(super) fn of_native(dir: &Dir) -> Result<Marks> {
        let checkpoint = log::Checkpoint::read(dir)?;
        Ok(Marks {
            log_start: checkpoint.as_ref().map(|c| c.log_start_offset),
            high_watermark: checkpoint.as_ref().and_then(|c| c.high_watermark),
            recovery_point: None,
            durable: checkpoint.and_then(|c| c.durable),
        })
    }

    /// Damage is no torn tail: a log that ends below what was safe is refused, for a snapshot of it would push out the
    /// good ones. A broker's log that ends cleanly is only told of: its checkpoints may be those of a topic of the same
    /// name that was deleted a moment ago (they are written every 5 s and every 60 s).
    pub(super) fn hold(&self, end: &End<'_>, dir: &Dir, profile: Profile, observer: &Observer) -> Result<()> {
        let safe = self.high_watermark.max(self.recovery_point).unwrap_or(0);
        let gone = end.offset < safe || self.durable.is_some_and(|d| d.is_gone(end.last, end.offset));
        if !gone {
            return Ok(());
        }
        let at =
            end.last.map_or(String::new(), |(base, bytes)| format!(" (segment {base}, byte {bytes}: {})", end.stop));
        let what = format!("it ends at offset {}{at}, but records behind that were safe on the disk", end.offset);
        if profile == Profile::Kafka && *end.stop == Stop::End {
            observer.warn(&format!("{}: {what}", dir.path().display()));
            return Ok(());
        }
        let hint = "restore the last good snapshot, or let the log's writer recover it and accept the loss first";
        Err(Error::from(IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(dir.path(), what) }))
    }
}
