//! `cowlog doctor`

use std::fmt::Write;

use cowlog::snapshot::{Checkup, SnapshotManager, Verdict, machine};

use crate::args;
use crate::failure::{DONE, Failure};
use crate::output::Output;
use crate::session::Session;
use crate::style::printable;

const NOT_WELL: u8 = 1;

pub fn run(session: Session, args: args::Doctor) -> Result<u8, Failure> {
    let checkup = match &args.source {
        None => machine(&session.config),
        Some(source) => {
            let manager = match SnapshotManager::of_store(source, session.config.clone())? {
                Some(manager) => manager,
                None => session.manager(source)?,
            };
            match args.part.scope() {
                Some(part) => manager.part(part)?,
                None => manager,
            }
            .doctor()?
        }
    };
    session.progress.finish();
    if session.output.json {
        session.output.value(&serde_json::json!({ "well": checkup.well(), "findings": checkup.findings }))?;
    } else {
        session.output.text(&table(&checkup, &session.output))?;
    }
    Ok(if checkup.well() { DONE } else { NOT_WELL })
}

fn table(checkup: &Checkup, output: &Output) -> String {
    let styles = &output.styles;
    let mut out = String::new();
    let widest = checkup.findings.iter().map(|f| f.about.len()).max().unwrap_or_default();
    for finding in &checkup.findings {
        if output.quiet && finding.verdict < Verdict::Problem {
            continue;
        }
        let verdict = format!("{:<7}", finding.verdict);
        let verdict = match finding.verdict {
            Verdict::Good => styles.good(&verdict),
            Verdict::Note => styles.dim(&verdict),
            Verdict::Problem => styles.bad(&verdict),
        };
        let _ = writeln!(out, "{verdict}  {:<widest$}  {}", finding.about, printable(&finding.what));
        if let Some(advice) = &finding.advice {
            let _ = writeln!(out, "{:7}  {:widest$}  {}", "", "", styles.dim(&format!("-> {}", printable(advice))));
        }
    }
    if !output.quiet {
        let end = if checkup.well() { "nothing has to be done" } else { "something should be done" };
        let _ = writeln!(out, "{}", styles.dim(end));
    }
    out
}
