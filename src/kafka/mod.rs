//! A foreign writer's directory: Kafka's own.

pub mod checkpoints;
pub mod datadir;
mod profile;

pub use profile::Profile;
