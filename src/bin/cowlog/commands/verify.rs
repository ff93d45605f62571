//! `cowlog verify`

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cowlog::snapshot::{Budget, Level, ScrubReport, VerifyReport};

use crate::args::{self, VerifyLevel};
use crate::failure::{DAMAGED, DONE, Failure};
use crate::session::{Session, must_have_store};
use crate::style::printable;
use crate::units::{age, bytes, duration, millis_of, plural};

pub fn run(session: Session, args: args::Verify) -> Result<u8, Failure> {
    if args.elsewhere.from.is_some() {
        return super::elsewhere::verify::run(session, args);
    }
    if let Some(budget) = args.budget {
        return scrub(session, &args.source.source, budget);
    }
    let level = match args.level {
        VerifyLevel::Quick => Level::Quick,
        VerifyLevel::Full => Level::Full,
        VerifyLevel::Deep => Level::Deep,
    };
    let manager = session.manager(&args.source.source)?;
    if args.all {
        must_have_store(&manager)?;
    }
    let ids = if args.all { manager.list()?.into_iter().map(|s| s.id).collect() } else { vec![args.id] };
    let mut reports = Vec::with_capacity(ids.len());
    for id in ids {
        let started = Instant::now();
        let verified = match &args.expect {
            Some(root) => manager.verify_expecting(&id, level, root),
            None => manager.verify(&id, level),
        };
        let report = match verified {
            // It was deleted since it was listed.
            Err(e) if args.all && e.is_not_found() => continue,
            other => other,
        };
        session.progress.finish();
        let report = report?;
        if !session.output.json {
            session.output.text(&page(&report, started.elapsed(), &session))?;
        }
        reports.push(report);
    }
    match (session.output.json, args.all, reports.first()) {
        (true, false, Some(report)) => session.output.value(report)?,
        (true, ..) => session.output.value(&reports)?,
        (false, true, None) if !session.output.quiet => session.output.note("no snapshots yet"),
        _ => {}
    }
    Ok(if reports.iter().all(|r| r.ok) { DONE } else { DAMAGED })
}

fn page(report: &VerifyReport, took: Duration, session: &Session) -> String {
    let styles = &session.output.styles;
    let level = match report.level {
        Level::Quick => "quick",
        Level::Full => "full",
        Level::Deep => "deep",
    };
    let verdict = if report.ok { styles.good("ok") } else { styles.bad("DAMAGED") };
    if session.output.quiet && report.ok {
        return String::new();
    }
    let mut out = format!("{}  {verdict}  {level}, {}", report.id, plural(report.files_checked, "file"));
    if report.bytes_checked > 0 {
        let rate = report.bytes_checked as f64 / took.as_secs_f64().max(1e-9);
        let _ = write!(out, ", {} at {}/s", bytes(report.bytes_checked), bytes(rate as u64));
    }
    let _ = writeln!(out, ", {}", duration(took));
    for damage in &report.damage {
        let path = styles.bad(&printable(&damage.path));
        let _ = writeln!(out, "  {path}  {}: {}", damage.kind, printable(&damage.detail));
        if let Some(intact) = report.intact.get(&damage.path) {
            let _ = writeln!(out, "    intact: {}", printable(&intact.to_string_lossy()));
        }
    }
    for extra in &report.extra {
        let _ = writeln!(out, "  {}  not part of the snapshot; it is never restored", printable(extra));
    }
    out
}

fn scrub(session: Session, source: &Path, budget: Budget) -> Result<u8, Failure> {
    let manager = session.manager(source)?;
    must_have_store(&manager)?;
    let started = Instant::now();
    let report = manager.scrub(budget);
    session.progress.finish();
    let report = report?;
    if session.output.json {
        session.output.value(&report)?;
    } else if !session.output.quiet || !report.ok {
        session.output.text(&scrubbed(&report, started.elapsed(), &session))?;
    }
    Ok(if report.ok { DONE } else { DAMAGED })
}

fn scrubbed(report: &ScrubReport, took: Duration, session: &Session) -> String {
    let styles = &session.output.styles;
    let verdict = if report.ok { styles.good("ok") } else { styles.bad("DAMAGED") };
    let of = |n: u64| format!("{} of {}", bytes(n), bytes(report.bytes_total));
    let read = format!("{}, {}", plural(report.files_read, "file"), of(report.bytes_read));
    let mut out = format!("{verdict}  {read} in {}\n", duration(took));
    let left = match report.through {
        true => "every byte was read since it began".to_owned(),
        false => format!("{} left", bytes(report.bytes_left)),
    };
    let _ = writeln!(out, "  pass    began at {}; {left}", super::list::seconds(&report.since));
    if let Some(at) = report.oldest_read.as_deref().and_then(millis_of) {
        let ago = match age(session.now(), at) {
            now if now == "now" => "just now".to_owned(),
            ago => format!("{ago} ago"),
        };
        let _ = writeln!(out, "  oldest  read {ago}");
    }
    for found in &report.damage {
        let path = styles.bad(&printable(&found.damage.path));
        let _ = writeln!(out, "  {}  {path}  {}: {}", found.id, found.damage.kind, printable(&found.damage.detail));
    }
    if !report.ok {
        let _ = writeln!(out, "  `cowlog repair --heal` mends what there is an intact copy of");
    }
    for id in &report.busy {
        let _ = writeln!(out, "  {id}  in use by another command: something of it is left for the next run");
    }
    out
}
