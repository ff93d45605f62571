//! What nobody means: refused before anything is made, with the way out.

use std::path::Path;

use crate::keys::keygen;
use crate::server::Place;
use crate::stage::{Source, names, run};

/// That a push to there is refused in these words, and that there is nothing afterwards that was not before.
#[track_caller]
fn refused(source: &Source, to: &str, args: &[&str], words: &str) {
    let before = std::fs::read_dir(to).is_ok().then(|| names(Path::new(to)));
    let push = [&["--to", to, "--host", "web-1", "--retry", "1s"], args].concat();
    let ran = source.run("push", &push).expect(2);
    assert!(ran.stderr.contains(words) && ran.stderr.contains("hint:"), "{to}: {ran:?}");
    assert_eq!(std::fs::read_dir(to).is_ok().then(|| names(Path::new(to))), before, "{to}");
}

#[test]
fn a_snapshot_is_pulled_into_no_directory_that_is_something_else() {
    let place = Place::directory();
    let source = Source::native(20);
    let id = source.create();
    place.push("web-1", &source, &[]).expect(0);
    let broker = Source::fixture("compacted-clean");
    let partition = std::fs::read_dir(&broker.dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let foreign = source.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "dear").unwrap();
    let pull = |store: &Path| place.from(&["pull", "web-1/orders-0", "latest", "--store", store.to_str().unwrap()]);
    for dir in [&broker.dir, &partition, &source.dir, Path::new(&place.url), &foreign] {
        let before = names(dir);
        let ran = pull(dir).expect(2);
        assert!(ran.stderr.contains("hint: name a"), "{ran:?}");
        assert_eq!(names(dir), before, "{}", dir.display());
    }
    // What died while it pulled for the first time, a new disk, an empty directory, and a store.
    let began = source.path("began");
    std::fs::create_dir_all(began.join(".staging-1735998124000")).unwrap();
    std::fs::create_dir(began.join("lost+found")).unwrap();
    std::fs::write(began.join(".lock"), "").unwrap();
    let empty = source.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for dir in [&began, &empty, &empty, &source.path("new"), &source.dir.join(".snapshots")] {
        pull(dir).expect(0);
        assert!(names(dir).contains(&id), "{}", dir.display());
    }
}

#[test]
fn copies_do_not_lie_among_what_they_are_copies_of() {
    let broker = Source::fixture("compacted-clean");
    broker.create();
    let store = format!("{}.snapshots", broker.dir.display());
    let link = broker.path("link");
    std::os::unix::fs::symlink(&broker.dir, &link).unwrap();
    let (data, link) = (broker.dir.display(), link.display());
    for to in [
        data.to_string(),
        format!("{data}/copies"),
        format!("{data}/a/b/copies"),
        format!("file://{data}/copies"),
        format!("{link}/a/copies"),
        store.clone(),
        format!("{store}/copies"),
    ] {
        refused(&broker, &to, &[], "lies in ");
    }
    // Those of another source are no better.
    let (other, log) = (Source::native(20), Source::native(20));
    other.create();
    log.create();
    for to in ["", "/copies", "/.snapshots", "/.snapshots/copies"].map(|at| format!("{}{at}", other.dir.display())) {
        refused(&log, &to, &[], "lies in ");
    }
    log.run("push", &["--to", log.path("copies").to_str().unwrap(), "--host", "web-1"]).expect(0);
}

#[test]
fn a_url_that_was_mistyped_makes_no_directory() {
    let source = Source::native(20);
    source.create();
    let here = tempfile::tempdir().unwrap();
    for (to, words) in [
        ("s3:/backups/x", "s3://backups/x"),
        ("s3:backups", "./s3:backups"),
        ("file:d/f3", "file:///d/f3"),
        ("~/zz", "./~/zz"),
        ("s3://backups/x?region=eu", "%3F"),
        ("s3://backups/x#y", "%23"),
        ("", "names no place"),
    ] {
        let mut push = Place::nowhere();
        push.arg("push").arg(&source.dir).args(["--to", to, "--host", "web-1"]).current_dir(&here);
        let ran = run(&mut push).expect(2);
        assert!(ran.stderr.contains(words), "{to}: {ran:?}");
        assert!(names(here.path()).is_empty(), "{to}");
        let ran = run(Place::nowhere().args(["list", "--from", to]).current_dir(&here)).expect(2);
        assert!(ran.stderr.contains(words), "{to}: {ran:?}");
    }
    let mut push = Place::nowhere();
    push.arg("push").arg(&source.dir).args(["--to", "./s3:backups", "--host", "web-1"]).current_dir(&here);
    run(&mut push).expect(0);
    assert_eq!(names(here.path()), ["s3:backups"]);
}

#[test]
fn a_place_that_was_encrypted_is_not_made_anew_in_the_clear() {
    let source = Source::native(20);
    source.create();
    let (key, recipient) = keygen(&source, "a.key");
    let place = Place::directory();
    let with_key = ["--identity", key.as_str()];
    place.push("web-1", &source, &[&with_key[..], &["--recipient", &recipient]].concat()).expect(0);
    let away = source.path("away");
    std::fs::rename(&place.url, &away).unwrap();
    refused(&source, &place.url, &[&with_key[..], &["--all-new", "-q"]].concat(), "though a secret key was given");
    assert!(!Path::new(&place.url).join("config.json").exists());
    // By the environment, and where somebody exchanged `config.json` for one of a place that is not encrypted.
    let plain = Place::directory();
    plain.push("web-1", &source, &[]).expect(0);
    let mut push = Place::nowhere();
    push.arg("push").arg(&source.dir).args(["--to", &plain.url, "--host", "web-1"]).env("COWLOG_IDENTITY", &key);
    let ran = run(&mut push).expect(2);
    assert!(ran.stderr.contains("--recipient") && ran.stderr.contains("COWLOG_IDENTITY"), "{ran:?}");
    // That it was made is told.
    std::fs::remove_dir_all(&plain.url).unwrap();
    let ran = source.run("push", &["--to", &plain.url, "--host", "web-1"]).expect(0);
    assert!(ran.stderr.contains("was made, not encrypted"), "{ran:?}");
}

#[test]
fn recipients_are_the_same_in_any_order() {
    let source = Source::native(20);
    source.create();
    let keys = ["one.key", "two.key", "other.key"].map(|name| keygen(&source, name));
    let place = Place::directory();
    let push = |to: &[usize]| {
        let to: Vec<&str> = to.iter().flat_map(|n| ["--recipient", &keys[*n].1]).collect();
        place.push("web-1", &source, &[&["--identity", &keys[0].0], &to[..]].concat())
    };
    push(&[0, 1]).expect(0);
    push(&[1, 0]).expect(0);
    push(&[1, 0, 1]).expect(0);
    for others in [&[0][..], &[0, 2], &[0, 1, 2]] {
        push(others).expect(2);
    }
}

#[test]
fn a_key_that_does_not_open_a_place_makes_none() {
    let source = Source::native(20);
    source.create();
    let (a, b) = (keygen(&source, "a.key"), keygen(&source, "b.key"));
    let place = Place::directory();
    place.push("web-1", &source, &["--recipient", &b.1, "--identity", &a.0]).expect(2);
    place.push("web-1", &source, &["--recipient", &b.1]).expect(2);
    assert!(!Path::new(&place.url).join("config.json").exists());
    place.push("web-1", &source, &["--recipient", &a.1, "--identity", &a.0]).expect(0);
}

#[test]
fn what_no_request_can_carry_is_told_and_no_panic() {
    let source = Source::native(20);
    let run = |env: &[(&str, &str)], from: &str| {
        let mut list = Place::nowhere();
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
        list.args(["list", "--retry", "1s", "--from", from]).envs(keys).envs(env.iter().copied());
        run(list.current_dir(&source.dir))
    };
    for endpoint in ["127.0.0.1:7311", "", "http://", "http://a b", "http://127.0.0.1:99999", "ftp://a"] {
        for (name, from) in
            [("COWLOG_ENDPOINT", "s3://b/p"), ("COWLOG_ENDPOINT", "gs://b/p"), ("AWS_ENDPOINT_URL", "s3://b/p")]
        {
            let ran = run(&[(name, endpoint)], from).expect(2);
            assert!(ran.stderr.contains("the endpoint") && ran.stderr.contains("like https://"), "{endpoint}: {ran:?}");
        }
    }
    let endpoint = ("COWLOG_ENDPOINT", "http://127.0.0.1:1");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"] {
        for value in ["very-secret\n", "very\nsecret", "very-secr\u{e9}t"] {
            let ran = run(&[endpoint, (name, value)], "s3://b/p").expect(2);
            assert!(ran.stderr.contains(name) && !ran.stderr.contains("very"), "{ran:?}");
        }
    }
    let account = [("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_SAS_TOKEN", "sv=very\nsecret")];
    let ran = run(&account, "az://c/p").expect(2);
    assert!(ran.stderr.contains("AZURE_STORAGE_SAS_TOKEN") && !ran.stderr.contains("very"), "{ran:?}");
}

#[test]
fn what_cannot_be_restored_or_found_is_told_with_the_way_out() {
    let place = Place::directory();
    let broker = Source::fixture("compacted-clean");
    broker.create();
    for host in ["web-1", "web-2"] {
        place.push(host, &broker, &[]).expect(0);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&place.url).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let ran = place.from(&["show", "compacted-clean"]).expect(2);
    assert!(ran.stderr.contains("web-1/compacted-clean, web-2") && ran.stderr.contains("HOST/SOURCE"), "{ran:?}");
    let of = "web-1/compacted-clean";
    let ran = place.from(&["restore", of, "latest", "--replace"]).expect(2);
    assert!(ran.stderr.contains("cowlog pull") && !ran.stderr.contains("exists already"), "{ran:?}");
    let to = broker.path("back").to_str().unwrap().to_owned();
    let ran = place.from(&["restore", of, "latest", "--topic", "nope", "--to", &to]);
    assert!(ran.stderr.contains("holds nope") && ran.stderr.contains("rolling"), "{ran:?}");
    let root = place.json(&["verify", of])["root"].as_str().unwrap().to_uppercase();
    place.from(&["verify", of, "--expect", &root]).expect(0);
    place.from(&["verify", of, "--expect", &root.replace(|c| c != 'A', "B")]).expect(4);
    place.from(&["verify", of, "--expect", "B"]).expect(2);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let list = |env: &[(&str, &str)]| {
        let mut list = Place::nowhere();
        list.args(["list", "--retry", "0", "--from", "s3://b/p"]).envs(env.iter().copied());
        run(&mut list).expect(1)
    };
    let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("COWLOG_ENDPOINT", "http://127.0.0.1:1")];
    let ran = list(&keys);
    assert!(ran.stderr.contains("127.0.0.1:1/") && ran.stderr.contains("look at the network"), "{ran:?}");
    let ran = list(&[("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")]);
    assert!(ran.stderr.contains("AWS_ACCESS_KEY_ID"), "{ran:?}");
}

#[test]
fn no_rate_at_all_is_refused() {
    let source = Source::native(20);
    source.create();
    let to = source.path("copies");
    let ran = source.run("push", &["--to", to.to_str().unwrap(), "--host", "web-1", "--rate", "0"]).expect(2);
    assert!(ran.stderr.contains("lets nothing through") && !to.exists(), "{ran:?}");
}
