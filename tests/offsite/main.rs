//! Copies elsewhere, by the binary from outside: in S3 by a real versitygw, in Azure's storage by Azurite, in a directory.

mod azure;
mod broker;
mod damage;
mod faults;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod hosts;
#[path = "../kafka/mod.rs"]
mod kafka;
mod keys;
mod kills;
mod known;
mod locked;
mod machine;
mod mistakes;
mod proxy;
mod rounds;
mod server;
mod stage;
#[path = "../support/mod.rs"]
mod support;

/// Not a test: other processes of the tests begin here.
#[test]
fn child_process() {
    kills::play();
}
