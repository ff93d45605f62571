//! What is done with snapshots, one verb a file.

#[cfg(feature = "offsite")]
mod arrive;
mod config;
mod create;
mod doctor;
mod each;
mod holding;
mod inside;
mod known;
mod look;
mod manager;
mod outcome;
mod prune;
mod repair;
mod replace;
mod restore;
mod scrub;
mod set;
mod source;
mod space;
mod verify;

pub use crate::store::LeftOut;
#[cfg(feature = "offsite")]
pub use arrive::Held;
pub use config::SnapshotConfig;
pub use create::Create;
#[cfg(feature = "offsite")]
pub(crate) use create::check_tags;
pub use doctor::{Checkup, Finding, Verdict, machine};
#[cfg(feature = "offsite")]
pub(crate) use known::none_elsewhere;
pub use look::contents::{Contents, GroupContents, GroupOffset, LeaderEpoch, LogContents, TopicContents, Transaction};
pub use look::diff::{Change, Comparison, Diff, FileDiff, LogDiff, LogState, SegmentDiff};
pub use look::diff_records::RecordDiff;
pub use look::{At, LogAt, LogsAt};
pub use manager::SnapshotManager;
pub use outcome::{
    Created, CutBatch, Deleted, Level, LogCut, LogEnd, LogInfo, Repaired, Replaced, Restored, SnapshotInfo, Verified,
    VerifyReport,
};
pub use prune::policy::Policy;
pub use prune::{PrunePlan, Step, plan};
pub use repair::heal::{HealOptions, Healed, Mended, NotMended};
pub use replace::undo::UndoEntry;
pub use restore::adopt::AsTopicId;
pub use restore::bound::Bound;
pub use restore::fork::{Fork, ForkOptions};
pub use restore::options::{Detach, RestoreOptions};
pub use restore::target::sweep_restore;
pub use scrub::budget::Budget;
pub use scrub::{Found, ScrubReport};
pub use space::forecast::Forecast;
pub use space::ledger::Bounds;
pub use space::{SegmentCopies, SnapshotSpace, Space};
pub use verify::VerifiedSnapshot;
