//! How much one run of a scrub may do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::units::{parse_bytes, parse_duration};

/// How much one run of a scrub may do: `5%`, `10GiB`, `2min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Of all distinct bytes of the snapshots, in percent: above 0, at most 100.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Time.
    Time(Duration),
}

impl Budget {
    /// How many bytes of these it allows; all of them where it is one of time.
    pub(in crate::snapshot) fn bytes_of(self, total: u64) -> u64 {
        match self {
            // Rounded up: a small part of little is something.
            Budget::Percent(percent) => ((total as f64 * percent / 100.0).ceil() as u64).min(total),
            Budget::Bytes(bytes) => bytes,
            Budget::Time(_) => u64::MAX,
        }
    }

    pub(in crate::snapshot) fn time(self) -> Option<Duration> {
        match self {
            Budget::Time(time) => Some(time),
            Budget::Percent(_) | Budget::Bytes(_) => None,
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a budget: write for instance 5%, 10GiB or 2min");
        let budget = if let Some(number) = text.strip_suffix('%') {
            let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            Budget::Percent(number.parse().ok().filter(|_| plain).ok_or_else(wrong)?)
        } else if let Ok(bytes) = parse_bytes(text) {
            Budget::Bytes(bytes)
        } else {
            let minutes = text.strip_suffix("min").map(|number| format!("{number}m"));
            Budget::Time(parse_duration(minutes.as_deref().unwrap_or(text)).map_err(|_| wrong())?)
        };
        let sensible = match budget {
            Budget::Percent(percent) => percent > 0.0 && percent <= 100.0,
            Budget::Bytes(bytes) => bytes > 0,
            Budget::Time(time) => !time.is_zero(),
        };
        if sensible { Ok(budget) } else { Err(wrong()) }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Percent(percent) => write!(f, "{percent}%"),
            Budget::Bytes(bytes) => write!(f, "{bytes}B"),
            Budget::Time(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_parse_strictly() {
        let s = Duration::from_secs;
        for (text, budget) in [
            ("5%", Budget::Percent(5.0)),
            ("0.5%", Budget::Percent(0.5)),
            ("100%", Budget::Percent(100.0)),
            ("10GiB", Budget::Bytes(10 << 30)),
            ("4096", Budget::Bytes(4096)),
            ("2min", Budget::Time(s(120))),
            ("2m", Budget::Time(s(120))),
            ("1h30min", Budget::Time(s(5400))),
            ("90s", Budget::Time(s(90))),
        ] {
            assert_eq!(text.parse(), Ok(budget), "{text}");
            assert_eq!(budget.to_string().parse(), Ok(budget), "{text}");
        }
        for bad in ["", "%", "0%", "101%", "-5%", "+5%", "5 %", "NaN%", "inf%", "1e1%", "0", "0s", "min", "5x", "2 min"]
        {
            assert!(bad.parse::<Budget>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_of_what_there_is() {
        for (percent, total, bytes) in
            [(5.0, 1000, 50), (5.0, 1, 1), (5.0, 0, 0), (0.1, 999, 1), (100.0, 12345, 12345), (33.3, 10, 4)]
        {
            assert_eq!(Budget::Percent(percent).bytes_of(total), bytes, "{percent}% of {total}");
        }
        assert_eq!(Budget::Bytes(7).bytes_of(3), 7);
        assert_eq!(Budget::Time(Duration::from_secs(1)).bytes_of(3), u64::MAX);
    }
}
