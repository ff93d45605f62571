//! What the role `admin` may do: delete and prune.

use serde_json::json;

use crate::page::{ESCAPE, Page};
use crate::served::ADMIN;
use crate::stage::{SOURCE, served};

#[test]
fn a_snapshot_is_deleted_only_after_it_was_named() {
    let (_place, served) = served();
    let ids: Vec<String> = (0..3).map(|_| served.create(SOURCE)).collect();
    let there = || served.get("/api/snapshots")["total"].clone();
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    page.go_to_source(SOURCE);
    let first = format!("[data-ref='{SOURCE}~{}'] [data-test=delete]", ids[0]);
    page.click(&first);
    page.says("delete-preview", "becomes free");
    assert_eq!(page.texts("dialog-confirm"), [format!("Delete {}", ids[0])]);
    assert_eq!(page.focus(), "dialog-cancel");
    page.click("dialog-cancel");
    page.gone("delete-dialog");
    assert_eq!((page.focus().as_str(), there()), ("delete", json!(3)));
    page.click(&first);
    page.see("delete-dialog");
    page.browser.press(ESCAPE);
    page.gone("delete-dialog");
    assert_eq!((page.count("snapshot-row"), there()), (3, json!(3)));

    page.click(&first);
    page.click("dialog-confirm");
    page.says("notice", &format!("{} of {SOURCE} was deleted", ids[0]));
    page.until("its row is still there", || (page.count("snapshot-row") == 2).then_some(()));
    assert_eq!(there(), 2);

    page.go_to_snapshot(SOURCE, &ids[1]);
    page.click("delete");
    page.says("dialog-confirm", &ids[1]);
    page.click("dialog-confirm");
    page.says("heading", SOURCE);
    assert!(page.address().ends_with(&format!("#/source/{SOURCE}")), "{}", page.address());
    page.go(&format!("#/snapshot/{SOURCE}~{}", ids[1]), &ids[1]);
    page.says("problem", "no snapshot");
}

#[test]
fn a_pin_is_set_seen_and_asked_about() {
    let (_place, served) = served();
    let ids: Vec<String> = (0..2).map(|_| served.create(SOURCE)).collect();
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    let pinned = || served.get(&format!("/api/snapshots/{SOURCE}~{}", ids[0]))["pinned"].clone();
    page.go_to_snapshot(SOURCE, &ids[0]);
    page.says("pin", "Pin");
    page.click("pin");
    page.says("pin", "Unpin");
    assert_eq!(pinned(), json!(true));
    page.click("delete");
    page.says("delete-pinned", "It is pinned");
    page.says("delete-preview", "becomes free");
    page.click("dialog-cancel");
    page.gone("delete-dialog");
    page.click("pin");
    page.until("it is still pinned", || (pinned() == json!(false)).then_some(()));
    page.until("it still says so", || (page.texts("pin") == ["Pin"]).then_some(()));
    page.click("pin");
    page.says("pin", "Unpin");
    page.click("delete");
    page.says("delete-preview", "becomes free");
    page.click("dialog-confirm");
    page.says("heading", SOURCE);
    assert_eq!(served.get("/api/snapshots")["total"], 1);
}

#[test]
fn pruning_shows_first_what_would_go() {
    let (_place, served) = served();
    let ids: Vec<String> = (0..4).map(|_| served.create(SOURCE)).collect();
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    page.go_to_source(SOURCE);
    page.click("prune");
    page.says("prune-summary", "2 snapshots would go and 2 would stay");
    for (id, what) in ids.iter().zip(["delete", "delete", "keep", "keep"]) {
        let rows = page.texts("[data-test=prune-preview] tbody tr");
        assert!(rows.iter().any(|row| row.contains(id.as_str()) && row.contains(what)), "{id} {what}: {rows:?}");
    }
    page.fill("prune-retention", "soon");
    page.see("dialog-problem");
    assert!(!page.enabled("dialog-confirm"));
    page.fill("prune-retention", "7d");
    page.fill("prune-max_snapshots", "3");
    page.says("prune-summary", "1 snapshot would go");
    page.says("dialog-confirm", &format!("Delete 1 snapshot of {SOURCE}"));
    page.click("dialog-cancel");
    page.gone("prune-dialog");
    assert_eq!(served.get("/api/snapshots")["total"], 4);

    page.click("prune");
    page.says("dialog-confirm", &format!("Delete 2 snapshots of {SOURCE}"));
    page.click("dialog-confirm");
    page.says("notice", "2 snapshots");
    page.until("the rows are still there", || (page.count("snapshot-row") == 2).then_some(()));
    let left = served.get("/api/snapshots");
    assert_eq!((&left["snapshots"][0]["id"], &left["snapshots"][1]["id"]), (&json!(ids[3]), &json!(ids[2])));
    page.click("prune");
    page.says("prune-summary", "Nothing would go");
    assert!(!page.enabled("dialog-confirm"));
}
