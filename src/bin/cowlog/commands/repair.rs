//! `cowlog repair`

use std::fmt::Write;

use cowlog::fs::Method;
use cowlog::snapshot::{HealOptions, Healed, Repaired};

use crate::args;
use crate::failure::{DAMAGED, DONE, Failure, IN_PART};
use crate::output;
use crate::session::Session;
use crate::style::printable;
use crate::units::{bytes, plural};

pub fn run(session: Session, args: args::Repair) -> Result<u8, Failure> {
    if args.heal {
        return heal(session, args);
    }
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

fn heal(session: Session, args: args::Repair) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    if !args.dry_run {
        manager.repair(None)?;
    }
    let options = args.id.map_or_else(HealOptions::all, HealOptions::one).dry_run(args.dry_run);
    let healed = manager.heal(&args.from.into_iter().fold(options, HealOptions::from));
    session.progress.finish();
    let healed = healed?;
    if session.output.json {
        session.output.value(&healed)?;
    } else if !session.output.quiet || !healed.not_mended.is_empty() {
        session.output.text(&what_was_healed(&healed, &session))?;
    }
    Ok(match (healed.mended.is_empty(), healed.not_mended.is_empty()) {
        (_, true) => DONE,
        (false, false) => IN_PART,
        (true, false) => DAMAGED,
    })
}

fn what_was_healed(healed: &Healed, session: &Session) -> String {
    let styles = &session.output.styles;
    let read = format!("{}, {} read", plural(healed.snapshots, "snapshot"), bytes(healed.bytes_read));
    let verb = if healed.dry_run { "would be mended" } else { "mended" };
    let mut out = match (healed.mended.len(), healed.not_mended.len()) {
        (0, 0) => format!("{read}; nothing is damaged\n"),
        (mended, 0) => format!("{read}; {} {verb}\n", plural(mended as u64, "file")),
        (mended, left) => {
            format!("{read}; {} {verb}, {}\n", plural(mended as u64, "file"), styles.bad(&format!("{left} not")))
        }
    };
    for file in &healed.mended {
        let how = match file.method {
            Some(Method::Inherit) => "a hard link to",
            Some(Method::Reflink) => "a reflink of",
            _ => "from",
        };
        let from = output::path(&file.from);
        let from = if from.is_empty() { "of no bytes".to_owned() } else { format!("{how} {from}") };
        let _ = writeln!(out, "  {}  {}  {}: {from}", file.id, printable(&file.path), styles.good(verb));
    }
    for file in &healed.not_mended {
        let _ = writeln!(
            out,
            "  {}  {}  {}: {}",
            file.id,
            printable(&file.path),
            styles.bad("not mended"),
            printable(&file.why)
        );
    }
    out
}
