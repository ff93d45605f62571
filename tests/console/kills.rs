//! The server is killed in the middle of each kind of job, and started again.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::served::{ADMIN, OPERATE, Place};

#[test]
fn what_was_interrupted_is_told_swept_and_not_lost() {
    let place = Place::new();
    place.fill("orders-0", 1 << 20, 500, 200_000);
    place.configure("", &[("orders-0", "method = \"copy\"\nmax_copy = \"1GiB\"")]);
    let mut interrupted = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for round in 0..15u64 {
        let served = place.serve();
        let listed = served.get("/api/snapshots");
        let there: BTreeSet<String> =
            listed["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        assert!(kept.is_subset(&there), "{kept:?} were there, {there:?} are");
        kept = there;
        for job in served.get("/api/jobs?state=interrupted")["jobs"].as_array().unwrap() {
            interrupted.insert(job["task"].as_str().unwrap().to_owned());
            assert!(job["ended_ms"].is_i64(), "{job}");
        }
        assert_eq!(served.get("/api/jobs?state=running")["jobs"], json!([]));
        if kept.is_empty() {
            kept.insert(served.create("orders-0"));
        }
        let id = kept.last().unwrap().clone();
        for left in std::fs::read_dir(place.path("restored")).unwrap() {
            let left = left.unwrap();
            assert!(!left.file_name().to_string_lossy().contains(".restoring"), "{left:?} is left behind");
            std::fs::remove_dir_all(left.path()).unwrap();
        }
        let to = format!("back-{round}");
        let (method, path, token, body) = match round % 5 {
            0 => ("POST", "/api/snapshots".to_owned(), OPERATE, json!({ "source": "orders-0", "force": true })),
            1 => ("POST", format!("/api/snapshots/{id}/verify"), OPERATE, json!({ "level": "deep" })),
            2 => ("POST", format!("/api/snapshots/{id}/restore"), OPERATE, json!({ "to": to, "method": "copy" })),
            3 => ("DELETE", format!("/api/snapshots/{id}"), ADMIN, Value::Null),
            _ => ("POST", "/api/sources/orders-0/prune".to_owned(), ADMIN, json!({ "max_snapshots": 1 })),
        };
        if round % 5 >= 3 {
            // There must be something to lose.
            served.create("orders-0");
            let listed = served.get("/api/snapshots");
            kept = BTreeSet::from([listed["snapshots"][0]["id"].as_str().unwrap().to_owned()]);
            kept.remove(&id);
        }
        std::thread::scope(|threads| {
            let served = &served;
            threads.spawn(move || {
                let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", served.url));
                let request = request
                    .header("Authorization", format!("Bearer {token}"))
                    .header("Content-Type", "application/json");
                // It is killed meanwhile.
                let _ = agent.run(request.body(body.to_string()).unwrap());
            });
            std::thread::sleep(Duration::from_millis(5 + 13 * (round / 5)));
            served.signal(Signal::SIGKILL);
        });
    }
    let served = place.serve();
    assert!(interrupted.len() >= 2, "hardly anything was interrupted: {interrupted:?}");
    for snapshot in served.get("/api/snapshots")["snapshots"].as_array().unwrap() {
        let path = format!("/api/snapshots/{}/verify", snapshot["ref"].as_str().unwrap());
        let job = served.ended(&served.post(&path, json!({})).expect(202));
        assert_eq!(job["state"], "done", "{job}");
    }
    let _ = std::fs::remove_dir_all(place.path("restored/back"));
    let job = served.ended(&served.post("/api/snapshots/orders-0~latest/restore", json!({ "to": "back" })).expect(202));
    assert_eq!(job["state"], "done", "{job}");
    let names = |path| -> Vec<String> {
        let names = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with("snapshot-")).collect()
    };
    assert_eq!(names(place.path("restored")), ["back"]);
    let mut store = names(place.path("orders-0/.snapshots"));
    store.sort();
    assert_eq!(store, [".lock", "snapshots.json"]);
}
