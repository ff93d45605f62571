//! When a file counts as unchanged since it was last looked at.

use serde::{Deserialize, Serialize};

use super::Stat;

/// An inode and the state it was in. Two equal identities mean equal bytes only under the rules of
/// [`trusted`](Identity::trusted); size and mtime alone can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, i64, i64)", into = "(u64, u64, u64, i64, i64)")]
pub struct Identity {
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Nanoseconds since 1970 UTC.
    pub ctime: i64,
}

/// How old a ctime must be before an equal one later proves that nothing was written in between: filesystem
/// time stamps are coarse, and two writes within one tick look like one.
const SETTLED_NS: i64 = 2_000_000_000;

impl Identity {
    /// Whether this identity, taken at `now` (milliseconds since 1970 UTC), can be relied on later.
    pub fn trusted(&self, now_ms: i64) -> bool {
        now_ms.saturating_mul(1_000_000).saturating_sub(self.ctime) > SETTLED_NS
    }

    /// The same inode with the same size and mtime, whatever its ctime: link and unlink move the ctime.
    /// Proves something only while the inode cannot have been reused, that is while somebody holds it.
    pub fn same_but_ctime(&self, other: &Identity) -> bool {
        Identity { ctime: 0, ..*self } == Identity { ctime: 0, ..*other }
    }
}

impl From<&Stat> for Identity {
    fn from(s: &Stat) -> Self {
        Identity { dev: s.dev, ino: s.ino, size: s.size, mtime: s.mtime, ctime: s.ctime }
    }
}

impl From<(u64, u64, u64, i64, i64)> for Identity {
    fn from((dev, ino, size, mtime, ctime): (u64, u64, u64, i64, i64)) -> Self {
        Identity { dev, ino, size, mtime, ctime }
    }
}

impl From<Identity> for (u64, u64, u64, i64, i64) {
    fn from(i: Identity) -> Self {
        (i.dev, i.ino, i.size, i.mtime, i.ctime)
    }
}
