//! A foreign writer's directory: Kafka's own.

pub mod batches;
pub mod boot;
pub mod checkpoints;
pub mod cluster;
pub mod committed;
pub mod datadir;
mod fields;
pub mod live;
pub mod metadata;
pub mod metadata_record;
pub mod offset_record;
pub mod producer_state;
mod profile;
pub mod retention;
pub mod transaction_record;
pub mod transactions;
pub mod txn_index;

pub use profile::Profile;
pub use txn_index::cut_txn_index;

/// What is wrong with the bytes of a broker's file, for a reader.
pub type Malformed = String;
