//! What is done with snapshots, one verb a file.

mod active;
mod adopt;
mod ahead;
mod assemble;
mod attempt;
mod blame;
mod budget;
mod capture;
mod complete;
mod config;
mod contents;
mod create;
mod deep;
mod delete;
mod describe;
mod hash;
mod held;
mod holding;
mod home;
mod inside;
mod intact;
mod log_capture;
mod manager;
mod marks;
mod outcome;
mod previous;
mod prune;
mod repair;
mod replace;
mod restore;
mod restore_options;
mod restore_plan;
mod scratch;
mod second_look;
mod set;
mod side;
mod source;
mod staging;
mod surprises;
mod swap;
mod take;
mod target;
mod undo;
mod verify;

pub use crate::store::LeftOut;
pub use adopt::AsTopicId;
pub use config::SnapshotConfig;
pub use contents::{Contents, GroupContents, GroupOffset, LeaderEpoch, LogContents, TopicContents, Transaction};
pub use create::Create;
#[cfg(feature = "console")]
pub(crate) use create::check_tags;
pub use manager::SnapshotManager;
pub use outcome::{
    Created, Deleted, Level, LogEnd, LogInfo, Repaired, Replaced, Restored, SnapshotInfo, Verified, VerifyReport,
};
pub use prune::{Policy, PrunePlan, Step, plan};
pub use restore_options::{Detach, RestoreOptions};
pub use scratch::Scratch;
pub use target::sweep_restore;
pub use undo::UndoEntry;
pub use verify::VerifiedSnapshot;
