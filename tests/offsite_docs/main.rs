//! What is written about copies elsewhere: the format, by a reader that was written by it; the guide, by running it.
#![cfg(feature = "offsite")]

mod guide;
#[path = "../support/pages.rs"]
mod pages;
mod reader;
mod stage;
