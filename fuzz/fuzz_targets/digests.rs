//! `manifest.b3`: only the canonical form is accepted, so that every changed bit shows.
#![no_main]

use cowlog::store::DigestList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(list) = DigestList::parse(data) else { return };
    assert_eq!(list.to_bytes(), data);
    for (path, digest) in list.iter() {
        assert_eq!(list.get(path), Some(digest));
        assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
    }
});
