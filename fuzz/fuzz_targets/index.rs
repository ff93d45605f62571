//! Both index formats: what is taken is what was there, in order, and nothing more.
#![no_main]

use cowlog::log::{IndexStop, parse_offset_index, parse_time_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let offsets = parse_offset_index(data);
    let written: Vec<u8> = offsets.entries.iter().flat_map(|e| e.to_bytes()).collect();
    assert_eq!(written, data[..written.len()]);
    assert_eq!(written.len() as u64, offsets.valid_bytes());
    assert!(offsets.entries.windows(2).all(|w| w[0].relative_offset < w[1].relative_offset));
    rest_is(offsets.stop, &data[written.len()..]);

    let times = parse_time_index(data);
    let written: Vec<u8> = times.entries.iter().flat_map(|e| e.to_bytes()).collect();
    assert_eq!(written, data[..written.len()]);
    assert!(times.entries.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    rest_is(times.stop, &data[written.len()..]);
});

fn rest_is(stop: IndexStop, rest: &[u8]) {
    match stop {
        IndexStop::End => assert!(rest.is_empty()),
        IndexStop::ZeroTail => assert!(rest.iter().all(|b| *b == 0)),
        IndexStop::Misaligned | IndexStop::Disorder => assert!(!rest.is_empty()),
    }
}
