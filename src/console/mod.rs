//! The server: an HTTP API, metrics and a web page over the snapshots of a configuration.
//!
//! What asks comes in through `api`, is known by its token (`auth`), and is written down where it changes something
//! (`audit`). What takes time is a job (`jobs`), whether a request or the scheduler began it. This is the only room
//! with async code: it hands all work to the synchronous core.
#![allow(clippy::result_large_err, reason = "a problem ends its request: none is passed around where time matters")]

mod api;
mod app;
mod audit;
mod auth;
mod connections;
mod held;
mod hints;
mod job;
mod jobs;
mod journal;
mod limits;
mod lines;
mod metrics;
mod page;
mod problem;
mod reading;
mod refusals;
mod router;
mod scheduled;
mod server;
mod sources;

pub use auth::{Role, Tokens, new_token};
pub use job::{Job, JobState, JobTask, Progress};
pub use problem::Problem;
pub use server::{Options, Server};
