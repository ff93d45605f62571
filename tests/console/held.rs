//! Bytes that only snapshots keep alive are counted beside: of whom, how often, and by whom not for longer than it is there.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cowlog::console::{Options, Server, Tokens};
use cowlog::fs::Clock;
use cowlog::schedule::{Config, Scheduler};
use cowlog::{SnapshotConfig, SnapshotManager};

use crate::metrics::{scrape, value};
use crate::served::{ADMIN, Place, READ, Served};

fn held(served: &Served, source: &str) -> Option<f64> {
    value(&scrape(served), "cowlog_snapshot_bytes", &[("source", source), ("kind", "held")])
}

/// Each scrape has it counted for the next.
fn until(served: &Served, source: &str, is: impl Fn(f64) -> bool) -> f64 {
    let began = Instant::now();
    loop {
        match held(served, source) {
            Some(bytes) if is(bytes) => return bytes,
            bytes => assert!(began.elapsed() < Duration::from_secs(30), "{source}: {bytes:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_only_the_snapshots_keep_alive_is_counted_beside() {
    let place = Place::new();
    let log = place.path("kept");
    place.append("kept", 50);
    place.configure("", &[("kept", "")]);
    let served = place.serve();
    let space = || SnapshotManager::open(&log).unwrap().space().unwrap().held.most as f64;
    let oldest = served.create("kept");
    let first = until(&served, "kept", |_| true);
    assert_eq!(first, space());
    place.append("kept", 50);
    served.create("kept");
    // What each snapshot has copied, no other holds.
    let second = until(&served, "kept", |bytes| bytes != first);
    assert!(second > first);
    assert_eq!(second, space());
    // Not only the latest counts.
    served.ask("DELETE", &format!("/api/snapshots/kept~{oldest}"), ADMIN, &[], None).expect(200);
    let third = until(&served, "kept", |bytes| bytes != second);
    assert!(third < second);
    assert_eq!(third, space());
}

/// What is counted of a part that is a source of its own is not counted of the whole.
#[test]
fn the_snapshots_of_a_part_are_that_ones() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    place.append("data/orders-0", 50);
    let topic = format!("path = {:?}\ntopic = \"orders\"", place.path("data"));
    place.configure("", &[("data", ""), ("orders", &topic)]);
    let served = place.serve();
    served.create("data");
    let whole = until(&served, "data", |bytes| bytes > 0.0);
    place.append("data/orders-0", 50);
    served.create("orders");
    let part = until(&served, "orders", |bytes| bytes > 0.0);
    assert_eq!(held(&served, "data"), Some(whole));
    let both = SnapshotManager::open(place.path("data")).unwrap().space().unwrap().held.most as f64;
    assert!(whole + part >= both && whole < both, "{whole} and {part} of {both}");
}

#[test]
fn what_cannot_be_counted_is_told_once() {
    let place = Place::new();
    place.append("good", 20);
    place.append("bad", 20);
    let elsewhere = format!("store = {:?}", place.path("elsewhere"));
    place.configure("", &[("good", ""), ("bad", &elsewhere)]);
    let served = place.serve();
    served.create("bad");
    until(&served, "bad", |_| true);
    // No source any more, and its store is there.
    std::fs::remove_dir_all(place.path("bad")).unwrap();
    std::fs::write(place.path("bad"), "").unwrap();
    for _ in 0..4 {
        let before = held(&served, "good").unwrap_or_default();
        place.append("good", 20);
        served.create("good");
        until(&served, "good", |bytes| bytes > before);
    }
    assert_eq!(held(&served, "bad"), None);
    let told = served.log().lines().filter(|line| line.contains("could not be counted")).count();
    assert_eq!(told, 1, "{}", served.log());
}

/// However long a count takes: where a server has ended another one may begin.
#[test]
fn a_count_has_nothing_of_a_server_that_has_ended() {
    let place = Place::new();
    place.append("orders-0", 20);
    let file = place.configure("listen = \"127.0.0.1:0\"", &[("orders-0", "")]);
    let config = || Config::read(&file).unwrap();
    // Whoever counts hangs where it asks for the time.
    let hangs = Arc::new(Mutex::new(false));
    let counting = hangs.clone();
    let (gate, held) = (Arc::new(Mutex::new(())), Clock::default());
    let closed = gate.clone();
    let clock = Clock::new(move || {
        if std::thread::current().name() == Some("cowlog-held") {
            *counting.lock().unwrap() = true;
            drop(closed.lock().unwrap());
        }
        held.now()
    });
    let shut = gate.lock().unwrap();
    let base = SnapshotConfig { clock, ..SnapshotConfig::default() };
    let server = Server::start(config(), base, Options { tokens: Some(Tokens::one(READ)), demo: false }).unwrap();
    let url = format!("http://{}/metrics", server.address());
    let scraped = ureq::get(&url).header("Authorization", format!("Bearer {READ}")).call().unwrap();
    assert_eq!(scraped.status(), 200);
    let began = Instant::now();
    while !*hangs.lock().unwrap() {
        assert!(began.elapsed() < Duration::from_secs(10), "nobody counts");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(server.stop());
    Scheduler::new(config(), SnapshotConfig::default(), |_| {}).expect("the state directory is free");
    drop(shut);
}
