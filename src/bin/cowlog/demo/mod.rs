//! `cowlog demo`: what cowlog does, shown on real Kafka data and a log that the demo writes itself.
//!
//! Every figure it prints was measured in this run, and every claim was checked; one that does not hold ends the demo
//! with an error.

mod compare;
mod damage;
pub mod full_copy;
pub mod kafka;
mod live;
pub mod report;
pub mod stage;
pub mod synthetic;
mod tidy;
pub mod writer;

use std::time::Instant;

use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::units::duration;
use report::Report;
use stage::Stage;

pub fn run(session: Session, args: args::Demo) -> Result<u8, Failure> {
    let started = Instant::now();
    let mut report = Report::new(session.output);
    let stage = Stage::set(args.keep.as_deref(), args.size, &session)?;
    let played = play(&stage, &session, &mut report);
    session.progress.finish();
    // Whatever happened, the stage goes first: an error must not leave hundreds of megabytes behind.
    let path = stage.path().to_owned();
    let kept = stage.strike()?;
    played?;
    if let Some(kept) = kept {
        report.next_commands(&kept)?;
    } else {
        report.step("Nothing is left behind")?;
        check(!path.exists(), || format!("{} is still there", path.display()))?;
        report.figure("removed", crate::output::path(&path))?;
    }
    report.end(&duration(started.elapsed()))?;
    Ok(DONE)
}

fn play(stage: &Stage, session: &Session, report: &mut Report) -> Result<(), Failure> {
    report.step("Two logs to work on")?;
    kafka::unpack_data(stage, session, report)?;
    synthetic::write_log(stage, session, report)?;

    report.step("Kafka's own files: snapshot, verify, restore")?;
    kafka::round_trip(stage, session, report)?;

    report.step("Snapshots while another process appends")?;
    let snapshots = live::take_two(stage, session, report)?;

    report.step("One flipped bit")?;
    damage::flip_and_find(stage, session, report, &snapshots)?;

    report.step("Restore the intact one")?;
    compare::restore_and_compare(stage, session, report, &snapshots)?;

    report.step("Prune")?;
    tidy::prune(stage, session, report, &snapshots)
}

/// The demo fails where this does not hold.
fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Demo(otherwise())) }
}

/// An operating-system error of the command's own doings.
pub fn io(op: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |e| cowlog::Error::io(op, path, e).into()
}

/// Stops here after Ctrl-C.
pub fn interruptible(session: &Session) -> Result<(), Failure> {
    if session.observer().is_cancelled() { Err(cowlog::Error::Interrupted.into()) } else { Ok(()) }
}
