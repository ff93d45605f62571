//! Instant, verified snapshots of segmented append-only logs.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod error;
pub mod fs;
pub mod kafka;
pub mod log;
pub mod observe;
pub mod snapshot;
pub mod store;

pub use error::{Error, Result};
pub use log::{Batch, BatchBuilder, Log, LogConfig, LogReader, Record};
pub use snapshot::{Level, Policy, RestoreOptions, SnapshotConfig, SnapshotInfo, SnapshotManager};
