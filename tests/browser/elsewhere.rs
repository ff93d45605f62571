//! Nothing is asked for elsewhere than at the server.

use serde_json::json;

use crate::page::Page;
use crate::served::ADMIN;
use crate::stage::{SOURCE, served};

#[test]
fn no_request_leaves_the_origin() {
    let (_place, served) = served();
    let id = served.create(SOURCE);
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    page.go_to_source(SOURCE);
    page.see("chart-bar");
    page.go_to_snapshot(SOURCE, &id);
    page.click("verify");
    page.click("dialog-confirm");
    page.says("notice", "all intact");
    page.go("#/jobs", "Jobs");
    page.see("finished-job");
    assert_eq!(page.strangers(), [""; 0]);
    page.browser.load(&format!("{}/docs", page.url));
    let shown = "return document.body.innerText.includes('/api/snapshots')";
    page.until("the API is not described", || (page.run(shown, json!([])) == true).then_some(()));
    assert_eq!(page.strangers(), [""; 0]);
}
