//! How much memory all that is on the way may take.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of bytes that many share.
#[derive(Debug)]
pub(super) struct Gate {
    all: u64,
    left: Mutex<u64>,
    given_back: Condvar,
}

/// Some of them; dropping gives them back.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(bytes: u64) -> Self {
        Gate { all: bytes, left: Mutex::new(bytes), given_back: Condvar::new() }
    }

    /// Waits until as many are left. More than there are altogether is all of them.
    pub(super) fn enter(&self, bytes: u64) -> Pass<'_> {
        let bytes = bytes.min(self.all);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.given_back.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Pass { gate: self, bytes }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.gate.given_back.notify_all();
    }
}
