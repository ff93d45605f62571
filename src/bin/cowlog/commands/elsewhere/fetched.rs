//! Snapshots elsewhere for commands that read stores: what they need is fetched into a temporary one.

use cowlog::snapshot::{SnapshotConfig, SnapshotInfo, SnapshotManager};
use cowlog::store::{FileManifest, Scope};
use tempfile::TempDir;

use super::{name_of, open};
use crate::args;
use crate::failure::Failure;
use crate::session::Session;

/// A store with one snapshot in it, which goes away with this.
pub struct Fetched {
    pub manager: SnapshotManager,
    pub snapshot: SnapshotInfo,
    _place: TempDir,
}

/// For `cat`: the segments that hold the offsets.
pub fn for_cat(session: &Session, args: &args::Cat, place: &str) -> Result<Fetched, Failure> {
    let remote = open(session, place, &args.reach)?;
    let source = name_of(&args.source.source);
    let part = args.part.scope();
    let (_, id) = remote.resolve_part(&source, &args.id, part.as_ref())?;
    let (shown, manifest, _) = remote.show(&source, &id)?;
    let part = part.unwrap_or(Scope::All);
    let range = args.first()..args.to;
    let wanted = |file: &FileManifest| {
        let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let Some(log) = manifest.logs.iter().find(|log| log.dir == dir) else { return false };
        let of_part = match (&log.topic, log.partition) {
            (Some(topic), Some(partition)) => part.has(topic, partition),
            _ => true,
        };
        let Some(base) = name.strip_suffix(".log").and_then(|base| base.parse::<i64>().ok()) else { return false };
        // The next segment's base is where this one ends.
        let end = log.segments.iter().find(|next| **next > base).copied().unwrap_or(i64::MAX);
        of_part && base < range.end && range.start < end
    };
    fetch(session, |into| Ok(remote.pull_some(&source, &shown.info.id, into, &wanted)?))
}

/// For `show`: nothing but the manifests, and what the place knows beside them.
pub fn for_show(session: &Session, args: &args::Show) -> Result<Fetched, Failure> {
    let remote = open(session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let source = name_of(&args.source.source);
    let (shown, _, _) = remote.show(&source, &args.id)?;
    let fetched = fetch(session, |into| Ok(remote.pull_some(&source, &shown.info.id, into, &|_| false)?))?;
    Ok(Fetched { snapshot: shown.info, ..fetched })
}

fn fetch(
    session: &Session,
    pull: impl FnOnce(&SnapshotManager) -> Result<SnapshotInfo, Failure>,
) -> Result<Fetched, Failure> {
    let temporary = std::env::temp_dir();
    let place = tempfile::Builder::new().prefix("cowlog-").tempdir();
    let place = place.map_err(|e| cowlog::Error::io("make a directory in", &temporary, e))?;
    let store = Some(place.path().join("fetched.snapshots"));
    let config = SnapshotConfig { store, ..session.config.clone() };
    let manager = SnapshotManager::open_with(place.path().join("fetched"), config)?;
    let snapshot = pull(&manager)?;
    session.progress.finish();
    Ok(Fetched { manager, snapshot, _place: place })
}
