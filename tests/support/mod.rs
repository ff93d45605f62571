//! What the crash tests need: real filesystems, real power cuts, other processes, a writer that can be checked.
#![allow(dead_code, reason = "each test uses a part")]

pub mod attacked;
pub mod broker_lock;
pub mod chain;
pub mod disk;
pub mod mounts;
pub mod power;
pub mod process;
pub mod worker;

/// Seeded from `COWLOG_SEED` or the clock, and printed, so that a failure can be repeated as far as a race can.
pub struct Random(u64);

impl Random {
    pub fn new(what: &str) -> Random {
        let seed = match std::env::var("COWLOG_SEED") {
            Ok(seed) => seed.parse().expect("COWLOG_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64,
        };
        eprintln!("{what}: COWLOG_SEED={seed}");
        Random::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    /// splitmix64
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }
}

/// A number from the environment, for the long form of a test.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}
