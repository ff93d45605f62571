//! `cowlog verify --from`

use std::fmt::Write;
use std::time::Instant;

use cowlog::error::{Damage, DamageKind};
use cowlog::offsite::{RemoteLevel, RemoteReport};

use super::{name_of, open};
use crate::args::{self, VerifyLevel};
use crate::failure::{DAMAGED, DONE, Failure};
use crate::session::Session;
use crate::style::printable;
use crate::units::{bytes, duration, plural};

pub fn run(session: Session, args: args::Verify) -> Result<u8, Failure> {
    let level = match (args.sampled.sample, args.level) {
        (Some(percent), _) => RemoteLevel::Sample(percent),
        (None, VerifyLevel::Quick) => RemoteLevel::Presence,
        (None, VerifyLevel::Full) => RemoteLevel::Full,
        (None, VerifyLevel::Deep) => {
            let what = "a deep verification needs the files here: `cowlog pull` the snapshot first, or restore it";
            return Err(Failure::Usage(what.into()));
        }
    };
    if args.budget.is_some() {
        return Err(Failure::Usage("`--budget` is of a store; `--sample` reads some of what is elsewhere".into()));
    }
    if let Some(root) =
        args.expect.as_deref().filter(|root| root.len() != 64 || !root.chars().all(|c| c.is_ascii_hexdigit()))
    {
        let what = format!("what is expected is no root of a snapshot, which has 64 hexadecimal digits: {root:?}");
        return Err(Failure::Usage(what));
    }
    let remote = open(&session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let source = name_of(&args.source.source);
    let ids = match args.all {
        true => remote.list_of(&source)?.into_iter().map(|s| s.info.id).collect(),
        false => vec![args.id],
    };
    let mut reports = Vec::with_capacity(ids.len());
    for id in ids {
        let started = Instant::now();
        let report = match remote.verify(&source, &id, level) {
            // It was pruned since it was listed.
            Err(e) if args.all && e.is_not_found() => continue,
            other => other,
        };
        session.progress.finish();
        let mut report = report?;
        if let Some(expected) = args.expect.as_deref().filter(|expected| !expected.eq_ignore_ascii_case(&report.root)) {
            let detail = format!("its digest is {}, expected was {expected}", report.root);
            report.damage.insert(0, Damage { path: "manifest.b3".into(), kind: DamageKind::Manifest, detail });
            report.ok = false;
        }
        if !session.output.json {
            session.output.text(&page(&report, started, &session))?;
        }
        reports.push(report);
    }
    match (session.output.json, args.all, reports.first()) {
        (true, false, Some(report)) => session.output.value(report)?,
        (true, ..) => session.output.value(&reports)?,
        _ => {}
    }
    Ok(if reports.iter().all(|r| r.ok) { DONE } else { DAMAGED })
}

fn page(report: &RemoteReport, started: Instant, session: &Session) -> String {
    let styles = &session.output.styles;
    if session.output.quiet && report.ok {
        return String::new();
    }
    let verdict = if report.ok { styles.good("ok") } else { styles.bad("DAMAGED") };
    let mut out = format!("{}  {verdict}  {}, {}", report.id, report.level, plural(report.files_checked, "file"));
    if report.files_read > 0 {
        let _ = write!(out, ", {} read ({} fetched)", plural(report.files_read, "blob"), bytes(report.bytes_fetched));
    }
    let _ = writeln!(out, ", {}", duration(started.elapsed()));
    for damage in &report.damage {
        let path = styles.bad(&printable(&damage.path));
        let _ = writeln!(out, "  {path}  {}: {}", damage.kind, printable(&damage.detail));
    }
    if !report.ok {
        let _ = writeln!(out, "  a machine that still has the snapshot mends it by `cowlog push --again`");
    }
    out
}
