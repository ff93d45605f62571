//! What a long operation tells its caller while it runs, and how the caller stops it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A step of a running operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase begins. Zero totals mean that they are not known.
    Phase {
        /// A short name: `share`, `hash`, `sync`, `verify`, `restore`, `delete`.
        name: &'static str,
        /// Files that the phase will handle.
        files: u64,
        /// Bytes that the phase will handle.
        bytes: u64,
    },
    /// Progress within the phase, as increments.
    Advance {
        /// Files done since the last event.
        files: u64,
        /// Bytes done since the last event.
        bytes: u64,
    },
    /// Something that the user should know and that is no error.
    Warning(&'a str),
    /// A snapshot is complete and durable and is about to be published, which may still fail. Where a snapshot of this id
    /// with this root is found later, it was published.
    Publishing {
        /// Its id.
        id: &'a str,
        /// BLAKE3 of its `manifest.b3`, in hex.
        root: &'a str,
    },
}

type Hook = dyn Fn(Event<'_>) + Send + Sync;

/// The one hook: receives [`Event`]s and can be cancelled. Cheap to clone; clones share the cancellation.
#[derive(Clone, Default)]
pub struct Observer {
    hook: Option<Arc<Hook>>,
    cancelled: Arc<AtomicBool>,
}

impl Observer {
    /// An observer that passes every event to `hook`, which may be called from several threads at once.
    pub fn new(hook: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        Observer { hook: Some(Arc::new(hook)), cancelled: Arc::default() }
    }

    /// The same cancellation with another hook.
    #[cfg(feature = "schedule")]
    pub(crate) fn listening(&self, hook: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        Observer { hook: Some(Arc::new(hook)), cancelled: self.cancelled.clone() }
    }

    /// Asks the running operation to stop. It undoes what it began and returns [`Error::Interrupted`].
    /// Once an operation has passed its commit point it ends normally.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// `Err(Interrupted)` once cancelled: called wherever stopping is still harmless.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    pub(crate) fn phase(&self, name: &'static str, files: u64, bytes: u64) {
        self.emit(Event::Phase { name, files, bytes });
    }

    pub(crate) fn advance(&self, files: u64, bytes: u64) {
        self.emit(Event::Advance { files, bytes });
    }

    pub(crate) fn warn(&self, text: &str) {
        self.emit(Event::Warning(text));
    }

    pub(crate) fn publishing(&self, id: &str, root: &str) {
        self.emit(Event::Publishing { id, root });
    }

    fn emit(&self, event: Event<'_>) {
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
