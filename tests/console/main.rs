//! `cowlog serve`: the real binary, asked over real sockets.

#[path = "../fixtures/mod.rs"]
mod fixtures;

mod changes;
mod crowd;
mod documented;
mod generated;
mod kills;
mod limits;
mod metrics;
mod noted;
mod restores;
mod routes;
mod served;
mod signals;
mod streams;
