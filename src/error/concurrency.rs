//! Somebody else is in the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Somebody else is in the way, or it is too soon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConcurrencyError {
    /// A lock was not had within the deadline.
    #[error("{} is locked ({what}); waited {:.1} s", path.display(), waited.as_secs_f64())]
    Locked {
        /// The locked file or directory.
        path: PathBuf,
        /// What the lock guards.
        what: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// Who may hold it, where the system tells.
        holder: Option<String>,
    },
    /// The last snapshot of this scope is younger than min_interval.
    #[error("{last} was taken {} s ago, less than the minimum interval of {} s", age.as_secs(), min_interval.as_secs())]
    TooSoon {
        /// The last snapshot.
        last: String,
        /// How old it is.
        age: Duration,
        /// The interval in force.
        min_interval: Duration,
    },
    /// The source did not come to rest, or something that runs forbids the operation.
    #[error("{} is busy: {why}", path.display())]
    Busy {
        /// What is busy.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl ConcurrencyError {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            ConcurrencyError::Locked { path, .. } | ConcurrencyError::Busy { path, .. } => Some(path),
            ConcurrencyError::TooSoon { .. } => None,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            ConcurrencyError::Locked { holder: Some(holder), .. } => {
                format!("held by {holder}; try again when it is done")
            }
            ConcurrencyError::Locked { .. } => "another process is at work here; try again when it is done".into(),
            ConcurrencyError::TooSoon { .. } => "`--force` takes one all the same".into(),
            ConcurrencyError::Busy { .. } => "try again later".into(),
        })
    }
}
