//! How long things took, and when what they did was on the disk.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::demo::io;
use crate::failure::Failure;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Until it returned.
    pub elapsed: Duration,
    /// Until a power cut would not have undone it.
    pub durable: Duration,
}

impl Took {
    /// Of something that is durable when it returns.
    pub fn durably(started: Instant) -> Took {
        let elapsed = started.elapsed();
        Took { elapsed, durable: elapsed }
    }

    /// Of something that leaves it to the system when to write.
    pub fn and_sync(started: Instant, path: &Path) -> Result<Took, Failure> {
        let elapsed = started.elapsed();
        settle(path)?;
        Ok(Took { elapsed, durable: started.elapsed() })
    }
}

/// Waits until everything on the filesystem has been written: what ran before is not paid for by what runs next.
pub fn settle(path: &Path) -> Result<(), Failure> {
    let dir = File::open(path).map_err(io("open", path))?;
    nix::unistd::syncfs(&dir).map_err(|e| io("sync", path)(e.into()))
}

/// The middle one, or the later of two in the middle.
pub fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        let of = |ms: &[u64]| median(ms.iter().map(|ms| Duration::from_millis(*ms))).as_millis();
        assert_eq!([of(&[]), of(&[7]), of(&[9, 1, 5]), of(&[1, 2])], [0, 7, 5, 2]);
    }
}
