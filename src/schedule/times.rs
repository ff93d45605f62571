//! When something comes round again. All times are milliseconds since 1970 UTC.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};

/// How often.
#[derive(Debug, Clone)]
pub enum When {
    /// So long after the last time.
    Every(Duration),
    /// At the times of a crontab line of five fields, in UTC unless a time zone follows them.
    Cron {
        /// As it was written.
        text: String,
        /// What it means.
        times: Box<Crontab>,
    },
}

/// A time of day at which nothing is begun, in UTC. It may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Minutes since midnight.
    from: u32,
    /// Minutes since midnight; not in it any more.
    to: u32,
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// 9990-01-01: a calendar ends somewhere, and a crontab line is looked up some years ahead.
const LATEST: i64 = 253_086_768_000_000;
/// Longer ones mean nothing, and what is echoed of one must stay short.
const LONGEST_LINE: usize = 200;

impl When {
    /// Parses a crontab line.
    pub fn cron(text: &str) -> Result<When, String> {
        if text.len() > LONGEST_LINE {
            return Err(format!("a crontab line has at most {LONGEST_LINE} bytes"));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let times = cronexpr::parse_crontab_with(text, options).map_err(|e| e.to_string().replace('\n', ", "))?;
        let when = When::Cron { text: text.to_owned(), times: Box::new(times) };
        // 2025-01-01
        match when.after(1_735_689_600_000) {
            Some(_) => Ok(when),
            None => Err(format!("{text:?} never comes round")),
        }
    }

    /// The first time after `last`; `None` where it never comes round.
    pub fn after(&self, last: i64) -> Option<i64> {
        let last = last.clamp(0, LATEST);
        match self {
            When::Every(every) => last.checked_add(millis(*every)),
            When::Cron { times, .. } => {
                let last = MakeTimestamp::from_millisecond(last).ok()?;
                times.find_next(last).ok().map(|next| next.timestamp().as_millisecond())
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Every(every) => write!(f, "every {}", humane(*every)),
            When::Cron { text, .. } => f.write_str(text),
        }
    }
}

/// The largest unit that it is a whole number of.
fn humane(every: Duration) -> String {
    let ms = millis(every);
    let units = [("d", DAY), ("h", 60 * MINUTE), ("m", MINUTE), ("s", 1000)];
    match units.iter().find(|(_, unit)| ms >= *unit && ms % unit == 0) {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Quiet {
    /// Parses `22:00-06:00`.
    pub fn parse(text: &str) -> Result<Quiet, String> {
        let wrong = || format!("{text:?} is no time of day: write for instance 22:00-06:00");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let (from, to) = (minutes(from).ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
        if from == to { Err(wrong()) } else { Ok(Quiet { from, to }) }
    }

    /// When it ends, if `at` lies in it.
    pub fn end(&self, at: i64) -> Option<i64> {
        let midnight = at.div_euclid(DAY) * DAY;
        let (from, to) = (i64::from(self.from) * MINUTE, i64::from(self.to) * MINUTE);
        let of_day = at - midnight;
        match from < to {
            true => (from..to).contains(&of_day).then_some(midnight + to),
            false if of_day >= from => Some(midnight + DAY + to),
            false => (of_day < to).then_some(midnight + to),
        }
    }
}

/// `06:30`, `24:00` as the end of a day.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
    let (hours, minutes): (u32, u32) = (number(hours)??, number(minutes)??);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day <= 24 * 60).then_some(of_day % (24 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-01-15 12:00 UTC, a Wednesday.
    const NOON: i64 = 1_736_942_400_000;
    const HOUR: i64 = 60 * MINUTE;

    #[test]
    fn crontab_lines() {
        let next = |text: &str| When::cron(text).unwrap().after(NOON).map(|at| at - NOON);
        assert_eq!(next("0 * * * *"), Some(HOUR), "later, not now");
        assert_eq!(next("30 12 * * *"), Some(30 * MINUTE));
        assert_eq!(next("0 3 * * MON"), Some(4 * DAY + 15 * HOUR));
        for bad in ["", "* * * *", "61 * * * *", "0 0 31 2 *", "every hour", "0 0 * * * Nowhere/Town"] {
            assert!(When::cron(bad).is_err(), "{bad}");
        }
        assert_eq!(When::Every(Duration::from_secs(90)).after(NOON), Some(NOON + 90_000));
        for absurd in [i64::MIN, i64::MAX, LATEST] {
            let _ = (When::cron("0 0 29 2 *").unwrap().after(absurd), When::Every(Duration::MAX).after(absurd));
        }
    }

    #[test]
    fn quiet_hours_go_over_midnight() {
        let night = Quiet::parse("22:00-06:00").unwrap();
        let midnight = NOON - 12 * HOUR;
        assert_eq!(night.end(NOON), None);
        assert_eq!(night.end(midnight + 22 * HOUR), Some(midnight + 30 * HOUR));
        assert_eq!(night.end(midnight + 1), Some(midnight + 6 * HOUR));
        assert_eq!(night.end(midnight + 6 * HOUR), None);
        let lunch = Quiet::parse("12:00-13:30").unwrap();
        assert_eq!((lunch.end(NOON), lunch.end(NOON + 90 * MINUTE)), (Some(NOON + 90 * MINUTE), None));
        assert_eq!(Quiet::parse("18:00-24:00").unwrap().end(midnight + 23 * HOUR), Some(midnight + DAY));
        for bad in ["", "22:00", "22-06", "25:00-01:00", "1:00-2:00", "12:60-13:00", "06:00-06:00", "aa:bb-cc:dd"] {
            assert!(Quiet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let every = |seconds| When::Every(Duration::from_secs(seconds)).to_string();
        assert_eq!([every(3600), every(90), every(7 * 86_400)], ["every 1h", "every 90s", "every 7d"]);
        assert_eq!(When::cron("5 4 * * *").unwrap().to_string(), "5 4 * * *");
    }
}
