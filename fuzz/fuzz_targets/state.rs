//! `state.json`; its checksum is mended first, since nothing behind it would be reached otherwise.
#![no_main]

use cowlog::store::State;
use libfuzzer_sys::fuzz_target;

#[path = "mended.rs"]
mod mended;

fuzz_target!(|data: &[u8]| {
    let _ = State::parse(data);
    let Some(sealed) = mended::seal(data) else { return };
    let Ok(state) = State::parse(&sealed) else { return };
    let written = state.to_bytes().expect("what was read can be written");
    assert_eq!(State::parse(&written).expect("what was written can be read"), state);
});
