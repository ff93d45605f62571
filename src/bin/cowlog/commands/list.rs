//! `cowlog list`

use std::collections::{BTreeMap, BTreeSet};

use cowlog::snapshot::{SnapshotInfo, SnapshotSpace};
use serde::Serialize;

use super::create::offset;
use super::space::between;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::table::{Cell, Side, Table, Tone};
use crate::units::{age, bytes, count, millis_of, plural};

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    info: &'a SnapshotInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<&'a SnapshotSpace>,
}

pub fn run(session: Session, args: args::List) -> Result<u8, Failure> {
    if args.elsewhere.from.is_some() {
        return super::elsewhere::list::run(session, args);
    }
    // The command line has one or the other.
    let manager = session.manager(&args.source.unwrap_or_default())?;
    let snapshots = match args.part.scope() {
        Some(part) => {
            manager.part(part.clone())?.must_be_known()?;
            manager.holding(&part)?
        }
        None => {
            manager.must_be_known()?;
            manager.list()?
        }
    };
    let space = if args.space && !snapshots.is_empty() { manager.space()?.snapshots } else { Vec::new() };
    let space: BTreeMap<&str, &SnapshotSpace> = space.iter().map(|of_one| (of_one.id.as_str(), of_one)).collect();
    if session.output.json {
        let listed = snapshots.iter().map(|info| Listed { info, space: space.get(info.id.as_str()).copied() });
        session.output.value(&listed.collect::<Vec<_>>())?;
    } else if !snapshots.is_empty() {
        session.output.text(&table(&snapshots, &space, &session))?;
    } else if !session.output.quiet {
        session.output.note("no snapshots yet");
    }
    Ok(DONE)
}

pub fn table(snapshots: &[SnapshotInfo], space: &BTreeMap<&str, &SnapshotSpace>, session: &Session) -> String {
    let output = &session.output;
    let mut table = Table::new(&[
        ("ID", Side::Left),
        ("TAKEN (UTC)", Side::Left),
        ("AGE", Side::Right),
        ("SCOPE", Side::Left),
        ("LOGS", Side::Right),
        ("SEGMENTS", Side::Right),
        ("END", Side::Right),
        ("SIZE", Side::Right),
        ("SHARED", Side::Right),
        ("COPIED", Side::Right),
        ("HELD", Side::Right),
        ("FREES", Side::Right),
        ("EXPOSED", Side::Right),
        ("READ", Side::Right),
        ("VERIFIED", Side::Left),
        ("NOTES", Side::Left),
    ]);
    let scopes: BTreeSet<&str> = snapshots.iter().map(|s| s.scope.as_str()).collect();
    let show_scope = output.verbose || scopes.len() > 1;
    let now = session.now();
    for s in snapshots {
        let known = !s.root.is_empty();
        let when_known = |text: String| if known { text } else { "?".into() };
        let only = |show: bool, text: String| if show { text } else { String::new() };
        table.row(vec![
            Cell::new(s.id.clone(), if s.damaged.is_some() { Tone::Bad } else { Tone::Plain }),
            only(output.verbose, seconds(&s.timestamp)).into(),
            age(now, s.timestamp_ms).into(),
            only(show_scope, s.scope.clone()).into(),
            only(!s.logs.is_empty(), count(s.logs.len() as u64)).into(),
            when_known(count(s.num_segments)).into(),
            only(output.verbose, s.log_end_offset.map(offset).unwrap_or_default()).into(),
            when_known(bytes(s.total_size)).into(),
            when_known(bytes(s.bytes_shared)).into(),
            when_known(bytes(s.bytes_copied)).into(),
            space.get(s.id.as_str()).map(|of_one| between(of_one.held)).unwrap_or_default().into(),
            space.get(s.id.as_str()).map(|of_one| between(of_one.frees)).unwrap_or_default().into(),
            only(s.exposed > 0, count(s.exposed)).into(),
            s.oldest_read.as_deref().and_then(millis_of).map(|at| age(now, at)).unwrap_or_default().into(),
            verified(s, now),
            notes(s),
        ]);
    }
    let sum = |of: fn(&SnapshotInfo) -> u64| snapshots.iter().map(of).fold(0, u64::saturating_add);
    let mut out = table.render(&output.styles);
    if !output.quiet {
        let line = format!(
            "{}, {} to read, {} of it copied",
            plural(snapshots.len() as u64, "snapshot"),
            bytes(sum(|s| s.total_size)),
            bytes(sum(|s| s.bytes_copied)),
        );
        out.push_str(&output.styles.dim(&line));
        out.push('\n');
    }
    out
}

/// `2025-01-04T13:42:03.000Z` as `2025-01-04 13:42:03`.
pub fn seconds(rfc3339: &str) -> String {
    let to_seconds = rfc3339.get(..19).unwrap_or(rfc3339);
    to_seconds.replacen('T', " ", 1)
}

fn verified(s: &SnapshotInfo, now: i64) -> Cell {
    match &s.verified {
        None => Cell::new("never", Tone::Dim),
        Some(v) => {
            let ago = millis_of(&v.at).map(|at| age(now, at)).unwrap_or_default();
            let ago = if ago == "now" { ago } else { format!("{ago} ago") };
            if v.ok {
                Cell::new(format!("{} {ago}", v.level), Tone::Good)
            } else {
                Cell::new(format!("damage {ago}"), Tone::Bad)
            }
        }
    }
}

fn notes(s: &SnapshotInfo) -> Cell {
    let mut notes = Vec::new();
    if s.incomplete.is_some() {
        notes.push("INCOMPLETE".into());
    }
    if let Some(why) = &s.damaged {
        notes.push(format!("DAMAGED: {why}"));
    }
    if s.pinned {
        notes.push("pinned".to_owned());
    }
    notes.extend(s.tags.iter().cloned());
    Cell::new(notes.join(", "), if s.damaged.is_some() { Tone::Bad } else { Tone::Plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds() {
        assert_eq!(seconds("2025-01-04T13:42:03.123Z"), "2025-01-04 13:42:03");
        assert_eq!(seconds("odd"), "odd");
    }
}
