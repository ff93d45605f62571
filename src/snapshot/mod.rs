//! What is done with snapshots, one verb a file.

mod config;
mod outcome;

pub use config::SnapshotConfig;
pub use outcome::{
    Created, Deleted, LeftOut, Level, LogEnd, LogInfo, Repaired, Restored, SnapshotInfo, Verified, VerifyReport,
};
