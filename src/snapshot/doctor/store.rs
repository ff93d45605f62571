//! The store, or the place where one would be.

use super::Checkup;
use super::sharing;
use super::source::holder;
use crate::error::Result;
use crate::fs::Dir;
use crate::snapshot::known::holds_any;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::source::Source;
use crate::store::{LOCK, Record, Scope, Store, StoreName, UndoState};
use crate::units::bytes;

/// A disk that is full sooner is a problem, or worth knowing.
const SOON_DAYS: f64 = 7.0;
const LATER_DAYS: f64 = 30.0;

pub(super) fn look(manager: &SnapshotManager, source: Option<&Source>, found: &mut Checkup) -> Result<()> {
    match manager.find_store()? {
        Some(store) => {
            place(manager, source, store.dir(), found)?;
            contents(manager, &store, found)?;
            fullness(manager, found);
            locks(&store, found)?;
        }
        None => {
            let Some(source) = source else { return Ok(()) };
            let path = match &manager.config().store {
                Some(path) => manager.fs().canonical(path),
                None => manager.place_for_store(source)?,
            };
            found.note("store", format!("there is none yet; the first snapshot makes {}", path.display()), None);
            match path.parent().map(|parent| Dir::open_on(manager.fs().clone(), parent)) {
                Some(Ok(parent)) => place(manager, Some(source), &parent, found)?,
                Some(Err(e)) => found.failed("store", &e),
                None => {}
            }
        }
    }
    kept(manager, found);
    Ok(())
}

/// Where it is, and what that costs.
fn place(manager: &SnapshotManager, source: Option<&Source>, dir: &Dir, found: &mut Checkup) -> Result<()> {
    sharing::volume(&dir.volume()?, manager.config().allow_network, found);
    if let Some(source) = source
        && source.dir.stat_self()?.dev != dir.stat_self()?.dev
    {
        let what =
            format!("{} lies on another filesystem than the source: nothing can be shared", dir.path().display());
        let above = source.path().parent().map(|parent| Dir::open_on(manager.fs().clone(), parent));
        let is_mount = matches!(above, Some(Ok(above)) if above.stat_self()?.dev != source.dir.stat_self()?.dev);
        let advice = match is_mount {
            true => "the source is a mount point: move its data one level down, so that a store has a place beside it",
            false => "a store on the source's own filesystem shares sealed segments; name one with --store",
        };
        found.problem("store", what, advice);
    }
    sharing::methods(source, dir, found)
}

fn contents(manager: &SnapshotManager, store: &Store, found: &mut Checkup) -> Result<()> {
    let stale = match store.read_catalogue() {
        Ok(Some(_)) => store.reconcile()?.stale,
        Ok(None) => true,
        Err(e) => {
            found.failed("catalogue", &e);
            false
        }
    };
    if stale {
        let what = "snapshots.json is not what the directories say; the directories count";
        found.note("catalogue", what, Some("`cowlog repair SRC` writes it anew"));
    }
    let records = store.reconcile()?.catalogue.snapshots;
    let (_, scope) = manager.scoped(store)?;
    let own: Vec<&Record> = records.iter().filter(|record| scope.as_ref().is_none_or(|of| holds(record, of))).collect();
    let number = plural(records.len());
    let what = format!("{}: {number}", store.dir().path().display());
    match &scope {
        Some(of) => found.good("store", format!("{what}, all of which are looked at; {} of all of {of}", own.len())),
        None => found.good("store", what),
    }
    for record in &records {
        damaged(record, found);
    }
    let now = manager.config().clock.now();
    match own.iter().rfind(|r| r.damaged.is_none()) {
        None => found.note("snapshots", "there is none that is whole", Some("`cowlog create SRC` takes one")),
        Some(newest) if newest.timestamp > now => {
            let what = format!("{} is of the future: the clock was set back, or was wrong then", newest.id);
            found.problem("clock", what, "set the clock; until then no snapshot goes by age");
        }
        Some(newest) => {
            // A manifest of a newer version, or one that cannot be read, is told of by its own error.
            match store.load(newest.id) {
                Ok(loaded) => found.good("format", format!("{}: version {}", newest.id, loaded.manifest.version)),
                Err(e) => found.failed("format", &e),
            }
        }
    }
    if !own.is_empty() && !own.iter().any(|r| r.verified.as_ref().is_some_and(|(_, _, ok)| *ok)) {
        let advice = Some("`cowlog verify SRC` reads every byte of the latest");
        found.note("snapshots", "none was ever verified in full", advice);
    }
    Ok(())
}

/// Whether it has all of a topic or partition, be it with more.
fn holds(record: &Record, part: &Scope) -> bool {
    record.scope.holds(part) && (*part == Scope::All || holds_any(record, part))
}

fn plural(snapshots: usize) -> String {
    match snapshots {
        1 => "1 snapshot".to_owned(),
        n => format!("{n} snapshots"),
    }
}

fn damaged(record: &Record, found: &mut Checkup) {
    let id = record.id;
    if let Some(why) = &record.damaged {
        let advice = format!("`cowlog verify SRC {id}` tells of all damage");
        found.problem("snapshots", format!("{id} is damaged: {why}"), advice);
    } else if matches!(&record.verified, Some((_, _, false))) {
        let advice = format!("`cowlog verify SRC {id}` names the files and where intact copies are");
        found.problem("snapshots", format!("{id} was found damaged by its last verification"), advice);
    }
    if record.state_unreadable {
        let advice = format!("remove {id}/state.json to begin with no pin, no tags and no verification");
        found.problem("snapshots", format!("the state of {id} cannot be read: it counts as pinned"), advice);
    }
}

/// When the disk is full, as far as that can be told.
fn fullness(manager: &SnapshotManager, found: &mut Checkup) {
    let Ok(space) = manager.space() else { return };
    let held = space.held.most;
    let forecast = space.forecast.and_then(|forecast| Some((forecast.days_until_full?, forecast.until_full()?)));
    let Some((days, time)) = forecast else {
        found.good("space", format!("at most {} are kept alive by snapshots alone", bytes(held)));
        return;
    };
    let what = format!("the disk is full in {time} at the present rate; snapshots alone hold at most {}", bytes(held));
    match days {
        days if days < SOON_DAYS => {
            found.problem("space", what, "keep fewer snapshots, or enlarge the disk: `cowlog space SRC`")
        }
        days if days < LATER_DAYS => found.note("space", what, Some("`cowlog space SRC` says what takes it")),
        _ => found.good("space", what),
    }
}

/// Who has what of the store locked.
fn locks(store: &Store, found: &mut Checkup) -> Result<()> {
    if let Some(holder) = holder(store.dir(), LOCK) {
        found.note("locks", format!("the store is held by {holder}"), None);
    }
    for (name, what) in store.names()? {
        let Ok(dir) = store.dir().open_dir(&name) else { continue };
        match (dir.fs().lock_holder(dir.handle()), what) {
            (Some(holder), StoreName::Snapshot(id)) => found.note("locks", format!("{id} is in use by {holder}"), None),
            (Some(holder), StoreName::Staging(id)) => {
                found.note("locks", format!("{id} is being taken by {holder}"), None);
            }
            (Some(holder), StoreName::Trash(id)) => {
                found.note("locks", format!("{id} is being deleted by {holder}"), None);
            }
            (None, StoreName::Snapshot(_)) => {}
            (None, StoreName::Staging(_) | StoreName::Trash(_)) => {
                let advice = Some("`cowlog repair SRC` removes it; this user may not have been allowed to");
                found.note("store", format!("{name} was left by a process that is gone"), advice);
            }
        }
    }
    Ok(())
}

/// What replacements took out.
fn kept(manager: &SnapshotManager, found: &mut Checkup) {
    let entries = match manager.undo_list() {
        Ok(entries) => entries,
        Err(e) => return found.failed("undo", &e),
    };
    for entry in entries {
        let path = entry.path.display();
        match entry.state {
            UndoState::Replaced | UndoState::Undone => found.note(
                "undo",
                format!("{path} keeps {} of what was replaced", bytes(entry.bytes)),
                Some("`cowlog undo SRC --discard` lets go of it"),
            ),
            UndoState::Discarding => found.note(
                "undo",
                format!("{path} is being removed"),
                Some("`cowlog undo SRC --discard` goes on with it"),
            ),
            UndoState::Replacing | UndoState::Undoing => found.problem(
                "undo",
                format!("the replacement that {path} keeps is not complete"),
                "stop the writer or the broker, then run any command of cowlog on the source",
            ),
        }
    }
}
