//! Azure's storage, by Azurite.

use crate::server::Place;
use crate::stage::{Source, assert_same, run};

#[test]
fn a_round() {
    let Some(place) = Place::azure("a-round") else { return };
    let source = Source::native(100);
    let mut ids = vec![source.create()];
    source.append(100);
    ids.push(source.create());
    place.push("web-1", &source, &["--all-new"]).expect(0);
    let of = "web-1/orders-0";
    assert_eq!(place.push("web-1", &source, &[]).expect(0).json()["pushed"][0]["was_there"], true);
    assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 2);
    for level in [&["--level", "quick"][..], &["--sample", "50%"], &[]] {
        place.from(&[&["verify", of, "--all"], level].concat()).expect(0);
    }
    let (here, there) = (source.path("here"), source.path("there"));
    source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
    place.from(&["restore", of, "latest", "--to", there.to_str().unwrap()]).expect(0);
    assert_same(&here, &there, &place.url);
    place.from(&["prune", of, "--max-snapshots", "1"]).expect(0);
    place.from(&["gc", "--grace", "0s"]).expect(0);
    let removed = place.json(&["gc", "--grace", "0s"]);
    assert!(removed["removed"].as_u64().unwrap() > 0 && removed["kept"] == 0, "{removed}");
    place.from(&["verify", of, "--all"]).expect(0);
    let ran = place.from(&["restore", of, &ids[0], "--to", source.path("gone").to_str().unwrap()]).expect(10);
    assert!(ran.stderr.contains(&ids[0]), "{ran:?}");
}

#[test]
fn what_azure_says_is_one_line() {
    let Some(place) = Place::azure("one-line") else { return };
    let mut list = place.cowlog();
    list.args(["list", "--retry", "1s", "--from", &place.url]).env("AZURE_STORAGE_ACCOUNT_KEY", "bm90IHRoZSBrZXk=");
    let ran = run(&mut list).expect(1);
    assert!(ran.stderr.contains("the server says ") && ran.stderr.contains("credentials"), "{ran:?}");
    assert!(!ran.stderr.contains("RequestId") && !ran.stderr.contains("\\n"), "{ran:?}");
}
