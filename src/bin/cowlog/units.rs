//! Bytes, durations and times between people and numbers.

use std::time::Duration;

pub use cowlog::units::{bytes, parse_bytes, parse_duration, parse_rate};

/// `0.8 ms`, `12 ms`, `1.24 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1000.0;
    let s = d.as_secs();
    match () {
        () if ms < 9.95 => format!("{ms:.1} ms"),
        () if ms < 999.5 => format!("{ms:.0} ms"),
        () if ms < 9_995.0 => format!("{:.2} s", ms / 1000.0),
        () if ms < 59_950.0 => format!("{:.1} s", ms / 1000.0),
        () if s < 3_600 => format!("{} min {} s", s / 60, s % 60),
        () if s < 86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        () => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// How old something is, in one unit: `now`, `5 s`, `3 min`, `7 h`, `12 d`. What lies ahead is `ahead`.
pub fn age(now_ms: i64, then_ms: i64) -> String {
    let Ok(s) = u64::try_from(now_ms.saturating_sub(then_ms)).map(|ms| ms / 1000) else { return "ahead".into() };
    match s {
        0 => "now".into(),
        1..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

/// The milliseconds since 1970 of an RFC 3339 time.
pub fn millis_of(rfc3339: &str) -> Option<i64> {
    rfc3339.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// `1,234,567`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1 file`, `2 files`
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        let sizes = [0, 1023, 1024, 1536, 102_297, 102_400, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "99.9 KiB", "100 KiB", "1.0 GiB", "16384 PiB"]);
        let times =
            [0.0004, 0.0121, 0.9999, 12.34, 200.0, 7_500.0, 360_000.0].map(Duration::from_secs_f64).map(duration);
        assert_eq!(times, ["0.4 ms", "12 ms", "1.00 s", "12.3 s", "3 min 20 s", "2 h 5 min", "4 d 4 h"]);
        let ages = [0, 59_999, 60_000, 7_200_000, 172_799_000, 172_800_000, -1].map(|ms| age(ms, 0));
        assert_eq!(ages, ["now", "59 s", "1 min", "2 h", "47 h", "2 d", "ahead"]);
        assert_eq!([1, 999, 1_000, 1_234_567].map(count), ["1", "999", "1,000", "1,234,567"]);
        assert_eq!((plural(1, "file"), plural(2_000, "file")), ("1 file".into(), "2,000 files".into()));
        assert_eq!(millis_of("2025-01-04T13:42:03.000Z"), Some(1_735_998_123_000));
    }
}
