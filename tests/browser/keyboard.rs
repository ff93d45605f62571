//! All of it works without a mouse.

use serde_json::json;

use crate::page::{ENTER, Page, TAB};
use crate::served::ADMIN;
use crate::stage::{SOURCE, served};

/// Goes on with Tab until something has the focus.
#[track_caller]
fn tab_to(page: &Page, hook: &str) {
    for _ in 0..80 {
        page.browser.press(TAB);
        if page.focus() == hook {
            return;
        }
    }
    panic!("Tab does not lead to {hook}");
}

#[test]
fn a_snapshot_is_taken_opened_and_deleted_with_the_keyboard_alone() {
    let (_place, served) = served();
    let Some(page) = Page::open(&served) else { return };
    page.until("the token is not asked for", || (page.focus() == "token").then_some(()));
    page.browser.press(&format!("{ADMIN}{ENTER}"));
    page.see("source-card");

    let link = "return document.activeElement?.matches('[data-test=source-card] h2 a') ?? false";
    for tabs in 0.. {
        page.browser.press(TAB);
        if page.run(link, json!([])) == true {
            break;
        }
        assert!(tabs < 40, "Tab does not lead to the source");
    }
    page.browser.press(ENTER);
    page.says("heading", SOURCE);
    page.see("create");
    page.until("the heading has not the focus", || (page.focus() == "heading").then_some(()));

    tab_to(&page, "create");
    page.browser.press(ENTER);
    page.see("create-dialog");
    page.until("the dialog has not the focus", || (page.focus() == "create-tags").then_some(()));
    page.browser.press("typed");
    tab_to(&page, "dialog-confirm");
    page.browser.press(ENTER);
    page.gone("create-dialog");
    page.says("snapshot-row", "typed");
    assert_eq!(page.focus(), "create");

    tab_to(&page, "chart-bar");
    page.browser.press(ENTER);
    page.see("files");
    tab_to(&page, "delete");
    page.browser.press(ENTER);
    page.says("delete-preview", "becomes free");
    tab_to(&page, "dialog-confirm");
    page.browser.press(ENTER);
    page.says("heading", SOURCE);
    page.says("#main", "There is no snapshot yet");
    tab_to(&page, "close-notice");
    page.browser.press(ENTER);
    page.until("the message is still there", || (page.count("notice") < 2).then_some(()));
}

#[test]
fn the_first_stop_leads_to_the_content() {
    let (_place, served) = served();
    let Some(page) = Page::signed_in(&served, ADMIN) else { return };
    page.run("document.activeElement.blur()", json!([]));
    page.browser.press(TAB);
    let focus = "return document.activeElement.id";
    assert_eq!(page.run(focus, json!([])), "skip");
    page.browser.press(ENTER);
    page.until("it leads elsewhere", || (page.run(focus, json!([])) == "main").then_some(()));
}
