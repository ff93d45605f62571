//! The server ends in the middle of each kind of job, killed or told to, and is started again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::middles::{Caught, KINDS, Kind, catch, names, place};
use crate::served::{Place, Served};

#[test]
fn what_was_interrupted_is_told_swept_and_not_lost() {
    let place = place();
    for kind in KINDS {
        let Caught { mut served, job, kept } = catch(&place, kind);
        served.signal(Signal::SIGKILL);
        served.wait(Duration::from_secs(10));
        drop(served);

        let served = place.serve();
        let told = served.get(&format!("/api/jobs/{job}"));
        assert_eq!((&told["state"], &told["task"]), (&json!("interrupted"), &json!(kind.task)), "{kind:?}: {told}");
        assert!(told["ended_ms"].is_i64(), "{kind:?}: {told}");
        assert!(audited(&place, &job).starts_with("interrupted"), "{kind:?}: {}", audited(&place, &job));
        if kind.by_clock {
            assert!(served.log().contains(&format!("{} was interrupted", kind.task)), "{}", served.log());
            done_again(&served, kind, &job);
        }
        nothing_is_lost(&served, kind, &kept);
        // Whoever comes next sweeps.
        served.create("orders-0");
        nothing_is_left(&place, kind, false);
        assert_eq!(served.get("/api/jobs?state=running")["jobs"], json!([]), "{kind:?}");
    }
}

/// What is being done is undone, or ends; nothing waits to be swept.
#[test]
fn what_is_under_way_when_it_is_told_to_end_is_undone_or_ends() {
    let place = place();
    for kind in KINDS {
        let Caught { mut served, job, kept } = catch(&place, kind);
        served.signal(Signal::SIGTERM);
        served.signal(Signal::SIGCONT);
        let began = Instant::now();
        assert_eq!(served.wait(Duration::from_secs(12)), Some(0), "{kind:?}: {}", served.log());
        assert!(began.elapsed() < Duration::from_secs(10), "{kind:?}: {:?}", began.elapsed());
        drop(served);
        let back = place.path("restored/back").exists();
        nothing_is_left(&place, kind, back);

        let served = place.serve();
        let told = served.get(&format!("/api/jobs/{job}"));
        let ends = match kind.task {
            // Its commit point was behind it.
            "delete" => &["done"][..],
            "restore" if back => &["done"],
            "restore" | "drill" => &["interrupted"],
            _ => &["done", "interrupted"],
        };
        assert!(ends.contains(&told["state"].as_str().unwrap()), "{kind:?}: {told}");
        if kind.by_clock && told["state"] == "interrupted" {
            done_again(&served, kind, &job);
        }
        nothing_is_lost(&served, kind, &kept);
        let _ = std::fs::remove_dir_all(place.path("restored/back"));
    }
}

/// The result that the audit log has last of a job.
fn audited(place: &Place, job: &str) -> String {
    let text = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.rfind(|line| line["job"] == job);
    last.unwrap_or_else(|| panic!("nothing is noted of {job}"))["result"].as_str().unwrap().to_owned()
}

/// What the clock asks for is done again by the next server, at once.
fn done_again(served: &Served, kind: Kind, interrupted: &str) {
    let began = Instant::now();
    let number = |job: &Value| job["id"].as_str().unwrap()[1..].parse::<u64>().unwrap();
    let interrupted = interrupted[1..].parse().unwrap();
    loop {
        let done = served.get("/api/jobs?source=orders-0&state=done");
        let mut jobs = done["jobs"].as_array().unwrap().iter();
        if jobs.any(|job| number(job) > interrupted && job["task"] == kind.task && job["by"] == "schedule") {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{kind:?}: {done}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn nothing_is_lost(served: &Served, kind: Kind, kept: &[String]) {
    assert!(!kept.is_empty());
    for id in kept {
        let path = format!("/api/snapshots/orders-0~{id}/verify");
        let answer = served.post(&path, json!({}));
        assert_eq!(answer.status, 202, "{kind:?}: {}", answer.body);
        let job = served.ended(&answer.expect(202));
        assert_eq!(job["state"], "done", "{kind:?}: {job}");
    }
}

fn nothing_is_left(place: &Place, kind: Kind, back: bool) {
    assert_eq!(names(&place.path("restored")), ["back"][usize::from(!back)..], "{kind:?}");
    assert_eq!(names(&place.path("drills")), [""; 0], "{kind:?}");
    assert_eq!(names(&place.path("orders-0/.snapshots")), [".lock", "snapshots.json"], "{kind:?}");
}
