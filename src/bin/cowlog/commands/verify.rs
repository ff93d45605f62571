//! `cowlog verify`

use std::fmt::Write;
use std::time::{Duration, Instant};

use cowlog::snapshot::{Level, VerifyReport};

use crate::args::{self, VerifyLevel};
use crate::failure::{DAMAGED, DONE, Failure};
use crate::session::{Session, must_have_store};
use crate::style::printable;
use crate::units::{bytes, duration, plural};

pub fn run(session: Session, args: args::Verify) -> Result<u8, Failure> {
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
