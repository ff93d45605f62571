//! Server-sent events: a job as it goes on.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use cowlog::LogConfig;
use serde_json::{Value, json};

use crate::served::{OPERATE, Place, READ, Served};

/// The jobs that a stream tells of, as they come; it ends where the stream does.
pub fn watch(served: &Served, path: &str) -> impl Iterator<Item = Value> + use<> {
    watch_as(served, path, READ)
}

pub fn watch_as(served: &Served, path: &str, token: &str) -> impl Iterator<Item = Value> + use<> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_recv_body(Some(Duration::from_secs(30))).build().into();
    let answer =
        agent.get(format!("{}{path}", served.url)).header("Authorization", format!("Bearer {token}")).call().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let lines = BufReader::new(answer.into_body().into_reader()).lines();
    lines.map_while(Result::ok).filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap()))
}

#[test]
fn a_job_is_watched_to_its_end() {
    let place = Place::new();
    place.append("orders-0", 200);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let everything = watch(&served, "/api/events");
    let id = served.create("orders-0");
    let job = served.post(&format!("/api/snapshots/{id}/verify"), json!({ "level": "deep" })).expect(202);
    let path = format!("/api/jobs/{}/events", job["id"].as_str().unwrap());
    let told: Vec<Value> = watch(&served, &path).collect();
    let last = told.last().unwrap();
    assert_eq!((&last["id"], &last["state"]), (&job["id"], &json!("done")));
    assert!(last["progress"]["bytes_total"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(last["progress"]["bytes"], last["progress"]["bytes_total"], "{last}");
    // One that has ended is told once.
    assert_eq!(watch(&served, &path).count(), 1);
    served.ask("GET", "/api/jobs/j99/events", READ, &[], None).problem(404, "not-found");
    for stream in [path.as_str(), "/api/events"] {
        for stranger in ["", "guess-guess-guess-guess"] {
            served.ask("GET", stream, stranger, &[], None).problem(401, "unauthorized");
        }
    }
    let seen: Vec<(String, String)> = everything
        .map(|job| (job["task"].as_str().unwrap().to_owned(), job["state"].as_str().unwrap().to_owned()))
        .take_while(|(task, state)| !(task == "verify" && state == "done"))
        .collect();
    for expected in [("create", "running"), ("create", "done"), ("verify", "running")] {
        assert!(seen.iter().any(|(task, state)| (task.as_str(), state.as_str()) == expected), "{expected:?}: {seen:?}");
    }
}

/// What is cancelled is undone.
#[test]
fn a_job_is_cancelled() {
    let place = Place::new();
    place.fill("orders-0", LogConfig::default().segment_bytes, 300, 1 << 20);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let id = served.create("orders-0");
    let body = json!({ "to": "back", "method": "copy" });
    for attempt in 0.. {
        let job = served.post(&format!("/api/snapshots/{id}/restore"), body.clone()).expect(202);
        let cancel = format!("/api/jobs/{}/cancel", job["id"].as_str().unwrap());
        let answer = served.ask("POST", &cancel, OPERATE, &[], None);
        let ended = served.ended(&job);
        if ended["state"] == "cancelled" {
            assert_eq!(answer.expect(202)["id"], job["id"]);
            break;
        }
        assert!(attempt < 5, "it is always faster: {ended}");
        std::fs::remove_dir_all(place.path("restored/back")).unwrap();
    }
    assert_eq!(std::fs::read_dir(place.path("restored")).unwrap().count(), 0);
}
