//! `cowlog bench`: what a snapshot costs on this very disk, by each of cowlog's methods and by what one would use instead.

mod clock;
mod contenders;
mod limit;
mod process;
mod report;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use cowlog::error::ValidationError;

use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use contenders::{Contender, Outcome};
use limit::Limit;
use stage::Stage;

/// Nothing is begun after that, so that all of it is over within a minute.
const PATIENCE: Duration = Duration::from_secs(40);
/// What still runs then is ended.
const END: Duration = Duration::from_secs(50);
/// No round after the first is begun after so long, from the first on.
const ENOUGH: Duration = Duration::from_secs(12);
const MOST_ROUNDS: usize = 5;

pub fn run(session: Session, args: args::Bench) -> Result<u8, Failure> {
    run_until(session, args, END)
}

fn run_until(session: Session, args: args::Bench, end: Duration) -> Result<u8, Failure> {
    let started = Instant::now();
    let limit = Limit::set(end, session.observer());
    let too_slow = |e| if limit.is_over() { slow(&args.dir, end) } else { e };
    let stage = Stage::set(&args.dir, args.size, &session).map_err(too_slow)?;
    let mut contenders = Vec::new();
    let measured = measure(&stage, &session, started, end, &mut contenders);
    session.progress.finish();
    let summary = stage.summary();
    // Whatever happened, the stage goes before anything is said.
    stage.strike()?;
    match measured {
        // Something was measured in the time that there was.
        Err(_) if limit.is_over() && contenders.iter().any(|c| !c.times.is_empty()) => {
            for contender in contenders.iter_mut().filter(|c| c.times.is_empty()) {
                contender.left_out.get_or_insert_with(|| contenders::NO_TIME.into());
            }
        }
        measured => measured.map_err(too_slow)?,
    }
    report::print(&session, &summary, &contenders, started.elapsed())?;
    Ok(DONE)
}

fn slow(dir: &Path, end: Duration) -> Failure {
    let what = format!("this disk is too slow: after {} s there was nothing to compare yet", end.as_secs());
    let hint = Some("measure on a smaller log: --size 16MiB".into());
    cowlog::Error::from(ValidationError::Refused { what, path: Some(dir.into()), hint }).into()
}

/// All contenders in turns, until there was time enough.
fn measure(
    stage: &Stage,
    session: &Session,
    started: Instant,
    end: Duration,
    contenders: &mut Vec<Contender>,
) -> Result<(), Failure> {
    stage.prepare(session)?;
    let until = started + end;
    *contenders = contenders::contenders(stage, until, session)?;
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::output::Output;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        global: args::Global,
        #[command(flatten)]
        bench: args::Bench,
    }

    #[test]
    fn what_takes_too_long_is_ended_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().to_str().unwrap();
        let line = Line::parse_from(["bench", dir, "--size", "64MiB", "--quiet"]);
        let session = Session::new(&line.global, Output::new(&line.global));
        let ended = run_until(session, line.bench, Duration::from_millis(100)).unwrap_err();
        assert!(ended.message().contains("too slow"), "{}", ended.message());
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
    }
}
