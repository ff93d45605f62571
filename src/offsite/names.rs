//! The keys of objects.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result, ValidationError};
use crate::store::SnapshotId;

pub(super) const CONFIG: &str = "config.json";
pub(super) const BLOBS: &str = "blobs";
pub(super) const SNAPSHOTS: &str = "snapshots";
pub(super) const PUSHES: &str = "pushes";
pub(super) const GC: &str = "gc";
/// Beside the manifests of a snapshot: which blobs there are of it.
pub(super) const BLOB_LIST: &str = "blobs.json";
/// Beside the manifests of a snapshot: what a listing shows of it.
pub(super) const RECORD: &str = "record.json";

/// Whose snapshots: a machine, and a source on it. As text `host/source`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName {
    host: String,
    source: String,
}

impl SourceName {
    /// Of two names, each of 1 to 200 of `A-Z a-z 0-9 . _ -` and not beginning with a dot.
    ///
    /// # Errors
    ///
    /// `Validation` for other names.
    pub fn new(host: &str, source: &str) -> Result<Self> {
        for name in [host, source] {
            if !is_name(name) {
                let what = format!("{name:?} is no name for a machine or a source elsewhere");
                let hint = "1 to 200 letters, digits, dots, dashes and underscores, the first no dot; `--host NAME` and `--name NAME` choose others";
                return Err(ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into());
            }
        }
        Ok(SourceName { host: host.to_owned(), source: source.to_owned() })
    }

    /// The machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The source on it.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.host, self.source))
    }
}

impl FromStr for SourceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (host, source) = text.split_once('/').unwrap_or((text, ""));
        SourceName::new(host, source)
    }
}

impl Serialize for SourceName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// One snapshot of the place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SnapshotKey {
    pub(super) of: SourceName,
    pub(super) id: SnapshotId,
}

impl SnapshotKey {
    /// The key of one of its objects.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{SNAPSHOTS}/{}/{}/{name}", self.of, self.id)
    }

    /// What this key is of a snapshot: which, and the name of the object.
    pub(super) fn parse(key: &str) -> Option<(SnapshotKey, &str)> {
        let mut parts = key.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.split('/');
        let (host, source, id, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let of = SourceName::new(host, source).ok()?;
        let id = id.parse().ok()?;
        parts.next().is_none().then_some((SnapshotKey { of, id }, name))
    }

    /// The snapshot that an announcement is of.
    pub(super) fn of_intent(key: &str) -> Option<SnapshotKey> {
        let mut parts = key.strip_prefix(PUSHES)?.strip_prefix('/')?.split('/');
        let (host, source, name) = (parts.next()?, parts.next()?, parts.next()?);
        let of = SourceName::new(host, source).ok()?;
        let (id, _run) = name.strip_suffix(".json")?.rsplit_once('-')?;
        Some(SnapshotKey { of, id: id.parse().ok()? })
    }

    /// The key of what announces a push of it; `run` tells pushes apart.
    pub(super) fn intent(&self, run: &str) -> String {
        format!("{PUSHES}/{}/{}-{run}.json", self.of, self.id)
    }
}

impl Serialize for SnapshotKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SnapshotKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        let parsed =
            text.rsplit_once('/').and_then(|(of, id)| Some(SnapshotKey { of: of.parse().ok()?, id: id.parse().ok()? }));
        parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no snapshot")))
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.of, self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_is_of() {
        let key = SnapshotKey { of: "web-1/orders-0".parse().unwrap(), id: SnapshotId::new(17).unwrap() };
        let object = key.object("manifest.b3");
        assert_eq!(object, "snapshots/web-1/orders-0/snapshot-17/manifest.b3");
        assert_eq!(SnapshotKey::parse(&object), Some((key.clone(), "manifest.b3")));
        assert_eq!(key.intent("0a1b"), "pushes/web-1/orders-0/snapshot-17-0a1b.json");
        assert_eq!(SnapshotKey::of_intent(&key.intent("0a1b")), Some(key));
        for strange in ["snapshots/a/b/snapshot-1", "snapshots/a/b/c/x", "blobs/aa/bb", "snapshots/a/b/snapshot-1/x/y"]
        {
            assert_eq!(SnapshotKey::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn names_are_plain() {
        for bad in ["", "a", "a/", "/b", "a/b/c", "../b", "a/..", ".a/b", "a b/c", "ä/b", "a/b\n"] {
            assert!(bad.parse::<SourceName>().is_err(), "{bad:?}");
        }
    }
}
