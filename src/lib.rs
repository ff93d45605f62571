//! Instant, verified snapshots of segmented append-only logs.
//!
//! A log in segments grows only at its end: every segment but the last is never written again. So a snapshot shares
//! the sealed segments with the log, by hard link or reflink, and copies only the active one, up to the end
//! of its last whole batch. Each snapshot has a BLAKE3 manifest, which is verified before anything is restored.
//!
//! ```
//! use cowlog::{BatchBuilder, Level, Log, LogReader, RestoreOptions, SnapshotManager};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let temp = tempfile::tempdir()?;
//! let path = temp.path().join("orders");
//!
//! // A log in Kafka's format, written by this process...
//! let mut log = Log::open(&path)?;
//! for (key, value) in [("apple", "3"), ("pear", "5")] {
//!     let batch = BatchBuilder::new().record(1_735_998_123_000, Some(key.as_bytes()), Some(value.as_bytes())).build()?;
//!     log.append(batch)?;
//! }
//!
//! // ...a snapshot of exactly these two records, while the log goes on.
//! let snapshots = SnapshotManager::open(&path)?;
//! let cut = log.cut()?;
//! log.append(BatchBuilder::new().record(1_735_998_124_000, Some(b"plum"), Some(b"7")).build()?)?;
//! let created = snapshots.create().at(cut).run()?;
//! assert_eq!(created.snapshot.log_end_offset, Some(2));
//!
//! // Every byte, every batch, every index entry holds; then it is brought back.
//! assert!(snapshots.verify("latest", Level::Deep)?.ok);
//! let restored = temp.path().join("restored");
//! snapshots.restore(snapshots.verified("latest")?, RestoreOptions::to(&restored))?;
//! assert_eq!(LogReader::open(&restored)?.log_end(), 2);
//! assert_eq!(log.log_end_offset(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! Start at [`SnapshotManager`] for snapshots of anybody's log, at [`TopicManager`] for those of a broker's topics, at [`Log`] to write one, at [`LogReader`] to read one.
//!
//! Features, all on by default: `cli`, `console` (the server), `clouds` (copies in S3, Azure's and Google's storage); parts of them are `offsite` (copies elsewhere,
//! directories only) and `schedule`. Without any the library knows snapshots and logs.
//!
//! Errors come in five families, see [`Error`]. How it works in detail: `docs/design.md` of the repository.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

#[cfg(feature = "console")]
pub mod console;
pub mod error;
pub mod fs;
pub mod kafka;
pub mod log;
pub mod observe;
#[cfg(feature = "offsite")]
pub mod offsite;
#[cfg(feature = "schedule")]
pub mod schedule;
pub mod snapshot;
pub mod store;
pub mod topics;
pub mod units;

pub use error::{Error, Result};
pub use log::{Batch, BatchBuilder, Log, LogConfig, LogReader, Record};
pub use snapshot::{Level, Policy, RestoreOptions, SnapshotConfig, SnapshotInfo, SnapshotManager};
pub use topics::TopicManager;

/// The README's code must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
