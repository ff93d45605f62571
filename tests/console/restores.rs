//! A restore goes below the directories that the configuration names, and nowhere else.

use serde_json::{Value, json};

use crate::served::{OPERATE, Place, Served};

fn restore(served: &Served, body: Value) -> crate::served::Answer {
    served.ask("POST", "/api/snapshots/orders-0~latest/restore", OPERATE, &[], Some(&body))
}

#[test]
fn whatever_a_path_is_made_of_it_leads_nowhere_else() {
    let place = Place::new();
    place.append("orders-0", 20);
    let outside = place.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(place.path("restored/inner")).unwrap();
    std::os::unix::fs::symlink(&outside, place.path("restored/link")).unwrap();
    std::os::unix::fs::symlink("..", place.path("restored/up")).unwrap();
    std::fs::write(place.path("restored/file"), "x").unwrap();
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    served.create("orders-0");
    let long = "x".repeat(300);
    let deep = "a/".repeat(3000);
    let absolute = outside.join("x");
    for to in [
        "",
        ".",
        "..",
        "/",
        "../outside/x",
        "inner/../../outside/x",
        absolute.to_str().unwrap(),
        "/etc/x",
        "link/x",
        "up/outside/x",
        "link",
        "file",
        "file/x",
        "inner",
        "missing/x",
        "a\0b",
        "a\nb",
        ".cowlog-drill-orders-0.d",
        &long,
        &deep,
    ] {
        let answer = restore(&served, json!({ "to": to }));
        assert_eq!(answer.status, 400, "{to:.40?}: {}", answer.body);
    }
    for bad in [
        json!({}),
        json!({ "to": "x", "dir": "/etc" }),
        json!({ "to": "x", "dir": outside }),
        json!({ "to": "x", "partition": 0 }),
        json!({ "to": "x", "topic": "../a" }),
        json!({ "to": "x", "until_offset": -1 }),
        json!({ "to": "x", "until_offset": 1, "until": "1" }),
        json!({ "to": "x", "until": "yesterday" }),
        json!({ "to": "x", "since": "-1" }),
        json!({ "to": "x", "method": "hardlink" }),
    ] {
        restore(&served, bad).problem(400, "bad-request");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let mut left: Vec<String> = std::fs::read_dir(place.path("restored"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "inner", "link", "up"]);

    // And what is right is done.
    for to in ["one", "inner/two", "./inner/three", "with space ü", "-n"] {
        let job = served.ended(&restore(&served, json!({ "to": to })).expect(202));
        assert_eq!(job["state"], "done", "{job}");
        assert!(
            place.path("restored").join(to).join(".cowlog-segments").exists()
                || place.path("restored").join(to).is_dir()
        );
    }
    let back = cowlog::LogReader::open(place.path("restored/one")).unwrap();
    assert_eq!(back.log_end(), 20);
    let job = served.ended(&restore(&served, json!({ "to": "cut", "until_offset": 5, "method": "copy" })).expect(202));
    assert_eq!(job["result"]["end_offset"], 5, "{job}");
    let job = served.ended(&restore(&served, json!({ "to": "then", "until": "12", "since": "3" })).expect(202));
    assert_eq!(job["result"]["cuts"][0]["start_offset"], 3, "{job}");
    assert_eq!(job["result"]["end_offset"], 12, "{job}");
    // Nothing was written then; that is found once the job has begun.
    let job = served.ended(&restore(&served, json!({ "to": "never", "until": "1969-01-01" })).expect(202));
    assert_eq!(job["state"], "failed", "{job}");
}

#[test]
fn the_snapshot_that_holds_a_time_is_restored() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let first = served.create("orders-0");
    let between = served.get(&format!("/api/snapshots/orders-0~{first}"))["timestamp_ms"].as_i64().unwrap() + 1;
    place.append("orders-0", 5);
    let second = served.create("orders-0");
    let restore = |at: &str, body: Value| {
        served.ask("POST", &format!("/api/sources/orders-0/restore?at={at}"), OPERATE, &[], Some(&body))
    };
    for (at, id, end) in [("1h", &first, 20), (cowlog::store::rfc3339(between).as_str(), &second, 25)] {
        let job = served.ended(&restore(at, json!({ "to": format!("to-{end}") })).expect(202));
        assert_eq!((&job["snapshot"], &job["result"]["end_offset"]), (&json!(id), &json!(end)), "{job}");
    }
    let job = served.ended(&restore("1h", json!({ "to": "cut", "until": "7" })).expect(202));
    assert_eq!(job["result"]["end_offset"], 7, "{job}");
    restore("2100-01-01", json!({ "to": "never" })).problem(404, "not-found");
    restore("noon", json!({ "to": "never" })).problem(400, "bad-request");
    restore("1h&by=x", json!({ "to": "never" })).problem(400, "bad-request");
    restore("1h", json!({ "to": "never", "untill": "7" })).problem(400, "bad-request");
    let answer = served.ask("POST", "/api/sources/nobody/restore?at=1h", OPERATE, &[], Some(&json!({ "to": "x" })));
    answer.problem(404, "not-found");
}

#[test]
fn with_several_directories_or_none_it_must_be_said_which() {
    let place = Place::new();
    place.append("orders-0", 20);
    std::fs::create_dir(place.path("second")).unwrap();
    let both = format!("restore_dirs = [{:?}, {:?}]", place.path("restored"), place.path("second"));
    place.configure(&both, &[("orders-0", "")]);
    let served = place.serve();
    served.create("orders-0");
    assert_eq!(served.get("/api/whoami")["restore_dirs"].as_array().unwrap().len(), 2);
    restore(&served, json!({ "to": "x" })).problem(400, "bad-request");
    let job = served.ended(&restore(&served, json!({ "to": "x", "dir": place.path("second") })).expect(202));
    assert_eq!(job["state"], "done", "{job}");
    assert!(place.path("second/x").is_dir());
    drop(served);
    place.configure("restore_dirs = []", &[("orders-0", "")]);
    let served = place.serve();
    let problem = restore(&served, json!({ "to": "x" })).problem(400, "bad-request");
    assert!(problem["hint"].as_str().unwrap().contains("restore_dirs"), "{problem}");
}
