//! Bytes that only snapshots keep alive, as they were when they were last counted.
//!
//! To count them every file of a store is looked at, which may take longer than whoever asks for metrics waits: it is
//! done beside, for whoever asks next.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::app::App;
use crate::error::Result;
use crate::observe::Observer;
use crate::schedule::SourceConfig;
use crate::snapshot::SnapshotConfig;

/// How long a count is good for, milliseconds.
const GOOD_FOR_MS: i64 = 5 * 60 * 1000;
/// For so many times as long as a count took there is no other.
const RESTS_FOR: i64 = 10;

/// The snapshots of each source, by its name.
pub(super) type Seen = BTreeMap<String, Vec<String>>;

/// The last count.
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    counted: Mutex<Counted>,
    /// Whoever counts ends with the server.
    ends: Observer,
}

#[derive(Debug, Default)]
struct Counted {
    by_source: BTreeMap<String, u64>,
    /// Why some could not be counted, by source.
    failing: BTreeMap<String, String>,
    of: Option<What>,
    under_way: bool,
}

/// What was counted.
#[derive(Debug)]
struct What {
    seen: Seen,
    began: i64,
    ended: i64,
}

impl What {
    /// Whether it is good enough: of the same, not long ago, or so costly that it would be done more than a tenth of the time.
    fn is_good(&self, seen: &Seen, now: i64) -> bool {
        let resting = RESTS_FOR.saturating_mul(self.ended - self.began);
        let (since_began, since_ended) = (now - self.began, now - self.ended);
        self.seen == *seen && (0..GOOD_FOR_MS).contains(&since_began) || (0..resting).contains(&since_ended)
    }
}

/// What a count came to.
#[derive(Debug, Default)]
struct Came {
    to: BTreeMap<String, u64>,
    failing: BTreeMap<String, String>,
}

impl HeldBytes {
    /// At most so many; `None` where they have not been counted yet, or cannot be.
    pub(super) fn of(&self, source: &str) -> Option<u64> {
        self.lock().by_source.get(source).copied()
    }

    /// Whoever counts stops, and nobody begins.
    pub(super) fn stop(&self) {
        self.ends.cancel();
    }

    /// Whether they are to be counted now; if so the caller does it, and nobody else meanwhile.
    fn begin(&self, seen: &Seen, now: i64) -> bool {
        let mut counted = self.lock();
        let is_good = counted.of.as_ref().is_some_and(|of| of.is_good(seen, now));
        if counted.under_way || is_good || self.ends.is_cancelled() {
            return false;
        }
        counted.under_way = true;
        true
    }

    /// What fails as it did the last time is not told again.
    fn end(&self, came: Came, of: Option<What>) {
        let mut counted = self.lock();
        for (source, error) in came.failing.iter().filter(|(source, why)| counted.failing.get(*source) != Some(*why)) {
            tracing::warn!(source, error, "what only the snapshots keep alive could not be counted");
        }
        *counted = Counted { by_source: came.to, failing: came.failing, of, under_way: false };
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Counts anew beside whatever goes on, where it is time.
    pub(super) fn count_held(&self, seen: Seen) {
        let began = self.base.clock.now();
        if !self.held.begin(&seen, began) {
            return;
        }
        // Nobody waits for it at the end, so it has nothing that the server must have given back by then.
        let (held, sources) = (Arc::clone(&self.held), self.scheduler.config().sources);
        let base = SnapshotConfig { observer: held.ends.clone(), ..self.base.clone() };
        let counting = move || {
            let came = count_all(&sources, &seen, &base);
            held.end(came, Some(What { seen, began, ended: base.clock.now() }));
        };
        if let Err(e) = thread::Builder::new().name("cowlog-held".into()).spawn(counting) {
            tracing::warn!(error = %e, "there is no thread to count with");
            self.held.end(Came::default(), None);
        }
    }
}

/// One that cannot be counted is left out.
fn count_all(sources: &[SourceConfig], seen: &Seen, base: &SnapshotConfig) -> Came {
    let mut came = Came::default();
    for source in sources {
        let Some(ids) = seen.get(&source.name) else { continue };
        // Whatever happens, the next one may try again.
        let counted = catch_unwind(AssertUnwindSafe(|| count(source, ids, base).map_err(|e| e.to_string())));
        let counted = counted.unwrap_or_else(|_| Err("this is a fault of cowlog: counting panicked".into()));
        let name = source.name.clone();
        match counted {
            _ if base.observer.is_cancelled() => break,
            Ok(Some(bytes)) => drop(came.to.insert(name, bytes)),
            Ok(None) => {}
            Err(why) => drop(came.failing.insert(name, why)),
        }
    }
    came
}

/// `None` where there is no store yet.
fn count(source: &SourceConfig, ids: &[String], base: &SnapshotConfig) -> Result<Option<u64>> {
    let manager = source.manager(base)?;
    Ok(match manager.store_path()? {
        None => None,
        Some(_) => Some(manager.space()?.held_by(ids).most),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ids: &[&str]) -> Seen {
        Seen::from([("s".to_owned(), ids.iter().map(ToString::to_string).collect()), ("t".to_owned(), Vec::new())])
    }

    fn what(ids: &[&str], began: i64, ended: i64) -> Option<What> {
        Some(What { seen: seen(ids), began, ended })
    }

    #[test]
    fn they_are_counted_by_one_at_a_time_when_something_has_changed_or_it_is_long_ago() {
        let held = HeldBytes::default();
        let begins = |ids: &[&str], now| held.begin(&seen(ids), now);
        let end = |of| held.end(Came { to: BTreeMap::from([("s".into(), 7)]), ..Came::default() }, of);
        assert!(begins(&["a"], 0));
        assert!(!begins(&["b"], 0), "one is at it");
        end(what(&["a"], 0, 0));
        assert_eq!((held.of("s"), held.of("t")), (Some(7), None));
        assert!(!begins(&["a"], GOOD_FOR_MS - 1));
        assert!(begins(&["a", "b"], 1), "there is a new snapshot");
        end(what(&["a", "b"], 1, 1));
        assert!(begins(&["b"], 2), "an old one is gone");
        end(what(&["b"], 2, 2));
        let renamed = Seen::from([("r".to_owned(), vec!["b".to_owned()]), ("t".to_owned(), Vec::new())]);
        assert!(held.begin(&renamed, 3), "a source has another name");
        end(what(&["b"], 3, 3));
        assert!(begins(&["b"], 3 + GOOD_FOR_MS));
        end(what(&["b"], 10, 10));
        assert!(begins(&["b"], 9), "the clock went back");
        end(what(&["b"], 10, 110));
        assert!(!begins(&["c"], 1109), "it took long");
        assert!(begins(&["c"], 1110));
        end(None);
        held.stop();
        assert!(!begins(&["c"], 1111), "the server has ended");
    }
}
