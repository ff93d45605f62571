//! Encrypted places: who reads them, and what they tell to others.

use std::io::Read;

use crate::server::Place;
use crate::stage::{Source, assert_same, run};

/// Makes an identity file by the command that does; gives its path and the recipient.
pub fn keygen(source: &Source, name: &str) -> (String, String) {
    let file = source.path(name).to_str().unwrap().to_owned();
    let ran = run(Place::nowhere().args(["keygen", &file, "-q"])).expect(0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    (file, ran.stdout.trim().to_owned())
}

/// As the age tool does it, with one key alone.
fn opened(sealed: &[u8], key_file: &str) -> Vec<u8> {
    let identities = age::IdentityFile::from_file(key_file.to_owned()).unwrap().into_identities().unwrap();
    let opened = age::Decryptor::new(age::armor::ArmoredReader::new(sealed)).unwrap();
    let mut out = Vec::new();
    opened.decrypt(identities.iter().map(|i| i.as_ref() as _)).unwrap().read_to_end(&mut out).unwrap();
    out
}

#[test]
fn two_recipients_read_it_and_nobody_else_learns_anything() {
    for (place, compression) in Place::each("keys-two").into_iter().zip(["none", "zstd"]) {
        let source = Source::fixture("compacted-clean");
        let id = source.create();
        let keys = ["one.key", "two.key", "other.key"].map(|name| keygen(&source, name));
        let recipients = ["--recipient", &keys[0].1, "--recipient", &keys[1].1];
        let with = |n: usize| ["--identity", keys[n].0.as_str()];
        let push = [&["--compression", compression], &recipients[..], &with(0)].concat();
        place.push("web-1", &source, &push).expect(0);
        let again = place.push("web-1", &source, &with(1)).expect(0).json();
        assert_eq!(again["pushed"][0]["was_there"], true);

        // Names and bytes tell nothing: neither digests of files nor their paths.
        let digests = source.digests(&id);
        let everything: Vec<(String, Vec<u8>)> =
            place.keys("").into_iter().map(|key| (key.clone(), place.read(&key))).collect();
        for (key, bytes) in &everything {
            let has = |needle: &[u8]| {
                bytes.windows(needle.len()).any(|w| w == needle) || key.contains(std::str::from_utf8(needle).unwrap())
            };
            assert!(!digests.values().any(|digest| has(digest.as_bytes())), "{key} tells a digest");
            for word in ["rolling-0", "consumer_offsets", "00000000000000000000.log", source.dir.to_str().unwrap()] {
                assert!(!has(word.as_bytes()), "{key} tells {word}");
            }
            let plain = ["config.json"].contains(&key.as_str()) || key.starts_with("gc/") || key.starts_with("pushes/");
            assert!(plain || bytes.starts_with(b"age-encryption.org/v1\n"), "{key} is no age file");
        }

        // Each key alone opens each blob, to a file of the snapshot.
        let digest_of = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        let known: std::collections::BTreeSet<&String> = digests.values().collect();
        let blobs: Vec<_> = everything.iter().filter(|(key, _)| key.starts_with("blobs/")).collect();
        assert_eq!(blobs.len(), known.len());
        assert!(compression == "none" || blobs.iter().any(|(key, _)| key.ends_with(".zst.age")));
        for (key, sealed) in blobs {
            for (file, _) in &keys[..2] {
                let mut bytes = opened(sealed, file);
                if key.ends_with(".zst.age") {
                    bytes = zstd::decode_all(&bytes[..]).unwrap();
                }
                assert!(known.contains(&digest_of(&bytes)), "{key}");
            }
        }

        let (here, there) = (source.path("here"), source.path("there"));
        source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
        let restore = ["restore", "compacted-clean", "latest", "--to", there.to_str().unwrap()];
        place.from(&[&restore[..], &with(1)].concat()).expect(0);
        assert_same(&here, &there, "by the second key");
        place.from(&[&["verify", "compacted-clean"], &with(0)[..]].concat()).expect(0);

        // Without a key, and with another one.
        let ran = place.from(&["list"]).expect(2);
        assert!(ran.stderr.contains("--identity") && ran.stderr.contains(&keys[0].1), "{ran:?}");
        let refused = source.path("refused");
        let restore = ["restore", "compacted-clean", "latest", "--to", refused.to_str().unwrap()];
        let ran = place.from(&[&restore[..], &with(2)].concat()).expect(2);
        assert!(ran.stderr.contains("--identity") && !refused.exists(), "{ran:?}");
        // To whom it is encrypted was said when it was made.
        let ran = place.push("web-1", &source, &[&["--recipient", &keys[2].1], &with(0)[..]].concat()).expect(2);
        assert!(ran.json()["error"]["message"].as_str().unwrap().contains("stays as it was made"), "{ran:?}");
    }
}

#[test]
fn what_is_no_key_is_refused_and_not_shown() {
    let source = Source::native(20);
    source.create();
    let (key, recipient) = keygen(&source, "a.key");
    run(Place::nowhere().args(["keygen", &key])).expect(1);
    let place = Place::directory();
    let secret = std::fs::read_to_string(&key).unwrap().lines().last().unwrap().to_owned();
    // The secret key in the recipient's place: it may be told that this is none, but not what it was.
    let ran = place.push("web-1", &source, &["--recipient", &secret, "--identity", &key]);
    assert_eq!(ran.code, 2, "{ran:?}");
    // A place is made for whoever can read it.
    let ran = place.push("web-1", &source, &["--recipient", &recipient]);
    assert_eq!(ran.code, 2, "{ran:?}");
    std::fs::write(source.path("broken.key"), &secret[..40]).unwrap();
    let ran = place.push("web-1", &source, &["--identity", source.path("broken.key").to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let url = "s3://user:the-secret-of-the-access-key@bucket/x";
    let ran = run(Place::nowhere().args(["list", "--from", url])).expect(2);
    assert!(ran.stderr.contains("credentials"), "{ran:?}");
}
