//! Those who ask for too much, too slowly or too often.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::served::{OPERATE, Place, READ, Served};

fn served(serve: &str) -> (Place, Served) {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure(serve, &[("orders-0", "")]);
    let served = place.serve();
    (place, served)
}

/// Sends what it is given, and reads what comes until the other side hangs up or the time is over.
fn raw(served: &Served, bytes: &[u8], limit: Duration) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(served.address()).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

fn request(method: &str, path: &str, more: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATE}\r\n{more}\r\n").into_bytes()
}

#[test]
fn huge_and_odd_requests_are_refused_at_once() {
    let (_place, served) = served("");
    let big = json!({ "source": "x".repeat(100_000) });
    served.ask("POST", "/api/snapshots", OPERATE, &[], Some(&big)).problem(413, "too-large");
    // Not even its length is believed.
    let said = request("POST", "/api/snapshots", "Content-Type: application/json\r\nContent-Length: 99999999999\r\n");
    let (answer, took) = raw(&served, &said, Duration::from_secs(20));
    assert!(answer.starts_with("HTTP/1.1 413") && took < Duration::from_secs(5), "{took:?}: {answer}");
    let answer = served.ask("POST", "/api/snapshots", OPERATE, &[("Content-Type", "text/plain")], None);
    answer.problem(415, "not-json");
    let close = "Connection: close\r\n";
    for (line, statuses) in [
        (format!("GET /api/snapshots/{} HTTP/1.1\r\nHost: x\r\n", "x".repeat(8000)), &["401"][..]),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n", "x".repeat(600_000)), &["414", "431", "400"]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n", "y".repeat(600_000)), &["431", "400"]),
        ("GET /api/snapshots/%ff HTTP/1.1\r\nHost: x\r\n".into(), &["401"]),
        ("BREW / HTTP/1.1\r\nHost: x\r\n".into(), &["405"]),
        ("nonsense\r\n".into(), &["400"]),
    ] {
        let (answer, _) = raw(&served, format!("{line}{close}\r\n").as_bytes(), Duration::from_secs(5));
        let status = answer.split(' ').nth(1).unwrap_or("hung up");
        assert!(statuses.contains(&status) || status == "hung up", "{line:.60}: {answer}");
    }
    let (answer, _) = raw(&served, &request("GET", "/api/snapshots/%ff", close), Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    served.get("/api/sources");
}

#[test]
fn the_slow_are_hung_up_on() {
    let (_place, served) = served("");
    std::thread::scope(|threads| {
        let headers = threads.spawn(|| raw(&served, b"GET / HTTP/1.1\r\nHo", Duration::from_secs(30)));
        let body = request("POST", "/api/snapshots", "Content-Type: application/json\r\nContent-Length: 100\r\n");
        let body = threads.spawn(|| raw(&served, &[body, b"{".to_vec()].concat(), Duration::from_secs(30)));
        let (_, took) = headers.join().unwrap();
        assert!(took < Duration::from_secs(25), "{took:?}");
        let (answer, took) = body.join().unwrap();
        assert!(took < Duration::from_secs(25) && answer.starts_with("HTTP/1.1 408"), "{took:?}: {answer}");
    });
}

#[test]
fn a_thousand_connections_at_once() {
    let (_place, served) = served("rate = 100000");
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(served.address()).unwrap()).collect();
    served.get("/api/sources");
    let ask =
        format!("GET /api/sources HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {READ}\r\n\r\n");
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
    }
    for mut stream in idle {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// A large file of the page is not held in memory for each who reads it slowly.
#[test]
fn slow_readers_cost_no_memory() {
    let (_place, served) = served("");
    let held = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", served.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    let path = "/docs/swagger-ui-bundle.js";
    let size = served.ask("GET", path, "", &[], None).body.len() as u64;
    assert!(size > 1 << 20);
    let before = held();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let readers: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(served.address()).unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            stream
        })
        .collect();
    let grown = held().saturating_sub(before);
    assert!(grown < readers.len() as u64 * size / 4, "{grown} bytes for {} readers of {size}", readers.len());
}

/// Also of what needs no token; and a health check does not suffer for it.
#[test]
fn pages_have_a_limit_and_health_checks_another() {
    let (_place, served) = served("rate = 5");
    let statuses = |path: &str, count: usize| {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(count - 1);
        let last = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (answers, _) = raw(&served, (ask + &last).as_bytes(), Duration::from_secs(20));
        let of = |status: &str| answers.matches(&format!("HTTP/1.1 {status}")).count();
        (of("200"), of("429"))
    };
    // A page of the console is some thirty files.
    assert_eq!(statuses("/console/icon.svg", 100), (100, 0));
    let (good, refused) = statuses("/console/icon.svg", 1000);
    assert!(good < 500 && good + refused == 1000, "{good} {refused}");
    assert!(statuses("/docs/index.css", 100).1 > 0 && statuses("/openapi.json", 100).1 > 0);
    assert_eq!(statuses("/readyz", 50), (50, 0));
    assert!(statuses("/readyz", 1000).1 > 0);
}

#[test]
fn whoever_asks_too_often_is_told_to_wait() {
    let (_place, served) = served("rate = 5");
    let statuses = |token: &str| -> Vec<u16> {
        (0..40).map(|_| served.ask("GET", "/api/whoami", token, &[], None).status).collect()
    };
    let known = statuses(READ);
    assert!(known[..5].iter().all(|s| *s == 200) && known.contains(&429), "{known:?}");
    // One who asks too often keeps nobody else from asking, and neither do those who guess.
    assert_eq!(served.ask("GET", "/api/whoami", OPERATE, &[], None).status, 200);
    let unknown = statuses("guess-guess-guess-guess");
    assert!(unknown[0] == 401 && unknown.contains(&429), "{unknown:?}");
    assert_eq!(served.ask("GET", "/api/whoami", OPERATE, &[], None).status, 200);
    let refused = (0..40).map(|_| served.ask("GET", "/api/whoami", READ, &[], None)).find(|a| a.status == 429).unwrap();
    refused.problem(429, "too-many-requests");
    assert_eq!(served.ask("GET", "/healthz", "", &[], None).status, 200);
}
