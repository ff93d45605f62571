//! The binary from outside: commands, exit codes, JSON, what it prints and what it leaves behind.

mod absent;
mod bench;
mod cat;
mod commands;
mod contract;
mod damage;
mod demo;
mod diff;
mod doctor;
mod documented;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod heal;
mod interrupt;
mod owners;
#[path = "../support/pages.rs"]
mod pages;
mod pinned;
mod places;
mod run;
mod runbook;
mod space;
mod stage;
#[path = "../support/process.rs"]
#[allow(dead_code)]
mod support;
mod terminal;
mod topics;
mod travel;
