//! Where a restored log is to begin or to end.

use std::fmt;

use crate::log::BatchHeader;
use crate::store::rfc3339;
use crate::units::parse_time;

/// A place in a log. Batches stay whole: it lies before the first one that is not below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Below it is a batch whose last offset is less.
    Offset(i64),
    /// Below it is a batch all of whose records have earlier timestamps: milliseconds since 1970 UTC. A batch without a
    /// timestamp is below any.
    Time(i64),
}

impl Bound {
    /// Digits alone are an offset; everything else is a time, as [`parse_time`](crate::units::parse_time) reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str, now: i64) -> Result<Bound, String> {
        if text.is_empty() || text.bytes().any(|b| !b.is_ascii_digit()) {
            return parse_time(text, now).map(Bound::Time).map_err(|why| format!("{why}, or an offset"));
        }
        text.parse().map(Bound::Offset).map_err(|_| format!("{text} is more than an offset can be"))
    }

    /// Whether all records of the batch lie below.
    pub(in crate::snapshot) fn is_above(self, batch: &BatchHeader) -> bool {
        match self {
            Bound::Offset(offset) => batch.last_offset() < offset,
            Bound::Time(time) => batch.max_timestamp < time,
        }
    }

    /// Whether that is known of all batches below an offset, without a look at them.
    pub(in crate::snapshot) fn is_above_offset(self, end: i64) -> bool {
        matches!(self, Bound::Offset(offset) if end <= offset)
    }

    pub(in crate::snapshot) fn is_time(self) -> bool {
        matches!(self, Bound::Time(_))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Offset(offset) => write!(f, "offset {offset}"),
            Bound::Time(time) => f.write_str(&rfc3339(*time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_offset() {
        assert_eq!(Bound::parse("17", 0), Ok(Bound::Offset(17)));
        assert_eq!(Bound::parse("2026", 0), Ok(Bound::Offset(2026)));
        assert_eq!(Bound::parse("1970-01-02", 0), Ok(Bound::Time(86_400_000)));
        assert_eq!(Bound::parse("2s", 5_000), Ok(Bound::Time(3_000)));
        for bad in ["", "-1", "+1", "1.5", "99999999999999999999", "noon"] {
            assert!(Bound::parse(bad, 0).is_err(), "{bad}");
        }
    }
}
