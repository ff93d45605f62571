//! What is wrong with the files of a snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong with one file of a snapshot.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file, relative to the snapshot's directory.
    pub path: String,
    /// What sort of damage.
    pub kind: DamageKind,
    /// The particulars, for a reader.
    pub detail: String,
}

/// Sorts of [`Damage`].
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DamageKind {
    /// The file is not there.
    Missing,
    /// The operating system could not read it.
    Unreadable,
    /// It is shorter or longer than recorded.
    Size,
    /// Its bytes do not have the recorded digest.
    Digest,
    /// The manifest itself is not to be believed.
    Manifest,
    /// A record batch is broken or out of order.
    Batch,
    /// An index does not agree with its log.
    Index,
    /// A broker's record of its producers is broken.
    Producers,
}

impl DamageKind {
    /// Whether a file is not what its digest says, so that a copy with the digest mends it.
    pub(crate) fn is_of_bytes(self) -> bool {
        matches!(self, DamageKind::Missing | DamageKind::Unreadable | DamageKind::Size | DamageKind::Digest)
    }

    /// Whether the bytes are those of the manifest and make no sense: what only a deep verification finds.
    pub(crate) fn is_of_content(self) -> bool {
        !self.is_of_bytes() && self != DamageKind::Manifest
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DamageKind::Missing => "missing",
            DamageKind::Unreadable => "unreadable",
            DamageKind::Size => "size",
            DamageKind::Digest => "digest",
            DamageKind::Manifest => "manifest",
            DamageKind::Batch => "batch",
            DamageKind::Index => "index",
            DamageKind::Producers => "producers",
        })
    }
}

/// The first few damaged files, for the one-line form of the error.
pub(super) struct Listed<'a>(pub(super) &'a [Damage]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (i, d) in self.0.iter().take(SHOWN).enumerate() {
            let sep = if i == 0 { ": " } else { "; " };
            write!(f, "{sep}{} ({}: {})", d.path, d.kind, d.detail)?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}
