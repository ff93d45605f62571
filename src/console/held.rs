//! Bytes that only snapshots keep alive, as they were when they were last counted.
//!
//! To count them every file of a store is looked at, which may take longer than whoever asks for metrics waits: it is
//! done beside, for whoever asks next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::app::{App, Shared};

/// How long a count is good for, milliseconds.
const GOOD_FOR_MS: i64 = 5 * 60 * 1000;

/// The last count.
#[derive(Debug, Default)]
pub(super) struct HeldBytes(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    by_source: BTreeMap<String, u64>,
    /// What was counted: the latest snapshot of each source, and when.
    of: Option<(Vec<Option<String>>, i64)>,
    under_way: bool,
}

impl HeldBytes {
    /// At most so many; `None` where they have not been counted yet, or cannot be.
    pub(super) fn of(&self, source: &str) -> Option<u64> {
        self.lock().by_source.get(source).copied()
    }

    /// Whether they are to be counted now; if so the caller does it, and nobody else meanwhile.
    fn begin(&self, newest: &[Option<String>], now: i64) -> bool {
        let mut counted = self.lock();
        let fresh = counted.of.as_ref().is_some_and(|(of, at)| of == newest && (0..GOOD_FOR_MS).contains(&(now - at)));
        if counted.under_way || fresh {
            return false;
        }
        counted.under_way = true;
        true
    }

    fn end(&self, by_source: BTreeMap<String, u64>, newest: Vec<Option<String>>, now: i64) {
        *self.lock() = Counted { by_source, of: Some((newest, now)), under_way: false };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Counts anew beside whatever goes on, where it is time. `newest` are the latest snapshots of all sources.
    pub(super) fn count_held(self: &Shared, newest: Vec<Option<String>>) {
        let now = self.base.clock.now();
        if !self.held.begin(&newest, now) {
            return;
        }
        let app = Arc::clone(self);
        let counting = move || {
            let config = app.scheduler.config();
            // One that cannot be counted is left out: that it cannot be read, others say.
            let count = |source| Some(app.manager(source).ok()?.space().ok()?.held.most);
            let held = config.sources.iter().filter_map(|source| Some((source.name.clone(), count(source)?))).collect();
            app.held.end(held, newest, now);
        };
        // Nobody waits for it at the end: it only reads.
        if thread::Builder::new().name("cowlog-held".into()).spawn(counting).is_err() {
            self.held.end(BTreeMap::new(), Vec::new(), i64::MIN / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_by_one_at_a_time_when_something_has_changed_or_it_is_long_ago() {
        let held = HeldBytes::default();
        let newest = |id: &str| vec![Some(id.to_owned()), None];
        assert!(held.begin(&newest("a"), 0));
        assert!(!held.begin(&newest("b"), 0), "one is at it");
        held.end(BTreeMap::from([("s".into(), 7)]), newest("a"), 0);
        assert_eq!((held.of("s"), held.of("t")), (Some(7), None));
        assert!(!held.begin(&newest("a"), GOOD_FOR_MS - 1));
        assert!(held.begin(&newest("b"), 1), "there is a new snapshot");
        held.end(BTreeMap::new(), newest("b"), 1);
        assert!(held.begin(&newest("b"), 1 + GOOD_FOR_MS));
        held.end(BTreeMap::new(), newest("b"), 10);
        assert!(held.begin(&newest("b"), 9), "the clock went back");
    }
}
