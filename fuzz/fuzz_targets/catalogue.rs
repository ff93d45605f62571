//! `snapshots.json`; its checksum is mended first, since nothing behind it would be reached otherwise.
#![no_main]

use cowlog::store::Catalogue;
use libfuzzer_sys::fuzz_target;

#[path = "mended.rs"]
mod mended;

fuzz_target!(|data: &[u8]| {
    let _ = Catalogue::parse(data);
    let Some(sealed) = mended::seal(data) else { return };
    let Ok(catalogue) = Catalogue::parse(&sealed) else { return };
    let written = catalogue.to_bytes().expect("what was read can be written");
    assert_eq!(Catalogue::parse(&written).expect("what was written can be read"), catalogue);
});
