//! Sizes and times as people write them: on a command line, in a configuration.

use std::time::Duration;

const BINARY: [(&str, u64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("PiB", 1 << 50)];
const DECIMAL: [(&str, u64); 5] =
    [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("PB", 1_000_000_000_000_000)];
const TIMES: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

/// `4096`, `500MB`, `10GiB`. Without a unit: bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write for instance 4096, 500MB or 10GiB");
    let (number, unit) = split_number(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        unit => BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or_else(wrong)?,
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than 16 EiB"))
}

/// The same, of bytes per second: 0 would let nothing through.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err(format!("{text:?} lets nothing through: write for instance 500kB or 20MB, or leave it out")),
        rate => Ok(rate),
    }
}

/// `90s`, `24h`, `7d`, `1h30m`; also `w`, `m`, `ms`. Units must become smaller; only 0 needs none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write for instance 90s, 24h, 7d or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total, mut last) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let (name, factor) = TIMES.iter().find(|(name, _)| after.starts_with(name)).ok_or_else(wrong)?;
        if *factor >= last {
            return Err(wrong());
        }
        last = *factor;
        let part = number.checked_mul(*factor).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after.strip_prefix(name).unwrap_or_default();
    }
    if last == u64::MAX { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// `0 B`, `999 B`, `1.5 MiB`: three figures at most behind the first, binary units.
pub fn bytes(n: u64) -> String {
    let Some((name, factor)) = BINARY.iter().rev().find(|(_, factor)| n >= *factor) else { return format!("{n} B") };
    let value = n as f64 / *factor as f64;
    if value >= 99.95 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// A moment, in milliseconds since 1970 UTC: RFC 3339 (`2026-11-23T14:00:00Z`), the same without a zone, which is UTC then
/// (`2026-11-23 14:00`, `2026-11-23`), or so long before `now` (`2h ago`, `2h`). Parts of a millisecond count as a whole one,
/// so that what is earlier than the moment stays earlier.
pub fn parse_time(text: &str, now: i64) -> Result<i64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a time: write for instance 2026-11-23T14:00:00Z, \"2026-11-23 14:00\" (UTC) or 2h (ago)"
        )
    };
    let ago = text.strip_suffix(" ago").unwrap_or(text);
    if let Some(ms) = parse_duration(ago).ok().and_then(|ago| i64::try_from(ago.as_millis()).ok()) {
        return Ok(now.saturating_sub(ms));
    }
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
            jiff::tz::Offset::UTC.to_timestamp(civil).map_err(|_| wrong())?
        }
    };
    let ms = time.as_nanosecond().div_euclid(1_000_000) + i128::from(time.as_nanosecond().rem_euclid(1_000_000) > 0);
    i64::try_from(ms).map_err(|_| wrong())
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_strictly() {
        for (text, n) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("500MB", 500_000_000),
            ("1kB", 1000),
            ("1KB", 1000),
            ("10GiB", 10 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(n), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "10G",
            "10 GiB",
            " 1",
            "1.5GiB",
            "-1",
            "+1",
            "1e3",
            "10gib",
            "16384PiB",
            "18446744073709551616",
            "1٣",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_parse_strictly() {
        let s = Duration::from_secs;
        for (text, d) in [
            ("0", s(0)),
            ("0s", s(0)),
            ("90s", s(90)),
            ("24h", s(86_400)),
            ("7d", s(604_800)),
            ("2w", s(1_209_600)),
            ("5m", s(300)),
            ("250ms", Duration::from_millis(250)),
            ("1h30m", s(5_400)),
            ("1s500ms", Duration::from_millis(1_500)),
        ] {
            assert_eq!(parse_duration(text), Ok(d), "{text}");
        }
        for bad in ["", "1", "h", "1 h", "1.5h", "-1s", "30m1h", "1h1h", "1y", "1H", "9999999999999999999w", "1h30"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_utc_and_rounded_up() {
        let now = 1_800_000_000_000;
        for (text, ms) in [
            ("2026-11-23T14:00:00Z", 1_795_442_400_000),
            ("2026-11-23T15:00:00+01:00", 1_795_442_400_000),
            ("2026-11-23T14:00:00.001Z", 1_795_442_400_001),
            ("2026-11-23T14:00:00.0001Z", 1_795_442_400_001),
            ("2026-11-23T14:00", 1_795_442_400_000),
            ("2026-11-23 14:00", 1_795_442_400_000),
            ("2026-11-23 14:00:05", 1_795_442_405_000),
            ("2026-11-23", 1_795_392_000_000),
            ("1969-12-31T23:59:59.9995Z", 0),
            ("2h", now - 7_200_000),
            ("1h30m ago", now - 5_400_000),
        ] {
            assert_eq!(parse_time(text, now), Ok(ms), "{text}");
        }
        for bad in ["", "ago", "14:00", "17", "2026", "2026-13-01", "2026-11-23 25:00", "yesterday", "2h later", "-2h"]
        {
            assert!(parse_time(bad, now).is_err(), "{bad}");
        }
    }
}
