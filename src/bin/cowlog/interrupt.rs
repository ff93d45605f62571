//! Ctrl-C and SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};

use cowlog::observe::Observer;

use crate::failure::INTERRUPTED;

static ASKED: AtomicBool = AtomicBool::new(false);

/// The first signal asks the operation to stop, which undoes what it began; the second ends the process at once.
pub fn install(observer: &Observer) {
    let observer = observer.clone();
    // Without a handler a signal ends the process, and the next command sweeps what it left.
    let _ = ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        observer.cancel();
    });
}
