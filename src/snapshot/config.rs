//! How a [`SnapshotManager`](super::SnapshotManager) behaves.

use std::path::PathBuf;
use std::time::Duration;

use crate::fs::{Clock, MethodChoice};
use crate::kafka::Profile;
use crate::observe::Observer;

/// Settings of a [`SnapshotManager`](super::SnapshotManager). `SnapshotConfig::default()` is meant to be used.
#[derive(Debug, Clone)]
pub struct SnapshotConfig {
    /// How many snapshots of a scope `prune` keeps. 5.
    pub max_snapshots: usize,
    /// How old a snapshot may be before `prune` takes it. 24 hours.
    pub retention_time: Duration,
    /// How old the last snapshot of a scope must be before `create` takes another one. One hour.
    pub min_interval: Duration,
    /// How long to try for a lock. 10 seconds.
    pub lock_timeout: Duration,
    /// How a new or changed file gets into a snapshot. Automatic.
    pub method: MethodChoice,
    /// How many bytes of sealed data may be copied because they cannot be shared. By default 1 GiB or a tenth of
    /// the source, whichever is more; no limit where `method` asks for copies.
    pub max_copy: Option<u64>,
    /// Who writes the source, where what is found there is not to decide.
    pub profile: Option<Profile>,
    /// Where the store is, instead of the places that are looked at.
    pub store: Option<PathBuf>,
    /// Whether a store on a network filesystem is accepted, where locks may not reach other machines. No.
    pub allow_network: bool,
    /// The time of day.
    pub clock: Clock,
    /// Told of progress; can cancel.
    pub observer: Observer,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        SnapshotConfig {
            max_snapshots: 5,
            retention_time: Duration::from_secs(24 * 3600),
            min_interval: Duration::from_secs(3600),
            lock_timeout: Duration::from_secs(10),
            method: MethodChoice::Auto,
            max_copy: None,
            profile: None,
            store: None,
            allow_network: false,
            clock: Clock::default(),
            observer: Observer::default(),
        }
    }
}
