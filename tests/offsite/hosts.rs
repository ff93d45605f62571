//! Several machines in one place.

use crate::server::Place;
use crate::stage::{Source, assert_same};

/// Two replicas have the same segments.
#[test]
fn equal_segments_are_stored_once() {
    for place in Place::each("hosts-equal") {
        let sources = [Source::native(300), Source::native(300)];
        let ids = sources.each_ref().map(Source::create);
        let first = place.push("web-1", &sources[0], &[]).expect(0).json();
        let second = place.push("web-2", &sources[1], &[]).expect(0).json();
        let (first, second) = (&first["pushed"][0], &second["pushed"][0]);
        let sent = second["blobs_sent"].as_u64().unwrap();
        assert!(sent <= 2, "only what differs by the time: {second}");
        assert!(first["blobs_sent"].as_u64().unwrap() > 20, "{first}");
        let distinct: std::collections::BTreeSet<String> =
            sources.iter().zip(&ids).flat_map(|(source, id)| source.digests(id).into_values()).collect();
        assert_eq!(place.keys("blobs").len(), distinct.len());

        let listed = place.json(&["list"]);
        let of: Vec<&str> = listed.as_array().unwrap().iter().map(|s| s["of"].as_str().unwrap()).collect();
        assert_eq!(of, ["web-1/orders-0", "web-2/orders-0"], "the fleet");
        // Which machine's is meant?
        let ran = place.from(&["show", "orders-0"]).expect(2);
        assert!(ran.stderr.contains("web-1/orders-0") && ran.stderr.contains("web-2/orders-0"), "{ran:?}");

        // One goes, the other one keeps what both need.
        place.from(&["delete", "web-1/orders-0", "latest"]).expect(0);
        place.from(&["gc", "--grace", "0s"]).expect(0);
        place.from(&["gc", "--grace", "0s"]).expect(0);
        place.from(&["verify", "web-2/orders-0"]).expect(0);
        let (here, there) = (sources[1].path("here"), sources[1].path("there"));
        sources[1].run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
        place.from(&["restore", "orders-0", "latest", "--to", there.to_str().unwrap()]).expect(0);
        assert_same(&here, &there, &place.url);
    }
}

/// They make the place and push into it at the same moment.
#[test]
fn many_push_at_once() {
    for place in Place::each("hosts-at-once") {
        let sources: Vec<Source> = (0..4).map(|_| Source::native(150)).collect();
        for source in &sources {
            source.create();
        }
        std::thread::scope(|scope| {
            for (n, source) in sources.iter().enumerate() {
                let place = &place;
                scope.spawn(move || place.push(&format!("web-{n}"), source, &[]).expect(0));
            }
        });
        assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 4);
        for n in 0..4 {
            place.from(&["verify", &format!("web-{n}/orders-0")]).expect(0);
        }
        assert_eq!(place.keys("pushes"), [""; 0]);
    }
}
