//! Every route, every role, and what each is answered with.

use serde_json::{Value, json};

use crate::served::{ADMIN, OPERATE, Place, READ, Served, damage};

fn served() -> (Place, Served) {
    let place = Place::new();
    place.append("orders-0", 50);
    place.append("events-0", 50);
    let keep =
        "keep = { max_snapshots = 9, retention = \"3d\", last = 2, within = \"2d\", tags = [\"upgrade\"], daily = 7 }";
    let quiet = &format!("every = \"1h\"\nquiet = [\"00:00-23:59\"]\n{keep}");
    place.configure("", &[("orders-0", ""), ("events-0", quiet), ("gone", "")]);
    let served = place.serve();
    (place, served)
}

/// All routes that need a token: method, path, the least role, a body.
fn routes(id: &str) -> Vec<(&'static str, String, &'static str, Option<Value>)> {
    vec![
        ("GET", "/api/whoami".into(), READ, None),
        ("GET", "/api/sources".into(), READ, None),
        ("GET", "/api/sources/orders-0".into(), READ, None),
        ("GET", "/api/snapshots".into(), READ, None),
        ("GET", format!("/api/snapshots/{id}"), READ, None),
        ("GET", format!("/api/snapshots/{id}/files"), READ, None),
        ("GET", "/api/jobs".into(), READ, None),
        ("GET", "/api/jobs/j1".into(), READ, None),
        ("GET", "/api/jobs/j1/events".into(), READ, None),
        ("GET", "/metrics".into(), READ, None),
        ("POST", "/api/snapshots".into(), OPERATE, Some(json!({ "source": "orders-0", "force": true }))),
        ("POST", format!("/api/snapshots/{id}/verify"), OPERATE, Some(json!({}))),
        ("POST", format!("/api/snapshots/{id}/restore"), OPERATE, Some(json!({ "to": "back" }))),
        ("POST", "/api/sources/orders-0/restore?at=1h".into(), OPERATE, Some(json!({ "to": "then" }))),
        ("PATCH", format!("/api/snapshots/{id}"), OPERATE, Some(json!({ "add_tags": ["x"] }))),
        ("POST", "/api/jobs/j1/cancel".into(), OPERATE, None),
        ("POST", "/api/sources/orders-0/prune".into(), ADMIN, Some(json!({ "dry_run": true }))),
        ("DELETE", format!("/api/snapshots/{id}?dry_run=true"), ADMIN, None),
    ]
}

#[test]
fn each_role_may_do_what_it_may_and_no_more() {
    let (_place, served) = served();
    let id = served.create("orders-0");
    let roles = [READ, OPERATE, ADMIN];
    let mut described: Vec<(String, String)> =
        vec![("/metrics".into(), "get".into()), ("/api/events".into(), "get".into())];
    for (method, path, least, body) in routes(&format!("orders-0~{id}")) {
        for token in ["", "a-token-that-nobody-knows"] {
            let refused = served.ask(method, &path, token, &[], body.as_ref());
            refused.problem(401, "unauthorized");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
        let least = roles.iter().position(|role| *role == least).unwrap();
        for (n, token) in roles.into_iter().enumerate() {
            let answer = served.ask(method, &path, token, &[], body.as_ref());
            match n >= least {
                // A job that has ended cannot be cancelled; only the first restore finds room.
                true => assert!(matches!(answer.status, 200..=202 | 400 | 409), "{method} {path}: {}", answer.body),
                false => {
                    let problem = answer.problem(403, "forbidden");
                    assert!(problem["detail"].as_str().unwrap().contains("this needs"), "{problem}");
                }
            }
        }
        let path = path.split('?').next().unwrap().replace(&format!("orders-0~{id}"), "{id}");
        let path = path.replace("/j1", "/{id}").replace("sources/orders-0", "sources/{name}");
        described.push((path, method.to_lowercase()));
    }
    // And these are all that there are.
    let document = served.ask("GET", "/openapi.json", "", &[], None).expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            assert!(described.contains(&(path.clone(), method.clone())), "{method} {path} was not tried");
        }
    }
}

#[test]
fn what_needs_no_token() {
    let (_place, served) = served();
    for (path, kind) in [
        ("/", "text/html"),
        ("/console/app.js", "text/javascript"),
        ("/console/style.css", "text/css"),
        ("/docs/", "text/html"),
        ("/healthz", "text/plain"),
        ("/readyz", "text/plain"),
    ] {
        let answer = served.ask("GET", path, "", &[], None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("http"), "{policy}");
    }
    for path in ["/nothing", "/api/nothing", "/console/nothing.js", "/console/../style.css", "/console/%2e%2e/mod.rs"] {
        served.ask("GET", path, "", &[], None).problem(404, "not-found");
    }
    // Also what the routes themselves never see.
    for (path, status, word) in [("/docs/nothing.js", 404, "not-found"), ("/console/%ff", 400, "bad-request")] {
        served.ask("GET", path, "", &[], None).problem(status, word);
    }
    let answer = served.ask("PUT", "/api/snapshots", ADMIN, &[], Some(&json!({})));
    answer.problem(405, "method");
    assert!(answer.header("allow").contains("POST"));
}

#[test]
fn sources_tell_how_they_are() {
    let (place, served) = served();
    let of = |name: &str| served.get(&format!("/api/sources/{name}"));
    assert_eq!((&of("orders-0")["health"], &of("orders-0")["newest"]), (&json!("warning"), &Value::Null));
    assert_eq!(of("gone")["health"], "unreadable");
    assert_eq!(of("gone")["error"]["status"], 404);
    let id = served.create("orders-0");
    let source = of("orders-0");
    assert_eq!((&source["health"], &source["snapshots"]), (&json!("ok"), &json!(1)));
    assert_eq!(source["newest"]["id"], id);
    assert_eq!(source["newest_verified"], Value::Null);
    assert!(
        source["free_bytes"].as_u64().unwrap() > 0 && source["total_bytes"].as_u64() > source["free_bytes"].as_u64()
    );
    let job = served.post(&format!("/api/snapshots/orders-0~{id}/verify"), json!({ "level": "deep" })).expect(202);
    assert_eq!(served.ended(&job)["state"], "done");
    assert_eq!(of("orders-0")["newest_verified"]["id"], id);
    let planned = of("events-0");
    assert_eq!(planned["tasks"][0]["task"], "create");
    assert!(planned["tasks"][0]["next_ms"].as_i64().unwrap() > 0);
    let expected = json!({ "max_snapshots": 9, "retention_seconds": 259_200, "last": 2, "within_seconds": 172_800,
        "tags": ["upgrade"], "hourly": 0, "daily": 7, "weekly": 0, "monthly": 0 });
    assert_eq!(planned["keep"], expected);
    let all = served.get("/api/sources");
    let names: Vec<&str> = all["sources"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders-0", "events-0", "gone"]);
    served.ask("GET", "/api/sources/nobody", READ, &[], None).problem(404, "not-found");

    // A store that cannot be read hides neither the others nor itself.
    drop(served);
    let unreadable = format!("store = {:?}", place.path("tokens"));
    place.configure("", &[("orders-0", ""), ("events-0", &unreadable)]);
    let served = place.serve();
    let listed = served.ask("GET", "/api/snapshots", READ, &[], None).expect(207);
    assert_eq!(
        (listed["total"].as_u64(), listed["unreadable"][0]["source"].as_str()),
        (Some(1), Some("events-0")),
        "{listed}"
    );
}

#[test]
fn snapshots_are_listed_page_by_page_and_filtered() {
    let (_place, served) = served();
    let mut ids = Vec::new();
    for source in ["orders-0", "events-0", "orders-0", "events-0", "orders-0"] {
        ids.push(format!("{source}~{}", served.create(source)));
    }
    ids.reverse();
    let listed = |query: &str| {
        let page = served.get(&format!("/api/snapshots?{query}"));
        let found = page["snapshots"].as_array().unwrap().iter().map(|s| s["ref"].as_str().unwrap().to_owned());
        (found.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned), page["total"].as_u64().unwrap())
    };
    assert_eq!(listed(""), (ids.clone(), None, 5));
    let (first, next, total) = listed("limit=2");
    assert_eq!((first.as_slice(), total), (&ids[..2], 5));
    // What is deleted between two pages moves nothing.
    served.ask("DELETE", &format!("/api/snapshots/{}", ids[1]), ADMIN, &[], None).expect(200);
    let (second, next, _) = listed(&format!("limit=2&after={}", next.unwrap()));
    assert_eq!(second, ids[2..4]);
    assert_eq!(listed(&format!("limit=2&after={}", next.unwrap())), (vec![ids[4].clone()], None, 4));
    assert_eq!(listed("source=events-0").2, 1);
    assert_eq!((listed("newer_than=1h").2, listed("older_than=1h").2, listed("topic=orders").2), (4, 0, 0));
    for bad in ["limit=0", "limit=1001", "limit=x", "after=x", "newer_than=x", "unknown=1", "topic=a/b", "partition=1"]
    {
        served.ask("GET", &format!("/api/snapshots?{bad}"), READ, &[], None).problem(400, "bad-request");
    }
    served.ask("GET", "/api/snapshots?source=nobody", READ, &[], None).problem(404, "not-found");
    let files = served.get(&format!("/api/snapshots/{}/files?limit=1", ids[0]));
    assert!(files["total"].as_u64().unwrap() > 1 && files["next"] == 1, "{files}");
    assert_eq!(files["files"][0]["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn jobs_are_listed_page_by_page() {
    let (_place, served) = served();
    for _ in 0..5 {
        served.create("orders-0");
    }
    let listed = |query: &str| {
        let page = served.get(&format!("/api/jobs?source=orders-0&{query}"));
        let ids = page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned), page["total"].as_u64().unwrap())
    };
    let (all, next, total) = listed("");
    assert_eq!((all.len(), next, total), (5, None, 5));
    let (first, next, total) = listed("limit=2");
    assert_eq!((first.as_slice(), total), (&all[..2], 5));
    // One that begins between two pages moves nothing.
    served.create("orders-0");
    let (second, next, total) = listed(&format!("limit=2&after={}", next.unwrap()));
    assert_eq!((second.as_slice(), total), (&all[2..4], 6));
    assert_eq!(listed(&format!("limit=2&after={}", next.unwrap())), (vec![all[4].clone()], None, 6));
    for bad in ["after=x", "after=1", "after=j", "limit=0"] {
        served.ask("GET", &format!("/api/jobs?{bad}"), READ, &[], None).problem(400, "bad-request");
    }
}

#[test]
fn a_snapshot_is_named_with_its_source_or_alone_where_that_is_enough() {
    let place = Place::new();
    let log = place.append("orders-0", 20);
    let base = place.path("one");
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let id = served.create("orders-0");
    let digits = id.strip_prefix("snapshot-").unwrap();
    for name in
        [id.as_str(), digits, &digits[..digits.len() - 1], "latest", "orders-0~latest", &format!("orders-0~{digits}")]
    {
        let found = served.get(&format!("/api/snapshots/{name}"));
        assert_eq!((&found["id"], &found["ref"]), (&json!(id), &json!(format!("orders-0~{id}"))), "{name}");
    }
    served.ask("GET", "/api/snapshots/snapshot-9", READ, &[], None).problem(404, "not-found");
    served.ask("GET", "/api/snapshots/orders-0~snapshot-9", READ, &[], None).problem(404, "not-found");
    served.ask("GET", "/api/snapshots/nobody~latest", READ, &[], None).problem(404, "not-found");
    for bad in ["..", "orders-0~..", "x", "orders-0~", "%2e%2e%2f", "orders-0~%0a"] {
        let answer = served.ask("GET", &format!("/api/snapshots/{bad}"), READ, &[], None);
        assert!(matches!(answer.status, 400 | 404), "{bad}: {}", answer.body);
    }
    drop(served);

    // The same id in two sources: it has to be said which.
    let copied = std::process::Command::new("cp").arg("-a").arg(&log).arg(&base).status().unwrap();
    assert!(copied.success());
    place.configure("", &[("orders-0", ""), ("one", "")]);
    let served = place.serve();
    let problem = served.ask("GET", &format!("/api/snapshots/{id}"), READ, &[], None).problem(400, "ambiguous-id");
    assert_eq!(problem["candidates"], json!([format!("orders-0~{id}"), format!("one~{id}")]));
    assert_eq!(served.get(&format!("/api/snapshots/one~{id}"))["source"], "one");
    // A beginning that fits several of one source hides those of no other.
    let second = served.create("orders-0");
    let beginning = &digits[..3];
    let [first, second, other] =
        [("orders-0", &id), ("orders-0", &second), ("one", &id)].map(|(s, id)| format!("{s}~{id}"));
    let candidates = |name: &str| {
        served.ask("GET", &format!("/api/snapshots/{name}"), READ, &[], None).problem(400, "ambiguous-id")["candidates"]
            .clone()
    };
    assert_eq!(candidates(beginning), json!([first, second, other]));
    assert_eq!(candidates(&format!("orders-0~{beginning}")), json!([first, second]));
    // Many are not all named, and of each source some are.
    (0..9).for_each(|_| drop(served.create("orders-0")));
    let problem =
        served.ask("DELETE", &format!("/api/snapshots/{beginning}"), ADMIN, &[], None).problem(400, "ambiguous-id");
    assert_eq!(problem["candidates"].as_array().unwrap().len(), 8 + 1);
    assert_eq!(problem["candidates"][8], json!(other));
    assert!(problem["detail"].as_str().unwrap().ends_with(" and 3 more"), "{problem}");
}

#[test]
fn damage_is_found_named_and_refused() {
    let (_place, served) = served();
    let id = served.create("orders-0");
    let snapshot = served.get(&format!("/api/snapshots/{id}"));
    let path = std::path::Path::new(snapshot["path"].as_str().unwrap());
    let last = served.get(&format!("/api/snapshots/{id}/files"));
    let mut logs = last["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["method"] == "copy" && f["path"].as_str().unwrap().ends_with(".log"));
    let name = logs.next_back().unwrap()["path"].as_str().unwrap().to_owned();
    damage(&path.join(&name));
    let job = served.ended(&served.post(&format!("/api/snapshots/{id}/verify"), json!({})).expect(202));
    assert_eq!((&job["state"], &job["error"]["status"]), (&json!("failed"), &json!(422)));
    assert_eq!(job["error"]["damage"][0]["path"], name);
    let detail = job["error"]["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("{id} is damaged in 1 place: {name}")), "{detail}");
    assert_eq!((&job["result"]["ok"], &job["result"]["damage"][0]["kind"]), (&json!(false), &json!("digest")));
    let job = served.ended(&served.post(&format!("/api/snapshots/{id}/restore"), json!({ "to": "back" })).expect(202));
    assert_eq!(job["error"]["status"], 422, "{job}");
    assert_eq!(served.get("/api/sources/orders-0")["damaged"], 1);
    // A manifest that is not to be believed: it is still listed, and says so.
    std::fs::write(path.join("manifest.b3"), "x").unwrap();
    served.ask("GET", &format!("/api/snapshots/{id}/files"), READ, &[], None).problem(422, "damage");
    assert!(served.get(&format!("/api/snapshots/{id}"))["damaged"].is_string());
}
