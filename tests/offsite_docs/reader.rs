//! `tools/verify_offsite.py`, which knows nothing but `docs/offsite-format.md`, over places that cowlog wrote.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::stage::{broker_data, clean, cowlog, files, has_age, log, python, told, tree};

/// A directory with `data` and `events`, snapshots of both, and a place for each way of keeping them.
struct Stage {
    temp: tempfile::TempDir,
    python: PathBuf,
}

const PLACES: [&str; 3] = ["bare", "packed", "secret"];

impl Stage {
    fn new() -> Option<Stage> {
        let python = python().filter(|_| has_age())?;
        let stage = Stage { temp: tempfile::tempdir().unwrap(), python };
        let dir = stage.dir();
        broker_data(&dir.join("data"));
        // Paths that `manifest.b3` escapes, and a segment that is sent in parts.
        for name in ["data/orders-0/back\\slash", "data/orders-0/new\nline", "data/ünïcode", "data/empty"] {
            std::fs::write(dir.join(name), if name == "data/empty" { "" } else { name }).unwrap();
        }
        log(&dir.join("events"), 10, 1 << 20);
        stage.run(&["create", "data"]);
        stage.run(&["create", "events"]);
        let recipient = stage.run(&["keygen", "key"]);
        let other = stage.run(&["keygen", "recovery"]);
        for (place, how) in [("bare", "--compression=none"), ("packed", "--compression=zstd")] {
            stage.run(&["push", "data", "--to", place, "--host", "web-1", how]);
        }
        let to = ["--recipient", recipient.trim(), "--recipient", other.trim(), "--identity", "key"];
        stage.run(&[&["push", "data", "--to", "secret", "--host", "web-1"][..], &to].concat());
        for place in PLACES {
            let key: &[&str] = if place == "secret" { &["--identity", "key"] } else { &[] };
            stage.run(&[&["push", "events", "--to", place, "--host", "web.2"], key].concat());
        }
        Some(stage)
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    fn run(&self, args: &[&str]) -> String {
        told(cowlog(args, self.dir()), 0)
    }

    fn reader(&self, args: &[&str]) -> Output {
        let mut command = clean(Command::new(self.python.join("python3")));
        command.arg(tree().join("tools/verify_offsite.py")).args(args).current_dir(self.dir()).output().unwrap()
    }

    /// The files of `web-1/data` that are damaged, by the reader and by cowlog, which have to agree.
    #[track_caller]
    fn damaged(&self, place: &str, what: &str) -> BTreeSet<String> {
        let read = self.reader(&[place, "web-1/data", "latest", "--identity", "key"]);
        let out = String::from_utf8_lossy(&read.stdout).into_owned();
        let by_reader: BTreeSet<String> = out
            .split("\n  ")
            .skip(1)
            .filter_map(|line| line.split_once("  ").map(|(path, _)| path.trim_end_matches(':').to_owned()))
            .collect();
        let verified = cowlog(&["verify", "web-1/data", "--from", place, "--identity", "key", "--json"], self.dir());
        assert_eq!(read.status.code(), verified.status.code(), "{what}: {out}{verified:?} {read:?}");
        let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        let by_cowlog = report["damage"].as_array().unwrap().iter();
        let by_cowlog: BTreeSet<String> = by_cowlog.map(|d| d["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(by_reader, by_cowlog, "{what}: {out}\n{report}");
        assert_eq!(read.status.code(), Some(if by_reader.is_empty() { 0 } else { 4 }), "{what}: {read:?}");
        by_reader
    }

    /// The objects below a part of a place.
    fn objects(&self, place: &str, below: &str) -> Vec<PathBuf> {
        let root = self.dir().join(place).join(below);
        let mut all: Vec<PathBuf> = Vec::new();
        let mut dirs = vec![root];
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { dirs.push(path) } else { all.push(path) }
            }
        }
        all.sort();
        all
    }
}

#[test]
fn a_reader_that_was_written_by_the_document_gets_out_what_was_put_in() {
    let Some(stage) = Stage::new() else { return };
    let expected = files(&stage.dir().join("data"));
    for place in PLACES {
        let all = told(stage.reader(&[place, "--identity", "key"]), 0);
        assert_eq!(all.matches("  ok  ").count(), 2, "{place}: {all}");
        let names = stage.objects(place, "blobs");
        let packed = names.iter().filter(|path| path.to_string_lossy().contains(".zst")).count();
        assert_eq!(packed > 0, place != "bare", "{names:?}");
        // Either of the two to whom it is encrypted.
        for (source, key) in [("web-1/data", "recovery"), ("web.2/events", "key")] {
            let name = format!("{place}-{}", &source[6..]);
            let restored = format!("{name}-restored");
            told(stage.reader(&[place, source, "latest", "--identity", key, "--extract", &name]), 0);
            stage.run(&["restore", source, "latest", "--from", place, "--identity", key, "--to", &restored]);
            let (name, restored) = (stage.dir().join(name), stage.dir().join(restored));
            let got = files(&name);
            assert_eq!(got, files(&restored), "{place} {source}");
            for path in got.keys() {
                let look = |root: &Path| std::fs::metadata(root.join(path)).unwrap();
                let (a, b) = (look(&name), look(&restored));
                assert_eq!(
                    (a.permissions().mode(), a.modified().unwrap()),
                    (b.permissions().mode(), b.modified().unwrap())
                );
            }
            if source == "web-1/data" {
                assert_eq!(got, expected, "{place}");
            }
        }
    }
    let root = stage.run(&["push", "data", "--to", "bare", "--host", "web-1", "--json"]);
    let root: serde_json::Value = serde_json::from_str(&root).unwrap();
    let root = root["pushed"][0]["root"].as_str().unwrap();
    told(stage.reader(&["bare", "web-1/data", "latest", "--expect", root]), 0);
    told(stage.reader(&["bare", "web-1/data", "latest", "--expect", &root.replace(&root[..1], "x")]), 4);
    told(stage.reader(&["secret"]), 1);
    // Whoever exchanged `config.json` would have the next push in the clear, or encrypted to himself.
    let push = ["push", "data", "--to", "secret", "--host", "web-1", "--identity", "key"];
    let recipients = [stage.run(&["keygen", "stranger"]), stage.run(&["keygen", "other"])];
    let stranger = cowlog(&[&push[..], &["--recipient", recipients[0].trim()]].concat(), stage.dir());
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("which stays as it was made"), "{stranger:?}");
    std::fs::copy(stage.dir().join("bare/config.json"), stage.dir().join("secret/config.json")).unwrap();
    let warned = cowlog(&push, stage.dir());
    assert!(String::from_utf8_lossy(&warned.stderr).contains("is not encrypted, though"), "{warned:?}");
    let refused = cowlog(&[&push[..], &["--recipient", recipients[1].trim()]].concat(), stage.dir());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("which stays as it was made"), "{refused:?}");
    told(stage.reader(&["secret"]), 4);
    told(stage.reader(&["data"]), 1);
}

#[test]
fn the_reader_and_cowlog_name_the_same_damage() {
    let Some(stage) = Stage::new() else { return };
    for place in PLACES {
        let blobs = stage.objects(place, "blobs");
        let snapshot = stage.objects(place, "snapshots/web-1");
        assert_eq!(stage.damaged(place, "nothing"), BTreeSet::new());
        let of_data = told(stage.reader(&[place, "web-1/data"]), if place == "secret" { 1 } else { 0 });
        assert!(place == "secret" || of_data.contains("ok"));
        // Which blobs are of `data`: those that cowlog names when they are gone.
        let mut hit = 0;
        for (number, path) in blobs.iter().enumerate().filter(|(number, _)| number % 7 == 3) {
            let bytes = std::fs::read(path).unwrap();
            let damage: &[(&str, &dyn Fn())] = &[
                ("missing", &|| std::fs::remove_file(path).unwrap()),
                ("cut", &|| std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap()),
                ("a bit", &|| std::fs::write(path, flipped(&bytes, number * 7919)).unwrap()),
                ("another's", &|| {
                    std::fs::write(path, std::fs::read(&blobs[(number + 1) % blobs.len()]).unwrap()).unwrap()
                }),
            ];
            let (what, damage) = damage[number / 7 % 4];
            damage();
            hit += usize::from(!stage.damaged(place, &format!("{what} of {}", path.display())).is_empty());
            std::fs::write(path, bytes).unwrap();
        }
        assert!(hit >= 3, "{place}: {hit} of {}", blobs.len());
        for path in &snapshot {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = std::fs::read(path).unwrap();
            for at in [3, bytes.len() * 2, bytes.len() * 7 + 5] {
                std::fs::write(path, flipped(&bytes, at)).unwrap();
                let found = stage.damaged(place, &format!("bit {at} of {name} in {place}"));
                assert_eq!(!found.is_empty(), name.starts_with("manifest"), "{found:?}");
            }
            std::fs::write(path, bytes).unwrap();
        }
        assert_eq!(stage.damaged(place, "all is mended"), BTreeSet::new());
    }
    // Manifests that fit together and lead elsewhere.
    let snapshot = stage.objects("bare", "snapshots/web-1/data");
    let named = |name: &str| snapshot.iter().find(|path| path.ends_with(name)).unwrap();
    let (manifest, digests) = (named("manifest.json"), named("manifest.b3"));
    std::fs::remove_file(named("record.json")).unwrap();
    let (json, lines) = (std::fs::read_to_string(manifest).unwrap(), std::fs::read_to_string(digests).unwrap());
    let outside = stage.dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let hex = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    for away in ["../outside", outside.to_str().unwrap(), "orders-0/../../outside", "./orders-0"] {
        let mut other: serde_json::Value = serde_json::from_str(&json).unwrap();
        let last = other["dirs"].as_array().unwrap().len() - 1;
        other["dirs"][last]["path"] = away.into();
        let other = other.to_string();
        std::fs::write(manifest, &other).unwrap();
        std::fs::write(digests, lines.replace(&hex(&json), &hex(&other))).unwrap();
        assert_eq!(stage.damaged("bare", away), BTreeSet::from(["manifest.json".to_owned()]));
        told(stage.reader(&["bare", "web-1/data", "latest", "--extract", "out"]), 4);
        assert!(!stage.dir().join("out").exists() && files(&outside).is_empty(), "{away}");
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bit / 8 % bytes.len().max(1);
    match bytes.get_mut(at) {
        Some(byte) => *byte ^= 1 << (bit % 8),
        None => bytes.push(0),
    }
    bytes
}
