//! Whoever asks without a known token is written down, and cannot fill the disk by that.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::limits::peer;

const WINDOW: i64 = 60_000;
/// Of each peer so many get a line within a window; the others are counted.
const LINES: u64 = 3;
/// So many peers are told apart within a window.
const MOST_PEERS: usize = 20;

/// Refusals of one window.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: i64,
    /// `None`: all peers beyond those that are told apart.
    peers: HashMap<Option<IpAddr>, u64>,
}

/// So many refusals of a peer have no line of their own.
pub(super) type Counted = Vec<(Option<IpAddr>, u64)>;

impl Refusals {
    /// Counts one. Whether it gets a line, and what was only counted in the window that is over.
    pub(super) fn count(&self, from: Option<IpAddr>, now: i64) -> (bool, Counted) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = window.turn(now);
        let from = from.map(peer);
        let known = window.peers.contains_key(&from) || window.peers.len() < MOST_PEERS;
        let count = window.peers.entry(from.filter(|_| known)).or_default();
        *count = count.saturating_add(1);
        (*count <= LINES, counted)
    }

    /// What was only counted, once the window is over.
    pub(super) fn over(&self, now: i64) -> Counted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turn(now)
    }
}

impl Window {
    /// A clock that went backwards ends it too.
    fn turn(&mut self, now: i64) -> Counted {
        if (0..WINDOW).contains(&now.saturating_sub(self.since)) {
            return Vec::new();
        }
        self.since = now;
        let counted = self.peers.drain().filter(|(_, count)| *count > LINES);
        counted.map(|(from, count)| (from, count - LINES)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let refusals = Refusals::default();
        let from = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        let mut lines = 0;
        for n in 0..10_000 {
            let (line, counted) = refusals.count(from(7), 1_000_000 + n);
            assert!(counted.is_empty());
            lines += u64::from(line);
        }
        // Another one is heard all the same.
        assert!(refusals.count(from(8), 1_010_000).0);
        assert_eq!(lines, LINES);
        assert!(refusals.over(1_059_999).is_empty());
        assert_eq!(refusals.over(1_060_000), [(from(7), 10_000 - LINES)]);
        assert!(refusals.over(9_000_000).is_empty());
        // Of a host's countless addresses, and of countless hosts.
        let mut lines = 0;
        for n in 0..5_000u128 {
            let host = IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes());
            lines += u64::from(refusals.count(Some(host), 9_000_001).0);
            let [a, b, ..] = n.to_le_bytes();
            lines += u64::from(refusals.count(Some(IpAddr::from([10, 1, b, a])), 9_000_001).0);
        }
        assert!(lines <= LINES * (MOST_PEERS as u64 + 1), "{lines}");
        let counted = refusals.over(0);
        assert!(counted.len() <= MOST_PEERS + 1);
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>() + lines, 10_000);
    }
}
