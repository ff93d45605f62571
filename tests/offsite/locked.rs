//! Buckets that let nothing go: what is kept is told, and nothing is lost.

use crate::server::Place;
use crate::stage::{Source, assert_same};

#[test]
fn what_the_server_keeps_is_told() {
    let Some(place) = Place::locked("locked") else { return };
    let source = Source::native(60);
    let mut ids = Vec::new();
    for _ in 0..3 {
        source.append(40);
        ids.push(source.create());
        place.push("web-1", &source, &[]).expect(0);
    }
    let of = "web-1/orders-0";
    for id in &ids {
        place.from(&["verify", of, id]).expect(0);
    }
    let ran = place.from(&["prune", of, "--max-snapshots", "1"]);
    assert!([1, 3].contains(&ran.code), "{ran:?}");
    assert!(ran.stderr.contains("s3://locked") && ran.stderr.to_lowercase().contains("lock"), "{ran:?}");
    let ran = place.from(&["delete", of, &ids[0]]);
    assert!([1, 3].contains(&ran.code), "{ran:?}");
    let listed = place.json(&["list"]);
    assert_eq!(listed.as_array().unwrap().len(), 3, "nothing went: {listed}");
    for id in &ids {
        place.from(&["verify", of, id]).expect(0);
    }
    // A blob that nothing needs is kept too; what a server keeps it is told for.
    let stray = "blobs/00/0000000000000000000000000000000000000000000000000000000000000000";
    let url = format!("{}/locked/deep/cowlog/{stray}", place.endpoint.as_ref().unwrap());
    crate::server::put_s3(&url, &[], "a blob that nothing needs");
    place.from(&["gc", "--grace", "0s"]).expect(0);
    let ran = place.from(&["gc", "--grace", "0s", "--json"]).expect(3).json();
    assert_eq!((&ran["removed"], &ran["kept"]), (&0.into(), &1.into()), "{ran}");
    assert!(ran["kept_because"].as_str().unwrap().to_lowercase().contains("lock"), "{ran}");
    assert_eq!(place.read(stray), b"a blob that nothing needs");
    // It goes on: pushes, pins, verifications.
    source.append(40);
    source.create();
    place.push("web-1", &source, &[]).expect(0);
    place.from(&["verify", of, "--all"]).expect(0);
    let (here, there) = (source.path("here"), source.path("there"));
    source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
    place.from(&["restore", of, "latest", "--to", there.to_str().unwrap()]).expect(0);
    assert_same(&here, &there, "locked");
}
