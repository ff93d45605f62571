//! `manifest.json`: what is understood is written back and understood as the same; paths lead nowhere else.
#![no_main]

use cowlog::store::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let written = manifest.to_bytes().expect("what was read can be written");
    let again = Manifest::parse(&written).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("once more"), written);
    let paths = manifest.files.iter().map(|f| &f.path).chain(manifest.dirs.iter().map(|d| &d.path));
    for path in paths.chain(manifest.logs.iter().map(|l| &l.dir)) {
        assert!(!path.starts_with('/'), "{path:?}");
        assert!(path.split('/').all(|part| part != ".." && part != "."), "{path:?}");
        assert!(!path.contains('\0'), "{path:?}");
    }
});
