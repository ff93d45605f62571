//! There and back: what comes back is what a local restore makes, byte for byte, with modes and times.

use std::path::Path;

use serde_json::Value;

use crate::server::Place;
use crate::stage::{Source, assert_same, names};

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Whether a part of all is restored here as it is restored from there.
#[track_caller]
fn same_restored(place: &Place, source: &Source, of: &str, args: &[&str]) {
    let (here, there) = (source.path("restored-here"), source.path("restored-there"));
    let to = |path: &Path| path.to_str().unwrap().to_owned();
    source.run("restore", &[&["latest", "--to", &to(&here)], args].concat()).expect(0);
    place.from(&[&["restore", of, "latest", "--to", &to(&there)], args].concat()).expect(0);
    assert_same(&here, &there, &format!("{} {args:?}", place.url));
    for dir in [&here, &there] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

/// Carries a broker's directory to a place, looks at it there in every way, and brings it back.
fn round(place: &Place, fixture: &str, topic: &str, push_args: &[&str]) {
    let source = Source::fixture(fixture);
    let id = source.create();
    let told = format!("{fixture} to {}", place.url);
    let first = place.push("web-1", &source, push_args).expect(0).json()["pushed"][0].clone();
    let digests = source.digests(&id);
    let distinct: std::collections::BTreeSet<_> = digests.values().collect();
    assert_eq!(number(&first, "files"), digests.len() as u64, "{told}");
    assert_eq!(number(&first, "blobs_sent"), distinct.len() as u64, "{told}: equal files are sent once");
    assert_eq!(first["was_there"], false, "{told}");
    assert_eq!(place.keys("blobs").len(), distinct.len(), "{told}");
    assert_eq!(place.keys("pushes"), [""; 0], "{told}: the announcement was withdrawn");
    let again = place.push("web-1", &source, &[]).expect(0).json()["pushed"][0].clone();
    assert_eq!((&again["was_there"], number(&again, "blobs_sent")), (&true.into(), 0), "{told}");

    let of = format!("web-1/{fixture}");
    let listed = place.json(&["list"]);
    let (listed, local) = (&listed[0], source.run("list", &["--json"]).expect(0).json()[0].clone());
    assert_eq!((&listed["id"], &listed["of"]), (&Value::from(id.as_str()), &Value::from(of.as_str())), "{told}");
    for field in ["timestamp", "num_segments", "total_size", "root", "logs"] {
        assert_eq!(listed[field], local[field], "{told}: {field}");
    }
    let (shown, local) = (place.json(&["show", &of]), source.run("show", &["latest", "--json"]).expect(0).json());
    for field in ["files", "cuts", "root"] {
        assert_eq!(shown[field], local[field], "{told}: {field}");
    }
    let records = ["latest", "--topic", topic, "--partition", "0", "--json"];
    let read = place.from(&[&["cat", &of], &records[..]].concat()).expect(0).stdout;
    assert!(read.lines().count() > 10, "{told}");
    assert_eq!(read, source.run("cat", &records).expect(0).stdout, "{told}");
    let root = first["root"].as_str().unwrap();
    for level in [&["--level", "quick"][..], &["--sample", "20%"], &["--level", "full", "--expect", root]] {
        let report = place.json(&[&["verify", &of], level].concat());
        assert_eq!(report["ok"], true, "{told} {level:?}: {report}");
        assert_eq!(number(&report, "files_checked"), digests.len() as u64, "{told}");
        let read = number(&report, "files_read");
        let wanted = match level[1] {
            "quick" => 0,
            "20%" => distinct.len().div_ceil(5),
            _ => distinct.len(),
        };
        assert_eq!(read, wanted as u64, "{told} {level:?}");
    }
    place.from(&["verify", &of, "--expect", &"0".repeat(64)]).expect(4);
    assert_eq!(place.json(&["list"])[0]["verified"]["ok"], true, "{told}: a full verification is kept");

    same_restored(place, &source, fixture, &[]);
    same_restored(place, &source, &of, &["--topic", topic]);
    same_restored(place, &source, &of, &["--topic", topic, "--partition", "0"]);
    let logs = listed["logs"].as_array().unwrap();
    let log = logs.iter().find(|log| log["topic"] == topic && log["partition"] == 0).unwrap();
    let middle = (number(log, "log_start_offset") + number(log, "log_end_offset")) / 2;
    let until = ["--topic", topic, "--partition", "0", "--until", &middle.to_string()];
    same_restored(place, &source, &of, &until);

    // The store comes back with what it had.
    let store = source.path("pulled.snapshots");
    let store = store.to_str().unwrap();
    place.from(&["pull", &of, "latest", "--store", store]).expect(0);
    let pulled = Path::new(store).join(&id);
    let manifest = |dir: &Path| std::fs::read(dir.join("manifest.b3")).unwrap();
    assert!(manifest(&pulled) == manifest(&source.path(&format!("{fixture}.snapshots")).join(&id)), "{told}");
    source.run("verify", &["latest", "--level", "deep", "--store", store]).expect(0);
    assert_eq!(place.json(&["pull", &of, "latest", "--store", store])["was_there"], true, "{told}");
    let (path, digest) = digests.iter().find(|(path, _)| path.ends_with(".log")).unwrap();
    let file = source.path("one-file");
    let pull = ["pull", &of, "latest", "--file", path, "--to", file.to_str().unwrap()];
    place.from(&pull).expect(0);
    assert_eq!(blake3::hash(&std::fs::read(&file).unwrap()).to_hex().as_str(), digest, "{told}");
    place.from(&pull).expect(2);
    assert!(names(file.parent().unwrap()).iter().all(|name| !name.starts_with('.')), "{told}");
}

#[test]
fn a_small_directory_of_every_form() {
    for place in Place::each("round-plain") {
        round(&place, "plain-clean", "orders", &["--compression", "none"]);
        assert!(place.keys("blobs").iter().all(|key| !key.contains('.')), "nothing is compressed");
    }
}

#[test]
fn compacted_topics() {
    let Some(place) = Place::s3("round-compacted") else { return };
    round(&place, "compacted-clean", "rolling", &[]);
    assert!(place.keys("blobs").iter().any(|key| key.ends_with(".zst")), "what shrinks is compressed");
}

#[test]
fn codecs_of_a_running_broker() {
    let Some(place) = Place::s3("round-codecs") else { return };
    round(&place, "codecs-live", "events-zstd", &[]);
}

#[test]
fn transactions_of_a_killed_broker() {
    round(&Place::directory(), "txn-killed", "clicks", &[]);
}

/// What a log of the library's own has, over the time in which it grows.
#[test]
fn a_native_log_that_grows() {
    for place in Place::each("round-native") {
        let source = Source::native(200);
        source.create();
        place.push("web-1", &source, &[]).expect(0);
        source.append(150);
        let ids = [source.create(), source.create(), source.create()];
        // Segments that were sealed before are there.
        let pushed = place.push("web-1", &source, &["--all-new"]).expect(0).json();
        let pushed = pushed["pushed"].as_array().unwrap();
        assert_eq!(pushed.iter().map(|p| p["id"].as_str().unwrap()).collect::<Vec<_>>(), ids, "oldest first");
        let (sent, there) = (number(&pushed[0], "blobs_sent"), number(&pushed[0], "blobs_there"));
        assert!(sent > 5 && there > 10, "{sent} were sent, {there} were there");
        assert_eq!(number(&pushed[1], "blobs_sent"), 0, "nothing is new");
        assert_eq!(place.push("web-1", &source, &["--all-new"]).expect(0).json()["pushed"], Value::Array(Vec::new()));
        let of = "web-1/orders-0";
        same_restored(&place, &source, of, &[]);
        same_restored(&place, &source, of, &["--until", "120"]);
        let lines = |ran: crate::stage::Ran| ran.expect(0).stdout.lines().count();
        assert_eq!(lines(place.from(&["cat", of, "latest", "--from", "100", "--to", "140", "--json"])), 40);
        place.from(&["verify", of, "--all"]).expect(0);

        // Deleted here only once all of it was read there.
        let last = source.create();
        let fate = place.push("web-1", &source, &["latest", "--delete-local-after"]).expect(0).json();
        assert_eq!(fate["pushed"][0]["deleted_here"], true);
        let local = source.run("list", &["--json"]).expect(0).json();
        assert!(!local.as_array().unwrap().iter().any(|s| s["id"] == last.as_str()), "{local}");
        let store = source.dir.join(".snapshots");
        place.from(&["pull", of, &last, "--store", store.to_str().unwrap()]).expect(0);
        source.run("verify", &["--all", "--level", "deep"]).expect(0);
    }
}

/// What rules leave, what nothing needs; and what is pinned stays.
#[test]
fn snapshots_go_and_what_only_they_needed() {
    for place in Place::each("round-prune") {
        let source = Source::native(100);
        let mut ids = Vec::new();
        for _ in 0..4 {
            source.append(60);
            ids.push(source.create());
        }
        source.run("pin", &[&ids[0]]).expect(0);
        place.push("web-1", &source, &["--all-new"]).expect(0);
        let of = "web-1/orders-0";
        let left = |place: &Place| -> Vec<String> {
            let listed = place.json(&["list", of]);
            listed.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(place.json(&["list"])[0]["pinned"], true, "the pin was carried along");
        let before = place.keys("blobs");
        place.from(&["prune", of, "--max-snapshots", "1", "--dry-run"]).expect(0);
        assert_eq!(left(&place), ids, "a dry run changes nothing");
        place.from(&["prune", of, "--max-snapshots", "1"]).expect(0);
        assert_eq!(left(&place), [ids[0].clone(), ids[3].clone()]);
        assert_eq!(place.keys("blobs"), before, "blobs stay until a gc");

        let gc = |args: &[&str]| place.json(&[&["gc"], args].concat());
        let marked = gc(&["--grace", "0s", "--dry-run"]);
        assert!(number(&marked, "marked") > 0 && place.keys("gc").iter().all(|key| !key.contains("mark")));
        let marked = gc(&["--grace", "1h"]);
        assert_eq!((number(&marked, "blobs"), number(&marked, "removed")), (before.len() as u64, 0));
        assert_eq!(number(&gc(&[]), "removed"), 0, "the grace period has not passed");
        for key in place.keys("gc").iter().filter(|key| key.contains("mark")) {
            place.remove(key);
        }
        gc(&["--grace", "0s"]);
        let removed = gc(&["--grace", "0s"]);
        assert_eq!(number(&removed, "removed"), number(&marked, "marked"));
        let after = place.keys("blobs");
        assert_eq!(after.len() as u64, before.len() as u64 - number(&removed, "removed"));
        let needed: std::collections::BTreeSet<String> =
            [&ids[0], &ids[3]].into_iter().flat_map(|id| source.digests(id).into_values()).collect();
        assert_eq!(after.len(), needed.len(), "exactly what is needed stays");
        place.from(&["verify", of, "--all"]).expect(0);
        same_restored(&place, &source, of, &[]);

        let refused = place.from(&["delete", of, &ids[0]]).expect(2);
        assert!(refused.stderr.contains("is pinned"), "{refused:?}");
        place.from(&["delete", of, &ids[3], &ids[0], "--force"]).expect(0);
        assert_eq!(place.from(&["list"]).expect(0).stdout, "");
        gc(&["--grace", "0s"]);
        gc(&["--grace", "0s"]);
        assert_eq!((place.keys("blobs"), place.keys("snapshots")), (vec![], vec![]), "what was beside them, too");
    }
}

/// Answers to what cannot be done say what to do.
#[test]
fn what_is_not_there() {
    for place in Place::each("round-nothing") {
        let source = Source::native(50);
        let ran = place.from(&["list"]).expect(10);
        assert!(ran.stderr.contains("push"), "{ran:?}");
        assert!(source.run("push", &["--to", &place.url]).code != 0, "there is no store yet");
        source.create();
        place.push("web-1", &source, &[]).expect(0);
        for args in [
            &["verify", "web-1/nothing"][..],
            &["verify", "web-1/orders-0", "snapshot-99"],
            &["restore", "web-2/orders-0", "latest", "--to", "nowhere"],
            &["prune", "web-1/nothing", "--max-snapshots", "1"],
            &["delete", "web-1/orders-0", "snapshot-99"],
        ] {
            let ran = place.from(args).expect(10);
            assert!(ran.stderr.lines().count() >= 2, "no way out of {args:?}: {ran:?}");
        }
        // Another source under the same name, and another machine's name for it.
        let other = Source::native(60);
        other.create();
        let ran = place.push("web-1", &other, &[]).expect(2).json();
        assert!(ran["error"]["hint"].as_str().unwrap().contains("--name"), "{ran}");
        place.push("web-1", &other, &["--name", "orders-1"]).expect(0);
        assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 2);
    }
    let Some(place) = Place::s3("round-not-there") else { return };
    let ran = crate::stage::run(place.cowlog().args(["list", "--retry", "2s", "--from", "s3://no-such-bucket-here/x"]));
    assert!(ran.code == 10 || ran.code == 1, "{ran:?}");
    assert!(ran.stderr.contains("no-such-bucket-here"), "{ran:?}");
    let ran =
        crate::stage::run(place.cowlog().env("AWS_SECRET_ACCESS_KEY", "wrong").args(["list", "--from", &place.url]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!ran.stderr.contains("wrong\""), "{ran:?}");
}

/// Two that bring a file to the same name do not take it from each other.
#[test]
fn two_pulls_to_one_file() {
    let place = Place::directory();
    let source = Source::native(400);
    let id = source.create();
    place.push("web-1", &source, &[]).expect(0);
    let digests = source.digests(&id);
    let (path, digest) = digests.iter().find(|(path, _)| path.ends_with(".log")).unwrap();
    let to = source.path("one-file");
    let pull = ["pull", "web-1/orders-0", "latest", "--file", path, "--to", to.to_str().unwrap(), "--from", &place.url];
    let mut slow = place.cowlog().args(pull).args(["--rate", "500B", "-q"]).spawn().unwrap();
    let partial = to.with_file_name(".one-file.pulling");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !partial.exists() {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let ran = crate::stage::run(place.cowlog().args(pull)).expect(11);
    assert!(ran.stderr.contains("another pull"), "{ran:?}");
    slow.wait().unwrap();
    assert_eq!(blake3::hash(&std::fs::read(&to).unwrap()).to_hex().as_str(), digest);
    assert!(!partial.exists());
}

/// A bucket removes them itself; nothing but `gc` does so in a directory.
#[test]
fn what_a_dead_upload_left_in_a_directory_goes_after_a_week() {
    let place = Place::directory();
    let source = Source::native(40);
    source.create();
    place.push("web-1", &source, &[]).expect(0);
    let blob = place.keys("blobs").pop().unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    let leave = |name: String, age| {
        let path = place.files().join(name);
        std::fs::write(&path, "something").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - age).unwrap();
        path
    };
    let old = leave(format!("{blob}#1"), 8 * day);
    let kept =
        [leave(format!("{blob}#2"), 6 * day), leave(format!("{blob}#x"), 8 * day), leave("blobs/x#1".into(), 8 * day)];
    assert_eq!(number(&place.json(&["gc", "--dry-run"]), "unfinished_removed"), 1);
    assert!(old.exists());
    let done = place.json(&["gc"]);
    assert_eq!((number(&done, "unfinished_removed"), number(&done, "bytes_unfinished")), (1, 9), "{done}");
    assert!(!old.exists() && kept.iter().all(|path| path.exists()));
    place.from(&["verify", "web-1/orders-0"]).expect(0);
}
