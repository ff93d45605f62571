//! The statuses that need something to be in the way.

use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use crate::mounts::{Kind, Mount};
use crate::served::{ADMIN, OPERATE, Place};

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

/// A log of a running broker that does not come to rest: one that has no segment is about to get one.
#[test]
fn some_logs_are_missing() {
    let (_temp, data) = crate::fixtures::unpack("plain-clean");
    for entry in std::fs::read_dir(data.join("orders-1")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "partition.metadata") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let lock = crate::broker_lock::hold(&data);
    let place = Place::new();
    place.configure("", &[("broker", &format!("path = {data:?}"))]);
    let served = place.serve();
    let ask = |body| served.ask("POST", "/api/snapshots", OPERATE, &[], Some(&body));
    let busy = ask(json!({ "source": "broker" })).problem(409, "busy");
    assert!(busy["detail"].as_str().unwrap().contains("orders-1"), "{busy}");
    let made = ask(json!({ "source": "broker", "allow_partial": true }));
    let snapshot = made.expect(207);
    assert_eq!(snapshot["missing"][0]["path"], "orders-1", "{snapshot}");
    let id = snapshot["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/api/snapshots/broker~{id}"));
    drop(lock);
}

/// Of two snapshots that should go one cannot.
#[test]
fn not_all_went() {
    let Some(mount) = Mount::sized(Kind::Ext4, 32) else { return };
    let place = Place::new();
    place.append("orders-0", 20);
    let store = mount.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let settings = format!("store = {store:?}\nkeep = {{ max_snapshots = 1 }}");
    place.configure("", &[("orders-0", &settings)]);
    let served = place.serve();
    let ids: Vec<String> = (0..3).map(|_| served.create("orders-0")).collect();
    let immutable = |flag: &str| {
        let done = std::process::Command::new("chattr").arg(flag).arg(store.join(&ids[1])).status().unwrap();
        assert!(done.success());
    };
    immutable("+i");
    let pruned = served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&json!({}))).expect(207);
    immutable("-i");
    assert_eq!(pruned["deleted"][0]["id"], ids[0], "{pruned}");
    assert_eq!(pruned["failed"][0]["id"], ids[1], "{pruned}");
    let again = served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&json!({}))).expect(200);
    assert_eq!(again["deleted"][0]["id"], ids[1]);
}
