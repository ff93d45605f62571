//! A foreign writer's directory: Kafka's own.

pub mod boot;
pub mod checkpoints;
pub mod datadir;
mod fields;
pub mod live;
pub mod metadata;
pub mod producer_state;
mod profile;
pub mod txn_index;

pub use profile::Profile;
pub use txn_index::cut_txn_index;

/// What is wrong with the bytes of a broker's file, for a reader.
pub type Malformed = String;
