//! A telephone.

use serde_json::json;

use crate::page::Page;
use crate::served::{ADMIN, Place};
use crate::stage::SOURCE;

const WIDTH: u32 = 360;

#[track_caller]
fn fits(page: &Page, what: &str) {
    let width = page.run("return document.documentElement.scrollWidth", json!([]));
    assert!(width.as_u64().unwrap() <= WIDTH.into(), "{what} is {width} wide");
    let hidden = "const d = document.querySelector('dialog[open]'); return d ? d.scrollWidth - d.clientWidth : 0";
    assert_eq!(page.run(hidden, json!([])), 0, "the dialog of {what} scrolls sideways");
}

#[test]
fn nothing_scrolls_sideways() {
    let place = Place::new();
    let long = "a-source-with-a-name-that-is-as-long-as-names-of-sources-become-0";
    place.append(SOURCE, 50);
    place.append(long, 20);
    place.configure("", &[(SOURCE, "keep = { max_snapshots = 1 }"), (long, ""), ("gone-0", "every = \"1h\"")]);
    let served = place.serve();
    let ids: Vec<String> = (0..3).map(|_| served.create(SOURCE)).collect();
    served.create(long);
    let Some(page) = Page::open(&served) else { return };
    page.width(WIDTH, 740);
    page.see("login-view");
    fits(&page, "login");
    page.sign_in(ADMIN);
    page.says("source-card", "gone-0");
    fits(&page, "sources");
    for source in [SOURCE, long] {
        page.go_to_source(source);
        page.see("chart-bar");
        fits(&page, source);
        for (button, says) in [
            ("create", source),
            ("prune", "would"),
            ("verify", "every byte"),
            ("restore", "Target"),
            ("delete", "free"),
        ] {
            page.click(button);
            page.says("dialog[open] form", says);
            fits(&page, button);
            page.click("dialog-cancel");
            page.gone("dialog[open] form");
        }
    }
    page.go_to_snapshot(SOURCE, &ids[0]);
    fits(&page, "snapshot");
    page.click("verify");
    page.click("dialog-confirm");
    page.says("notice", "all intact");
    fits(&page, "a message");
    page.go("#/jobs", "Jobs");
    page.see("finished-job");
    fits(&page, "jobs");
    drop(served);
    page.see("banner");
    fits(&page, "the banner");
}
