//! Ten sources, a snapshot of each every second, fifty clients: no error, and nothing that grows.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixtures;
use crate::served::{ADMIN, OPERATE, Place, READ, Served};

const CLIENTS: u64 = 50;

/// A descriptor, and what it stands for: no two sockets are called the same.
type Open = (OsString, PathBuf);

/// Resident bytes, and what is open.
fn size(pid: u32) -> (u64, BTreeSet<Open>) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = fds.filter_map(|fd| {
        let fd = fd.unwrap();
        Some((fd.file_name(), std::fs::read_link(fd.path()).ok()?))
    });
    (kib << 10, open.collect())
}

/// What is usual in a third of the time: the median of the bytes, and what was open all the time. How many descriptors
/// connections and jobs have for a moment says nothing: it is a hundred more or less. What is never closed stays.
fn usual(sizes: Vec<(u64, BTreeSet<Open>)>) -> (u64, BTreeSet<Open>) {
    let (mut bytes, open): (Vec<u64>, Vec<BTreeSet<Open>>) = sizes.into_iter().unzip();
    bytes.sort_unstable();
    let always = open.into_iter().reduce(|always, open| always.intersection(&open).cloned().collect());
    (bytes[bytes.len() / 2], always.unwrap())
}

fn seconds() -> u64 {
    std::env::var("COWLOG_SERVED_SECONDS").map_or(30, |text| text.parse().expect("COWLOG_SERVED_SECONDS is a number"))
}

#[test]
fn fifty_clients_and_ten_sources() {
    let place = Place::new();
    let names: Vec<String> = (0..10).map(|n| format!("broker-{n}")).collect();
    let kinds = ["codecs-live", "plain-clean", "compacted-clean", "txn-killed"];
    let unpacked: Vec<_> = (0..names.len()).map(|n| fixtures::unpack(kinds[n % kinds.len()])).collect();
    let settings = "every = \"1s\"\nkeep = { max_snapshots = 3, retention = \"1h\" }\nverify = { every = \"5s\" }";
    let tables: Vec<String> = unpacked.iter().map(|(_, path)| format!("path = {path:?}\n{settings}")).collect();
    let sources: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(tables.iter().map(String::as_str)).collect();
    place.configure("rate = 1000000", &sources);
    let served = place.serve();
    let over = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let limit = Duration::from_secs(seconds());
    let (early, late) = std::thread::scope(|threads| {
        for n in 0..CLIENTS {
            let (served, over, asked, names) = (&served, &over, &asked, &names);
            threads.spawn(move || {
                for i in n.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(served, names, n, i)));
                    if let Err(panic) = result {
                        over.store(true, Ordering::SeqCst);
                        std::panic::resume_unwind(panic);
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let began = Instant::now();
        // Caches and pools have filled when the second third begins.
        let (mut early, mut late) = (Vec::new(), Vec::new());
        while began.elapsed() < limit && !over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
            match began.elapsed() {
                elapsed if elapsed < limit / 3 => {}
                elapsed if elapsed < limit * 2 / 3 => early.push(size(served.id())),
                _ => late.push(size(served.id())),
            }
        }
        over.store(true, Ordering::SeqCst);
        (early, late)
    });
    let (early, late) = (usual(early), usual(late));
    let asked = asked.load(Ordering::SeqCst);
    eprintln!(
        "{asked} requests; {} MiB and {} descriptors for good, then {} MiB and {}",
        early.0 >> 20,
        early.1.len(),
        late.0 >> 20,
        late.1.len()
    );
    assert!(asked > 20 * seconds(), "only {asked} requests");
    assert!(late.0 < early.0 + (early.0 / 4).max(16 << 20), "memory grows: {} bytes, then {}", early.0, late.0);
    // What was opened in the second third and never closed was open all through the last: not one is.
    let left: Vec<&Open> = late.1.difference(&early.1).collect();
    assert!(left.is_empty(), "left open: {left:?}");
    for name in &names {
        let source = served.get(&format!("/api/sources/{name}"));
        assert_eq!((&source["health"], &source["error"]), (&json!("ok"), &json!(null)), "{source}");
    }
    let failed = served.get("/api/jobs?state=failed");
    assert_eq!(failed["jobs"], json!([]), "{failed}");
}

/// One request of a client; anything but what it should be answered with panics.
fn ask(served: &Served, names: &[String], client: u64, i: u64) {
    let name = &names[(client + i) as usize % names.len()];
    let (method, path, token, body) = match (client, i % 5) {
        // Two that change something: they may meet the scheduler, and are told so.
        (0, 0) => ("POST", "/api/snapshots".to_owned(), OPERATE, Some(json!({ "source": name, "force": true }))),
        (1, 0) => ("POST", format!("/api/sources/{name}/prune"), ADMIN, Some(json!({}))),
        (_, 0) => ("GET", "/api/sources".to_owned(), READ, None),
        (_, 1) => ("GET", format!("/api/snapshots?source={name}"), READ, None),
        (_, 2) => ("GET", "/api/jobs?limit=20".to_owned(), READ, None),
        (_, 3) => ("GET", "/metrics".to_owned(), READ, None),
        _ => ("GET", format!("/api/snapshots/{name}~latest"), READ, None),
    };
    let answer = served.ask(method, &path, token, &[], body.as_ref());
    // At first there is no snapshot; the latest may go while it is looked at.
    let may = matches!((answer.status, method), (409, "POST")) || answer.status == 404 && path.ends_with("~latest");
    assert!(matches!(answer.status, 200 | 201) || may, "{method} {path}: {} {}", answer.status, answer.body);
}
