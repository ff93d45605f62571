//! `cowlog undo`

use std::fmt::Write;

use cowlog::Error;
use cowlog::snapshot::{SnapshotManager, UndoEntry};
use cowlog::store::UndoState;

use crate::args;
use crate::failure::{DONE, Failure, IN_PART, INTERRUPTED};
use crate::output;
use crate::session::Session;
use crate::style::printable;
use crate::units::{bytes, plural};

pub fn run(session: Session, args: args::Undo) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    // What stands there now may be neither a log nor a data directory.
    if !manager.source().exists() {
        manager.must_be_known()?;
    }
    if args.list {
        let kept = manager.undo_list()?;
        return report(&session, &kept, "kept");
    }
    if let Some(ids) = args.discard {
        return discard(&session, &manager, ids, args.dry_run);
    }
    let undone = manager.undo();
    session.progress.finish();
    let undone = undone?;
    if session.output.json {
        session.output.value(&undone)?;
    } else if !session.output.quiet {
        let what = match undone.partitions.as_slice() {
            [] => output::path(manager.source()),
            partitions => printable(&partitions.join(", ")),
        };
        let kept = output::path(&undone.path);
        session.output.text(&format!(
            "{what} is as it was before {} was restored\n  what had taken its place is kept in {kept}\n",
            undone.snapshot
        ))?;
    }
    Ok(DONE)
}

fn discard(session: &Session, manager: &SnapshotManager, ids: Vec<String>, dry_run: bool) -> Result<u8, Failure> {
    let listed = manager.undo_list()?;
    let is_named = |entry: &UndoEntry, id: &String| entry.id == *id || entry.id.strip_prefix("undo-") == Some(id);
    // All of them are found before the first goes.
    if let Some(unknown) = ids.iter().find(|id| !listed.iter().any(|entry| is_named(entry, id))) {
        manager.undo_discard(unknown)?;
    }
    let wanted = |entry: &UndoEntry| ids.is_empty() || ids.iter().any(|id| is_named(entry, id));
    let going: Vec<UndoEntry> = listed.into_iter().filter(wanted).collect();
    if dry_run {
        return report(session, &going, "would be discarded");
    }
    let mut gone = Vec::new();
    for entry in going {
        let outcome =
            if session.observer().is_cancelled() { Err(Error::Interrupted) } else { manager.undo_discard(&entry.id) };
        match outcome {
            Ok(entry) => gone.push(entry),
            Err(e) if gone.is_empty() => return Err(e.into()),
            Err(e) => {
                let failure = Failure::from(e);
                report(session, &gone, "discarded")?;
                session.output.note(&format!("{} is kept: {}", entry.id, printable(&failure.message())));
                return Ok(if failure.exit_code() == INTERRUPTED { INTERRUPTED } else { IN_PART });
            }
        }
    }
    session.progress.finish();
    report(session, &gone, "discarded")
}

fn report(session: &Session, entries: &[UndoEntry], verb: &str) -> Result<u8, Failure> {
    if session.output.json {
        session.output.value(&entries)?;
        return Ok(DONE);
    }
    let mut out = String::new();
    for entry in entries {
        let what = match entry.state {
            UndoState::Undone => "undone: what had been restored",
            UndoState::Replaced => "what was replaced",
            UndoState::Replacing | UndoState::Undoing | UndoState::Discarding => "not complete",
        };
        let partitions = match entry.partitions.as_slice() {
            [] => String::new(),
            partitions => format!(" of {}", printable(&partitions.join(", "))),
        };
        let size = format!("{}, {}", plural(entry.files, "file"), bytes(entry.bytes));
        let when = format!("by {} at {}", entry.snapshot, entry.timestamp);
        let _ = writeln!(out, "{}  {verb}: {what}{partitions} {when} ({size})", entry.id);
        if session.output.verbose || verb == "kept" {
            let _ = writeln!(out, "  {}", output::path(&entry.path));
        }
    }
    if entries.is_empty() {
        out.push_str("nothing is kept\n");
    }
    if !session.output.quiet {
        session.output.text(&out)?;
    }
    Ok(DONE)
}
