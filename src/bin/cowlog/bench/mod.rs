//! `cowlog bench`: what a snapshot costs on this very disk, by each of cowlog's methods and by what one would use instead.

mod clock;
mod contenders;
mod process;
mod report;
mod stage;

use std::time::{Duration, Instant};

use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use contenders::{Contender, Outcome, contenders};
use stage::Stage;

/// Nothing is begun after that, so that all of it is over within a minute.
const PATIENCE: Duration = Duration::from_secs(40);
/// What still runs then is ended.
const END: Duration = Duration::from_secs(50);
/// No round after the first is begun after so long, from the first on.
const ENOUGH: Duration = Duration::from_secs(12);
const MOST_ROUNDS: usize = 5;

pub fn run(session: Session, args: args::Bench) -> Result<u8, Failure> {
    let started = Instant::now();
    let stage = Stage::set(&args.dir, args.size, &session)?;
    let measured = measure(&stage, &session, started);
    session.progress.finish();
    let summary = stage.summary();
    // Whatever happened, the stage goes before anything is said.
    stage.strike()?;
    report::print(&session, &summary, &measured?, started.elapsed())?;
    Ok(DONE)
}

/// All contenders in turns, until there was time enough.
fn measure(stage: &Stage, session: &Session, started: Instant) -> Result<Vec<Contender>, Failure> {
    stage.prepare(session)?;
    let until = started + END;
    let mut contenders = contenders(stage, until, session)?;
    let first = Instant::now();
    for round in 0..MOST_ROUNDS {
        if round > 0 && first.elapsed() > ENOUGH {
            break;
        }
        for contender in contenders.iter_mut().filter(|c| c.left_out.is_none()) {
            if started.elapsed() > PATIENCE {
                if contender.times.is_empty() {
                    contender.left_out = Some(contenders::NO_TIME.into());
                }
                continue;
            }
            clock::settle(stage.path())?;
            match contender.run(stage, until, session)? {
                Outcome::Took(time) => contender.times.push(time),
                Outcome::Impossible(why) => contender.left_out = Some(why),
            }
            stage.clear()?;
        }
    }
    Ok(contenders)
}
