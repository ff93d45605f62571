//! What is done with snapshots, one verb a file.

mod active;
mod ahead;
mod assemble;
mod attempt;
mod budget;
mod capture;
mod config;
mod create;
mod deep;
mod delete;
mod describe;
mod hash;
mod holding;
mod inside;
mod intact;
mod log_capture;
mod manager;
mod marks;
mod outcome;
mod previous;
mod prune;
mod repair;
mod restore;
mod restore_plan;
mod scratch;
mod second_look;
mod source;
mod staging;
mod target;
mod verify;

pub use crate::store::LeftOut;
pub use config::SnapshotConfig;
pub use create::Create;
#[cfg(feature = "console")]
pub(crate) use create::check_tags;
pub use manager::SnapshotManager;
pub use outcome::{Created, Deleted, Level, LogEnd, LogInfo, Repaired, Restored, SnapshotInfo, Verified, VerifyReport};
pub use prune::{Policy, PrunePlan, Step, plan};
pub use restore::{Detach, RestoreOptions};
pub use scratch::Scratch;
pub use target::sweep_restore;
pub use verify::VerifiedSnapshot;
