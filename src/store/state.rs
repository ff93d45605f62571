//! `state.json`: what may change about a snapshot after it was published.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::sealed;
use crate::error::{Damage, Result};

/// Pins, tags, verifications, and the roots of other parts. Losing them loses no data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Never pruned, never counted.
    #[serde(default)]
    pub pinned: bool,
    /// Names given by users.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// The last time that every byte was read.
    #[serde(default)]
    pub verified: Option<Verification>,
    /// Of a snapshot of several directories: the roots of the other parts, by their stores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roots: BTreeMap<String, String>,
    /// True where the file could not be read: then nothing in here is known, and the snapshot counts as pinned.
    #[serde(skip)]
    pub unreadable: bool,
}

/// A verification of every byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// `full` or `deep`.
    pub level: String,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// Whether all was well.
    pub ok: bool,
    /// File by file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<Damage>,
}

impl State {
    /// The bytes of `state.json`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        sealed::seal(super::STATE, self)
    }

    /// Reads `state.json`.
    ///
    /// # Errors
    ///
    /// `Integrity` where the checksum does not hold or the form is unknown. A caller goes on with
    /// [`State::unreadable`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        sealed::open(super::STATE, bytes)
    }

    /// What stands for a state that cannot be read: nothing may be pruned on the strength of it.
    pub fn unreadable() -> Self {
        State { pinned: true, unreadable: true, ..State::default() }
    }

    /// Files in which the last verification found damage.
    pub fn damaged_paths(&self) -> impl Iterator<Item = &str> {
        self.verified.iter().flat_map(|v| v.damage.iter().map(|d| d.path.as_str()))
    }
}
