//! `cowlog run`: what the configuration says, by the clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cowlog::schedule::{Config, Outcome, Ran, Scheduler, Task, Told};
use cowlog::snapshot::SnapshotConfig;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args;
use crate::failure::{DONE, ErrorBody, Failure, IN_PART, INTERRUPTED};
use crate::output::Output;
use crate::style::printable;
use crate::units::{bytes, count, duration, plural};

/// One job, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    source: &'a str,
    task: Task,
    elapsed_ms: f64,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Debug, Default)]
struct Tally {
    jobs: usize,
    failures: Vec<u8>,
    /// What `--json` prints at the end.
    shown: Vec<serde_json::Value>,
}

pub fn run(config: SnapshotConfig, output: Output, args: args::Run) -> Result<u8, Failure> {
    if config.store.is_some() {
        return Err(Failure::Usage(
            "`--store` is of no use here: each source of the configuration names its own".into(),
        ));
    }
    // First: a signal that comes early is not to end the process unheard.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(Failure::Output)?;
    let file = std::fs::canonicalize(&args.config).unwrap_or(args.config);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let telling = tally.clone();
    let once = args.once;
    let scheduler = Scheduler::new(Config::read(&file)?, config, move |told| match told {
        Told::Ended(ran) => {
            let mut tally = telling.lock().unwrap_or_else(PoisonError::into_inner);
            tally.note(ran, output, once);
        }
        Told::Warning(text) => output.warning(text),
        Told::Progress(running, cowlog::observe::Event::Warning(text)) => {
            output.warning(&format!("{}: {text}", running.source));
        }
        Told::Began(_) | Told::Progress(..) => {}
    })?;
    let scheduler = Arc::new(scheduler);
    let interrupted = Arc::new(AtomicBool::new(false));
    heed(signals, &scheduler, &interrupted, output, file);
    if once {
        scheduler.run_once()
    } else {
        scheduler.run()
    }

    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    if once && output.json {
        output.value(&tally.shown)?;
    }
    Ok(match tally.failures.as_slice() {
        _ if once && interrupted.load(Ordering::SeqCst) => INTERRUPTED,
        _ if !once => DONE,
        [] => DONE,
        [first, ..] if tally.failures.len() == tally.jobs => *first,
        _ => IN_PART,
    })
}

/// SIGHUP: the configuration is read again, and taken over if nothing is wrong with it. SIGTERM, SIGINT: what is being done
/// is undone, or ends.
fn heed(
    mut signals: Signals,
    scheduler: &Arc<Scheduler>,
    interrupted: &Arc<AtomicBool>,
    output: Output,
    config: std::path::PathBuf,
) {
    let (scheduler, interrupted) = (scheduler.clone(), interrupted.clone());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                match Config::read(&config) {
                    Ok(config) => {
                        scheduler.reload(config);
                        output.note("the configuration was read again");
                    }
                    Err(e) => output.warning(&format!("{e}; the configuration before goes on")),
                }
                continue;
            }
            interrupted.store(true, Ordering::SeqCst);
            scheduler.stop();
        }
    });
}

impl Tally {
    fn note(&mut self, ran: &Ran, output: Output, once: bool) {
        self.jobs += 1;
        let shown = Shown {
            source: &ran.source,
            task: ran.task,
            elapsed_ms: ran.took.as_secs_f64() * 1000.0,
            ok: ran.result.is_ok(),
            result: ran.result.as_ref().ok(),
            error: ran.result.as_ref().err().map(ErrorBody::from),
        };
        if let Err(e) = &ran.result {
            self.failures.push(crate::failure::exit_code_of(e));
        }
        // Whoever reads it may be gone; the work goes on.
        if !output.json {
            let _ = output.text(&line(&shown, ran, output));
        } else if once {
            self.shown.extend(serde_json::to_value(&shown));
        } else {
            let _ = output.value(&shown);
        }
    }
}

fn line(shown: &Shown<'_>, ran: &Ran, output: Output) -> String {
    let styles = &output.styles;
    let what = match &ran.result {
        Ok(_) if output.quiet => return String::new(),
        Ok(outcome) => describe(outcome),
        Err(e) => format!("{}: {}", styles.bad("failed"), printable(&e.to_string())),
    };
    format!("{}  {}  {what}, {}\n", printable(shown.source), shown.task, duration(ran.took))
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Create { created, pruned, not_pruned } => {
            let s = &created.snapshot;
            let pruned = match pruned.len() {
                0 => String::new(),
                n => format!(", {} pruned", plural(n as u64, "snapshot")),
            };
            let pruned = match not_pruned {
                None => pruned,
                Some(why) => format!("{pruned}, not pruned: {}", printable(why)),
            };
            format!("{}, {} ({} copied){pruned}", s.id, bytes(s.total_size), bytes(s.bytes_copied))
        }
        Outcome::Push { report: None } | Outcome::Verify { report: None } => "no snapshots yet".into(),
        Outcome::Push { report: Some(report) } => {
            let brought = format!("{}, {}", plural(report.pushed, "snapshot"), bytes(report.bytes_sent));
            format!("{} is elsewhere; brought {brought}", report.id)
        }
        Outcome::Verify { report: Some(report) } => format!("{} ok, {}", report.id, bytes(report.bytes_checked)),
        Outcome::Scrub { report } => {
            format!("{} of {} ok", bytes(report.bytes_read), bytes(report.bytes_total))
        }
        Outcome::Drill { report } => format!(
            "{} restored and read: {}, {} batches, {}",
            report.id,
            plural(report.logs, "log"),
            count(report.batches),
            bytes(report.bytes)
        ),
    }
}
