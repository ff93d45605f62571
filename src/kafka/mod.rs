//! A foreign writer's directory: Kafka's own.

pub mod checkpoints;
pub mod datadir;
mod profile;
mod txn_index;

pub use profile::Profile;
pub use txn_index::cut_txn_index;
