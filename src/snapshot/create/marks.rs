//! What a writer says of a log beside the log itself, and whether the log still bears it out.

use super::capture::Context;
use crate::error::{IntegrityError, Result};
use crate::fs::Dir;
use crate::kafka::{Profile, datadir};
use crate::log::{self, Durable, SealedSegment, Stop};

/// What the writer's checkpoints say.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::snapshot) struct Marks {
    pub(in crate::snapshot) log_start: Option<i64>,
    pub(in crate::snapshot) high_watermark: Option<i64>,
    /// A broker's: below it all is on the disk.
    pub(in crate::snapshot) recovery_point: Option<i64>,
    /// A native log's that was closed.
    pub(in crate::snapshot) durable: Option<Durable>,
}

/// Where a log was found to end.
pub(in crate::snapshot) struct End<'a> {
    /// Base offset and bytes of whole batches of the last segment.
    pub(in crate::snapshot) last: Option<(i64, u64)>,
    pub(in crate::snapshot) offset: i64,
    pub(in crate::snapshot) stop: &'a Stop,
}

impl Marks {
    pub(in crate::snapshot) fn of_kafka(root: &datadir::RootCheckpoints, topic: &str, partition: i32) -> Marks {
        Marks {
            log_start: root.log_start(topic, partition),
            high_watermark: root.high_watermark(topic, partition),
            recovery_point: root.recovery_point(topic, partition),
            durable: None,
        }
    }

    pub(in crate::snapshot) fn of_native(dir: &Dir) -> Result<Marks> {
        let checkpoint = log::Checkpoint::read(dir)?;
        Ok(Marks {
            log_start: checkpoint.as_ref().map(|c| c.log_start_offset),
            high_watermark: checkpoint.as_ref().and_then(|c| c.high_watermark),
            recovery_point: None,
            durable: checkpoint.and_then(|c| c.durable),
        })
    }

    /// Damage is no torn tail: a log that ends below what was safe is refused, for a snapshot of it would push out the
    /// good ones. Of a broker's log nothing is safe but what lies below its recovery point, since a high watermark says
    /// only that the replicas have it in memory; and one that ends cleanly is only told of: its checkpoints may be those of
    /// a topic of the same name that was deleted a moment ago (they are written every 5 s and every 60 s).
    pub(in crate::snapshot) fn hold(
        &self,
        end: &End<'_>,
        dir: &Dir,
        profile: Profile,
        context: &Context<'_>,
    ) -> Result<()> {
        let committed = self.high_watermark.max(self.recovery_point).unwrap_or(0);
        let gone = end.offset < committed || self.durable.is_some_and(|d| d.is_gone(end.last, end.offset));
        if !gone {
            return Ok(());
        }
        let at =
            end.last.map_or(String::new(), |(base, bytes)| format!(" (segment {base}, byte {bytes}: {})", end.stop));
        let what = format!("it ends at offset {}{at}, but records behind that were committed", end.offset);
        let flushed = end.offset < self.recovery_point.unwrap_or(0) && *end.stop != Stop::End;
        if profile == Profile::Kafka && !flushed {
            context.observer.warn(&format!("{}: {what}", dir.path().display()));
            return Ok(());
        }
        lost(dir, what, context)
    }

    /// A native log has no gaps: its log start is recorded before segments go, and each segment ends where the next one
    /// begins. Looked at of the segments that are new since the last snapshot.
    pub(in crate::snapshot) fn hold_segments<'s>(
        &self,
        first: Option<i64>,
        new: impl Iterator<Item = &'s SealedSegment>,
        dir: &Dir,
        context: &Context<'_>,
    ) -> Result<()> {
        if let (Some(start), Some(first)) = (self.log_start, first)
            && start < first
        {
            lost(dir, format!("the offsets {start} to {} before its first segment are missing", first - 1), context)?;
        }
        for segment in new {
            let (base, next) = (segment.base(), segment.end());
            let end = log::sealed_end(dir, base, next)?;
            if end < next {
                let last = next - 1;
                lost(dir, format!("the offsets {end} to {last} behind its segment {base} are missing"), context)?;
            }
        }
        Ok(())
    }
}

fn lost(dir: &Dir, what: String, context: &Context<'_>) -> Result<()> {
    if context.accept_loss {
        context.observer.warn(&format!("{}: {what}", dir.path().display()));
        return Ok(());
    }
    let hint = "restore the last good snapshot, or take one of what is left with `--accept-loss`";
    Err(IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(dir.path(), what) }.into())
}
