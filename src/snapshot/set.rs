//! Snapshots of several directories: whether all parts are there.

use std::path::Path;
use std::sync::Arc;

use super::outcome::SnapshotInfo;
use crate::fs::{Dir, Fs};
use crate::store::{DIGESTS, MAX_MANIFEST, Record};

/// What is known of a snapshot, with a look at its other parts.
pub(super) fn found(fs: &Arc<dyn Fs>, record: Record, store: &Path) -> SnapshotInfo {
    let incomplete = incomplete(fs, &record);
    SnapshotInfo { incomplete, ..SnapshotInfo::of(record, store) }
}

/// What is missing of the snapshot that this is a part of. A part that cannot be looked at counts as missing.
pub(super) fn incomplete(fs: &Arc<dyn Fs>, record: &Record) -> Option<String> {
    let lacks = |store: &str| {
        let digests = Dir::open_on(fs.clone(), Path::new(store))
            .and_then(|dir| dir.open_dir(record.id.to_string()))
            .and_then(|dir| dir.read(DIGESTS, MAX_MANIFEST));
        let Ok(digests) = digests else { return Some("is not there") };
        let root = blake3::hash(&digests).to_hex();
        match record.set_roots.get(store) {
            Some(known) if *known != *root => Some("is another one"),
            _ => None,
        }
    };
    let missing = record.set.iter().find_map(|member| {
        let why = lacks(&member.store)?;
        Some(format!("the part of {} in {} {why}", member.source, member.store))
    });
    missing.filter(|_| record.damaged.is_none())
}
