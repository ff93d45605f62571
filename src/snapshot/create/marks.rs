//! What a writer says of a log beside the log itself, and whether the log still bears it out.

use super::capture::Context;
use crate::error::{IntegrityError, Result};
use crate::fs::Dir;
use crate::kafka::{Profile, datadir};
use crate::log::{self, Durable, SealedSegment, SegmentEnd, Stop};

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
        match self.loss_at_end(end, profile) {
            Some(Loss { what, grave: false }) => {
                context.observer.warn(&format!("{}: {what}", dir.path().display()));
                Ok(())
            }
            Some(loss) => lost(dir, loss.what, context),
            None => Ok(()),
        }
    }

    /// What is missing behind the end of a log.
    pub(in crate::snapshot) fn loss_at_end(&self, end: &End<'_>, profile: Profile) -> Option<Loss> {
        let committed = self.high_watermark.max(self.recovery_point).unwrap_or(0);
        let gone = end.offset < committed || self.durable.is_some_and(|d| d.is_gone(end.last, end.offset));
        if !gone {
            return None;
        }
        let at =
            end.last.map_or(String::new(), |(base, bytes)| format!(" (segment {base}, byte {bytes}: {})", end.stop));
        let what = format!("it ends at offset {}{at}, but records behind that were committed", end.offset);
        let flushed = end.offset < self.recovery_point.unwrap_or(0) && *end.stop != Stop::End;
        Some(Loss { what, grave: profile == Profile::Native || flushed })
    }

    /// Refuses a log that has lost segments or pieces of them. Looked at are the segments that are new since the last snapshot.
    pub(in crate::snapshot) fn hold_segments<'s>(
        &self,
        first: Option<i64>,
        new: impl Iterator<Item = &'s SealedSegment>,
        (dir, profile): (&Dir, Profile),
        context: &Context<'_>,
    ) -> Result<()> {
        if let Some(what) = self.loss_before(first, profile) {
            lost(dir, what, context)?;
        }
        for segment in new {
            if let Some(what) = loss_in(segment, dir, profile)? {
                lost(dir, what, context)?;
            }
        }
        Ok(())
    }

    /// A native log has no gaps: its log start is recorded before segments go.
    pub(in crate::snapshot) fn loss_before(&self, first: Option<i64>, profile: Profile) -> Option<String> {
        let (start, first) = (self.log_start?, first?);
        let lost = profile == Profile::Native && start < first;
        lost.then(|| format!("the offsets {start} to {} before its first segment are missing", first - 1))
    }
}

/// What a log has lost.
pub(in crate::snapshot) struct Loss {
    pub(in crate::snapshot) what: String,
    /// Whether no snapshot is to be taken of what is left.
    pub(in crate::snapshot) grave: bool,
}

/// What a sealed segment has lost. Of a native log each ends where the next one begins. A broker's may end before, since
/// compaction takes offsets out; but a batch that the file has only a part of was cut.
pub(in crate::snapshot) fn loss_in(segment: &SealedSegment, dir: &Dir, profile: Profile) -> Result<Option<String>> {
    let (base, next) = (segment.base(), segment.end());
    let satisfies = |end: &SegmentEnd| match profile {
        Profile::Native => end.offset >= next,
        Profile::Kafka => end.stop.is_end(),
    };
    let end = log::segment_end(dir, base, satisfies)?;
    Ok(match profile {
        Profile::Native if end.offset < next => {
            Some(format!("the offsets {} to {} behind its segment {base} are missing", end.offset, next - 1))
        }
        Profile::Kafka if matches!(end.stop, Stop::Torn { .. }) => {
            let (offset, bytes) = (end.offset, end.bytes);
            Some(format!("its sealed segment {base} was cut behind offset {offset}, at byte {bytes}: {}", end.stop))
        }
        Profile::Native | Profile::Kafka => None,
    })
}

fn lost(dir: &Dir, what: String, context: &Context<'_>) -> Result<()> {
    if context.accept_loss {
        context.observer.warn(&format!("{}: {what}", dir.path().display()));
        return Ok(());
    }
    let hint = "restore the last good snapshot, or take one of what is left with `--accept-loss`";
    Err(IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(dir.path(), what) }.into())
}
