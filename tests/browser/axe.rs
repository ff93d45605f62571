//! What axe-core finds wrong with each view and dialog, light and dark.

use serde_json::{Value, json};

use crate::page::Page;
use crate::served::{ADMIN, Place, damage};
use crate::stage::{Halted, SOURCE, large, own_file};

/// What of it is a fault: axe's `serious` and `critical`.
const RUN: &str = "const result = await axe.run(document, { resultTypes: ['violations'] }); \
     return result.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical') \
     .map((v) => [v.id, v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 200)} ${n.failureSummary}`)])";

struct Judge<'a> {
    page: &'a Page,
    faults: Vec<String>,
}

impl Judge<'_> {
    fn look(&mut self, at: &str) {
        if self.page.run("return 'axe' in window", json!([])) == false {
            let axe = include_str!("../data/axe.min.js");
            self.page.browser.devtools("Runtime.evaluate", json!({ "expression": axe }));
        }
        for dark in [false, true] {
            self.page.dark(dark);
            let found: Value = self.page.run(RUN, json!([]));
            for fault in found.as_array().unwrap() {
                self.faults.push(format!("{at}, {}: {fault}", if dark { "dark" } else { "light" }));
            }
        }
    }

    /// Opens a dialog, looks at it when it says something, and leaves it.
    fn dialog(&mut self, button: &str, says: &str) {
        self.page.click(button);
        self.page.says("dialog[open] form", says);
        self.look(button);
        self.page.click("dialog-cancel");
        self.page.gone("dialog[open] form");
    }
}

#[test]
fn no_serious_fault_of_accessibility_in_any_view_or_dialog() {
    let place = Place::new();
    large(&place, SOURCE, 100);
    place.append("archive-0", 50);
    place.configure("", &[(SOURCE, ""), ("archive-0", "keep = { max_snapshots = 1 }"), ("gone-0", "every = \"1h\"")]);
    let served = place.serve();
    let id = served.create(SOURCE);
    served.create("archive-0");
    let damaged = served.create("archive-0");
    let Some(page) = Page::open(&served) else { return };
    let mut judge = Judge { page: &page, faults: Vec::new() };
    page.see("login-view");
    judge.look("login");
    page.fill("token", "of-nobody");
    page.click("login");
    page.says("login-error", "not known");
    judge.look("login, refused");
    page.fill("token", ADMIN);
    page.click("login");
    page.says("source-card", "gone-0");
    judge.look("sources");

    page.go_to_source(SOURCE);
    page.see("chart-bar");
    judge.look("source");
    judge.dialog("create", SOURCE);
    judge.dialog("verify", "every byte");
    judge.dialog("restore", "Target");
    judge.dialog("delete", "becomes free");
    page.go_to_snapshot(SOURCE, &id);
    judge.look("snapshot");
    {
        let _halted = Halted::in_a_restore(&place, &served, &page, &id, 0);
        judge.dialog("cancel-job", "Let it go on");
        page.run("location.hash = '#/jobs'", json!([]));
        page.see("running-job");
        judge.look("jobs, one running");
    }
    page.gone("running-job");

    damage(&own_file(&served, &damaged).0);
    page.go_to_snapshot("archive-0", &damaged);
    page.click("verify");
    page.click("dialog-confirm");
    page.says("notice", "found damage");
    page.see("snapshot-damage");
    judge.look("snapshot, damaged");
    page.click("close-notice");
    page.go_to_source("archive-0");
    judge.look("source, one damaged");
    judge.dialog("prune", "would go");
    page.go("#/jobs", "Jobs");
    page.see("job-error");
    judge.look("jobs");
    page.go("#/nowhere", "No such page");
    judge.look("no such page");
    drop(served);
    page.see("banner");
    judge.look("not connected");
    assert!(judge.faults.is_empty(), "{:#?}", judge.faults);
}
