//! How much may be asked for.

use core::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

/// Jobs of requests at once. There is no end of what one client may ask for otherwise.
pub(super) const MOST_JOBS: usize = 32;
/// A page of the console is some thirty files, and a health check must not depend on how much the tokens may ask.
const OPEN_RATE: u32 = 100;
/// Of more peers those are forgotten that have not asked lately.
const MOST_PEERS: usize = 4096;

pub(super) struct Limits {
    /// By each token.
    pub(super) known: DefaultKeyedRateLimiter<String>,
    /// By all together who are not known.
    pub(super) unknown: DefaultDirectRateLimiter,
    /// By each peer, of what needs no token.
    pub(super) open: Peers,
    /// By each peer, of health checks: they do not wait for what else it loads.
    pub(super) health: Peers,
    pub(super) jobs: Arc<Semaphore>,
}

impl Limits {
    /// `rate` is how many requests a second a token may make in the long run.
    pub(super) fn new(rate: u32) -> Limits {
        let quota = |rate: u32| {
            let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(rate).allow_burst(rate.saturating_add(rate.get()))
        };
        let open = quota(rate.max(OPEN_RATE));
        Limits {
            known: RateLimiter::keyed(quota(rate)),
            unknown: RateLimiter::direct(Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN))),
            open: Peers(RateLimiter::keyed(open)),
            health: Peers(RateLimiter::keyed(open)),
            jobs: Arc::new(Semaphore::new(MOST_JOBS)),
        }
    }
}

pub(super) struct Peers(DefaultKeyedRateLimiter<Option<IpAddr>>);

impl Peers {
    pub(super) fn admits(&self, from: Option<IpAddr>) -> bool {
        if self.0.len() > MOST_PEERS {
            self.0.retain_recent();
        }
        self.0.check_key(&from.map(peer)).is_ok()
    }
}

/// Who an address counts as: of IPv6 a network of 64 bits is one host's.
pub(super) fn peer(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}
