//! What is done with snapshots, one verb a file.

mod active;
mod budget;
mod capture;
mod config;
mod create;
mod hash;
mod log_capture;
mod manager;
mod outcome;
mod previous;
mod source;
mod staging;

pub use config::SnapshotConfig;
pub use create::Create;
pub use manager::SnapshotManager;
pub use outcome::{
    Created, Deleted, LeftOut, Level, LogEnd, LogInfo, Repaired, Restored, SnapshotInfo, Verified, VerifyReport,
};
