//! When the disk is full, if all goes on as the snapshots tell that it went.

use std::collections::HashMap;

use serde::Serialize;

use crate::store::{Record, Scope, rfc3339};

impl Forecast {
    /// How long it takes until the disk is full, for a reader; `None` where nothing grows. A far future is told as what it is, since nobody
    /// knows it by the day.
    pub fn until_full(&self) -> Option<String> {
        const FAR_DAYS: f64 = 3652.5;
        self.days_until_full.map(|days| match days {
            days if days > FAR_DAYS => "more than 10 years".to_owned(),
            days => format!("{days} days"),
        })
    }
}

/// Less history than this says nothing about a day.
const LEAST_HISTORY_MS: i64 = 3_600_000;
const DAY_MS: f64 = 86_400_000.0;

/// How fast the disk fills while every snapshot is kept. What retention lets go of stays then, so that it grows by all that
/// is appended.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The time of the oldest snapshot that it is made from.
    pub since: String,
    /// How long its history is, in hours.
    pub hours: f64,
    /// Bytes that were appended to the logs per day: offsets by the bytes that an offset takes up on average.
    pub appended_per_day: u64,
    /// Bytes that snapshots copied per day, of those that are still there.
    pub copied_per_day: u64,
    /// Until the free space is used up; absent where nothing grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_until_full: Option<f64>,
}

/// From the records of one store, oldest first; or why there is no forecast.
pub(in crate::snapshot) fn forecast(records: &[Record], available: u64) -> Result<Forecast, String> {
    let known = |r: &&Record| r.damaged.is_none() && !r.root.is_empty();
    // Snapshots of parts say nothing about the rest.
    let widest = records.iter().filter(known).map(|r| &r.scope).min_by_key(|scope| **scope != Scope::All);
    let history: Vec<&Record> = records.iter().filter(known).filter(|r| Some(&r.scope) == widest).collect();
    let (Some(oldest), Some(newest)) = (history.first(), history.last()) else {
        return Err("there is no snapshot".into());
    };
    if history.len() < 2 {
        return Err("there is only one snapshot".into());
    }
    let span = newest.timestamp.saturating_sub(oldest.timestamp);
    if span < LEAST_HISTORY_MS {
        return Err("the snapshots span less than an hour".into());
    }
    let days = span as f64 / DAY_MS;
    let copied = history.iter().skip(1).fold(0, |sum: u64, r| sum.saturating_add(r.bytes_copied));
    let per_day = |bytes: u64| (bytes as f64 / days) as u64;
    let (appended_per_day, copied_per_day) = (per_day(appended(oldest, newest)), per_day(copied));
    let growth = appended_per_day.saturating_add(copied_per_day);
    Ok(Forecast {
        since: rfc3339(oldest.timestamp),
        hours: (span as f64 / 3_600_000.0 * 10.0).round() / 10.0,
        appended_per_day,
        copied_per_day,
        days_until_full: (growth > 0).then(|| (available as f64 / growth as f64 * 10.0).round() / 10.0),
    })
}

/// Bytes by which the logs of the later one went on after the earlier one. A log that was not there then counts whole.
fn appended(earlier: &Record, later: &Record) -> u64 {
    let ends: HashMap<Option<(&str, i32)>, i64> = logs(earlier).map(|log| (log.name, log.end)).collect();
    let grown = logs(later).map(|log| {
        let from = ends.get(&log.name).copied().unwrap_or(log.base).max(0);
        let (offsets, all) = (log.end.saturating_sub(from), log.end.saturating_sub(log.base));
        if offsets <= 0 || all <= 0 { 0 } else { (log.size as f64 / all as f64 * offsets as f64) as u64 }
    });
    grown.fold(0, u64::saturating_add)
}

struct Extent<'a> {
    name: Option<(&'a str, i32)>,
    base: i64,
    end: i64,
    size: u64,
}

fn logs(record: &Record) -> impl Iterator<Item = Extent<'_>> {
    let alone = match (record.base_offset, record.log_end_offset) {
        (Some(base), Some(end)) => Some(Extent { name: None, base, end, size: record.total_size }),
        _ => None,
    };
    let named = record.logs.iter().map(|log| Extent {
        name: Some((log.topic.as_str(), log.partition)),
        base: log.base_offset,
        end: log.log_end_offset,
        size: log.total_size,
    });
    alone.into_iter().chain(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SnapshotId;

    fn record(hours: i64, base: i64, end: i64, size: u64, copied: u64) -> Record {
        Record {
            timestamp: hours * 3_600_000,
            base_offset: Some(base),
            log_end_offset: Some(end),
            total_size: size,
            bytes_copied: copied,
            root: "known".into(),
            damaged: None,
            ..Record::for_tests(SnapshotId::new(1).unwrap())
        }
    }

    #[test]
    fn retention_does_not_hide_growth() {
        // 10 bytes an offset, 1,200 offsets in 12 hours; the log itself stays as large as it was.
        let history = [record(0, 0, 1000, 10_000, 10_000), record(12, 1200, 2200, 10_000, 500)];
        let told = forecast(&history, 250_000).unwrap();
        assert_eq!((told.appended_per_day, told.copied_per_day), (24_000, 1000));
        assert_eq!((told.hours, told.days_until_full), (12.0, Some(10.0)));
        assert_eq!(told.until_full().unwrap(), "10 days");
        assert_eq!(forecast(&history, 1 << 50).unwrap().until_full().unwrap(), "more than 10 years");
    }

    #[test]
    fn too_little_history_is_said_to_be_too_little() {
        assert!(forecast(&[], 1).unwrap_err().contains("no snapshot"));
        assert!(forecast(&[record(0, 0, 1, 1, 0)], 1).unwrap_err().contains("only one"));
        let mut second = record(0, 0, 2, 2, 0);
        second.timestamp += LEAST_HISTORY_MS - 1;
        assert!(forecast(&[record(0, 0, 1, 1, 0), second.clone()], 1).unwrap_err().contains("less than an hour"));
        second.timestamp += 1;
        assert!(forecast(&[record(0, 0, 1, 1, 0), second.clone()], 1).is_ok());
        // What cannot be believed is no history, nor are snapshots of a part beside those of the whole.
        second.damaged = Some("bits".into());
        assert!(forecast(&[record(0, 0, 1, 1, 0), second.clone()], 1).is_err());
        (second.damaged, second.scope) = (None, Scope::Topic("a".into()));
        assert!(forecast(&[record(0, 0, 1, 1, 0), second], 1).is_err());
    }

    #[test]
    fn nothing_grows_forever_and_truncation_is_no_growth() {
        let still = [record(0, 0, 1000, 10_000, 10_000), record(12, 0, 900, 9_000, 0)];
        assert_eq!(forecast(&still, 1).unwrap().days_until_full, None);
        assert_eq!(forecast(&still, 1).unwrap().until_full(), None);
    }
}
