//! Times for people and for JSON.

/// RFC 3339 in UTC with milliseconds; a time beyond what a calendar holds is given as its nearest bound.
pub fn rfc3339(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn milliseconds_and_zulu() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_735_998_123_045), "2025-01-04T13:42:03.045Z");
        assert!(rfc3339(i64::MAX).ends_with('Z'));
    }
}
