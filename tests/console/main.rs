//! `cowlog serve`: the real binary, asked over real sockets.

mod alerts;
#[path = "../fixtures/mod.rs"]
mod fixtures;

#[path = "../support/broker_lock.rs"]
#[allow(dead_code)]
mod broker_lock;
mod changes;
mod crowd;
mod documented;
mod generated;
mod held;
mod kills;
mod limits;
mod metrics;
mod middles;
#[path = "../support/mounts.rs"]
#[allow(dead_code)]
mod mounts;
mod noted;
mod restores;
mod routes;
mod served;
mod signals;
mod statuses;
mod streams;
