//! `state.json`: what may change about a snapshot after it was published.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reads::Reads;
use super::sealed;
use crate::error::{Damage, Result};

/// The level of a [`Verification`] that was made of pieces: files were read at different times.
pub const SCRUB: &str = "scrub";

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
    /// When its files were read since it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,
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
    /// `full`, `deep` or [`SCRUB`].
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

    /// Takes damage of the last verification that is none any more out of it. Where it had found all other files right, the
    /// snapshot counts as verified then.
    pub(crate) fn forget_damage(&mut self, is_mended: impl Fn(&Damage) -> bool) {
        let Some(verified) = self.verified.as_mut().filter(|v| !v.damage.is_empty()) else { return };
        verified.damage.retain(|d| !is_mended(d));
        if verified.damage.is_empty() {
            verified.ok = true;
            if verified.level == SCRUB {
                // Only some of its files were read.
                self.verified = None;
            }
        }
    }

    /// Adds damage that was found in some of its files.
    pub(crate) fn add_damage(&mut self, found: Vec<Damage>, at: i64) {
        if found.is_empty() {
            return;
        }
        let mut verified = match self.verified.take().filter(|v| !v.ok) {
            Some(verified) => verified,
            None => Verification { level: SCRUB.into(), at, ok: false, damage: Vec::new() },
        };
        verified.damage.retain(|old| found.iter().all(|new| new.path != old.path));
        verified.damage.extend(found);
        verified.damage.sort_by(|a, b| a.path.cmp(&b.path));
        self.verified = Some(verified);
    }

    /// Files in which the last verification found damage.
    pub fn damaged_paths(&self) -> impl Iterator<Item = &str> {
        self.verified.iter().flat_map(|v| v.damage.iter().map(|d| d.path.as_str()))
    }
}
