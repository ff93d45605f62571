//! The audit log has also what nobody asked for, and what was refused; and it has an end.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::served::{OPERATE, Place};

/// Who, what, and the first word of the result.
fn noted(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap_or_default();
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| format!("{} {}: {}", word(&line, "who"), word(&line, "what"), word(&line, "result"))).collect()
}

#[track_caller]
fn until_noted(place: &Place, expected: &str) -> String {
    let began = Instant::now();
    loop {
        let lines = noted(place);
        if let Some(line) = lines.iter().find(|line| line.starts_with(expected)) {
            return line.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{expected}: {lines:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_the_scheduler_does_and_what_it_cannot() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "every = \"1h\""), ("gone", "every = \"1h\"")]);
    let _served = place.serve();
    until_noted(&place, "scheduler create: begun");
    until_noted(&place, "scheduler create: done");
    let failed = until_noted(&place, "scheduler create: no such source");
    assert!(failed.contains("gone"), "{failed}");
}

#[test]
fn reloads_that_were_taken_over_and_that_were_not() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    served.signal(Signal::SIGHUP);
    until_noted(&place, "server reload: done");
    std::fs::write(place.path("cowlog.toml"), "state = 1\n").unwrap();
    served.signal(Signal::SIGHUP);
    let refused = until_noted(&place, "server reload: refused");
    assert!(refused.contains("line 1"), "{refused}");
}

/// A few lines and a number, however often somebody guesses.
#[test]
fn those_without_a_known_token_are_written_down_and_fill_nothing() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let mut served = place.serve();
    let guess = "guess-guess-guess-guess";
    for _ in 0..40 {
        served.ask("DELETE", "/api/snapshots/latest", guess, &[], None).problem(401, "unauthorized");
    }
    served.ask("GET", &format!("/api/jobs/{}", "x".repeat(5000)), "", &[], None).problem(401, "unauthorized");
    let lines = noted(&place);
    let line = "unknown DELETE /api/snapshots/latest: 401: this token is not known";
    assert_eq!(lines, [line; 3], "{lines:#?}");
    served.signal(Signal::SIGTERM);
    served.wait(Duration::from_secs(12));
    let lines = noted(&place);
    assert_eq!(lines[3..], ["unknown requests: 401: 38 more without a known token within a minute"]);
    assert!(!std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap().contains(guess));
}

/// As it is on the disk when the server was killed between the publication and the last line of the journal.
#[test]
fn a_create_whose_snapshot_was_published_went_well_whoever_was_killed() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let key = [("Idempotency-Key", "nightly-1")];
    let body = json!({ "source": "orders-0", "force": true, "tags": ["nightly"] });
    let served = place.serve();
    let first = served.ask("POST", "/api/snapshots", OPERATE, &key, Some(&body)).expect(201);
    served.signal(Signal::SIGKILL);
    drop(served);
    let journal = std::fs::read_to_string(place.path("state/jobs.jsonl")).unwrap();
    let (before, last) = journal.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains(r#""state":"done""#) && !before.contains(r#""state":"done""#), "{journal}");
    assert!(before.contains(r#""staged":{"id":"#), "{journal}");
    let begin = |journal: &str| {
        std::fs::write(place.path("state/jobs.jsonl"), journal).unwrap();
        place.serve()
    };

    let served = begin(&format!("{before}\n"));
    let job = served.get("/api/jobs/j1");
    assert_eq!(
        (&job["state"], &job["snapshot"], &job["result"]["root"]),
        (&json!("done"), &first["id"], &first["root"])
    );
    let again = served.ask("POST", "/api/snapshots", OPERATE, &key, Some(&body)).expect(201);
    assert_eq!((&again["id"], &served.get("/api/snapshots")["total"]), (&first["id"], &json!(1)));
    assert_eq!(noted(&place).last().unwrap(), "operator create: done");
    // And so it stays.
    drop(served);
    let served = place.serve();
    assert_eq!(served.get("/api/jobs/j1")["state"], "done");
    drop(served);

    // One that was never published, though something of its id is there: it is not taken for it.
    let root = first["root"].as_str().unwrap();
    let served = begin(&format!("{}\n", before.replace(root, &"0".repeat(64))));
    assert_eq!(served.get("/api/jobs/j1")["state"], "interrupted");
    assert_eq!(noted(&place).last().unwrap(), "operator create: interrupted: the server ended before it did");
    let again = served.ask("POST", "/api/snapshots", OPERATE, &key, Some(&body)).expect(201);
    assert_ne!(again["id"], first["id"]);
}
