//! What a snapshot manager promises, on a native log.

mod arguments;
mod catalogue;
mod cuts;
mod damage;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod heal;
#[path = "../native/mod.rs"]
mod native;
mod operations;
mod retention;
mod scale;
mod scrub;
mod travel;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::error::{ConcurrencyError, DamageKind, Error, Kind, ValidationError};
use cowlog::fs::{Method, MethodChoice};
use cowlog::log::{Log, LogConfig, SegmentFile};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Detach, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::store::State;
use native::{Hands, NOON, append, content, make_log, manager, open_log, temp};

const HOUR: Duration = Duration::from_secs(3600);

/// Flips a bit in the middle of a file, in place: all that share the inode have it.
fn flip(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
}
