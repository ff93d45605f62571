//! `cowlog delete`

use std::fmt::Write;

use cowlog::Error;
use cowlog::error::Kind;
use cowlog::snapshot::{Bounds, Deleted, SnapshotManager};
use cowlog::store::{IdQuery, SnapshotId};
use serde::Serialize;

use super::space::between;
use crate::args;
use crate::failure::{DONE, ErrorBody, Failure, IN_PART, INTERRUPTED};
use crate::session::Session;
use crate::style::printable;
use crate::units::{bytes, plural};

/// What became of one snapshot.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Fate {
    Gone(Deleted),
    Kept { id: String, error: ErrorBody },
}

pub fn run(session: Session, args: args::Delete) -> Result<u8, Failure> {
    if args.elsewhere.from.is_some() {
        return super::elsewhere::prune::delete(session, args);
    }
    let manager = session.manager(&args.source.source)?;
    // All of them are found before the first goes: a slip of the pen deletes nothing.
    let ids = resolve(&manager, &args.ids)?;
    if !args.force {
        ids.iter().try_for_each(|id| manager.must_not_be_pinned(id))?;
    }
    if args.dry_run {
        let planned = ids.iter().map(|id| planned(&manager, id)).collect::<Result<Vec<_>, Failure>>()?;
        let planned: Vec<Fate> = foresee(&manager, planned).into_iter().map(Fate::Gone).collect();
        return report(&session, &planned, "would be deleted");
    }
    delete_all(&session, ids, |id| if args.force { manager.delete_even_pinned(id) } else { manager.delete(id) })
}

/// Deletes one after the other, and reports what went and what did not.
pub fn delete_all(
    session: &Session,
    ids: Vec<String>,
    mut delete: impl FnMut(&str) -> cowlog::Result<Deleted>,
) -> Result<u8, Failure> {
    let (mut fates, mut failures) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        let outcome = if session.observer().is_cancelled() { Err(Error::Interrupted) } else { delete(&id) };
        match outcome {
            Ok(deleted) => fates.push(Fate::Gone(deleted)),
            Err(e) => {
                let failure = Failure::from(e);
                fates.push(Fate::Kept { id, error: failure.to_json().error });
                failures.push(failure);
            }
        }
    }
    session.progress.finish();
    let interrupted = failures.iter().any(|f| f.exit_code() == INTERRUPTED);
    if failures.len() == fates.len() && !failures.is_empty() {
        return Err(failures.swap_remove(0));
    }
    report(session, &fates, "deleted")?;
    Ok(match failures.is_empty() {
        true => DONE,
        false if interrupted => INTERRUPTED,
        false => IN_PART,
    })
}

/// Prints what went, or would go, and why.
pub fn report(session: &Session, fates: &[Fate], verb: &str) -> Result<u8, Failure> {
    if session.output.json {
        session.output.value(&fates)?;
        return Ok(DONE);
    }
    let styles = &session.output.styles;
    let mut out = String::new();
    let (mut gone, mut size) = (0, 0u64);
    let mut foreseen = Some(Bounds::default());
    for fate in fates {
        match fate {
            Fate::Gone(deleted) => {
                gone += 1;
                size = size.saturating_add(deleted.bytes);
                foreseen = foreseen.zip(deleted.frees).map(|(sum, more)| sum + more);
                if !session.output.quiet {
                    let what = format!("{}, {}", plural(deleted.files, "file"), bytes(deleted.bytes));
                    let _ = writeln!(out, "{}  {verb}: {} ({what})", deleted.id, printable(&deleted.reason));
                }
            }
            Fate::Kept { id, error } => {
                let _ = writeln!(out, "{id}  {}: {}", styles.bad("kept"), printable(&error.message));
            }
        }
    }
    if gone > 0 && !session.output.quiet {
        let line = match foreseen {
            Some(frees) => format!("{} {verb}; {} becomes free", plural(gone, "snapshot"), between(frees)),
            None => {
                let gone = plural(gone, "snapshot");
                format!("{gone} {verb}; at most {} becomes free, the rest is shared", bytes(size))
            }
        };
        let _ = writeln!(out, "{}", styles.dim(&line));
    }
    session.output.text(&out)?;
    Ok(DONE)
}

/// The ids that are meant, each once.
pub fn resolve(manager: &SnapshotManager, queries: &[String]) -> Result<Vec<String>, Failure> {
    let parsed = queries.iter().map(|q| q.parse::<IdQuery>()).collect::<Result<Vec<_>, Error>>()?;
    let listed = manager.list()?;
    let ids: Vec<SnapshotId> = listed.iter().filter_map(|s| s.id.parse().ok()).collect();
    let mut meant = Vec::with_capacity(queries.len());
    for (query, given) in parsed.iter().zip(queries) {
        let id = match query.resolve(&ids)? {
            Some(id) => id.to_string(),
            None => manager.get(given)?.id,
        };
        if !meant.contains(&id) {
            meant.push(id);
        }
    }
    Ok(meant)
}

/// Says of each what deleting it frees once those before it are gone. Where that cannot be had, nothing is said.
pub fn foresee(manager: &SnapshotManager, mut going: Vec<Deleted>) -> Vec<Deleted> {
    let Ok(space) = manager.space() else { return going };
    let (mut gone, mut before) = (Vec::with_capacity(going.len()), Bounds::default());
    for step in &mut going {
        gone.push(step.id.clone());
        let freed = space.freed_by(&gone);
        step.frees = Some(freed - before);
        before = freed;
    }
    going
}

fn planned(manager: &SnapshotManager, id: &str) -> Result<Deleted, Failure> {
    let (files, bytes) = match manager.get(id) {
        Ok(info) => (info.methods.values().sum(), info.total_size),
        Err(e) if e.kind() == Kind::Integrity => (0, 0),
        Err(e) => return Err(e.into()),
    };
    Ok(Deleted { id: id.to_owned(), reason: "asked for".into(), files, bytes, frees: None })
}
