//! What changes something: it happens once, is refused where it must be, and is written down.

use serde_json::{Value, json};

use crate::served::{ADMIN, OPERATE, Place, Served};

fn served() -> (Place, Served) {
    let place = Place::new();
    place.append("orders-0", 50);
    place.configure("", &[("orders-0", "keep = { max_snapshots = 2 }")]);
    let served = place.serve();
    (place, served)
}

fn create(served: &Served, headers: &[(&str, &str)], body: Value) -> crate::served::Answer {
    served.ask("POST", "/api/snapshots", OPERATE, headers, Some(&body))
}

#[test]
fn pins_and_tags_are_set_and_a_pinned_one_is_kept() {
    let (_place, served) = served();
    let ids: Vec<String> = (0..3).map(|_| served.create("orders-0")).collect();
    let path = format!("/api/snapshots/orders-0~{}", ids[0]);
    let label = |body: Value| served.ask("PATCH", &path, OPERATE, &[], Some(&body));
    let labelled = label(json!({ "pinned": true, "add_tags": ["b", "a"] })).expect(200);
    assert_eq!((&labelled["pinned"], &labelled["tags"]), (&json!(true), &json!(["a", "b"])));
    assert_eq!(labelled["ref"], format!("orders-0~{}", ids[0]));
    label(json!({ "remove_tags": ["a", "never"] })).expect(200);
    let there = served.get(&path);
    assert_eq!((&there["pinned"], &there["tags"]), (&json!(true), &json!(["b"])), "what is not named stays");
    for bad in [json!({}), json!({ "pined": true }), json!({ "add_tags": ["a\nb"] }), json!({ "pinned": 1 })] {
        assert_eq!(label(bad).status, 400);
    }
    // Neither a prune nor a deletion takes it, nor says that it would.
    let prune = json!({ "max_snapshots": 1 });
    let gone = served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&prune)).expect(200);
    assert_eq!(gone["deleted"].as_array().unwrap().len(), 1, "{gone}");
    for query in ["?dry_run=true", ""] {
        let problem = served.ask("DELETE", &format!("{path}{query}"), ADMIN, &[], None).problem(400, "pinned");
        let hint = problem["hint"].as_str().unwrap();
        assert!(hint.contains("?force=true") && hint.contains("PATCH") && !hint.contains("--"), "{hint}");
    }
    served.ask("DELETE", &format!("{path}?force=true"), ADMIN, &[], None).expect(200);
    assert_eq!(served.get("/api/snapshots")["total"], 1);
}

#[test]
fn a_snapshot_is_taken_deleted_and_pruned() {
    let (_place, served) = served();
    let made = create(&served, &[], json!({ "source": "orders-0", "tags": ["monday"] }));
    let snapshot = made.expect(201);
    let id = snapshot["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/api/snapshots/orders-0~{id}"));
    assert_eq!(served.get(made.header("location"))["tags"], json!(["monday"]));
    assert!(snapshot["elapsed_ms"].as_f64().unwrap() > 0.0);

    let soon = create(&served, &[], json!({ "source": "orders-0" }));
    let problem = soon.problem(409, "too-soon");
    assert!(soon.header("retry-after").parse::<u64>().unwrap() > 3000, "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("force"), "{problem}");
    create(&served, &[], json!({ "source": "nobody" })).problem(404, "not-found");
    for bad in [json!({}), json!({ "source": 1 }), json!({ "source": "orders-0", "farce": true }), json!([])] {
        create(&served, &[], bad).problem(400, "bad-request");
    }

    let path = format!("/api/snapshots/{id}");
    let planned = served.ask("DELETE", &format!("{path}?dry_run=true"), ADMIN, &[], None).expect(200);
    assert_eq!((&planned["dry_run"], &planned["deleted"][0]["id"]), (&json!(true), &json!(id)));
    served.get(&path);
    let gone = served.ask("DELETE", &path, ADMIN, &[], None).expect(200);
    assert_eq!(
        (&gone["deleted"][0]["files"], &gone["deleted"][0]["bytes"]),
        (&planned["deleted"][0]["files"], &planned["deleted"][0]["bytes"])
    );
    served.ask("DELETE", &path, ADMIN, &[], None).problem(404, "not-found");

    let ids: Vec<String> = (0..4).map(|_| served.create("orders-0")).collect();
    let prune = |body: Value| served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&body)).expect(200);
    let planned = prune(json!({ "dry_run": true }));
    let going: Vec<&Value> =
        planned["steps"].as_array().unwrap().iter().filter(|s| s["remove"] == true).map(|s| &s["id"]).collect();
    assert_eq!((going, planned["deleted"].as_array().unwrap().len()), (vec![&json!(ids[1]), &json!(ids[0])], 0));
    assert_eq!(prune(json!({ "max_snapshots": 3 }))["deleted"][0]["id"], ids[0]);
    assert_eq!(prune(json!({}))["deleted"][0]["id"], ids[1]);
    assert_eq!(served.get("/api/snapshots")["total"], 2);
    served
        .ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&json!({ "retention": "x" })))
        .problem(400, "bad-request");
}

#[test]
fn how_soon_another_is_taken_is_the_sources_own() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.append("events-0", 20);
    place.configure("", &[("orders-0", "min_interval = \"0s\""), ("events-0", "min_interval = \"2d\"")]);
    let served = place.serve();
    let ask = |source: &str| create(&served, &[], json!({ "source": source }));
    ask("orders-0").expect(201);
    ask("orders-0").expect(201);
    ask("events-0").expect(201);
    let seconds: u64 = ask("events-0").header("retry-after").parse().unwrap();
    assert!((172_700..=172_800).contains(&seconds), "{seconds}");
}

#[test]
fn tags_have_an_end() {
    let (_place, served) = served();
    let tagged = |tags: Vec<String>| create(&served, &[], json!({ "source": "orders-0", "force": true, "tags": tags }));
    for bad in [vec!["x".repeat(129)], vec![String::new()], vec!["a\nb".into()], vec!["x".into(); 65]] {
        tagged(bad).problem(400, "refused");
    }
    assert_eq!(served.get("/api/jobs")["total"], 0, "nothing was begun");
    let most: Vec<String> = (10..74).map(|n| format!("{n}{}", "x".repeat(126))).collect();
    assert_eq!(tagged(most.clone()).expect(201)["tags"], json!(most));
}

#[test]
fn a_request_that_is_sent_again_does_nothing_again() {
    let (place, served) = served();
    let key = [("Idempotency-Key", "monday-1")];
    let body = json!({ "source": "orders-0", "force": true });
    let first = create(&served, &key, body.clone()).expect(201);
    let again = create(&served, &key, body.clone()).expect(201);
    assert_eq!(first, again);
    create(&served, &key, json!({ "source": "orders-0", "force": true, "tags": ["x"] })).problem(400, "key-reused");
    create(&served, &[("Idempotency-Key", "")], body.clone()).problem(400, "bad-request");
    // Another's key of the same name is another key.
    let other = served.ask("POST", "/api/snapshots", ADMIN, &key, Some(&body)).expect(201);
    assert_ne!(first["id"], other["id"]);
    // Also by another server on the same state directory.
    drop(served);
    let served = place.serve();
    assert_eq!(create(&served, &key, body.clone()).expect(201)["id"], first["id"]);
    assert_eq!(served.get("/api/snapshots")["total"], 2);
    // Sent at once by several: one snapshot, and nobody is told of another.
    let key = [("Idempotency-Key", "tuesday-1")];
    let answers: Vec<_> = std::thread::scope(|threads| {
        let ask = || create(&served, &key, body.clone());
        let asking: Vec<_> = (0..6).map(|_| threads.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made: Vec<Value> = answers.iter().filter(|a| a.status == 201).map(|a| a.expect(201)["id"].clone()).collect();
    assert!(!made.is_empty() && made.iter().all(|id| *id == made[0]), "{made:?}");
    for answer in answers.iter().filter(|a| a.status != 201) {
        answer.problem(409, "busy");
    }
    assert_eq!(served.get("/api/snapshots")["total"], 3);
}

#[test]
fn whoever_prefers_not_to_wait_gets_a_job() {
    let (_place, served) = served();
    let begun = create(&served, &[("Prefer", "respond-async")], json!({ "source": "orders-0" }));
    let job = begun.expect(202);
    assert_eq!((&job["task"], &job["state"], &job["by"]), (&json!("create"), &json!("running"), &json!("operator")));
    assert_eq!(begun.header("location"), format!("/api/jobs/{}", job["id"].as_str().unwrap()));
    let ended = served.ended(&job);
    assert_eq!(ended["state"], "done");
    let snapshot = served.get(&format!("/api/snapshots/{}", ended["snapshot"].as_str().unwrap()));
    assert_eq!(ended["result"]["root"], snapshot["root"]);
    let cancel = format!("/api/jobs/{}/cancel", job["id"].as_str().unwrap());
    served.ask("POST", &cancel, OPERATE, &[], None).problem(409, "ended");
    served.ask("POST", "/api/jobs/j999/cancel", OPERATE, &[], None).problem(404, "not-found");
    assert_eq!(served.get("/api/jobs?state=done&source=orders-0")["jobs"][0]["id"], job["id"]);
    assert_eq!(served.get("/api/jobs?state=failed")["jobs"], json!([]));
}

/// Who, what, when, result: also of what was refused.
#[test]
fn every_change_is_in_the_audit_log() {
    let (place, served) = served();
    let id = served.create("orders-0");
    create(&served, &[], json!({ "source": "orders-0" })).problem(409, "too-soon");
    served.ended(&served.post(&format!("/api/snapshots/{id}/verify"), json!({})).expect(202));
    served.ended(&served.post(&format!("/api/snapshots/{id}/restore"), json!({ "to": "back" })).expect(202));
    served.ask("DELETE", &format!("/api/snapshots/{id}"), OPERATE, &[], None).problem(403, "forbidden");
    served
        .ask("DELETE", &format!("/api/snapshots/{id}"), "nobody-knows-this-one", &[], None)
        .problem(401, "unauthorized");
    served
        .ask("POST", &format!("/api/snapshots/{id}/restore"), OPERATE, &[], Some(&json!({ "to": "../x" })))
        .problem(400, "bad-request");
    served.ask("DELETE", &format!("/api/snapshots/{id}"), ADMIN, &[], None).expect(200);
    served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&json!({}))).expect(200);
    let text = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            assert!(line["at"].as_str().unwrap().starts_with("20") && line["from"] == "127.0.0.1", "{line}");
            let result = line["result"].as_str().unwrap().split([' ', ':']).next().unwrap().to_owned();
            format!("{} {} {result}", line["who"].as_str().unwrap(), line["what"].as_str().unwrap())
        })
        .collect();
    for expected in [
        "operator create begun",
        "operator create done",
        "operator verify begun",
        "operator verify done",
        "operator restore begun",
        "operator restore done",
        "boss delete begun",
        "boss delete done",
        "boss prune done",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected}: {told:#?}");
    }
    assert!(told.iter().any(|l| l.starts_with("operator DELETE") && l.ends_with("403")), "{told:#?}");
    assert_eq!(told.iter().filter(|l| l.starts_with("unknown DELETE") && l.ends_with("401")).count(), 1, "{told:#?}");
    assert!(told.iter().any(|l| l.starts_with("operator POST") && l.ends_with("400")), "{told:#?}");
    assert!(!text.contains("nobody-knows-this-one") && !text.contains(OPERATE), "a token is in the audit log");
    assert!(!served.log().contains(OPERATE), "a token is in the log");
}

/// A client that hung up at the wrong moment left a job that ran for ever and did nothing.
#[test]
fn what_was_begun_is_done_whoever_hangs_up() {
    use std::io::Write;
    let (_place, served) = served();
    let id = served.create("orders-0");
    let body = "{}";
    let request = format!(
        "POST /api/snapshots/{id}/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATE}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for n in 0..40u64 {
        let mut stream = std::net::TcpStream::connect(served.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(150 * n));
        drop(stream);
    }
    let begun = std::time::Instant::now();
    while !served.get("/api/jobs?state=running")["jobs"].as_array().unwrap().is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{}", served.get("/api/jobs?state=running"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let jobs = served.get("/api/jobs?state=done");
    assert!(jobs["jobs"].as_array().unwrap().len() > 5, "hardly any was begun");
}

/// Two at once both found the last snapshot old enough.
#[test]
fn of_two_creates_at_once_one_is_refused() {
    let (_place, served) = served();
    let answers: Vec<_> = std::thread::scope(|threads| {
        let ask = || create(&served, &[], json!({ "source": "orders-0" }));
        let asking: Vec<_> = (0..6).map(|_| threads.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)));
    assert_eq!(served.get("/api/snapshots")["total"], 1);
}

/// Pruning the whole of a data directory went for the snapshots of its topics.
#[test]
fn the_whole_prunes_none_of_its_parts() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    place.append("data/orders-0", 20);
    place.append("data/events-0", 20);
    let part = format!("path = {:?}\ntopic = \"orders\"", place.path("data"));
    place.configure("", &[("data", ""), ("orders", &part)]);
    let served = place.serve();
    let prune = |source: &str| {
        let path = format!("/api/sources/{source}/prune");
        served.ask("POST", &path, ADMIN, &[], Some(&json!({ "max_snapshots": 1 }))).expect(200)
    };
    for _ in 0..3 {
        served.create("orders");
    }
    assert_eq!((prune("data")["steps"].clone(), prune("data")["deleted"].clone()), (json!([]), json!([])));
    for _ in 0..3 {
        served.create("data");
    }
    assert_eq!(prune("data")["deleted"].as_array().unwrap().len(), 2);
    assert_eq!(served.get("/api/snapshots?source=orders")["total"], 3);
    assert_eq!(prune("orders")["deleted"].as_array().unwrap().len(), 2);
    assert_eq!(served.get("/api/snapshots?source=data")["total"], 1);
}
