//! Taking a log, and taking it again where its writer came in between.
//!
//! A broker knows no lock of ours, so its logs are shared optimistically: look, share, look again. Appends and rolls are no
//! difference, and what retention removes at the front is none either. Everything else is: then the log is taken anew.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::ahead::Links;
use super::budget::Plan;
use super::capture::Context;
use super::log_capture::{CapturedLog, LogCapture};
use super::previous::PreviousLog;
use super::second_look::{Difference, difference};
use crate::error::{Error, Result};
use crate::fs::{Dir, FileKind};
use crate::kafka::datadir::PARTITION_METADATA;
use crate::snapshot::source::{Look, SourceLog};

/// How often a log is taken anew before it counts as restless.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A log on its way into the snapshot, once or again.
pub(in crate::snapshot) struct Attempt<'a> {
    log: &'a SourceLog,
    previous: Option<&'a PreviousLog<'a>>,
    staging: Dir,
    /// The leader epochs before the log was listed.
    token: Option<Vec<u8>>,
    capture: Option<LogCapture<'a>>,
    /// Links that may be made in the background.
    links: Option<Arc<Links>>,
    disturbed: Option<Disturbed>,
}

/// Why a running broker's log was not taken this time.
enum Disturbed {
    /// It was being made.
    Unready,
    /// A file went, or does not hold.
    By(Error),
    /// The second look found a difference.
    Moved(String),
}

/// What became of a log.
pub(in crate::snapshot) enum Outcome {
    /// It is in the staging directory.
    Taken(Box<CapturedLog>),
    /// It does not belong into the snapshot: it is gone.
    Gone,
    /// It does not belong into the snapshot yet: it is being made.
    Unready,
    /// It changed each time.
    Restless(String),
}

impl<'a> Attempt<'a> {
    /// Decides what is wanted of the log. Of a running broker's, a fault that its writer may have caused is none yet.
    pub(in crate::snapshot) fn begin(
        log: &'a SourceLog,
        look: Look,
        staging: Dir,
        previous: Option<&'a PreviousLog<'a>>,
        context: &Context<'_>,
    ) -> Result<Self> {
        let (token, capture, links, disturbed) = (None, None, None, None);
        let mut attempt = Attempt { log, previous, staging, token, capture, links, disturbed };
        attempt.take(look, context)?;
        Ok(attempt)
    }

    pub(in crate::snapshot) fn log(&self) -> &'a SourceLog {
        self.log
    }

    fn take(&mut self, look: Look, context: &Context<'_>) -> Result<()> {
        self.token = look.token;
        let listing = match look.listing {
            Ok(listing) => listing,
            Err(e) => return self.disturb(e),
        };
        if self.log.live && !listing.side_files.iter().any(|entry| entry.name == PARTITION_METADATA) {
            self.disturbed = Some(Disturbed::Unready);
            return Ok(());
        }
        if self.log.live && listing.segments.is_empty() {
            // A loaded log always has one: it is being replaced by an empty one that starts elsewhere.
            self.disturbed = Some(Disturbed::Moved("it has no segment".into()));
            return Ok(());
        }
        match LogCapture::begin(self.log, &listing, self.staging.clone(), self.previous, context) {
            Ok(capture) => {
                self.links = capture.links();
                self.capture = Some(capture);
                Ok(())
            }
            Err(e) => self.disturb(e),
        }
    }

    /// Keeps of the files that the previous snapshot has too those that are unchanged.
    pub(in crate::snapshot) fn inherit(&mut self, context: &Context<'_>) -> Result<()> {
        self.step(|capture| capture.inherit(context)).map(drop)
    }

    /// What would have to be copied.
    pub(in crate::snapshot) fn plan(&mut self, context: &Context<'_>) -> Result<Plan> {
        Ok(self.step(|capture| capture.plan(context))?.unwrap_or_default())
    }

    /// How many files are to be shared.
    pub(in crate::snapshot) fn pending(&self) -> usize {
        self.capture.as_ref().map_or(0, LogCapture::pending)
    }

    /// All dirty pages on this device were written after the last file was looked at.
    pub(in crate::snapshot) fn was_written_back(&mut self, device: u64) {
        if let Some(capture) = &mut self.capture {
            capture.was_written_back(device);
        }
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut LogCapture<'a>) -> Result<T>) -> Result<Option<T>> {
        let Some(capture) = self.capture.as_mut().filter(|_| self.disturbed.is_none()) else { return Ok(None) };
        match step(capture) {
            Ok(done) => Ok(Some(done)),
            Err(e) => self.disturb(e).map(|()| None),
        }
    }

    fn disturb(&mut self, e: Error) -> Result<()> {
        let may_pass = e.is_not_found() || matches!(e, Error::Integrity(_));
        if !self.log.live || !may_pass {
            return Err(e);
        }
        self.disturbed = Some(Disturbed::By(e));
        Ok(())
    }

    /// Shares what is new and, where the writer goes on, looks again, up to the last retry.
    pub(in crate::snapshot) fn finish(mut self, context: &Context<'_>) -> Result<Outcome> {
        if !self.log.live
            && let Some(capture) = self.capture.take()
        {
            return Ok(Outcome::Taken(Box::new(capture.finish(context)?)));
        }
        let mut pause = FIRST_PAUSE;
        let mut retries = 0;
        loop {
            let why = match self.once(context)? {
                _ if self.log.is_gone()? => {
                    self.clear()?;
                    return Ok(Outcome::Gone);
                }
                Ok((captured, None)) => return Ok(Outcome::Taken(Box::new(captured))),
                Ok((captured, Some(Difference::Epochs(why)))) if retries == RETRIES => {
                    // It says so at rest, too: batches that came with other epochs than the checkpoint tells.
                    context.observer.warn(&format!("{}: {why}", self.log.dir.path().display()));
                    return Ok(Outcome::Taken(Box::new(captured)));
                }
                Ok((_, Some(Difference::Moved(why) | Difference::Epochs(why)))) => Disturbed::Moved(why),
                Err(disturbed) => disturbed,
            };
            self.clear()?;
            if retries == RETRIES {
                return match why {
                    Disturbed::Unready => Ok(Outcome::Unready),
                    // What does not hold each time was not in the making.
                    Disturbed::By(e @ Error::Integrity(_)) => Err(e),
                    Disturbed::By(e) => Ok(Outcome::Restless(e.to_string())),
                    Disturbed::Moved(why) => Ok(Outcome::Restless(why)),
                };
            }
            context.observer.check()?;
            thread::sleep(pause);
            (pause, retries) = (pause * 2, retries + 1);
            self.take(self.log.look(context.now)?, context)?;
            if let Some(links) = &self.links {
                links.make();
            }
            self.inherit(context)?;
            self.plan(context)?;
        }
    }

    fn once(&mut self, context: &Context<'_>) -> Result<Result<(CapturedLog, Option<Difference>), Disturbed>> {
        if let Some(disturbed) = self.disturbed.take() {
            return Ok(Err(disturbed));
        }
        let Some(capture) = self.capture.take() else { return Ok(Err(Disturbed::Unready)) };
        let taken = capture.finish(context).and_then(|captured| {
            let found = difference(self.log, self.token.as_deref(), &captured)?;
            Ok((captured, found))
        });
        match taken {
            Ok(taken) => Ok(Ok(taken)),
            Err(e) => {
                self.disturb(e)?;
                Ok(Err(self.disturbed.take().unwrap_or(Disturbed::Unready)))
            }
        }
    }

    /// Removes what was staged of the log; links that are still to be made are not made.
    fn clear(&mut self) -> Result<()> {
        self.capture = None;
        if let Some(links) = self.links.take() {
            (0..links.names().len()).try_for_each(|at| links.take_back(at))?;
        }
        for entry in self.staging.list()?.iter().filter(|entry| entry.kind == FileKind::File) {
            self.staging.unlink(&entry.name)?;
        }
        Ok(())
    }
}
