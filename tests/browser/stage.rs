//! What the tests look at.

use std::path::PathBuf;

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::page::Page;
use crate::served::{Place, Served};

pub const SOURCE: &str = "orders-0";

/// One source with some records in it.
pub fn served() -> (Place, Served) {
    let place = Place::new();
    place.append(SOURCE, 50);
    place.configure("", &[(SOURCE, "keep = { max_snapshots = 2 }")]);
    let served = place.serve();
    (place, served)
}

/// A log of so many MiB.
pub fn large(place: &Place, name: &str, mib: usize) {
    let config = LogConfig { segment_bytes: 8 << 20, ..LogConfig::default() };
    let mut log = Log::open_with(place.path(name), config).unwrap();
    let value = vec![7; 1 << 20];
    for offset in 0..mib as i64 {
        log.append(BatchBuilder::new().record(offset, None, Some(&value)).build().unwrap()).unwrap();
    }
    log.close().unwrap();
}

/// A file of a snapshot that no other and no log shares, and its name.
pub fn own_file(served: &Served, id: &str) -> (PathBuf, String) {
    let snapshot = served.get(&format!("/api/snapshots/{id}"));
    let files = served.get(&format!("/api/snapshots/{id}/files"));
    let mut files = files["files"].as_array().unwrap().iter();
    let own = files.rfind(|f| f["method"] == "copy" && f["path"].as_str().unwrap().ends_with(".log")).unwrap();
    let name = own["path"].as_str().unwrap().to_owned();
    (PathBuf::from(snapshot["path"].as_str().unwrap()).join(&name), name)
}

/// What the bar of a running job shows; nothing where there is none.
const PERCENT: &str = "const bar = document.querySelector('[data-test=running-job] progress[value]'); \
     return bar ? Math.floor(bar.value) : null";

/// Restores a snapshot of a large source until the page shows so many percent of it, and stops the server in the middle:
/// what is shown then stays. Goes on when dropped.
pub struct Halted<'a>(&'a Served);

impl<'a> Halted<'a> {
    #[track_caller]
    pub fn in_a_restore(place: &Place, served: &'a Served, page: &Page, id: &str, least: u32) -> Halted<'a> {
        let shown = || page.run(PERCENT, json!([])).as_u64().is_some_and(|percent| percent >= least.into());
        for attempt in 0.. {
            let to = format!("{SOURCE}-back-{attempt}");
            // One of an earlier call may have been faster than what was to become of it.
            let remove = || std::fs::remove_dir_all(place.path("restored").join(&to));
            let _ = remove();
            let wanted = json!({ "to": to, "method": "copy" });
            let job = served.post(&format!("/api/snapshots/{SOURCE}~{id}/restore"), wanted);
            let job = job.expect(202);
            let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
            while served.get(&path)["state"] == "running" {
                if !shown() {
                    continue;
                }
                served.signal(Signal::SIGSTOP);
                let halted = Halted(served);
                if shown() {
                    return halted;
                }
            }
            assert!(attempt < 30, "it is always faster: {}", served.get(&path));
            let _ = remove();
        }
        unreachable!()
    }
}

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}
