//! The pictures of `docs/console.md`, where `COWLOG_SCREENSHOTS` names a directory to write them to.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cowlog::BatchBuilder;
use cowlog::fs::Clock;
use cowlog::log::{Log, LogConfig};
use cowlog::snapshot::{Level, SnapshotConfig, SnapshotManager};
use serde_json::json;

use crate::page::Page;
use crate::served::{ADMIN, Place, Served, damage};
use crate::stage::{Halted, SOURCE, own_file};

const MINUTE: i64 = 60_000;

/// A log that grew, and its snapshots: how many minutes ago, how many records came before it, its tag.
fn history(place: &Place, name: &str, past: &[(i64, usize, &str)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let at = Arc::new(AtomicI64::new(now));
    let told = at.clone();
    let clock = Clock::new(move || told.load(Ordering::SeqCst));
    let config = SnapshotConfig { clock, lock_timeout: Duration::from_secs(60), ..SnapshotConfig::default() };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for (n, (ago, records, tag)) in past.iter().enumerate() {
        at.store(now - ago * MINUTE, Ordering::SeqCst);
        let config_of_log = LogConfig { segment_bytes: 4 << 20, ..LogConfig::default() };
        let mut log = Log::open_with(place.path(name), config_of_log).unwrap();
        for _ in 0..3 * records {
            let mut batch = BatchBuilder::new();
            for n in 0..16 {
                let mut value = Vec::new();
                while value.len() < 2048 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    value.extend(random.to_le_bytes());
                }
                batch.record(now - ago * MINUTE + n, None, Some(&value));
            }
            log.append(batch.build().unwrap()).unwrap();
        }
        log.close().unwrap();
        let snapshots = SnapshotManager::open_with(place.path(name), config.clone()).unwrap();
        let mut create = snapshots.create().force(true);
        if !tag.is_empty() {
            create = create.tag(*tag);
        }
        create.run().unwrap();
        if n % 3 == 1 {
            at.fetch_add(5 * MINUTE, Ordering::SeqCst);
            snapshots.verify("latest", Level::Full).unwrap();
        }
    }
}

struct Painter<'a> {
    page: &'a Page,
    place: &'a Place,
    into: PathBuf,
}

impl Painter<'_> {
    /// Paths are shown as if they were below `/srv`, not where this machine has its temporary files.
    fn taken(&self, most: u64) -> String {
        let script = "const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
             while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(arguments[0], '/srv/'); \
             scrollTo(0, 0)";
        self.page.run(script, json!([self.place.path("")]));
        let size = &self.page.browser.devtools("Page.getLayoutMetrics", json!({}))["cssContentSize"];
        let height = size["height"].as_f64().unwrap().min(most as f64);
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1 });
        let wanted = json!({ "captureBeyondViewport": height > 900.0, "clip": clip });
        let taken = self.page.browser.devtools("Page.captureScreenshot", wanted);
        taken["data"].as_str().unwrap().to_owned()
    }

    /// In both themes, as high as it needs to be; made smaller where there is `pngquant`.
    fn paint(&self, name: &str, most: u64) {
        for theme in ["light", "dark"] {
            self.page.dark(theme == "dark");
            let taken = loop {
                let taken = self.taken(most);
                // It was drawn anew in between.
                if !self.page.texts("html > body")[0].contains(self.place.path("").to_str().unwrap()) {
                    break taken;
                }
            };
            let file = self.into.join(format!("console-{name}-{theme}.png"));
            std::fs::write(&file, decoded(&taken)).unwrap();
            let mut smaller = Command::new("pngquant");
            smaller.args(["--force", "--skip-if-larger", "--strip", "--ext=.png", "64"]).arg(&file);
            let _ = smaller.stderr(Stdio::null()).status();
        }
    }
}

/// Base64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, c| bits << 6 | u32::from(value(*c))) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

fn job(served: &Served, source: &str, what: &str, body: serde_json::Value) {
    let begun = served.post(&format!("/api/snapshots/{source}~latest/{what}"), body);
    served.ended(&begun.expect(202));
}

#[test]
fn pictures() {
    let Some(into) = std::env::var_os("COWLOG_SCREENSHOTS").map(PathBuf::from) else { return };
    let place = Place::new();
    let past = [
        (3840, 280, "before-the-upgrade"),
        (3450, 190, ""),
        (2940, 230, ""),
        (2400, 120, ""),
        (2010, 260, ""),
        (1530, 330, "end-of-month"),
        (1170, 90, ""),
        (900, 210, ""),
        (600, 160, ""),
        (330, 240, ""),
        (150, 130, ""),
        (62, 110, ""),
    ];
    history(&place, SOURCE, &past);
    history(&place, "payments-0", &past[4..].iter().map(|(ago, n, _)| (ago + 7, n / 4, "")).collect::<Vec<_>>());
    history(&place, "audit-0", &[(1500, 90, "spring"), (60, 70, "summer")]);
    let keep = "keep = { max_snapshots = 20, retention = \"7d\", daily = 7 }";
    let hourly = format!("every = \"1h\"\n{keep}\nverify = {{ every = \"1d\" }}");
    let drill = format!("{hourly}\ndrill = {{ every = \"1d\", into = {:?} }}", place.path("restored"));
    place.configure(
        "",
        &[(SOURCE, &drill), ("payments-0", &hourly), ("audit-0", keep), ("clicks-0", "every = \"10m\"")],
    );
    let served = place.serve();
    job(&served, "payments-0", "restore", json!({ "to": "payments-monday" }));
    let id = served.get("/api/snapshots?source=audit-0")["snapshots"][0]["id"].as_str().unwrap().to_owned();
    damage(&own_file(&served, &id).0);
    job(&served, "audit-0", "verify", json!({ "level": "deep" }));
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    page.width(1280, 900);
    let painter = Painter { page: &page, place: &place, into };
    page.until("the schedule is not done", || {
        (served.get("/api/jobs?state=running")["jobs"] == json!([])
            && served.get(&format!("/api/sources/{SOURCE}"))["drill"].is_object())
        .then_some(())
    });
    page.go_to_source(SOURCE);
    page.see("chart-bar");
    page.click("restore");
    page.fill("restore-to", "orders-before-the-upgrade");
    page.says("restore-target", "upgrade");
    painter.paint("dialog", 900);
    page.click("dialog-cancel");
    page.gone("restore-dialog");
    page.until("nothing is ended", || page.texts("finished-job").first().map(drop));
    painter.paint("source", 1400);
    page.go("#/", "Sources");
    page.says("source-card", "1 damaged");
    painter.paint("sources", 1200);
    page.go_to_snapshot("audit-0", &id);
    page.see("damaged-file");
    painter.paint("snapshot", 1500);
    page.go("#/jobs", "Jobs");
    let newest = served.get(&format!("/api/sources/{SOURCE}"))["newest"]["id"].as_str().unwrap().to_owned();
    let _halted = Halted::in_a_restore(&place, &served, &page, &newest, 15);
    painter.paint("jobs", 900);
}
