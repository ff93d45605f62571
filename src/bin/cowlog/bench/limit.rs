//! The end of a bench that takes too long: a disk may need minutes for what another does in seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use cowlog::observe::Observer;

/// Cancels whatever runs when the time is up, unless this is gone before.
#[derive(Debug)]
pub struct Limit {
    is_over: Arc<AtomicBool>,
    _watched: Sender<()>,
}

impl Limit {
    pub fn set(time: Duration, observer: &Observer) -> Limit {
        let (watched, gone) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, observer) = (is_over.clone(), observer.clone());
        thread::spawn(move || {
            // Whoever has interrupted it before then wants to be told so.
            if gone.recv_timeout(time) == Err(RecvTimeoutError::Timeout) && !observer.is_cancelled() {
                over.store(true, Ordering::SeqCst);
                observer.cancel();
            }
        });
        Limit { is_over, _watched: watched }
    }

    /// Whether it was the time that ended what ran.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_only_what_is_not_over_and_what_nobody_else_has_ended() {
        let after = Duration::from_millis(20);
        let (late, done, interrupted) = (Observer::default(), Observer::default(), Observer::default());
        interrupted.cancel();
        let limits = [Limit::set(after, &late), Limit::set(after, &interrupted)];
        drop(Limit::set(after, &done));
        while !limits[0].is_over() || !late.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(after);
        assert!(!limits[1].is_over() && !done.is_cancelled());
    }
}
