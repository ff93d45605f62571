//! Who writes a log.

use serde::{Deserialize, Serialize};

/// The writer profile of a source: what its writer promises about its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// [`Log`](crate::log): a sealed inode is never written again, and `.segments.lock` is honoured.
    Native,
    /// A Kafka broker: indexes are rewritten in place, locks of ours are not known to it.
    Kafka,
}
