//! Sequences of operations in which changes fail, processes die and the power goes, against a list of records.
#![no_main]

#[path = "../model/mod.rs"]
mod model;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    model::run(&model::Plan::of(bytes));
});
