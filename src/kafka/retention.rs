//! Which segments a broker deletes by its retention, soon after it has started (`storage: UnifiedLog.deleteOldSegments`).

use std::collections::BTreeMap;

/// What retention looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgingSegment {
    /// The last entry of its time index, or where that is empty its mtime, in milliseconds since 1970 UTC
    /// (`storage: LogSegment.largestTimestamp`).
    pub largest_timestamp: i64,
    /// Of its `.log`.
    pub bytes: u64,
}

/// How long a topic keeps its records. Negative limits are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds.
    pub ms: i64,
    /// Bytes of a partition.
    pub bytes: i64,
    /// `ms` is not the topic's own setting but what a broker has that was not told otherwise.
    pub assumed: bool,
}

impl Retention {
    /// `log.retention.hours`: 7 days (`server: ServerLogConfigs`).
    pub const DEFAULT_MS: i64 = 7 * 24 * 60 * 60 * 1000;

    /// By a topic's own settings; `None` where records are not deleted by age or size. Values that are no numbers count as none.
    pub fn of(topic: &str, config: &BTreeMap<String, String>) -> Option<Retention> {
        let internal = matches!(topic, "__consumer_offsets" | "__transaction_state");
        let deletes = match config.get("cleanup.policy") {
            Some(policy) => policy.split(',').any(|p| p.trim() == "delete"),
            None => !internal,
        };
        if !deletes || topic == super::live::CLUSTER_METADATA {
            return None;
        }
        let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        let ms = number("retention.ms");
        let bytes = number("retention.bytes").unwrap_or(-1);
        Some(Retention { ms: ms.unwrap_or(Self::DEFAULT_MS), bytes, assumed: ms.is_none() })
    }

    /// How many of a log's segments, the oldest first, go at `now`.
    pub fn doomed(&self, segments: &[AgingSegment], now: i64) -> usize {
        let old = |s: &&AgingSegment| self.ms >= 0 && now.saturating_sub(s.largest_timestamp) > self.ms;
        let by_age = segments.iter().take_while(old).count();
        let rest = segments.get(by_age..).unwrap_or_default();
        let Ok(limit) = u64::try_from(self.bytes) else { return by_age };
        let mut over = rest.iter().map(|s| s.bytes).sum::<u64>().saturating_sub(limit);
        let large = |s: &&AgingSegment| match over.checked_sub(s.bytes) {
            Some(left) if over > 0 => {
                over = left;
                true
            }
            _ => false,
        };
        by_age + rest.iter().take_while(large).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_by_age_and_by_size() {
        let segments = [10, 20, 5, 40].map(|largest_timestamp| AgingSegment { largest_timestamp, bytes: 100 });
        let doomed = |ms, bytes, now| Retention { ms, bytes, assumed: false }.doomed(&segments, now);
        assert_eq!(doomed(-1, -1, 1000), 0);
        assert_eq!(doomed(15, -1, 30), 1, "the third is older, but behind one that stays");
        assert_eq!(doomed(15, -1, 36), 3);
        assert_eq!(doomed(15, -1, 56), 4);
        assert_eq!(doomed(-1, 400, 0), 0);
        assert_eq!(doomed(-1, 301, 0), 0, "deleting one would leave less than the limit");
        assert_eq!(doomed(-1, 300, 0), 1);
        assert_eq!(doomed(-1, 150, 0), 2);
        assert_eq!(doomed(15, 150, 30), 2);
    }

    #[test]
    fn compacted_topics_keep_what_is_old() {
        let of = |topic, settings: &[(&str, &str)]| {
            Retention::of(topic, &settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
        };
        assert_eq!(of("a", &[]), Some(Retention { ms: 604_800_000, bytes: -1, assumed: true }));
        assert_eq!(of("a", &[("retention.ms", "5")]), Some(Retention { ms: 5, bytes: -1, assumed: false }));
        assert_eq!(of("a", &[("cleanup.policy", "compact")]), None);
        assert!(of("a", &[("cleanup.policy", "compact,delete")]).is_some());
        assert_eq!(of("__consumer_offsets", &[]), None);
        assert_eq!(of("__cluster_metadata", &[]), None);
    }
}
