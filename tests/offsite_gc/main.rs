//! `gc` of one machine beside pushes, prunes and another `gc` of others, interleaved request by request.
//!
//! Every request of every actor waits for its turn. All orders with few changes between two actors are tried, and seeded
//! random ones with many, among up to four. Time passes only where an actor waits; then it passes for all, and a request
//! that removes something never takes longer than such a wait, which is what its time limit makes sure of in reality.
//!
//! `COWLOG_TURNS` is how many random orders a case gets; 50.

mod store;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use cowlog::fs::Clock;
use cowlog::offsite::{
    Compression, GcOptions, PushOptions, Remote, RemoteLevel, RemoteOptions, SourceName, Timing, Watch,
};
use cowlog::snapshot::SnapshotInfo;
use cowlog::{BatchBuilder, Log, LogConfig, SnapshotConfig, SnapshotManager};
use store::{Client, Server};
use tempfile::TempDir;
use turns::{Turns, Want};

const GRACE: Duration = Duration::from_secs(24 * 3600);

/// A log with two snapshots that share a sealed segment.
struct Source {
    _dir: TempDir,
    manager: SnapshotManager,
    first: String,
    second: String,
}

fn source() -> Source {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders");
    let config = LogConfig { segment_bytes: 300, ..LogConfig::default() };
    let mut log = Log::open_with(&path, config).unwrap();
    let manager =
        SnapshotManager::open_with(&path, SnapshotConfig { min_interval: Duration::ZERO, ..Default::default() });
    let manager = manager.unwrap();
    let mut take = |value: &str| {
        for n in 0..3 {
            let value = format!("{value} {n} {}", "x".repeat(150));
            log.append(BatchBuilder::new().record(1_735_998_123_000, None, Some(value.as_bytes())).build().unwrap())
                .unwrap();
        }
        log.flush().unwrap();
        manager.create().run().unwrap().snapshot.id
    };
    let (first, second) = (take("one"), take("two"));
    Source { _dir: dir, manager, first, second }
}

fn remote(server: &Arc<Server>, turns: Option<(usize, Arc<Turns>)>) -> Remote {
    remote_that(server, turns, None)
}

fn remote_that(server: &Arc<Server>, turns: Option<(usize, Arc<Turns>)>, stands_still: Option<Duration>) -> Remote {
    let elapsed = server.clone();
    let (waiting, waits) = (server.clone(), turns.clone());
    let wait = move |long: Duration| {
        if let Some((actor, turns)) = &waits {
            turns.turn(*actor, Want::Wait);
        }
        // The watch asks for a moment at a time; all of it passes at once.
        waiting.pass(long.max(Duration::from_secs(600)));
    };
    let watch = Watch::new(move || elapsed.now(), wait);
    let now = server.clone();
    let options = RemoteOptions {
        jobs: 1,
        clock: Clock::new(move || i64::try_from(now.now().as_millis()).unwrap()),
        timing: Timing { watch, ..Timing::default() },
        ..RemoteOptions::default()
    };
    let client = Arc::new(Client { server: server.clone(), turns, stands_still });
    Remote::over(client, "memory", Compression::None, None, options).unwrap()
}

/// A machine may sleep, or a process be stopped, between two removals: what is needed by now must stay.
#[test]
fn a_sweep_that_stands_still_removes_nothing_more() {
    let source = source();
    let server = prepare(Before::Due, &source);
    let alone = remote(&server, None);
    let blobs = || remote(&server.fork(), None).gc(&GcOptions { grace: GRACE, dry_run: true }).unwrap().blobs;
    let before = blobs();
    assert!(before > 3, "{before}");
    let sleepy = remote_that(&server, None, Some(Duration::from_secs(600)));
    let done = sleepy.gc(&GcOptions { grace: GRACE, dry_run: false }).unwrap();
    assert_eq!((done.removed, done.kept, blobs()), (1, 0, before - 1));
    act(Deed::PushFirst("a"), &source, &alone);
    assert!(alone.verify("a/orders", "latest", RemoteLevel::Full).unwrap().ok);
}

fn name(host: &str) -> SourceName {
    SourceName::new(host, "orders").unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    /// The second snapshot, from this machine.
    Push(&'static str),
    /// The first one again, which was there and was pruned.
    PushFirst(&'static str),
    /// Removes the first snapshot, if it is there.
    Prune(&'static str),
    Gc,
    /// The first snapshot.
    Pin(&'static str),
    /// The first snapshot, whole, with a note that it was.
    Verify(&'static str),
}

fn act(deed: Deed, source: &Source, remote: &Remote) {
    let push = |id: &str, host: &str| {
        remote.push(&source.manager, id, &PushOptions { name: name(host), again: false, moved: false }).unwrap();
    };
    match deed {
        Deed::Push(host) => push(&source.second, host),
        Deed::PushFirst(host) => push(&source.first, host),
        Deed::Prune(host) => match remote.delete(&name(host).to_string(), &source.first, false) {
            Ok(_) => {}
            Err(e) => assert!(e.is_not_found(), "{e}"),
        },
        Deed::Pin(host) => drop(remote.set_pinned(&name(host).to_string(), &source.first, true).unwrap()),
        Deed::Verify(host) => {
            let report = remote.verify(&name(host).to_string(), &source.first, RemoteLevel::Full).unwrap();
            assert!(report.ok, "{report:?}");
        }
        Deed::Gc => drop(remote.gc(&GcOptions { grace: GRACE, dry_run: false }).unwrap()),
    }
}

/// What is there, before the actors begin.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// The first snapshot was pushed, pruned, and what it leaves was marked long ago.
    Due,
    /// The same, marked a moment ago.
    Marked,
    /// It is there.
    There,
    /// It is there, and what another one left was marked long ago.
    ThereAndDue,
}

fn prepare(before: Before, source: &Source) -> Arc<Server> {
    let server = Server::new();
    let alone = remote(&server, None);
    let host = if matches!(before, Before::ThereAndDue) { "old" } else { "a" };
    act(Deed::PushFirst(host), source, &alone);
    if !matches!(before, Before::There) {
        act(Deed::Prune(host), source, &alone);
        act(Deed::Gc, source, &alone);
    }
    if matches!(before, Before::Due | Before::ThereAndDue) {
        server.pass(GRACE + Duration::from_secs(3600));
    }
    if matches!(before, Before::ThereAndDue) {
        act(Deed::PushFirst("a"), source, &alone);
    }
    server
}

/// One order. Afterwards everything that is listed is whole, and what was pushed is listed. Returns the steps.
fn play(
    server: &Server,
    source: &Source,
    deeds: &[Deed],
    told: &str,
    choose: impl FnMut(usize, &[usize]) -> usize,
) -> usize {
    let server = server.fork();
    let turns = Arc::new(Turns::new(deeds.len()));
    let steps = std::thread::scope(|scope| {
        for (actor, deed) in deeds.iter().enumerate() {
            let (server, turns) = (&server, turns.clone());
            scope.spawn(move || {
                let ended = Ended(&turns, actor);
                act(*deed, source, &remote(server, Some((actor, turns.clone()))));
                drop(ended);
            });
        }
        turns.play(choose)
    });
    let alone = remote(&server, None);
    let listed = alone.list().unwrap();
    let noted = |deed: fn(&'static str) -> Deed, is: fn(&SnapshotInfo) -> bool| {
        assert!(!deeds.contains(&deed("a")) || listed.iter().all(|s| is(&s.info)), "{told}: {listed:?}");
    };
    noted(Deed::Pin, |info| info.pinned);
    noted(Deed::Verify, |info| info.verified.is_some());
    for snapshot in &listed {
        let report = alone.verify(&snapshot.of.to_string(), &snapshot.info.id, RemoteLevel::Full).unwrap();
        assert!(report.ok, "{told}: {} is damaged: {:?}", snapshot.info.id, report.damage);
    }
    for deed in deeds {
        let pushed = match deed {
            Deed::Push(host) => Some((host, &source.second)),
            Deed::PushFirst(host) if !deeds.contains(&Deed::Prune(host)) => Some((host, &source.first)),
            _ => None,
        };
        if let Some((host, id)) = pushed {
            assert!(
                listed.iter().any(|s| s.of == name(host) && s.info.id == *id),
                "{told}: {id} of {host} is not there"
            );
        }
    }
    // What nothing needs goes in the end, and nothing else.
    for _ in 0..3 {
        server.pass(GRACE + Duration::from_secs(8 * 24 * 3600));
        act(Deed::Gc, source, &alone);
    }
    for snapshot in &listed {
        let report = alone.verify(&snapshot.of.to_string(), &snapshot.info.id, RemoteLevel::Full).unwrap();
        assert!(report.ok, "{told}, after more gc: {:?}", report.damage);
    }
    let left = alone.gc(&GcOptions { grace: GRACE, dry_run: true }).unwrap();
    assert_eq!((left.removed, left.marked), (0, 0), "{told}: something is left");
    steps
}

struct Ended<'a>(&'a Turns, usize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// All orders in which the second of two actors begins when the first has made some requests, and is left for the first
/// after some of its own, and perhaps once more.
fn all_orders(before: Before, deeds: [Deed; 2]) {
    let source = source();
    let server = prepare(before, &source);
    let alone = |who: usize| {
        let first = |_: usize, able: &[usize]| *able.iter().find(|a| **a == who).unwrap_or(&able[0]);
        play(&server, &source, &deeds, "alone", first)
    };
    let most = alone(0).max(alone(1));
    let mut orders = 0;
    for starts in [0, 1] {
        for first in 0..most {
            // The other one's turn is this long, then the first goes on to its end.
            let mut second = 1;
            loop {
                let told = format!("{before:?} {deeds:?}: {starts} makes {first} requests, then the other {second}");
                let mut reached = false;
                play(&server, &source, &deeds, &told, |step, able| {
                    let wanted = if step < first || step >= first + second { starts } else { 1 - starts };
                    reached |= step >= first + second && able.contains(&(1 - starts));
                    *able.iter().find(|a| **a == wanted).unwrap_or(&able[0])
                });
                orders += 1;
                if !reached {
                    break;
                }
                second += 1;
            }
        }
    }
    println!("{before:?} {deeds:?}: {orders} orders");
}

/// Orders with a change after one to four requests.
fn random_orders(before: Before, deeds: &[Deed]) {
    let source = source();
    let server = prepare(before, &source);
    let rounds = std::env::var("COWLOG_TURNS").map_or(50, |n| n.parse().unwrap());
    for seed in 0..rounds {
        let mut state: u64 = seed * 2 + 1;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut current, mut left) = (0, 0);
        play(&server, &source, deeds, &format!("{before:?} {deeds:?}, seed {seed}"), |_, able| {
            if left == 0 || !able.contains(&current) {
                current = able[random(able.len())];
                left = 1 + random(4);
            }
            left -= 1;
            current
        });
    }
}

#[test]
fn a_push_that_relies_on_what_a_sweep_removes() {
    all_orders(Before::Due, [Deed::Push("a"), Deed::Gc]);
}

#[test]
fn a_push_of_what_was_pruned_beside_the_sweep_of_its_remains() {
    all_orders(Before::Due, [Deed::PushFirst("a"), Deed::Gc]);
}

#[test]
fn a_push_beside_a_gc_that_marks() {
    all_orders(Before::Marked, [Deed::Push("b"), Deed::Gc]);
}

#[test]
fn a_prune_beside_a_gc() {
    all_orders(Before::There, [Deed::Prune("a"), Deed::Gc]);
    all_orders(Before::ThereAndDue, [Deed::Prune("a"), Deed::Gc]);
}

#[test]
fn a_prune_beside_a_push_of_the_same() {
    all_orders(Before::There, [Deed::Prune("a"), Deed::PushFirst("a")]);
}

#[test]
fn a_pin_beside_a_verification() {
    all_orders(Before::There, [Deed::Pin("a"), Deed::Verify("a")]);
}

#[test]
fn many_at_once() {
    random_orders(Before::Due, &[Deed::Push("a"), Deed::Gc, Deed::Gc]);
    random_orders(Before::Due, &[Deed::Push("a"), Deed::PushFirst("b"), Deed::Gc]);
    random_orders(Before::ThereAndDue, &[Deed::Push("b"), Deed::Prune("a"), Deed::Gc, Deed::Gc]);
}
