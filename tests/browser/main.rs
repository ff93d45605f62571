//! The console in a real browser, on the real server. Where there is no Chromium or no ChromeDriver the tests say that
//! they were skipped.

mod axe;
mod carried;
mod changes;
mod connection;
mod driver;
mod elsewhere;
mod keyboard;
mod narrow;
mod page;
mod pictures;
mod removal;
mod roles;
#[path = "../console/served.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod served;
mod signing_in;
mod stage;

/// Only for its `skip`.
#[path = "../support/mounts.rs"]
#[expect(dead_code, reason = "nothing is mounted here")]
mod mounts;
