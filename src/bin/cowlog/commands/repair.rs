//! `cowlog repair`

use std::fmt::Write;

use cowlog::snapshot::Repaired;

use crate::args;
use crate::failure::{DAMAGED, DONE, Failure};
use crate::session::Session;
use crate::style::printable;
use crate::units::plural;

pub fn run(session: Session, args: args::Repair) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    let repaired = manager.repair(args.accept.as_deref());
    session.progress.finish();
    let repaired = repaired?;
    if session.output.json {
        session.output.value(&repaired)?;
    } else if !session.output.quiet || !repaired.damaged.is_empty() {
        session.output.text(&summary(&repaired, &session))?;
    }
    Ok(if repaired.damaged.is_empty() { DONE } else { DAMAGED })
}

fn summary(repaired: &Repaired, session: &Session) -> String {
    let styles = &session.output.styles;
    let catalogue = if repaired.catalogue_rebuilt { "the catalogue was rebuilt" } else { "the catalogue was right" };
    let mut out = format!("{}; {catalogue}\n", plural(repaired.snapshots, "snapshot"));
    for name in &repaired.swept {
        let _ = writeln!(out, "  removed {}, left by a process that is gone", printable(name));
    }
    for damaged in &repaired.damaged {
        let _ = writeln!(out, "  {}  {}: {}", damaged.id, styles.bad("DAMAGED"), printable(&damaged.reason));
    }
    out
}
