//! A foreign writer's directory: Kafka's own.

mod profile;

pub use profile::Profile;
