//! The server goes away and comes back.

use std::process::Command;

use serde_json::json;

use crate::page::Page;
use crate::served::{OPERATE, Served};
use crate::stage::{SOURCE, served};

#[test]
fn a_server_that_is_gone_is_told_and_what_is_shown_is_fresh_when_it_is_back() {
    let (place, served) = served();
    served.create(SOURCE);
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_source(SOURCE);
    page.see("snapshot-row");
    page.run("window.sameDocument = true", json!([]));
    let address = served.address().to_owned();
    drop(served);
    page.says("banner", "cowlog cannot be reached; trying again");
    page.says("#main", "before the connection was lost");
    assert_eq!(page.attribute("banner", "role").as_deref(), Some("alert"));
    assert!(page.run("return document.title", json!([])).as_str().unwrap().contains("not connected"));
    // What was known stays to be looked at, and nothing can be begun.
    assert_eq!(page.count("snapshot-row"), 1);
    page.until("it can still be clicked", || (!page.enabled("create")).then_some(()));
    page.go("#/", "Sources");
    page.says("source-card", SOURCE);
    page.run("location.hash = arguments[0]", json!([format!("#/source/{SOURCE}")]));

    // The harness asks for any port, which is of no use here: to the shell it is an argument too many.
    let mut again = Command::new("sh");
    again.args(["-c", "exec \"$0\" serve --config \"$1\" --listen \"$2\"", env!("CARGO_BIN_EXE_cowlog")]);
    let served = Served::start(again.arg(place.path("cowlog.toml")).arg(&address));
    assert_eq!(served.address(), address);
    served.create(SOURCE);
    page.gone("banner");
    page.until("what is shown is old", || (page.count("snapshot-row") == 2).then_some(()));
    page.gone("[class=stale]");
    page.until("nothing can be clicked", || page.enabled("create").then_some(()));
    assert_eq!(page.run("return window.sameDocument", json!([])), true);
    // Events come again too.
    served.create(SOURCE);
    page.until("there is no news", || (page.count("snapshot-row") == 3).then_some(()));
}
