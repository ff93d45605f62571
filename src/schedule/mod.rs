//! Snapshots that nobody has to remember: created, pruned, verified and tried out by the clock.
//!
//! What is to be done stands in a [`Config`], what was done in a [`Memory`]; from the two and the time of day [`plan`]
//! decides what is due, and does nothing else. A [`Scheduler`] does what is due, one job per source at a time.

mod config;
mod drill;
mod job;
mod memory;
mod offsite;
pub mod plan;
mod raw_config;
mod scheduler;
mod serve;
mod times;

pub use config::{Config, Drill, SourceConfig};
pub use drill::DrillReport;
pub use job::Outcome;
pub use memory::{Failing, Memory, Past, SourceMemory};
pub use offsite::{Offsite, PushReport};
pub use plan::Task;
pub use scheduler::{Ran, Running, Scheduler, Told};
pub use serve::{Serve, Tls};
pub use times::{Quiet, When};
