//! What is kept: the limits, and the rules that hold a snapshot against them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::age;
use crate::store::{Record, SnapshotId};

/// What to keep. The default keeps 5 snapshots of at most 24 hours.
///
/// The two limits let snapshots go; each keep rule holds some of them against both limits. Rules add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A snapshot goes when as many newer ones of its scope are kept count as this.
    pub max_snapshots: usize,
    /// A snapshot goes when it is older.
    pub retention_time: Duration,
    /// Holds the newest N.
    pub keep_last: usize,
    /// Holds those that are not older than this, by the clock. Zero holds none.
    pub keep_within: Duration,
    /// Holds those that have one of these tags, damaged ones too.
    pub keep_tags: BTreeSet<String>,
    /// Holds the newest of each of the last N hours that have a snapshot. UTC, as all calendar rules.
    pub keep_hourly: usize,
    /// Likewise for days.
    pub keep_daily: usize,
    /// Likewise for weeks, which begin on Monday (ISO 8601).
    pub keep_weekly: usize,
    /// Likewise for months.
    pub keep_monthly: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_snapshots: 5,
            retention_time: Duration::from_secs(24 * 3600),
            keep_last: 0,
            keep_within: Duration::ZERO,
            keep_tags: BTreeSet::new(),
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
        }
    }
}

impl Policy {
    /// What the keep rules hold of one scope, and why. Both lists begin with the newest; `good` are those that may fill a slot.
    pub(in crate::snapshot) fn holds(
        &self,
        all: &[&Record],
        good: &[&Record],
        now: i64,
    ) -> BTreeMap<SnapshotId, String> {
        let mut held = BTreeMap::new();
        for record in good.iter().take(self.keep_last) {
            held.insert(record.id, format!("one of the newest {}", self.keep_last));
        }
        for record in all {
            if let Some(tag) = record.tags.intersection(&self.keep_tags).next() {
                held.entry(record.id).or_insert_with(|| format!("tagged {tag}"));
            }
        }
        for record in good.iter().filter(|r| !self.keep_within.is_zero() && age(r, now) <= self.keep_within) {
            held.entry(record.id).or_insert_with(|| format!("not older than {}", Span(self.keep_within)));
        }
        self.calendar(good, &mut held);
        held
    }

    /// Which snapshot holds which slot of the calendar.
    fn calendar(&self, newest_first: &[&Record], held: &mut BTreeMap<SnapshotId, String>) {
        type Period = fn(jiff::civil::DateTime) -> (i16, i16, i8);
        let rules: [(usize, &str, Period); 4] = [
            (self.keep_monthly, "the newest of its month", |t| (t.year(), t.month().into(), 0)),
            (self.keep_weekly, "the newest of its week", |t| {
                let week = t.date().iso_week_date();
                (week.year(), week.week().into(), 0)
            }),
            (self.keep_daily, "the newest of its day", |t| (t.year(), t.day_of_year(), 0)),
            (self.keep_hourly, "the newest of its hour", |t| (t.year(), t.day_of_year(), t.hour())),
        ];
        for (keep, reason, period) in rules {
            let mut seen = BTreeSet::new();
            for record in newest_first {
                let Ok(time) = jiff::Timestamp::from_millisecond(record.timestamp) else { continue };
                let at = period(jiff::tz::Offset::UTC.to_datetime(time));
                if seen.len() < keep && seen.insert(at) {
                    held.entry(record.id).or_insert_with(|| reason.to_owned());
                }
            }
        }
    }
}

/// A duration in the largest unit that fits.
pub(in crate::snapshot) struct Span(pub(in crate::snapshot) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, size) in [("d", 86_400), ("h", 3600), ("min", 60)] {
            if seconds >= size && seconds.is_multiple_of(size) {
                return write!(f, "{} {unit}", seconds / size);
            }
        }
        write!(f, "{seconds} s")
    }
}
