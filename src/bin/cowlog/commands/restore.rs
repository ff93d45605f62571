//! `cowlog restore`

use std::fmt::Write;
use std::time::Instant;

use cowlog::snapshot::{CutBatch, Detach, LogCut, RestoreOptions, Restored, SnapshotInfo};

use super::create::offset;
use super::methods;
use crate::args::{self, RestoreMethod};
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;
use crate::units::{bytes, duration, plural};

/// Lines about them; `--json` has them all.
const MOST_CUTS: usize = 10;

pub fn run(session: Session, args: args::Restore) -> Result<u8, Failure> {
    if args.elsewhere.from.is_some() {
        return super::elsewhere::restore::run(session, args);
    }
    let manager = session.manager(&args.source.source)?;
    let options = options(&args);
    let started = Instant::now();
    let part = args.part.scope();
    let chosen = args.at.map(|at| manager.at(at, part.as_ref())).transpose()?;
    // The command line has one or the other.
    let id = chosen.as_ref().map(|chosen| chosen.id.clone()).or(args.id).unwrap_or_default();
    let restored = match &part {
        Some(part) => manager.restore_part(&id, part, options),
        None => manager.restore_id(&id, options),
    };
    session.progress.finish();
    report(&session, &restored?, chosen.as_ref(), started)?;
    Ok(DONE)
}

/// What is wanted, wherever it comes from.
pub fn options(args: &args::Restore) -> RestoreOptions {
    let options = match (&args.to, &args.into) {
        (Some(to), _) => RestoreOptions::to(to),
        (None, Some(data_dir)) => RestoreOptions::into_data_dir(data_dir),
        (None, None) => RestoreOptions::replace(),
    };
    let mut options = options.method(match args.method {
        RestoreMethod::Auto => Detach::Auto,
        RestoreMethod::Reflink => Detach::Reflink,
        RestoreMethod::Copy => Detach::Copy,
    });
    if let Some(id) = &args.as_topic_id {
        options = options.as_topic_id(id.clone());
    }
    if let Some(until) = args.until {
        options = options.until(until);
    }
    if let Some(since) = args.since {
        options = options.since(since);
    }
    options
}

/// Says what was done.
pub fn report(
    session: &Session,
    restored: &Restored,
    chosen: Option<&SnapshotInfo>,
    started: Instant,
) -> Result<(), Failure> {
    if session.output.json {
        session.output.value(restored)?;
    } else if !session.output.quiet {
        session.output.text(&summary(restored, chosen, started, session))?;
    }
    Ok(())
}

fn summary(restored: &Restored, chosen: Option<&SnapshotInfo>, started: Instant, session: &Session) -> String {
    let styles = &session.output.styles;
    let took = duration(started.elapsed());
    let mut out = format!(
        "{} restored to {} in {}\n",
        styles.bold(&restored.id),
        output::path(&restored.target),
        styles.good(&took)
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {}  {text}", styles.dim(&format!("{name:<7}")));
    };
    let how = methods(&restored.methods);
    if let Some(chosen) = chosen {
        line("taken", chosen.timestamp.clone());
    }
    line("size", format!("{} in {} ({how})", bytes(restored.bytes), plural(restored.files, "file")));
    if let Some(end) = restored.end_offset {
        line("ends at", format!("offset {}", offset(end)));
    } else if !restored.logs.is_empty() {
        line("logs", plural(restored.logs.len() as u64, "log"));
    }
    for cut in restored.cuts.iter().take(MOST_CUTS) {
        line("cut", told(cut));
    }
    if let Some(more) = restored.cuts.len().checked_sub(MOST_CUTS).filter(|more| *more > 0) {
        line("", format!("and {} more", plural(more as u64, "log")));
    }
    if let Some(replaced) = &restored.replaced {
        let kept = format!("{} in {}", replaced.undo, output::path(&replaced.kept));
        line("kept", format!("{kept}; `cowlog undo` brings it back"));
    }
    for denied in &restored.not_restored {
        line("not set", crate::style::printable(denied));
    }
    out
}

/// `orders-0: offsets 100 to 250; kept up to 2026-…, batch 250 to 259 of 2026-… is left out`
fn told(cut: &LogCut) -> String {
    let mut out = match (&cut.topic, cut.partition) {
        (Some(topic), Some(partition)) => format!("{}: ", crate::style::printable(&format!("{topic}-{partition}"))),
        _ => String::new(),
    };
    let _ = write!(out, "offsets {} to {}", offset(cut.start_offset), offset(cut.end_offset));
    let at = |batch: &CutBatch| batch.timestamp.clone().unwrap_or_else(|| "no time".into());
    let side = |word: &str, kept: &Option<CutBatch>, left_out: &Option<CutBatch>| {
        let left_out = left_out.as_ref()?;
        let offsets = format!("{} to {}", offset(left_out.base_offset), offset(left_out.last_offset));
        let kept = kept.as_ref().map_or_else(|| "nothing is kept".into(), |kept| format!("kept {word} {}", at(kept)));
        Some(format!("; {kept}, batch {offsets} of {} is left out", at(left_out)))
    };
    out.extend(side("from", &cut.first, &cut.before));
    out.extend(side("up to", &cut.last, &cut.behind));
    if cut.before.is_none() && cut.behind.is_none() {
        out.push_str("; all of it is kept");
    }
    out
}
