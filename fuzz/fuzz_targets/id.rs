//! What a user may type for a snapshot: never a path, never echoed at length.
#![no_main]

use cowlog::store::{IdQuery, SnapshotId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<SnapshotId>() {
        assert_eq!(id.to_string(), text);
        assert!(text.len() < 32 && !text.contains(['/', '.', '\0']));
        let query: IdQuery = text.parse().expect("an id names itself");
        assert_eq!(query.resolve(&[id]).expect("it is the only one"), Some(id));
    }
    match text.parse::<IdQuery>() {
        Ok(query) => {
            let ids: Vec<SnapshotId> = [0, 1, 12, 120, 1_735_998_123_000].into_iter().filter_map(SnapshotId::new).collect();
            if let Ok(Some(found)) = query.resolve(&ids) {
                assert!(ids.contains(&found));
            }
            assert!(query.to_string().len() < 32);
        }
        Err(e) => assert!(e.to_string().len() < 400, "{} bytes are echoed", e.to_string().len()),
    }
});
