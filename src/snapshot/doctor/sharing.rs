//! What can be shared between two directories, found out by trying.

use super::Checkup;
use crate::error::Result;
use crate::fs::{Dir, File, FileKind, Open, Volume, VolumeKind};
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::restore::target::Probe;
use crate::snapshot::source::Source;
use crate::units::bytes;

/// A disk with less than this is nearly full.
const LITTLE: u64 = 1 << 30;

/// Of a directory that is no source: what snapshots of one in it would cost.
pub(super) fn of_any_dir(manager: &SnapshotManager, found: &mut Checkup) -> Result<()> {
    let dir = Dir::open_on(manager.fs().clone(), manager.source())?;
    volume(&dir.volume()?, manager.config().allow_network, found);
    methods(None, &dir, found)
}

/// What lies below, and how much of it is free.
pub(super) fn volume(volume: &Volume, allow_network: bool, found: &mut Checkup) {
    let name = match volume.kind {
        VolumeKind::Ext => "ext4",
        VolumeKind::Xfs => "XFS",
        VolumeKind::Btrfs => "btrfs",
        VolumeKind::Overlay => "overlay",
        VolumeKind::Network => "a network filesystem",
        VolumeKind::Other => "a filesystem that cowlog does not know by name",
    };
    match volume.kind {
        VolumeKind::Network if !allow_network => {
            let what = format!("{name}: a lock may not reach other machines");
            found.problem(
                "filesystem",
                what,
                "put the store on a local one; --allow-network where nobody else uses it",
            );
        }
        VolumeKind::Overlay => {
            let advice = "put source and store on a volume, not into a container's own layers";
            found.note("filesystem", format!("{name}: what a lower layer has is copied, not shared"), Some(advice));
        }
        _ => found.good("filesystem", name),
    }
    let free = format!("{} of {}", bytes(volume.available), bytes(volume.size));
    match volume.available < LITTLE.min(volume.size / 20) {
        true => {
            let advice = "`cowlog prune SRC --dry-run` says what would go and what would become free";
            found.problem("free space", free, advice);
        }
        false => found.good("free space", free),
    }
}

/// Tries a reflink of a file of the source, or else of one of our own, and a hard link of one of our own: one of the log would
/// move its ctime. `place` is where the store is or would be.
pub(super) fn methods(source: Option<&Source>, place: &Dir, found: &mut Checkup) -> Result<()> {
    let probe = match Probe::begin(place) {
        Ok(Some(probe)) => probe,
        Ok(None) => {
            found.note("methods", "somebody else is trying the same at the moment", None);
            return Ok(());
        }
        Err(e) if e.is_denied() => {
            let what = format!("nothing can be made in {}: {e}", place.path().display());
            found.problem("rights", what, "run as the owner of the store's place, or name another one with --store");
            return Ok(());
        }
        Err(e) => {
            found.failed("methods", &e);
            return Ok(());
        }
    };
    let dir = probe.dir();
    let own = dir.open_file("one", Open::CreateNew(0o600))?;
    own.write_all_at(&[b'x'; 8192], 0)?;
    let theirs = source.and_then(any_file);
    let to = dir.open_file("two", Open::CreateNew(0o600))?;
    let reflink = to.fs().clone_file(theirs.as_ref().unwrap_or(&own).handle(), to.handle());
    let same_device = match source {
        Some(source) => source.dir.stat_self()?.dev == dir.stat_self()?.dev,
        None => true,
    };
    let link = match same_device {
        true => dir.fs().link(dir.handle(), "one".as_ref(), dir.handle(), "three".as_ref()),
        false => Err(std::io::ErrorKind::CrossesDevices.into()),
    };
    let (ways, why) = match (&reflink, &link) {
        (Ok(()), Ok(())) => ("by reflink, and by hard link what has not changed", String::new()),
        (Ok(()), Err(e)) => ("by reflink", format!("; no hard links: {e}")),
        (Err(e), Ok(())) => ("by hard link", format!("; no reflinks: {e}")),
        (Err(_), Err(e)) => {
            let what = format!("nothing can be shared with {}: {e}", place.path().display());
            let advice = "each snapshot copies all that is new; a store on the source's own filesystem shares it: name one with --store";
            found.problem("methods", what, advice);
            return Ok(());
        }
    };
    found.good("methods", format!("sealed files are shared {ways}{why}"));
    if reflink.is_err() && source.is_some_and(|source| source.broker.is_some()) {
        let advice = "what the broker rewrites in place after an unclean stop reaches the snapshot, and verify says so; XFS and btrfs have reflinks";
        found.note("methods", "a broker's sealed segments are hard-linked, so they are exposed to it", Some(advice));
    }
    Ok(())
}

/// A file with bytes of the source.
fn any_file(source: &Source) -> Option<File> {
    source.logs.iter().find_map(|log| {
        let entries = log.dir.list().ok()?;
        let mut files = entries.into_iter().filter(|e| e.kind == FileKind::File);
        files.find_map(|entry| {
            let file = log.dir.try_open(&entry.name).ok().flatten()?;
            (file.len().ok()? > 0).then_some(file)
        })
    })
}
