//! What is known of snapshots elsewhere: damage that was found, pins, which is the latest, and whose they are.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cowlog::offsite::RemoteLevel;
use serde_json::Value;

use crate::server::Place;
use crate::stage::{Ran, Source, assert_same, run};

const OF: &str = "web-1/orders-0";

fn ids(place: &Place) -> Vec<String> {
    let listed = place.json(&["list"]);
    listed.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

fn listed(place: &Place, id: &str) -> Value {
    place.json(&["list"]).as_array().unwrap().iter().find(|s| s["id"] == id).unwrap().clone()
}

/// Three of a native log, there.
fn three(place: &Place) -> (Source, [String; 3]) {
    let source = Source::native(20);
    let ids = [(); 3].map(|()| {
        source.append(20);
        let id = source.create();
        place.push("web-1", &source, &[]).expect(0);
        id
    });
    (source, ids)
}

fn manifest(id: &str, name: &str) -> String {
    format!("snapshots/{OF}/{id}/{name}")
}

#[test]
fn damage_of_manifests_is_remembered_and_no_good_snapshot_goes_for_its_sake() {
    for place in Place::each("known-damage") {
        let (source, [first, second, third]) = three(&place);
        place.from(&["verify", OF, "--all"]).expect(0);
        let good = place.read(&manifest(&third, "manifest.json"));
        place.write(&manifest(&third, "manifest.json"), &good[..good.len() / 2]);
        // Nobody has found it yet.
        let planned = place.json(&["prune", OF, "--max-snapshots", "1", "--dry-run"]);
        let goes: Vec<&Value> = planned.as_array().unwrap().iter().filter(|s| s["remove"] == true).collect();
        assert!(goes.len() == 1 && goes[0]["id"] == first.as_str(), "{planned}");
        place.from(&["prune", OF, "--max-snapshots", "1"]).expect(0);
        assert_eq!(ids(&place), [second.clone(), third.clone()], "the newest good one stays");
        place.from(&["verify", OF, &third, "--level", "quick"]).expect(4);
        let shown = listed(&place, &third);
        assert!(shown["damaged"].is_string() && shown["verified"]["ok"] == false, "{shown}");
        // Another one, and its record.
        let fourth = {
            source.append(20);
            source.create()
        };
        place.push("web-1", &source, &[]).expect(0);
        let time = shown["timestamp_ms"].as_i64().unwrap();
        assert_eq!(place.remote().at(OF, time, None).unwrap().info.id, fourth, "not the damaged one");
        place.from(&["verify", OF, &fourth]).expect(0);
        place.write(&manifest(&fourth, "manifest.b3"), b"rubbish");
        for record in [None, Some(b"rubbish".to_vec())] {
            if let Some(record) = &record {
                place.write(&manifest(&fourth, "record.json"), record);
            }
            place.from(&["prune", OF, "--max-snapshots", "1"]).expect(0);
            assert!(ids(&place).contains(&second), "{record:?}");
            place.from(&["verify", OF, &fourth]).expect(4);
            let shown = listed(&place, &fourth);
            assert!(shown["damaged"].is_string(), "{record:?}: {shown}");
            place.from(&["prune", OF, "--max-snapshots", "1"]).expect(0);
            assert!(ids(&place).contains(&second), "{record:?}");
        }
        // What was mended is forgotten.
        for id in [&third, &fourth] {
            place.push("web-1", &source, &[id, "--again"]).expect(0);
            let shown = listed(&place, id);
            assert!(shown["damaged"].is_null() && shown["verified"]["ok"] != false, "{shown}");
        }
        place.from(&["verify", OF, &fourth]).expect(0);
        place.from(&["prune", OF, "--max-snapshots", "1"]).expect(0);
        assert_eq!(ids(&place), [fourth]);
    }
}

#[test]
fn damage_of_blobs_that_were_sent_again_is_forgotten() {
    let place = Place::directory();
    let (source, [_, _, third]) = three(&place);
    let blobs: Vec<(String, Vec<u8>)> =
        place.keys("blobs").into_iter().map(|key| (key.clone(), place.read(&key))).collect();
    for (key, bytes) in &blobs {
        place.write(key, &[&bytes[..], b"more"].concat());
    }
    place.from(&["verify", OF, &third]).expect(4);
    assert_eq!(listed(&place, &third)["verified"]["ok"], false);
    place.push("web-1", &source, &[&third, "--again"]).expect(0);
    assert!(listed(&place, &third)["verified"].is_null());
}

/// In a directory, where nothing but a lock stands against it. `offsite_gc` has the conditional writes of servers.
#[test]
fn pins_and_tags_beside_verifications() {
    let place = Place::directory();
    let (_source, [_, _, id]) = three(&place);
    for round in 0..30 {
        std::thread::scope(|scope| {
            scope.spawn(|| place.remote().set_pinned(OF, &id, round % 2 == 0).unwrap());
            scope.spawn(|| {
                let tags = BTreeSet::from([format!("round-{round}")]);
                place.remote().retag(OF, &id, &tags, &BTreeSet::new()).unwrap()
            });
            scope.spawn(|| place.remote().verify(OF, &id, RemoteLevel::Full).unwrap());
        });
        let shown = place.remote().list().unwrap().into_iter().find(|s| s.info.id == id).unwrap().info;
        assert_eq!((shown.pinned, shown.tags.len() as u32), (round % 2 == 0, round + 1), "{round}: {shown:?}");
        assert!(shown.verified.is_some_and(|v| v.ok), "{round}");
    }
}

#[test]
fn a_slip_of_the_pen_deletes_nothing() {
    let place = Place::directory();
    let (_source, three) = three(&place);
    let ran = place.from(&["delete", OF, &three[0], "snapshot-99", &three[1]]).expect(10);
    assert!(ran.stderr.contains("snapshot-99"), "{ran:?}");
    place.from(&["pin", OF, &three[1]]).expect(0);
    let ran = place.from(&["delete", OF, &three[0], &three[1]]).expect(2);
    assert!(ran.stderr.contains("is pinned"), "{ran:?}");
    assert_eq!(ids(&place), three);
    // One that is named twice goes once.
    place.from(&["delete", OF, &three[0], &three[0]]).expect(0);
    assert_eq!(ids(&place), &three[1..]);
}

/// Takes a snapshot of a partition of a broker's directory, and gives its path.
fn of_partition(source: &Source, partition: &str) -> std::path::PathBuf {
    let dir = source.dir.join(partition);
    run(Place::nowhere().arg("create").arg(&dir).args(["--force", "-q"])).expect(0);
    dir
}

fn push(place: &Place, dir: &Path, args: &[&str]) -> Ran {
    let mut command = place.cowlog();
    command.arg("push").arg(dir).args(["--to", &place.url, "--host", "web-1", "--json"]);
    run(command.args(args))
}

#[test]
fn the_latest_of_a_source_that_is_one_partition() {
    let (place, source) = (Place::directory(), Source::fixture("codecs-live"));
    let dir = of_partition(&source, "events-lz4-0");
    push(&place, &dir, &[]).expect(0);
    let of = "web-1/events-lz4-0";
    let (here, there) = (source.path("here"), source.path("there"));
    let local = |verb: &str, args: &[&str]| run(Place::nowhere().arg(verb).arg(&dir).args(args)).expect(0);
    local("restore", &["latest", "--to", here.to_str().unwrap()]);
    let part = ["--topic", "events-lz4", "--partition", "0"];
    for args in [&[][..], &part] {
        place.from(&[&["restore", of, "latest", "--to", there.to_str().unwrap()], args].concat()).expect(0);
        assert_same(&here, &there, "latest");
        std::fs::remove_dir_all(&there).unwrap();
        let read = place.from(&[&["cat", of, "latest"], args].concat()).expect(0).stdout;
        assert!(read.lines().count() > 10);
        assert_eq!(read, local("cat", &["latest"]).stdout, "{args:?}");
    }
    place.from(&["show", of]).expect(0);
    place.from(&["verify", of]).expect(0);
    place.from(&["pin", of, "latest"]).expect(0);
    place.from(&["pull", of, "latest", "--store", source.path("pulled").to_str().unwrap()]).expect(0);
    place.from(&["restore", of, "--at", "2020-01-01", "--to", there.to_str().unwrap()]).expect(0);
    assert_same(&here, &there, "at");
    // Where there are several, it is said how to tell which.
    let other = of_partition(&source, "events-gzip-0");
    push(&place, &other, &["--name", "events-lz4-0"]).expect(0);
    let error = place.from(&["verify", of, "--json"]).expect(2).json()["error"].clone();
    let told = error.to_string();
    assert!(told.contains("events-gzip-0, events-lz4-0") && told.contains("--topic") && told.contains("id"), "{error}");
    std::fs::remove_dir_all(&there).unwrap();
    place.from(&[&["restore", of, "latest", "--to", there.to_str().unwrap()], &part[..]].concat()).expect(0);
    assert_same(&here, &there, "latest of a partition");
}

#[test]
fn a_store_with_parts_and_one_whose_source_moved_are_pushed() {
    for first in ["part", "all"] {
        let (place, source) = (Place::directory(), Source::fixture("codecs-live"));
        let all = || drop(source.create());
        let part = || drop(of_partition(&source, "events-lz4-0"));
        let takes: [&dyn Fn(); 2] = if first == "part" { [&part, &all] } else { [&all, &part] };
        takes.iter().for_each(|take| take());
        let name = ["--name", "kp", "--all-new"];
        let pushed = push(&place, &source.dir, &name).expect(0).json();
        assert_eq!(pushed["pushed"].as_array().unwrap().len(), 2, "{first}: {pushed}");
        takes.iter().for_each(|take| take());
        push(&place, &source.dir, &name).expect(0);
        push(&place, &source.dir, &name).expect(0);
        assert_eq!(ids(&place).len(), 4, "{first}");

        // The same source is in another directory from now on.
        let moved = source.path("moved");
        std::fs::rename(&source.dir, &moved).unwrap();
        std::fs::rename(source.path("codecs-live.snapshots"), source.path("moved.snapshots")).unwrap();
        let take = || run(Place::nowhere().arg("create").arg(&moved).args(["--force", "-q"])).expect(0);
        take();
        let refused = push(&place, &moved, &name).expect(2).json()["error"].clone();
        assert!(refused["hint"].as_str().unwrap().contains("--moved"), "{refused}");
        push(&place, &moved, &[&name[..], &["--moved"]].concat()).expect(0);
        take();
        push(&place, &moved, &name).expect(0);
        assert_eq!(ids(&place).len(), 6, "{first}");
    }
}

#[test]
fn a_pinned_snapshot_that_was_carried_is_kept_and_told() {
    let (place, source) = (Place::directory(), Source::native(40));
    let (old, id) = (source.create(), {
        source.append(20);
        source.create()
    });
    source.run("pin", &[&id]).expect(0);
    let pushed = place.push("web-1", &source, &["--delete-local-after"]).expect(0).json()["pushed"][0].clone();
    assert_eq!((&pushed["id"], &pushed["deleted_here"]), (&id.as_str().into(), &false.into()), "{pushed}");
    assert!(pushed["kept_here"].as_str().unwrap().contains("pinned"), "{pushed}");
    let text = run(place
        .cowlog()
        .arg("push")
        .arg(&source.dir)
        .args(["--to", &place.url, "--host", "web-1"])
        .args(["--delete-local-after"]));
    assert!(text.code == 0 && text.stdout.contains("kept here, because it is pinned"), "{text:?}");
    // One that arrived without being deleted here is deleted by a later run.
    place.push("web-1", &source, &[&old]).expect(0);
    let pushed = place.push("web-1", &source, &["--all-new", "--delete-local-after"]).expect(0).json();
    let fates = pushed["pushed"].as_array().unwrap();
    assert!(fates.len() == 1 && fates[0]["id"] == old.as_str() && fates[0]["deleted_here"] == true, "{pushed}");
    let left = source.run("list", &["--json"]).expect(0).json();
    assert!(left.as_array().unwrap().len() == 1 && left[0]["id"] == id.as_str(), "{left}");
}

#[test]
fn a_push_that_failed_announces_nothing_more() {
    let (place, source) = (Place::directory(), Source::native(200));
    let id = source.create();
    let dir = source.dir.join(".snapshots").join(&id);
    let segment = crate::stage::names(&dir).into_iter().find(|name| name.ends_with(".log")).unwrap();
    let path = dir.join(segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    place.push("web-1", &source, &[]).expect(4);
    assert!(!place.keys("blobs").is_empty() && place.keys("pushes").is_empty(), "{:?}", place.keys(""));
}

#[test]
fn an_interrupted_push_says_what_stays_and_announces_nothing_more() {
    let (place, source) = (Place::directory(), Source::native(400));
    source.create();
    let mut command = place.cowlog();
    command.arg("push").arg(&source.dir).args(["--to", &place.url, "--host", "web-1"]);
    command.args(["--compression", "none", "--rate", "20kB"]);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while place.keys("pushes").is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap().success());
    let ended = running.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert!(told.contains("what has arrived there stays") && !told.contains("nothing was left"), "{told}");
    assert_eq!(place.keys("pushes"), [""; 0]);
    place.push("web-1", &source, &[]).expect(0);
    place.from(&["verify", OF]).expect(0);
}
