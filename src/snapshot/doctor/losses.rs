//! What create would refuse: a log that lacks records which its checkpoints, or its own segments, say that it has.

use super::Checkup;
use crate::error::{Error, Result};
use crate::log::{Listing, SegmentEnd, Stop, segment_end};
use crate::observe::Observer;
use crate::snapshot::create::marks::{End, loss_in};
use crate::snapshot::source::{Source, SourceLog};

/// Of thousands of damaged segments the first are enough.
const MOST: usize = 10;

pub(super) fn look(source: &Source, now: i64, found: &mut Checkup, observer: &Observer) -> Result<()> {
    let before = found.findings.len();
    let (mut segments, mut losses) = (0, 0);
    for log in &source.logs {
        let listing = match log.look(now).and_then(|look| look.listing) {
            Ok(listing) => listing,
            // Retention or a deletion was faster.
            Err(e) if log.live && e.is_not_found() => continue,
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => {
                found.failed("source", &e);
                continue;
            }
        };
        segments += listing.segments.len();
        for what in of_log(log, &listing, found, observer)? {
            losses += 1;
            if losses <= MOST {
                let what = format!("{}: {what}", log.dir.path().display());
                let advice = "a snapshot is refused: restore the last good one, or take what is left with `cowlog create --accept-loss`";
                found.problem("records", what, advice);
            }
        }
    }
    if losses > MOST {
        let what = format!("{} losses more of that sort", losses - MOST);
        found.problem("records", what, "`cowlog verify --level deep` of an older snapshot tells whether that has them");
    }
    if found.findings.len() == before {
        let what =
            format!("no segment is missing or cut: {segments} were looked at by the headers of their last batches");
        found.good("records", what);
    }
    Ok(())
}

fn of_log(log: &SourceLog, listing: &Listing, found: &mut Checkup, observer: &Observer) -> Result<Vec<String>> {
    let (dir, profile) = (&log.dir, log.profile);
    let first = listing.segments.first().map(|segment| segment.base());
    let mut losses: Vec<String> = log.marks.loss_before(first, profile).into_iter().collect();
    let mut told = |looked: Result<Option<String>>| match looked {
        Ok(loss) => {
            losses.extend(loss);
            Ok(())
        }
        Err(e) if log.live && e.is_not_found() => Ok(()),
        Err(e @ Error::Interrupted) => Err(e),
        // That it may not be read is told of elsewhere.
        Err(e) if e.is_denied() => Ok(()),
        Err(e) => {
            found.failed("source", &e);
            Ok(())
        }
    };
    for segment in listing.sealed() {
        observer.check()?;
        told(loss_in(&segment, dir, profile))?;
    }
    // One that is being written to has got further than the checkpoints say, or its broker is about to cut it.
    if !log.live {
        told(at_end(log, listing))?;
    }
    Ok(losses)
}

/// By the headers: that the bytes of the last batch hold too is found by create, which reads them.
fn at_end(log: &SourceLog, listing: &Listing) -> Result<Option<String>> {
    let (last, offset, stop) = match listing.segments.last() {
        Some(last) => {
            let SegmentEnd { offset, bytes, stop } = segment_end(&log.dir, last.base(), |end| end.stop.is_end())?;
            (Some((last.base(), bytes)), offset, stop)
        }
        None => (None, log.marks.log_start.unwrap_or(0).max(0), Stop::End),
    };
    let loss = log.marks.loss_at_end(&End { last, offset, stop: &stop }, log.profile);
    Ok(loss.filter(|loss| loss.grave).map(|loss| loss.what))
}
