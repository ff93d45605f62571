//! Names of snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result, ValidationError};

const PREFIX: &str = "snapshot-";
const STAGING: &str = ".staging-";
const TRASH: &str = ".trash-";

/// The id of a snapshot: milliseconds since 1970 UTC at which it was taken, made unique. As text
/// `snapshot-<ms>`, which is also the name of its directory. It cannot be a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(u64);

impl SnapshotId {
    /// The largest: exactly representable in every JSON reader, and far beyond any date.
    const MAX: u64 = (1 << 53) - 1;

    /// The id with this number; `None` beyond 2^53 - 1.
    pub fn new(ms: u64) -> Option<Self> {
        (ms <= Self::MAX).then_some(SnapshotId(ms))
    }

    /// Milliseconds since 1970 UTC.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// The smallest id that is later than all of `taken` and not before `now` (milliseconds since 1970 UTC).
    pub(crate) fn next(now: i64, newest_taken: Option<SnapshotId>) -> Result<Self> {
        let now = u64::try_from(now).unwrap_or(0);
        let after = newest_taken.map_or(0, |id| id.0 + 1);
        SnapshotId::new(now.max(after)).ok_or_else(|| {
            ValidationError::refused("no snapshot id is left: the newest one, or the clock, is absurdly late").into()
        })
    }

    pub(crate) fn staging_name(self) -> String {
        format!("{STAGING}{}", self.0)
    }

    pub(crate) fn trash_name(self) -> String {
        format!("{TRASH}{}", self.0)
    }

    fn from_digits(digits: &str) -> Option<Self> {
        let canonical = !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        canonical.then(|| digits.parse().ok().and_then(SnapshotId::new)).flatten()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{PREFIX}{}", self.0))
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        s.strip_prefix(PREFIX).and_then(Self::from_digits).ok_or_else(|| invalid(s, "not of the form snapshot-<ms>"))
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a directory of a store is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreName {
    Snapshot(SnapshotId),
    Staging(SnapshotId),
    Trash(SnapshotId),
}

impl StoreName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let id = |prefix| name.strip_prefix(prefix).and_then(SnapshotId::from_digits);
        id(PREFIX)
            .map(StoreName::Snapshot)
            .or_else(|| id(STAGING).map(StoreName::Staging))
            .or_else(|| id(TRASH).map(StoreName::Trash))
    }

    pub(crate) fn id(self) -> SnapshotId {
        match self {
            StoreName::Snapshot(id) | StoreName::Staging(id) | StoreName::Trash(id) => id,
        }
    }
}

/// How a user names a snapshot: `latest`, an id, its digits, or the beginning of either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdQuery(Query);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Query {
    Latest,
    /// Digits, the whole or the beginning.
    Digits(String),
}

impl IdQuery {
    /// Whether it is `latest`.
    pub fn is_latest(&self) -> bool {
        self.0 == Query::Latest
    }

    /// Those of `ids` that may be meant, in ascending order. An exact one is the only one.
    pub fn meant(&self, ids: &[SnapshotId]) -> Vec<SnapshotId> {
        let digits = match &self.0 {
            Query::Latest => return ids.iter().max().copied().into_iter().collect(),
            Query::Digits(digits) => digits,
        };
        let mut fitting: Vec<SnapshotId> =
            ids.iter().filter(|id| id.0.to_string().starts_with(digits)).copied().collect();
        fitting.sort_unstable();
        match fitting.iter().find(|id| id.0.to_string() == *digits) {
            Some(exact) => vec![*exact],
            None => fitting,
        }
    }

    /// The one of `ids` that is meant; `None` where there is none.
    ///
    /// # Errors
    ///
    /// `AmbiguousId` where a beginning fits several.
    pub fn resolve(&self, ids: &[SnapshotId]) -> Result<Option<SnapshotId>> {
        match self.meant(ids).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            many => {
                const SHOWN: usize = 8;
                let mut candidates: Vec<String> = many.iter().take(SHOWN).map(ToString::to_string).collect();
                if many.len() > SHOWN {
                    candidates.push(format!("{} more", many.len() - SHOWN));
                }
                let given = self.to_string().trim_start_matches(PREFIX).to_owned();
                Err(ValidationError::AmbiguousId { given, candidates }.into())
            }
        }
    }
}

impl FromStr for IdQuery {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        const MOST_DIGITS: usize = 16;
        if s == "latest" {
            return Ok(IdQuery(Query::Latest));
        }
        let digits = s.strip_prefix(PREFIX).unwrap_or(s);
        let why = if s.is_empty() {
            "it is empty"
        } else if digits.is_empty() {
            "there are no digits in it"
        } else if !digits.bytes().all(|b| b.is_ascii_digit()) {
            "only digits may follow `snapshot-`"
        } else if digits.len() > MOST_DIGITS {
            "it is too long"
        } else {
            return Ok(IdQuery(Query::Digits(digits.to_owned())));
        };
        Err(invalid(s, why))
    }
}

impl fmt::Display for IdQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Query::Latest => f.write_str("latest"),
            Query::Digits(digits) => write!(f, "{PREFIX}{digits}"),
        }
    }
}

impl From<SnapshotId> for IdQuery {
    fn from(id: SnapshotId) -> Self {
        IdQuery(Query::Digits(id.0.to_string()))
    }
}

/// Shortened, so that an absurd id does not flood the message about it.
fn invalid(given: &str, why: &'static str) -> Error {
    const SHOWN: usize = 60;
    // What is shown is escaped: one character may take ten.
    let mut width = 0;
    let mut shown: String = given
        .chars()
        .take_while(|c| {
            width += c.escape_debug().count();
            width <= SHOWN
        })
        .collect();
    if shown.len() < given.len() {
        shown.push('…');
    }
    ValidationError::InvalidId { given: shown, why }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ms: &[u64]) -> Vec<SnapshotId> {
        ms.iter().map(|ms| SnapshotId(*ms)).collect()
    }

    #[test]
    fn nothing_but_an_id_parses() {
        assert_eq!("snapshot-1735998123000".parse::<SnapshotId>().unwrap(), SnapshotId(1_735_998_123_000));
        for bad in [
            "",
            "snapshot-",
            "snapshot-01",
            "snapshot--1",
            "snapshot-+1",
            "snapshot-1/",
            "../x",
            "snapshot-9007199254740992",
            "1",
        ] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_resolve() {
        let all = ids(&[100, 105, 1050, 200]);
        let ask = |q: &str| q.parse::<IdQuery>().unwrap().resolve(&all);
        assert_eq!(ask("latest").unwrap(), Some(SnapshotId(1050)));
        assert_eq!(ask("2").unwrap(), Some(SnapshotId(200)));
        assert_eq!(ask("snapshot-2").unwrap(), Some(SnapshotId(200)));
        assert_eq!(ask("105").unwrap(), Some(SnapshotId(105)), "an exact id wins over one that it begins");
        assert_eq!(ask("3").unwrap(), None);
        assert!(
            matches!(ask("10"), Err(Error::Validation(ValidationError::AmbiguousId { candidates, .. })) if candidates.len() == 3)
        );
        assert_eq!("latest".parse::<IdQuery>().unwrap().resolve(&[]).unwrap(), None);
    }

    #[test]
    fn bad_queries_are_refused_and_not_echoed_at_length() {
        let long = "9".repeat(1 << 20);
        for bad in
            ["", "../x", "snapshot-", "snapshot-x", "Latest", " 1", "1 ", "-1", "１", "a\nb", &long, &"\x1f".repeat(99)]
        {
            let e = bad.parse::<IdQuery>().unwrap_err();
            assert!(matches!(e, Error::Validation(ValidationError::InvalidId { .. })), "{bad:.20}");
            assert!(e.to_string().len() < 400);
        }
    }

    #[test]
    fn the_next_id_is_later_than_all_others() {
        assert_eq!(SnapshotId::next(50, None).unwrap(), SnapshotId(50));
        assert_eq!(SnapshotId::next(50, Some(SnapshotId(50))).unwrap(), SnapshotId(51));
        assert_eq!(SnapshotId::next(-5, Some(SnapshotId(50))).unwrap(), SnapshotId(51));
        assert!(SnapshotId::next(0, Some(SnapshotId(SnapshotId::MAX))).is_err());
    }

    #[test]
    fn names_of_a_store() {
        let id = SnapshotId(7);
        assert_eq!(StoreName::parse("snapshot-7"), Some(StoreName::Snapshot(id)));
        assert_eq!(StoreName::parse(&id.staging_name()), Some(StoreName::Staging(id)));
        assert_eq!(StoreName::parse(&id.trash_name()), Some(StoreName::Trash(id)));
        assert_eq!(StoreName::parse("snapshot-07"), None);
        assert_eq!(StoreName::parse("snapshots.json"), None);
    }
}
