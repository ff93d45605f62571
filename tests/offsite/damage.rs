//! What is there is not what was sent: it is found, named, refused, and mended by a push of a machine that has it.

use std::collections::{BTreeMap, BTreeSet};

use cowlog::offsite::{Identities, Remote, RemoteLevel, RemoteOptions, RemoteReport};
use serde_json::Value;

use crate::keys::keygen;
use crate::server::Place;
use crate::stage::{Ran, Source, assert_same, names};
use crate::support::{Random, env_number};

const OF: &str = "web-1/orders-0";

/// A snapshot in a place of some form.
struct Stage {
    place: Place,
    source: Source,
    id: String,
    /// What every command needs to read the place.
    with: Vec<String>,
    identities: Option<Identities>,
}

impl Stage {
    fn new(place: Place, compression: &str, encrypted: bool) -> Stage {
        let source = Source::native(80);
        let id = source.create();
        let (mut with, mut push, mut identities) = (Vec::new(), vec!["--compression", compression], None);
        let key = encrypted.then(|| keygen(&source, "a.key"));
        if let Some((file, recipient)) = &key {
            with = vec!["--identity".to_owned(), file.clone()];
            push.extend(["--recipient", recipient]);
            identities = Some(Identities::parse(&std::fs::read_to_string(file).unwrap()).unwrap());
        }
        push.extend(with.iter().map(String::as_str));
        place.push("web-1", &source, &push).expect(0);
        Stage { place, source, id, with, identities }
    }

    /// Each form, in directories.
    fn each() -> Vec<Stage> {
        let forms = [("none", false), ("zstd", false), ("none", true), ("zstd", true)];
        forms
            .into_iter()
            .map(|(compression, encrypted)| Stage::new(Place::directory(), compression, encrypted))
            .collect()
    }

    /// By the library: a process for each would take long.
    fn remote(&self) -> Remote {
        let options = RemoteOptions { identities: self.identities.clone(), ..RemoteOptions::default() };
        Remote::open(&self.place.url, options).unwrap()
    }

    #[track_caller]
    fn from(&self, args: &[&str]) -> Ran {
        let with: Vec<&str> = args.iter().copied().chain(self.with.iter().map(String::as_str)).collect();
        self.place.from(&with)
    }

    #[track_caller]
    fn push(&self, args: &[&str]) -> Ran {
        let with: Vec<&str> = args.iter().copied().chain(self.with.iter().map(String::as_str)).collect();
        self.place.push("web-1", &self.source, &with)
    }

    /// Every file by the key of its blob.
    fn files(&self) -> BTreeMap<String, Vec<String>> {
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all = self.place.keys("blobs");
        for (path, digest) in self.source.digests(&self.id) {
            // Where names tell nothing, a blob that is away tells by what is missing then.
            let key = all.iter().find(|key| key.contains(&digest)).cloned().unwrap_or(digest);
            files.entry(key).or_default().push(path);
        }
        if self.identities.is_some() {
            files.clear();
            for key in all {
                let bytes = self.place.read(&key);
                self.place.remove(&key);
                files.insert(key.clone(), damaged(&self.remote().verify(OF, "latest", RemoteLevel::Presence).unwrap()));
                self.place.write(&key, &bytes);
            }
        }
        files
    }

    /// Nothing comes back, and the file is named.
    #[track_caller]
    fn refuses(&self, hit: &[String], told: &str) {
        let target = self.source.path("refused");
        let store = self.source.path("refused.snapshots");
        let before = names(target.parent().unwrap());
        let to = target.to_str().unwrap();
        for args in [
            &["restore", OF, "latest", "--to", to, "--json"][..],
            &["pull", OF, "latest", "--store", store.to_str().unwrap(), "--json"],
            &["pull", OF, "latest", "--file", &hit[0], "--to", to, "--json"],
        ] {
            let error = self.from(args).expect(4).json()["error"].clone();
            let named: Vec<&str> =
                error["damage"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
            let wanted = if args.contains(&"--file") { &hit[..1] } else { hit };
            assert_eq!(named, wanted, "{told}: {error}");
            assert!(error["hint"].is_string(), "{told}: {error}");
            assert_eq!(names(target.parent().unwrap()), before, "{told}: {args:?} left something");
        }
    }

    #[track_caller]
    fn whole(&self, told: &str) {
        let report = self.from(&["verify", OF, "--json"]).expect(0).json();
        assert_eq!(report["ok"], true, "{told}: {report}");
        let (here, there) = (self.source.path("here"), self.source.path("there"));
        self.source.run("restore", &[&self.id, "--to", here.to_str().unwrap()]).expect(0);
        self.from(&["restore", OF, &self.id, "--to", there.to_str().unwrap()]).expect(0);
        assert_same(&here, &there, told);
        for dir in [here, there] {
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}

fn damaged(report: &RemoteReport) -> Vec<String> {
    let mut paths: Vec<String> = report.damage.iter().map(|d| d.path.clone()).collect();
    paths.sort();
    paths
}

/// A bit of any blob. One that makes no difference to what comes out of it, as zstd has some, may be passed over.
#[test]
fn any_bit_of_any_blob() {
    let mut random = Random::new("bits of blobs");
    for stage in Stage::each() {
        let (files, remote) = (stage.files(), stage.remote());
        let blobs: Vec<(&String, Vec<u8>)> = files.keys().map(|key| (key, stage.place.read(key))).collect();
        let (mut found, mut flips) = (0, 0);
        for _ in 0..env_number("COWLOG_FLIPS", 300) / 4 {
            let (key, bytes) = &blobs[random.below(blobs.len() as u64) as usize];
            if bytes.is_empty() {
                continue;
            }
            flips += 1;
            // Beginnings and ends are where the formats are.
            let at = match random.below(3) {
                0 => random.below(bytes.len().min(40) as u64) as usize,
                1 => bytes.len() - 1 - random.below(bytes.len().min(40) as u64) as usize,
                _ => random.below(bytes.len() as u64) as usize,
            };
            let mut changed = bytes.clone();
            changed[at] ^= 1 << random.below(8);
            stage.place.write(key, &changed);
            let report = remote.verify(OF, "latest", RemoteLevel::Full).unwrap();
            let told = format!("byte {at} of {} of {key}", bytes.len());
            if report.ok {
                assert!(key.ends_with(".zst"), "{told}");
                let plain = zstd::decode_all(&changed[..]).unwrap();
                assert!(plain == zstd::decode_all(&bytes[..]).unwrap(), "{told}");
            } else {
                assert_eq!(&damaged(&report), &files[*key], "{told}");
                found += 1;
                if found == 1 {
                    stage.refuses(&files[*key], &told);
                }
            }
            stage.place.write(key, bytes);
        }
        assert!(found * 10 > flips * 8, "{found} of {flips}");
        stage.whole("all is as it was");
    }
}

/// Everything else that may become of a blob.
#[test]
fn blobs_cut_extended_exchanged_emptied_and_missing() {
    let strangers = Stage::new(Place::directory(), "none", false);
    for stage in Stage::each() {
        let (files, remote) = (stage.files(), stage.remote());
        let keys: Vec<&String> = files.keys().filter(|key| stage.place.read(key).len() > 200).collect();
        let (key, other) = (keys[0], keys[1]);
        let (bytes, others) = (stage.place.read(key), stage.place.read(other));
        let stranger =
            strangers.place.keys("blobs").into_iter().map(|key| strangers.place.read(&key)).max_by_key(Vec::len);
        let cases: Vec<(&str, bool, Vec<u8>)> = vec![
            ("cut by a byte", true, bytes[..bytes.len() - 1].to_vec()),
            ("cut in the middle", true, bytes[..bytes.len() / 2].to_vec()),
            ("empty", true, Vec::new()),
            ("with more behind it", true, [&bytes[..], &[0; 2000]].concat()),
            ("twice", true, [&bytes[..], &bytes[..]].concat()),
            ("another one of this place", false, others.clone()),
            ("of another store", false, stranger.unwrap()),
        ];
        for (case, seen_by_size, changed) in cases {
            let told = format!("{key} {case}");
            stage.place.write(key, &changed);
            let report = remote.verify(OF, "latest", RemoteLevel::Full).unwrap();
            assert_eq!(&damaged(&report), &files[key], "{told}: {report:?}");
            let report = remote.verify(OF, "latest", RemoteLevel::Presence).unwrap();
            let small = changed.len().abs_diff(bytes.len()) < 1024 && stage.identities.is_some();
            assert!(!report.ok || small || !seen_by_size, "{told}: {report:?}");
            stage.place.write(key, &bytes);
        }

        stage.place.write(key, &others);
        stage.place.write(other, &bytes);
        let mut both = [&files[key][..], &files[other]].concat();
        both.sort();
        let report = remote.verify(OF, "latest", RemoteLevel::Full).unwrap();
        assert_eq!(damaged(&report), both, "exchanged");
        stage.refuses(&both, "exchanged");
        stage.place.remove(key);
        for level in [RemoteLevel::Presence, RemoteLevel::Full] {
            let report = remote.verify(OF, "latest", level).unwrap();
            assert!(damaged(&report).iter().any(|path| files[key].contains(path)), "missing: {report:?}");
        }
        stage.refuses(&both, "one is missing, one is another one");
        let ran = stage.from(&["verify", OF]).expect(4);
        assert!(ran.stdout.contains("--again") && both.iter().all(|path| ran.stdout.contains(path)), "{ran:?}");
        assert_eq!(stage.from(&["list", "--json"]).expect(0).json()[0]["verified"]["ok"], false);
        // The machine that has it mends it.
        assert_eq!(stage.push(&[]).expect(0).json()["pushed"][0]["was_there"], true);
        stage.push(&["--again"]).expect(0);
        stage.whole("pushed again");
        assert_eq!(stage.place.keys("blobs").len(), files.len());
    }
}

/// With a server between, whose notes of ETags and sizes are of what was there before.
#[test]
fn a_server_whose_disk_lost_and_changed_something() {
    let Some(place) = Place::s3("damage-disk") else { return };
    let stage = Stage::new(place, "zstd", false);
    let files = stage.files();
    let mut keys = files.keys().filter(|key| stage.place.read(key).len() > 100);
    let (changed, cut, gone) = (keys.next().unwrap(), keys.next().unwrap(), keys.next().unwrap());
    let mut bytes = stage.place.read(changed);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    stage.place.write(changed, &bytes);
    let bytes = stage.place.read(cut);
    stage.place.write(cut, &bytes[..bytes.len() / 2]);
    stage.place.remove(gone);
    let hit = |keys: &[&String]| -> Vec<String> {
        let all: BTreeSet<String> = keys.iter().flat_map(|key| files[*key].clone()).collect();
        all.into_iter().collect()
    };
    let all = hit(&[changed, cut, gone]);
    stage.refuses(&all, "all of them");
    let report = stage.from(&["verify", OF, "--level", "quick", "--json"]).expect(4).json();
    let named: Vec<&str> = report["damage"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
    assert_eq!(named, hit(&[cut, gone]), "{report}");
    stage.push(&["--again"]).expect(0);
    stage.whole("pushed again");
}

/// Another store's blob, encrypted to the same key: it opens, and is not what is asked for.
#[test]
fn blobs_of_another_store_of_the_same_recipient() {
    let stages = [Stage::new(Place::directory(), "zstd", true), Stage::new(Place::directory(), "zstd", true)];
    let (key, recipient) = keygen(&stages[0].source, "shared.key");
    let places = [Place::directory(), Place::directory()];
    let args = ["--recipient", recipient.as_str(), "--identity", key.as_str()];
    let others = Source::of(80, "another");
    others.create();
    places[0].push("web-1", &stages[0].source, &args).expect(0);
    places[1].push("web-1", &others, &args).expect(0);
    let largest = |place: &Place| place.keys("blobs").into_iter().max_by_key(|key| place.read(key).len()).unwrap();
    let (mine, theirs) = (largest(&places[0]), largest(&places[1]));
    places[0].write(&mine, &places[1].read(&theirs));
    let with = ["--identity", key.as_str(), "--json"];
    let report = places[0].from(&[&["verify", OF], &with[..]].concat()).expect(4).json();
    let hit = report["damage"][0]["path"].as_str().unwrap();
    let target = stages[0].source.path("refused");
    let ran =
        places[0].from(&[&["restore", OF, "latest", "--to", target.to_str().unwrap()], &with[..2]].concat()).expect(4);
    assert!(ran.stderr.contains(hit) && !target.exists(), "{ran:?}");
    // A whole snapshot of the other store does not open: names are made with another key.
    for key in places[1].keys("snapshots") {
        places[0].write(&key.replace("web-1", "web-2"), &places[1].read(&key));
    }
    let report = places[0].from(&[&["verify", "web-2/orders-0"], &with[..]].concat()).expect(4).json();
    assert!(!report["damage"].as_array().unwrap().is_empty(), "{report}");
}

/// Under the key of another place every blob has another name, and none of those that are there is needed by anything.
#[test]
fn a_gc_with_the_configuration_of_another_place_removes_nothing() {
    let source = Source::native(80);
    source.create();
    let (key, recipient) = keygen(&source, "shared.key");
    let places = [Place::directory(), Place::directory()];
    for place in &places {
        place.push("web-1", &source, &["--recipient", &recipient, "--identity", &key]).expect(0);
    }
    let blobs = places[0].keys("blobs");
    let own = places[0].read("config.json");
    places[0].write("config.json", &places[1].read("config.json"));
    let gc = ["gc", "--grace", "0s", "--identity", &key];
    for _ in 0..2 {
        let ran = places[0].from(&gc).expect(4);
        assert!(ran.stderr.contains("blobs.json") && ran.stderr.contains("config.json"), "{ran:?}");
    }
    assert_eq!(places[0].keys("blobs"), blobs);
    places[0].write("config.json", &own);
    places[0].from(&gc).expect(0);
    places[0].from(&gc).expect(0);
    assert_eq!(places[0].keys("blobs"), blobs);
    places[0].from(&["verify", OF, "--identity", &key]).expect(0);
}

/// What can be seen not to be whole is not relied on.
#[test]
fn a_push_sends_again_what_was_cut() {
    for (encrypted, compression, suffix) in [(false, "zstd", ".zst"), (true, "none", ".age")] {
        let stage = Stage::new(Place::directory(), compression, encrypted);
        let files = stage.files();
        let key =
            files.keys().filter(|key| key.ends_with(suffix)).max_by_key(|key| stage.place.read(key).len()).unwrap();
        let whole = stage.place.read(key);
        stage.place.write(key, &whole[..whole.len() / 4]);
        stage.source.append(5);
        stage.source.create();
        stage.push(&[]).expect(0);
        let there = stage.place.read(key).len();
        assert!(there.abs_diff(whole.len()) < 1024, "{key}: {there} of {} bytes", whole.len());
        stage.from(&["verify", OF, "latest"]).expect(0);
        stage.whole(suffix);
    }
}

/// Each object of a snapshot, changed in each way.
#[test]
fn manifests_changed_cut_exchanged_and_missing() {
    for stage in [Stage::new(Place::directory(), "zstd", false), Stage::new(Place::directory(), "none", true)] {
        stage.source.append(30);
        let newer = stage.source.create();
        stage.push(&[]).expect(0);
        let object = |id: &str, name: &str| format!("snapshots/{OF}/{id}/{name}");
        for name in ["manifest.json", "manifest.b3", "record.json", "blobs.json"] {
            let key = object(&stage.id, name);
            let bytes = stage.place.read(&key);
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            let mut first = bytes.clone();
            first[0] ^= 8;
            let cases = [
                ("flipped", Some(flipped)),
                ("flipped at the beginning", Some(first)),
                ("cut", Some(bytes[..bytes.len() - 7].to_vec())),
                ("empty", Some(Vec::new())),
                ("not text", Some(vec![0xff; 300])),
                ("of another snapshot", Some(stage.place.read(&object(&newer, name)))),
                ("missing", None),
            ];
            for (case, changed) in cases {
                let told = format!("{name} {case}");
                match &changed {
                    Some(changed) => stage.place.write(&key, changed),
                    None => stage.place.remove(&key),
                }
                let is_hint = ["record.json", "blobs.json"].contains(&name);
                let unpublished = name == "manifest.b3" && changed.is_none();
                let verified = stage.from(&["verify", OF, &stage.id, "--json"]);
                let listed = stage.from(&["list", "--json"]).expect(0).json();
                let target = stage.source.path("refused");
                let restored = stage.from(&["restore", OF, &stage.id, "--to", target.to_str().unwrap(), "--json"]);
                assert_eq!(listed.as_array().unwrap().len(), if unpublished { 1 } else { 2 }, "{told}");
                if is_hint {
                    // Nothing depends on these.
                    verified.expect(0);
                    restored.expect(0);
                    std::fs::remove_dir_all(&target).unwrap();
                    stage.from(&["verify", OF, &stage.id, "--level", "quick"]).expect(0);
                } else if unpublished {
                    verified.expect(10);
                    restored.expect(10);
                } else {
                    let report = verified.expect(4).json();
                    let named = report["damage"][0]["path"].as_str().unwrap();
                    assert!(["manifest.json", "manifest.b3"].contains(&named), "{told}: {report}");
                    let error = restored.expect(4).json()["error"].clone();
                    assert!(error["hint"].is_string() && error["damage"][0]["path"] == named, "{told}: {error}");
                    assert!(!target.exists(), "{told}");
                    let before = stage.place.keys("blobs");
                    // Nobody knows what it needs: either that is told, or no blob goes.
                    for _ in 0..2 {
                        let ran = stage.from(&["gc", "--grace", "0s"]);
                        assert!(ran.code == 4 || (ran.code == 0 && name == "manifest.json"), "{told}: {ran:?}");
                    }
                    assert_eq!(stage.place.keys("blobs"), before, "{told}");
                }
                assert_eq!(
                    names(target.parent().unwrap()).iter().filter(|n| n.contains("refused")).count(),
                    0,
                    "{told}"
                );
                // The other one is as it was, and a machine that has this one mends it.
                stage.from(&["verify", OF, &newer]).expect(0);
                let pushed = stage.push(&[&stage.id, "--again"]);
                assert_eq!(pushed.code, 0, "{told}: {pushed:?}");
                assert_eq!(stage.from(&["verify", OF, &stage.id, "--json"]).expect(0).json()["ok"], true, "{told}");
                stage.from(&["verify", OF, &stage.id, "--level", "quick"]).expect(0);
                assert_eq!(stage.from(&["list", "--json"]).expect(0).json().as_array().unwrap().len(), 2, "{told}");
            }
        }
        stage.whole("all was mended");
    }
}

/// What holds for all of a place.
#[test]
fn a_configuration_that_is_broken_newer_or_missing() {
    let stage = Stage::new(Place::directory(), "zstd", false);
    let good: Value = serde_json::from_slice(&stage.place.read("config.json")).unwrap();
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed.to_string().into_bytes()
    };
    let cases: [(Option<Vec<u8>>, i32, &str); 8] = [
        (Some(b"{".to_vec()), 4, "config.json"),
        (Some(Vec::new()), 4, "config.json"),
        (Some(b"\xff\xfe".to_vec()), 4, "config.json"),
        (Some(with("format", "something".into())), 4, "config.json"),
        (Some(with("version", 2.into())), 2, "newer"),
        (Some(with("compression", "brotli".into())), 4, "config.json"),
        (
            Some(with("encryption", serde_json::json!({"scheme": "gpg", "recipients": ["x"], "id_key": "y"}))),
            2,
            "newer",
        ),
        (None, 10, "push"),
    ];
    let before = stage.place.keys("");
    for (changed, code, word) in cases {
        match &changed {
            Some(changed) => stage.place.write("config.json", changed),
            None => stage.place.remove("config.json"),
        }
        let target = stage.source.path("refused");
        for args in
            [&["list"][..], &["restore", OF, "latest", "--to", target.to_str().unwrap()], &["gc"], &["verify", OF]]
        {
            let ran = stage.from(args).expect(code);
            assert!(ran.stderr.contains(word), "{ran:?}");
            assert!(!target.exists());
        }
        let pushed = stage.push(&[]);
        assert_eq!(pushed.code, if changed.is_some() { code } else { 2 }, "{pushed:?}");
        stage.place.write("config.json", good.to_string().as_bytes());
        assert_eq!(stage.place.keys(""), before, "nothing was written");
    }
    stage.whole("all is as it was");
}

/// A few bytes that become many, and ones that need a lot of memory.
#[test]
fn blobs_that_explode() {
    let stage = Stage::new(Place::directory(), "zstd", false);
    let files = stage.files();
    let key = files.keys().find(|key| key.ends_with(".zst")).unwrap();
    let bomb = |window: u32, zeros: u64| {
        let mut packer = zstd::Encoder::new(Vec::new(), 19).unwrap();
        packer.window_log(window).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), zeros), &mut packer).unwrap();
        packer.finish().unwrap()
    };
    for (bomb, told) in [(bomb(20, 4 << 30), "4 GiB of zeros"), (bomb(27, 200 << 20), "a window of 128 MiB")] {
        assert!(bomb.len() < 1 << 20);
        stage.place.write(key, &bomb);
        let begun = std::time::Instant::now();
        stage.refuses(&files[key], told);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{told}: {:?}", begun.elapsed());
    }
    stage.push(&["--again"]).expect(0);
    stage.whole("pushed again");
}

/// Names that nobody of us makes.
#[test]
fn strange_names_in_a_place() {
    for place in Place::each("damage-names") {
        let stage = Stage::new(place, "zstd", false);
        let strange = [
            "snapshots/web-1/orders-0/snapshot-1/manifest.b3/x",
            "snapshots/web-1/orders-0/latest/manifest.b3",
            "snapshots/web-1/manifest.b3",
            "snapshots/.hidden/orders-0/snapshot-1/manifest.b3",
            "snapshots/a b/orders-0/snapshot-1/manifest.b3",
            "snapshots/ümlaut/orders-0/snapshot-1/manifest.b3",
            "snapshots/%2e%2e/orders-0/snapshot-1/manifest.b3",
            "blobs/zz/stranger",
            "blobs/00/0000000000000000000000000000000000000000000000000000000000000000.gz",
            "blobs/stranger",
            "stranger/x",
            "pushes/stranger/x",
            "pushes/README.txt",
            "gc/stranger",
            "gc/mark-stranger.json",
        ];
        let before = stage.from(&["list", "--json"]).expect(0).stdout;
        for key in strange {
            stage.place.write(key, b"something");
        }
        assert_eq!(stage.from(&["list", "--json"]).expect(0).stdout, before);
        stage.whole("beside strangers");
        // What is announced or marked under a name of ours nobody can read: no blob may go, and it is said how to go on.
        for ours in ["pushes/web-1/orders-0/snapshot-17-0a1b.json", "gc/mark-0a1b.json"] {
            stage.place.write(ours, b"something");
            let error = stage.from(&["gc", "--grace", "0s", "--json"]).expect(4).json()["error"].clone();
            assert!(error["hint"].is_string() && error.to_string().contains(ours), "{error}");
            stage.place.remove(ours);
        }
        stage.push(&[]).expect(0);
        stage.from(&["gc", "--grace", "0s"]).expect(0);
        stage.from(&["gc", "--grace", "0s"]).expect(0);
        stage.whole("after a gc");
        for key in strange {
            assert_eq!(stage.place.read(key), b"something", "{key} was not ours to remove");
        }
        // What cannot be printed is not.
        stage.place.write("snapshots/e\u{1b}[31mvil/orders-0/snapshot-1/manifest.b3", b"something");
        let ran = stage.from(&["list"]);
        assert!(!ran.said().contains('\u{1b}'), "{ran:?}");
        assert!(ran.code == 0 || ran.stderr.contains("vil"), "{ran:?}");
    }
}
