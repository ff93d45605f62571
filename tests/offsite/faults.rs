//! Servers and networks that fail: what is tried again, what is refused, and that nothing is ever published that is not whole.
//! `COWLOG_OFFSITE_ROUNDS` says how many rounds of a random mix there are, 4 if not set.

use std::path::Path;
use std::time::{Duration, Instant};

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};

use crate::proxy::{Fault, Proxy, Request};
use crate::server::Place;
use crate::stage::{Ran, Source, assert_same, names, run};
use crate::support::{Random, env_number};

const OF: &str = "web-1/orders-0";

/// A log with one segment that is sent in parts, and some small ones.
fn source_with_a_large_segment() -> Source {
    let source = Source::native(40);
    let mut log = Log::open_with(&source.dir, LogConfig { segment_bytes: 64 << 20, ..LogConfig::default() }).unwrap();
    log.roll().unwrap();
    let mut random = Random::seeded(7);
    for _ in 0..20 {
        // It does not shrink.
        let value: Vec<u8> = (0..(1 << 20) / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        log.append(BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()).unwrap();
    }
    log.close().unwrap();
    source.append(20);
    source
}

/// Runs of the binary by way of a proxy.
struct By<'a> {
    place: &'a Place,
    proxy: Proxy,
}

impl<'a> By<'a> {
    fn new(place: &'a Place, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> By<'a> {
        By { place, proxy: Proxy::start(place.endpoint.as_ref().unwrap(), plan) }
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        run(self.place.cowlog().args(args).env("COWLOG_ENDPOINT", &self.proxy.endpoint))
    }

    #[track_caller]
    fn push(&self, source: &Source, args: &[&str]) -> Ran {
        let push = ["push", source.dir.to_str().unwrap(), "--to", &self.place.url, "--host", "web-1", "--json"];
        self.run(&[&push, args].concat())
    }

    #[track_caller]
    fn restore(&self, to: &Path, args: &[&str]) -> Ran {
        let restore = ["restore", OF, "latest", "--from", &self.place.url, "--to", to.to_str().unwrap()];
        self.run(&[&restore, args].concat())
    }

    fn faults(&self) -> usize {
        self.proxy.seen().iter().filter(|(_, fault)| *fault != Fault::No).count()
    }
}

/// What is listed is whole, seen without the proxy.
#[track_caller]
fn all_whole(place: &Place, told: &str) -> usize {
    let listed = place.from(&["list", "--json"]);
    if listed.code == 10 {
        return 0;
    }
    let listed = listed.expect(0).json();
    for snapshot in listed.as_array().unwrap() {
        let (of, id) = (snapshot["of"].as_str().unwrap(), snapshot["id"].as_str().unwrap());
        let report = place.from(&["verify", of, id, "--json"]);
        assert_eq!(report.code, 0, "{told}: {report:?}");
    }
    listed.as_array().unwrap().len()
}

/// Each request fails once, in this way; the next try of it does not.
fn once(fault: Fault) -> impl Fn(&Request) -> Fault {
    let matters = move |r: &Request| fault != Fault::WrongETag || !r.target.contains("partNumber");
    move |request| if request.before == 0 && matters(request) { fault } else { Fault::No }
}

#[test]
fn what_passes_is_tried_again() {
    let kinds = [
        ("error", Fault::Status(500)),
        ("slow-down", Fault::Status(503)),
        ("reset", Fault::Reset),
        ("no-answer", Fault::NoAnswer),
        ("half-answer", Fault::HalfAnswer),
        ("half-request", Fault::HalfRequest),
        ("late", Fault::Late(150)),
        // Those of parts are what an upload is put together by.
        ("etag", Fault::WrongETag),
    ];
    let source = source_with_a_large_segment();
    source.create();
    let here = source.path("here");
    source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
    std::thread::scope(|scope| {
        for (name, fault) in kinds {
            let (source, here) = (&source, &here);
            scope.spawn(move || {
                let Some(place) = Place::s3(&format!("faults-once-{name}")) else { return };
                let by = By::new(&place, once(fault));
                by.push(source, &["--retry", "30s"]).expect(0);
                assert!(by.faults() > 20, "{name}: {}", by.faults());
                let seen = by.proxy.seen();
                assert!(seen.iter().any(|(r, _)| r.target.contains("partNumber")), "{name}: nothing was sent in parts");
                assert_eq!(all_whole(&place, name), 1);
                assert_eq!(place.keys("pushes"), [""; 0], "{name}");
                let by = By::new(&place, once(fault));
                let there = source.path(name);
                by.restore(&there, &["--retry", "30s"]).expect(0);
                assert_same(here, &there, name);
                assert!(by.faults() > 10, "{name}: {}", by.faults());
            });
        }
    });
}

/// As long as something comes it goes on, however much longer that takes than anything is tried again.
#[test]
fn a_large_blob_that_comes_slowly_and_in_pieces() {
    let Some(place) = Place::s3("faults-pieces") else { return };
    let source = source_with_a_large_segment();
    source.create();
    let here = source.path("here");
    source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
    place.push("web-1", &source, &[]).expect(0);
    let by = By::new(&place, |request| match request.method == "GET" && request.target.contains("/blobs/") {
        true => Fault::Piece(2 << 20, 200),
        false => Fault::No,
    });
    let there = source.path("there");
    let begun = Instant::now();
    by.restore(&there, &["--retry", "1s"]).expect(0);
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_same(&here, &there, "in pieces");
}

/// Until then nothing is published; afterwards only what is missing is sent.
#[test]
fn a_server_that_does_not_come_back() {
    let Some(place) = Place::s3("faults-down") else { return };
    let source = Source::native(100);
    source.create();
    for (fault, allowed) in
        [(Fault::Status(500), 4), (Fault::Reset, 30), (Fault::Status(403), 50), (Fault::NoAnswer, 70)]
    {
        // It works for a while, and then does not any more.
        let puts = std::sync::atomic::AtomicUsize::new(0);
        let by = By::new(&place, move |r| {
            let nth = puts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let publishes = r.method == "PUT" && r.target.contains("/manifest");
            if nth < allowed && !publishes { Fault::No } else { fault }
        });
        let begun = Instant::now();
        let ran = by.push(&source, &["--retry", "1s", "--jobs", "4"]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{fault:?}: {:?}", begun.elapsed());
        let error = ran.expect(1).json()["error"].clone();
        assert!(error["path"].as_str().unwrap().starts_with("s3://faults-down"), "{error}");
        assert_eq!(all_whole(&place, "nothing is published"), 0, "{fault:?}");
    }
    let sent = place.keys("blobs").len();
    assert!(sent > 0, "some had arrived");
    let pushed = place.push("web-1", &source, &[]).expect(0).json()["pushed"][0].clone();
    assert_eq!(pushed["blobs_there"], sent, "what has arrived is not sent again: {pushed}");
    assert_eq!(all_whole(&place, "pushed"), 1);
    // The way back, which breaks off behind some answers and does not come back.
    for fault in [Fault::Status(503), Fault::Reset, Fault::HalfAnswer] {
        let by =
            By::new(&place, move |r| if r.target.contains("/blobs/") && r.method == "GET" { fault } else { Fault::No });
        let target = source.path("refused");
        let before = names(target.parent().unwrap());
        let ran = by.restore(&target, &["--retry", "1s"]).expect(1);
        assert!(ran.stderr.contains("s3://faults-down"), "{ran:?}");
        let pull = ["pull", OF, "--from", &place.url, "--store", target.to_str().unwrap(), "--retry", "1s"];
        by.run(&pull).expect(1);
        assert_eq!(names(target.parent().unwrap()), before, "{fault:?} left something");
    }
}

/// Which requests.
type Which = fn(&Request) -> bool;

/// What a server says that it has, and has not.
#[test]
fn what_is_acknowledged_and_forgotten_is_not_published() {
    let forget: [(&str, Fault, Which); 5] = [
        ("blob", Fault::Forgotten, |r| {
            r.method == "PUT" && r.target.contains("/blobs/") && !r.target.contains("partNumber")
        }),
        ("manifest", Fault::Forgotten, |r| r.method == "PUT" && r.target.ends_with("/manifest.json")),
        ("commit", Fault::Forgotten, |r| r.method == "PUT" && r.target.ends_with("/manifest.b3")),
        ("part", Fault::Forgotten, |r| r.method == "PUT" && r.target.contains("partNumber")),
        ("part-etag", Fault::WrongETag, |r| r.target.contains("partNumber")),
    ];
    let source = source_with_a_large_segment();
    source.create();
    for (what, fault, which) in forget {
        let Some(place) = Place::s3(&format!("faults-forget-{what}")) else { return };
        let by = By::new(&place, move |r| if which(r) { fault } else { Fault::No });
        let ran = by.push(&source, &["--retry", "2s"]);
        assert!([1, 4].contains(&ran.code), "{what}: {ran:?}");
        assert!(by.faults() > 0);
        let error = ran.json()["error"].clone();
        assert!(what.starts_with("part") || error["hint"].is_string(), "{what}: {error}");
        assert_eq!(all_whole(&place, what), 0, "{what}");
        place.push("web-1", &source, &[]).expect(0);
        assert_eq!(all_whole(&place, what), 1, "{what}");
    }
}

/// Bytes that change on the way.
#[test]
fn bytes_that_change_on_the_way() {
    let Some(place) = Place::s3("faults-changed") else { return };
    let source = source_with_a_large_segment();
    source.create();
    let by = By::new(&place, |r| {
        if r.method == "PUT" && r.target.contains("/blobs/") { Fault::ChangedRequest } else { Fault::No }
    });
    let ran = by.push(&source, &["--retry", "2s"]);
    assert!(ran.code == 1 || ran.code == 4, "{ran:?}");
    assert_eq!(all_whole(&place, "changed when they were sent"), 0);
    place.push("web-1", &source, &[]).expect(0);
    assert_eq!(all_whole(&place, "pushed"), 1);
    for what in ["/blobs/", "/manifest.json", "/manifest.b3"] {
        let by = By::new(&place, move |r| {
            if r.method == "GET" && r.target.contains(what) { Fault::ChangedAnswer } else { Fault::No }
        });
        let target = source.path("refused");
        let before = names(target.parent().unwrap());
        by.restore(&target, &["--retry", "2s"]).expect(4);
        assert_eq!(names(target.parent().unwrap()), before, "{what}");
    }
}

/// Any mix of it, again and again, for every verb.
#[test]
fn a_bad_day() {
    let mut random = Random::new("a bad day");
    let Some(place) = Place::s3("faults-mixed") else { return };
    let source = Source::native(60);
    let mut published = 0;
    let (mut ended, mut faults) = (std::collections::BTreeMap::<(&str, i32), u32>::new(), 0);
    for round in 0..env_number("COWLOG_OFFSITE_ROUNDS", 4) {
        source.append(20);
        source.create();
        let (seed, often) = (random.next(), random.between(5, 40));
        let mixed = std::sync::Mutex::new(Random::seeded(seed));
        let plan = move |_: &Request| {
            let mut random = mixed.lock().unwrap();
            if random.below(100) >= often {
                return Fault::No;
            }
            match random.below(11) {
                0 => Fault::Status(500),
                1 => Fault::Status(503),
                2 => Fault::Status(403),
                3 => Fault::Reset,
                4 => Fault::NoAnswer,
                5 => Fault::HalfAnswer,
                6 => Fault::HalfRequest,
                7 => Fault::ChangedRequest,
                8 => Fault::ChangedAnswer,
                9 => Fault::Forgotten,
                _ => Fault::Late(random.below(50)),
            }
        };
        let by = By::new(&place, plan);
        let (target, store) = (source.path("there"), source.path("pulled.snapshots"));
        let store = store.to_str().unwrap().to_owned();
        for verb in ["push", "push", "restore", "pull", "verify", "gc", "prune"] {
            let told = format!("round {round}, {verb}, {often} % of its requests");
            let ran = match verb {
                "push" => by.push(&source, &["--all-new", "--retry", "2s"]),
                "restore" => by.restore(&target, &["--retry", "2s"]),
                "pull" => by.run(&["pull", OF, "--from", &place.url, "--store", &store, "--retry", "2s"]),
                "prune" => by.run(&["prune", OF, "--from", &place.url, "--max-snapshots", "2", "--retry", "2s"]),
                verb => by.run(
                    &[verb, "--from", &place.url, "--retry", "2s"]
                        .into_iter()
                        .chain((verb == "verify").then_some(OF))
                        .collect::<Vec<_>>(),
                ),
            };
            assert!([0, 1, 2, 3, 4, 10].contains(&ran.code), "{told}: {ran:?}");
            *ended.entry((verb, ran.code)).or_default() += 1;
            let whole = all_whole(&place, &told);
            assert!(verb == "prune" || whole >= published, "{told}: {whole} of {published} are there");
            published = whole;
            if verb == "restore" && ran.code == 0 {
                place.from(&["restore", OF, "latest", "--to", source.path("direct").to_str().unwrap()]).expect(0);
                assert_same(&source.path("direct"), &target, &told);
                std::fs::remove_dir_all(source.path("direct")).unwrap();
            }
            assert_eq!(target.exists(), verb == "restore" && ran.code == 0, "{told}");
            if target.exists() {
                std::fs::remove_dir_all(&target).unwrap();
            }
        }
        faults += by.faults();
        if Path::new(&store).exists() {
            run(Place::nowhere().arg("verify").arg(&source.dir).args(["--all", "--store", &store])).expect(0);
            std::fs::remove_dir_all(&store).unwrap();
        }
        let strays: Vec<String> =
            names(source.dir.parent().unwrap()).into_iter().filter(|name| name != source.name()).collect();
        assert_eq!(strays, [""; 0], "round {round}");
    }
    place.push("web-1", &source, &["--all-new"]).expect(0);
    assert!(all_whole(&place, "a good day") > 0);
    eprintln!("{faults} faults: {ended:?}");
    assert!(faults > 50, "{faults}");
}
