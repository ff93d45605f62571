//! What is damaged is named, listed, and never restored.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::stage::Stage;

/// Flips a bit of a file, in a new inode: an exposed file is the live log's own.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_file_of_a_snapshot_counts() {
    let stage = Stage::new();
    let id = stage.create();
    let names: Vec<String> = fs::read_dir(stage.snapshot(&id))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "state.json" && fs::metadata(stage.snapshot(&id).join(name)).unwrap().len() > 0)
        .collect();
    assert!(names.len() > 10);
    for name in names {
        let path = stage.snapshot(&id).join(&name);
        let was = fs::read(&path).unwrap();
        flip(&path, was.len() / 2);
        let report = stage.run("verify", &[&id, "--json"]).expect_code(4).json();
        assert_eq!(report["ok"], false);
        let named = report["damage"].as_array().unwrap().iter().any(|d| d["path"] == name.as_str());
        assert!(named, "{name}: {report}");
        let text = stage.run("verify", &[&id]).expect_code(4).stdout;
        assert!(text.contains("DAMAGED"), "{text}");
        let target = stage.path("target");
        let args = [id.as_str(), "--to", target.to_str().unwrap(), "--json"];
        stage.run("restore", &args).expect_error(4, "integrity");
        assert!(!target.exists());
        fs::write(&path, was).unwrap();
        assert_eq!(stage.run("verify", &[&id, "--json"]).expect_code(0).json()["ok"], true, "{name} is right again");
    }
}

#[test]
fn an_unreadable_manifest_stays_listed() {
    let stage = Stage::new();
    let (first, second) = (stage.create(), stage.create());
    fs::write(stage.snapshot(&second).join("manifest.json"), b"{").unwrap();
    let listed = stage.run("list", &["--json"]).expect_code(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed[1]["damaged"].is_string() && listed[0].get("damaged").is_none(), "{listed}");
    assert!(stage.run("list", &[]).expect_code(0).stdout.contains("DAMAGED: manifest.json"));
    stage.run("show", &[&second, "--json"]).expect_error(4, "integrity");
    let report = stage.run("verify", &[&second, "--json"]).expect_code(4).json();
    assert_eq!(report["damage"][0]["path"], "manifest.json");
    stage.run("verify", &["--all"]).expect_code(4);
    assert_eq!(stage.run("repair", &["--json"]).expect_code(4).json()["damaged"][0]["id"], second.as_str());
    stage.run("delete", &[&second]).expect_code(0);
    stage.run("verify", &[&first]).expect_code(0);
}

#[test]
fn a_directory_in_the_catalogues_place_is_told_of() {
    let stage = Stage::new();
    let id = stage.create();
    let catalogue = stage.store().join("snapshots.json");
    fs::remove_file(&catalogue).unwrap();
    fs::create_dir(&catalogue).unwrap();
    let error = stage.run("repair", &["--json"]);
    assert!(error.stdout.contains("move it away"), "{}", error.stdout);
    assert!(error.expect_error(2, "validation").contains("is a directory"));
    stage.run("verify", &[&id]).expect_code(0);
    fs::remove_dir(&catalogue).unwrap();
    stage.run("repair", &[]).expect_code(0);
}

#[test]
fn prune_keeps_what_it_cannot_read_and_says_so() {
    let stage = Stage::new();
    let ids = [stage.create(), stage.create(), stage.create()];
    fs::write(stage.snapshot(&ids[0]).join("state.json"), b"{").unwrap();
    fs::write(stage.snapshot(&ids[1]).join("manifest.json"), b"{").unwrap();
    let ended = stage.run("prune", &["--max-snapshots", "1"]).expect_code(0);
    assert!(ended.stderr.contains(&format!("{}: its state cannot be read", ids[0])), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("{}: manifest.json", ids[1])), "{}", ended.stderr);
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 3);
    // As soon as it can be read it counts again.
    fs::remove_file(stage.snapshot(&ids[0]).join("state.json")).unwrap();
    // What would go and what went are counted alike, from what the catalogue remembers.
    let old = ["--retention", "1ms", "--json"];
    let counts = |ran: crate::stage::Ran| ran.expect_code(0).json()[0]["files"].as_u64().unwrap();
    let planned = counts(stage.run("prune", &[&["--dry-run"], &old[..]].concat()));
    assert!(planned > 0);
    stage.run("prune", &["--max-snapshots", "1"]).expect_code(0);
    assert!(!stage.snapshot(&ids[0]).exists() && stage.snapshot(&ids[1]).exists());
}

#[test]
fn a_missing_file_a_longer_one_and_a_stranger() {
    let stage = Stage::new();
    let id = stage.create();
    let dir = stage.snapshot(&id);
    let name = |base: i64, ext: &str| format!("{base:020}.{ext}");
    fs::remove_file(dir.join(name(0, "index"))).unwrap();
    let last =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "log"));
    let last = last.max().unwrap();
    let bytes = fs::metadata(&last).unwrap().len();
    fs::File::options().write(true).open(&last).unwrap().write_all_at(b"more", bytes).unwrap();
    fs::write(dir.join("stranger\u{1b}[2J"), b"").unwrap();
    let report = stage.run("verify", &["--level", "quick", "--json"]).expect_code(4).json();
    let mut kinds: Vec<_> = report["damage"].as_array().unwrap().iter().map(|d| d["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["missing", "size"], "{report}");
    assert_eq!(report["extra"][0], "stranger\u{1b}[2J");
    let text = stage.run("verify", &["--level", "quick"]).expect_code(4).stdout;
    assert!(text.contains("stranger\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn exchanged_manifests_are_damage_until_they_are_accepted() {
    let stage = Stage::new();
    let id = stage.create();
    let dir = stage.snapshot(&id);
    let mut manifest = fs::read(dir.join("manifest.json")).unwrap();
    let old = blake3::hash(&manifest).to_hex();
    manifest.push(b'\n');
    let new = blake3::hash(&manifest).to_hex();
    let digests = fs::read_to_string(dir.join("manifest.b3")).unwrap().replace(old.as_str(), new.as_str());
    fs::write(dir.join("manifest.json"), manifest).unwrap();
    fs::write(dir.join("manifest.b3"), digests).unwrap();
    stage.run("verify", &["--json"]).expect_code(4);
    let root = stage.run("list", &["--json"]).json()[0]["root"].as_str().unwrap().to_owned();
    assert!(stage.run("list", &["--json"]).json()[0]["damaged"].is_string());
    let target = stage.path("target");
    stage.run("restore", &["latest", "--to", target.to_str().unwrap(), "--json"]).expect_error(4, "integrity");
    stage.run("repair", &[]).expect_code(4);
    stage.run("repair", &["--accept", &id, "--json"]).expect_code(0);
    stage.run("verify", &["--json"]).expect_code(0);
    // The root that was written down when the snapshot was made is not deceived.
    let report = stage.run("verify", &["--expect", &root, "--json"]).expect_code(4).json();
    assert_eq!(report["damage"][0]["path"], "manifest.b3");
    stage.run("verify", &["--expect", "nonsense", "--json"]).expect_error(2, "validation");
    let accepted = stage.run("list", &["--json"]).json()[0]["root"].as_str().unwrap().to_owned();
    stage.run("verify", &["--expect", &accepted]).expect_code(0);
    stage.run("restore", &["latest", "--to", target.to_str().unwrap()]).expect_code(0);
}

/// A sealed segment that was cut has a good index, and its snapshot would push out the good ones.
#[test]
fn a_sealed_segment_that_was_cut_is_refused_and_its_damage_is_not_forgotten() {
    let stage = Stage::new();
    let good = stage.create();
    let segment = stage.log.join("00000000000000000016.log");
    let whole = fs::read(&segment).unwrap();
    for cut in [1, 700, whole.len() / 2, whole.len()] {
        // Its own inode: the snapshot is left alone.
        fs::remove_file(&segment).unwrap();
        fs::write(&segment, &whole[..whole.len() - cut]).unwrap();
        let why = stage.run("create", &["--force", "--json"]).expect_error(4, "integrity");
        assert!(why.contains("segment 16"), "{cut} bytes less: {why}");
    }
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, &whole[..whole.len() - 700]).unwrap();
    let taken = stage.run("create", &["--force", "--accept-loss", "-q"]).expect_code(0).stdout.trim().to_owned();
    stage.run("verify", &[&taken, "--level", "deep"]).expect_code(4);
    let ran = stage.run("verify", &[&taken]).expect_code(0);
    assert!(ran.stderr.contains("an earlier deep verification found damage"), "{}", ran.stderr);
    let listed = stage.run("list", &["--json"]).json();
    assert_eq!(
        listed[1]["verified"]["ok"], false,
        "what only a deep one finds, a full one does not take back: {listed}"
    );
    let (back, fork) = (stage.path("back"), stage.path("fork"));
    for args in [["restore", back.to_str().unwrap()], ["fork", fork.to_str().unwrap()]] {
        let ran = stage.run(args[0], &[&taken, "--to", args[1]]).expect_code(0);
        assert!(ran.stderr.contains("was found damaged by a verification"), "{}: {}", args[0], ran.stderr);
    }
    let ran = stage.run("diff", &[&good, &taken]).expect_code(0);
    assert!(ran.stderr.contains("was found damaged by a verification"), "{}", ran.stderr);
    let planned = stage.run("prune", &["-n", "--max-snapshots", "1", "--json"]).expect_code(0).json();
    assert_eq!(planned, serde_json::json!([]), "the good one stays");

    fs::remove_file(&segment).unwrap();
    fs::write(stage.path("elsewhere"), &whole).unwrap();
    std::os::unix::fs::symlink(stage.path("elsewhere"), &segment).unwrap();
    let why = stage.run("create", &["--force", "--json"]).expect_error(4, "integrity");
    assert!(why.contains("00000000000000000016.log") && why.contains("no regular file"), "{why}");
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 2);
}
