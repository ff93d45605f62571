//! A server that stands still right in the middle of a job, for whoever wants to end it there.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::served::{ADMIN, Place, Served};

/// A job: what is done, and whether a request or the clock asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub task: &'static str,
    pub by_clock: bool,
}

const fn kind(task: &'static str, by_clock: bool) -> Kind {
    Kind { task, by_clock }
}

pub const KINDS: [Kind; 8] = [
    kind("create", false),
    kind("verify", false),
    kind("restore", false),
    kind("delete", false),
    kind("prune", false),
    kind("create", true),
    kind("verify", true),
    kind("drill", true),
];

/// What was caught.
pub struct Caught {
    /// It stands still.
    pub served: Served,
    /// The job's id.
    pub job: String,
    /// The snapshots that were there and that the job does not delete.
    pub kept: Vec<String>,
}

/// A log of so many files that whatever is done with it has a middle.
pub fn place() -> Place {
    let place = Place::new();
    place.fill("orders-0", 64 << 10, 400, 60 << 10);
    std::fs::create_dir(place.path("drills")).unwrap();
    place
}

/// Begins it until the server is caught in the middle: neither before it does anything nor after its end.
pub fn catch(place: &Place, kind: Kind) -> Caught {
    for _ in 0..50 {
        place.configure("", &[("orders-0", COPIES)]);
        let mut served = place.serve();
        let (gone, kept) = loop {
            let (gone, kept) = what_goes(&served, kind);
            if !kept.is_empty() && (!["delete", "prune"].contains(&kind.task) || !gone.is_empty()) {
                break (gone, kept);
            }
            served.create("orders-0");
        };
        let before = newest_job(place).map_or(0, |(number, _)| number);
        match kind.by_clock {
            true => {
                drop(served);
                let _ = std::fs::remove_file(place.path("state/schedule.json"));
                place.configure("", &[("orders-0", &by_clock(place, kind))]);
                served = place.serve();
            }
            false => ask(&served, kind, gone.first().map_or("", String::as_str)),
        }
        if let Some(job) = stand_still(place, &served, kind, before) {
            return Caught { served, job, kept };
        }
        // It was faster.
        drop(served);
        let _ = std::fs::remove_dir_all(place.path("restored/back"));
    }
    panic!("{kind:?} always ends before it is caught");
}

/// The snapshots that the job is to delete, and the others.
fn what_goes(served: &Served, kind: Kind) -> (Vec<String>, Vec<String>) {
    let rules = match kind.task {
        "prune" => json!({ "dry_run": true, "max_snapshots": 1 }),
        _ => json!({ "dry_run": true }),
    };
    let plan = served.ask("POST", "/api/sources/orders-0/prune", ADMIN, &[], Some(&rules)).expect(200);
    let steps = plan["steps"].as_array().unwrap().iter();
    let (mut gone, mut kept): (Vec<&Value>, Vec<&Value>) = steps.partition(|step| step["remove"] == true);
    if kind.task == "delete" && kept.len() > 1 {
        gone.extend(kept.pop());
    }
    let ids = |steps: Vec<&Value>| steps.iter().map(|step| step["id"].as_str().unwrap().to_owned()).collect();
    (ids(gone), ids(kept))
}

const COPIES: &str = "method = \"copy\"\nmax_copy = \"1GiB\"\nkeep = { max_snapshots = 100 }";

fn by_clock(place: &Place, kind: Kind) -> String {
    let task = match kind.task {
        "create" => "every = \"1h\"".to_owned(),
        "verify" => "verify = { every = \"1h\", level = \"deep\" }".to_owned(),
        _ => format!("drill = {{ every = \"1h\", into = {:?} }}", place.path("drills")),
    };
    format!("{COPIES}\n{task}")
}

/// Nobody waits for the answer: the server is ended meanwhile.
fn ask(served: &Served, kind: Kind, victim: &str) {
    let (method, path, body) = match kind.task {
        "create" => ("POST", "/api/snapshots".to_owned(), json!({ "source": "orders-0", "force": true })),
        "verify" => ("POST", "/api/snapshots/latest/verify".to_owned(), json!({ "level": "deep" })),
        "restore" => ("POST", "/api/snapshots/latest/restore".to_owned(), json!({ "to": "back", "method": "copy" })),
        "delete" => ("DELETE", format!("/api/snapshots/orders-0~{victim}"), Value::Null),
        _ => ("POST", "/api/sources/orders-0/prune".to_owned(), json!({ "max_snapshots": 1 })),
    };
    let uri = format!("{}{path}", served.url);
    std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder().method(method).uri(uri);
        let request =
            request.header("Authorization", format!("Bearer {ADMIN}")).header("Content-Type", "application/json");
        let _ = agent.run(request.body(body.to_string()).unwrap());
    });
}

/// The job's id, once all of the server stands still while it is under way; `None` where it has ended before.
fn stand_still(place: &Place, served: &Served, kind: Kind, before: u64) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(30);
    // A job that begins after `before`: as it stands in the journal.
    let job = || newest_job(place).filter(|(number, job)| *number > before && job["task"] == kind.task);
    let id = |(_, job): (u64, Value)| (job["state"] == "running").then(|| job["id"].as_str().unwrap().to_owned());
    let in_the_middle = || job().and_then(id).filter(|_| has_begun(place, served, kind));
    loop {
        assert!(Instant::now() < until, "{kind:?} does not begin: {}", served.log());
        if in_the_middle().is_some() {
            served.signal(Signal::SIGSTOP);
            until_all_stand_still(served.id());
            if let Some(job) = in_the_middle() {
                return Some(job);
            }
            served.signal(Signal::SIGCONT);
        }
        if job().is_some_and(|(_, job)| job["state"] != "running") {
            return None;
        }
        std::thread::yield_now();
    }
}

/// Whether something of it is there to be seen.
fn has_begun(place: &Place, served: &Served, kind: Kind) -> bool {
    let store = place.path("orders-0/.snapshots");
    let one_of = |dir: &Path, fits: &dyn Fn(&str) -> bool| names(dir).into_iter().any(|name| fits(&name));
    match kind.task {
        "create" => {
            let staging = names(&store).into_iter().find(|name| name.starts_with(".staging-"));
            staging.is_some_and(|name| one_of(&store.join(name), &|name| name.ends_with(".log")))
        }
        // What is read is open.
        "verify" => {
            let open = std::fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap();
            let mut open = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
            open.any(|path| path.to_string_lossy().contains("/.snapshots/snapshot-"))
        }
        "restore" => one_of(&place.path("restored"), &|name| name.ends_with(".restoring")),
        "drill" => one_of(&place.path("drills"), &|_| true),
        _ => one_of(&store, &|name| name.starts_with(".trash-")),
    }
}

fn until_all_stand_still(pid: u32) {
    let until = Instant::now() + Duration::from_secs(10);
    let all_do = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok()).all(|stat| {
            let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
            state == Some("T")
        })
    };
    while !all_do() {
        assert!(Instant::now() < until, "it does not stand still");
        std::thread::yield_now();
    }
}

/// The last job that was begun, with its number, as it was written down last.
fn newest_job(place: &Place) -> Option<(u64, Value)> {
    let text = std::fs::read_to_string(place.path("state/jobs.jsonl")).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| Some((line["number"].as_u64()?, line["job"].clone()))).max_by_key(|(number, _)| *number)
}

/// What lies in a directory, but for snapshots.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("snapshot-")).collect();
    names.sort();
    names
}
