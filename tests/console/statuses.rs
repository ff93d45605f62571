//! The statuses that need something to be in the way.

use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use crate::mounts::{Kind, Mount};
use crate::served::{OPERATE, Place};

/// Who asks for more than is done at once is told to wait, and nothing of it is lost or begun by halves.
#[test]
fn more_jobs_than_are_done_at_once() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let id = served.create("orders-0");
    // Whoever deletes a snapshot has it alone: verifications wait for that.
    let dir = std::fs::File::open(place.path("orders-0/.snapshots").join(&id)).unwrap();
    let lock = Flock::lock(dir, FlockArg::LockExclusiveNonblock).unwrap();
    let ask = || served.post(&format!("/api/snapshots/{id}/verify"), json!({}));
    let begun: Vec<_> = (0..32).map(|_| ask().expect(202)).collect();
    let refused = ask().problem(503, "unavailable");
    assert!(refused["detail"].as_str().unwrap().contains("jobs"), "{refused}");
    drop(lock);
    for job in begun {
        assert_eq!(served.ended(&job)["state"], "done");
    }
    ask().expect(202);
    assert_eq!(served.get("/api/jobs")["total"], 34);
}

/// A server that cannot write down what is done is not ready.
#[test]
fn it_is_ready_only_where_it_can_write_down_what_is_done() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    assert_eq!(served.ask("GET", "/readyz", "", &[], None).status, 200);
    std::fs::remove_file(place.path("state/audit.jsonl")).unwrap();
    std::fs::create_dir(place.path("state/audit.jsonl")).unwrap();
    served.ask("GET", "/readyz", "", &[], None).problem(503, "unavailable");
    assert_eq!(served.ask("GET", "/healthz", "", &[], None).status, 200);
}

#[test]
fn what_the_operating_system_refuses() {
    let place = Place::new();
    place.append("orders-0", 20);
    place.configure("", &[("orders-0", &format!("store = {:?}", place.path("tokens").join("x")))]);
    let served = place.serve();
    let body = json!({ "source": "orders-0" });
    served.ask("POST", "/api/snapshots", OPERATE, &[], Some(&body)).problem(500, "filesystem");
}

#[test]
fn a_full_disk_and_the_way_out() {
    let Some(small) = Mount::sized(Kind::Ext4, 16) else { return };
    let place = Place::new();
    place.fill("orders-0", 1 << 20, 40, 1 << 20);
    let store = small.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let settings = format!("store = {store:?}\nmethod = \"copy\"\nmax_copy = \"1GiB\"");
    place.configure("", &[("orders-0", &settings)]);
    let served = place.serve();
    let body = json!({ "source": "orders-0" });
    let problem = served.ask("POST", "/api/snapshots", OPERATE, &[], Some(&body)).problem(507, "disk-full");
    let hint = problem["hint"].as_str().unwrap();
    assert!(hint.contains("DELETE /api/snapshots/{id}") && !hint.contains("cowlog"), "{hint}");
}
