//! How fast bytes may go.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::observe::Observer;

/// So many bytes a second, by all threads together.
#[derive(Debug)]
pub(super) struct Limit {
    /// Bytes per second; none without a limit.
    rate: Option<u64>,
    /// When all bytes that were let through are paid for.
    paid: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Limit { rate: rate.map(|rate| rate.max(1)), paid: Mutex::new(Instant::now()) }
    }

    /// Waits until these bytes may go.
    pub(super) fn spend(&self, bytes: usize, observer: &Observer) -> Result<()> {
        let Some(rate) = self.rate else { return observer.check() };
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let from = (*paid).max(Instant::now());
            *paid = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *paid
        };
        self.wait(until, observer)
    }

    fn wait(&self, until: Instant, observer: &Observer) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            observer.check()?;
            match until.checked_duration_since(Instant::now()) {
                Some(rest) if !rest.is_zero() => std::thread::sleep(rest.min(LOOK)),
                _ => return Ok(()),
            }
        }
    }
}
