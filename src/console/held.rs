//! Bytes that only snapshots keep alive, as they were when they were last counted.
//!
//! To count them every file of a store is looked at, which may take longer than whoever asks for metrics waits: it is
//! done beside, for whoever asks next.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::app::{App, Shared};

/// How long a count is good for, milliseconds.
const GOOD_FOR_MS: i64 = 5 * 60 * 1000;
/// For so many times as long as a count took there is no other.
const RESTS_FOR: i64 = 10;

/// The last count.
#[derive(Debug, Default)]
pub(super) struct HeldBytes(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    by_source: BTreeMap<String, u64>,
    of: Option<What>,
    under_way: bool,
}

/// What was counted.
#[derive(Debug)]
struct What {
    /// The latest snapshot of each source.
    newest: Vec<Option<String>>,
    began: i64,
    ended: i64,
}

impl What {
    /// Whether it is good enough: of the same, not long ago, or so costly that it would be done more than a tenth of the time.
    fn is_good(&self, newest: &[Option<String>], now: i64) -> bool {
        let resting = RESTS_FOR.saturating_mul(self.ended - self.began);
        let (since_began, since_ended) = (now - self.began, now - self.ended);
        self.newest == newest && (0..GOOD_FOR_MS).contains(&since_began) || (0..resting).contains(&since_ended)
    }
}

impl HeldBytes {
    /// At most so many; `None` where they have not been counted yet, or cannot be.
    pub(super) fn of(&self, source: &str) -> Option<u64> {
        self.lock().by_source.get(source).copied()
    }

    /// Whether they are to be counted now; if so the caller does it, and nobody else meanwhile.
    fn begin(&self, newest: &[Option<String>], now: i64) -> bool {
        let mut counted = self.lock();
        if counted.under_way || counted.of.as_ref().is_some_and(|of| of.is_good(newest, now)) {
            return false;
        }
        counted.under_way = true;
        true
    }

    fn end(&self, by_source: BTreeMap<String, u64>, of: Option<What>) {
        *self.lock() = Counted { by_source, of, under_way: false };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Counts anew beside whatever goes on, where it is time. `newest` are the latest snapshots of all sources.
    pub(super) fn count_held(self: &Shared, newest: Vec<Option<String>>) {
        let began = self.base.clock.now();
        if !self.held.begin(&newest, began) {
            return;
        }
        let app = Arc::clone(self);
        let counting = move || {
            let config = app.scheduler.config();
            // One that cannot be counted is left out.
            let count = |source| Some(app.manager(source).ok()?.space().ok()?.held.most);
            let counted =
                || config.sources.iter().filter_map(|source| Some((source.name.clone(), count(source)?))).collect();
            // Whatever happens, the next one may try again.
            let held = catch_unwind(AssertUnwindSafe(counted)).unwrap_or_default();
            app.held.end(held, Some(What { newest, began, ended: app.base.clock.now() }));
        };
        // Nobody waits for it at the end: it only reads.
        if thread::Builder::new().name("cowlog-held".into()).spawn(counting).is_err() {
            self.held.end(BTreeMap::new(), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(newest: &str, began: i64, ended: i64) -> Option<What> {
        Some(What { newest: vec![Some(newest.to_owned()), None], began, ended })
    }

    #[test]
    fn they_are_counted_by_one_at_a_time_when_something_has_changed_or_it_is_long_ago() {
        let held = HeldBytes::default();
        let begins = |newest: &str, now| held.begin(&[Some(newest.to_owned()), None], now);
        assert!(begins("a", 0));
        assert!(!begins("b", 0), "one is at it");
        held.end(BTreeMap::from([("s".into(), 7)]), what("a", 0, 0));
        assert_eq!((held.of("s"), held.of("t")), (Some(7), None));
        assert!(!begins("a", GOOD_FOR_MS - 1));
        assert!(begins("b", 1), "there is a new snapshot");
        held.end(BTreeMap::new(), what("b", 1, 1));
        assert!(begins("b", 1 + GOOD_FOR_MS));
        held.end(BTreeMap::new(), what("b", 10, 10));
        assert!(begins("b", 9), "the clock went back");
        held.end(BTreeMap::new(), what("b", 10, 110));
        assert!(!begins("c", 1109), "it took long");
        assert!(begins("c", 1110));
    }
}
