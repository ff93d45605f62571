//! Tokens: taken, refused, and left nowhere.

use serde_json::json;

use crate::page::{ENTER, Page};
use crate::served::{OPERATE, READ};
use crate::stage::{SOURCE, served};

#[test]
fn a_token_is_known_or_refused_and_stays_in_no_address() {
    let (_place, served) = served();
    let Some(page) = Page::open(&served) else { return };
    page.see("login-view");
    page.click("login");
    page.says("login-error", "Type or paste a token");
    page.fill("token", "of-nobody");
    page.click("login");
    page.says("login-error", "This token is not known.");
    assert_eq!(page.count("source-card"), 0);

    page.fill("token", &format!("{OPERATE}{ENTER}"));
    page.says("source-card", SOURCE);
    page.says("who", "operator");
    assert!(!page.address().contains("token"), "{}", page.address());
    let kept = "return [sessionStorage.length, localStorage.length, document.cookie]";
    assert_eq!(page.run(kept, json!([])), json!([1, 0, ""]));
    page.click("sign-out");
    page.see("login-view");
    assert_eq!(page.run(kept, json!([])), json!([0, 0, ""]));

    page.sign_in(READ);
    page.says("who", "reader");
    assert!(!page.address().contains("token"), "{}", page.address());
    page.browser.load("about:blank");
    page.browser.load(&format!("{}/", page.url));
    page.see("source-card");
    assert!(!page.address().contains("token"), "{}", page.address());

    page.browser.load("about:blank");
    page.browser.load(&format!("{}/#token=of-nobody-either", page.url));
    page.says("login-error", "This token is not known.");
    assert!(!page.address().contains("nobody"), "{}", page.address());
}

#[test]
fn the_theme_can_be_chosen_and_is_kept() {
    let (_place, served) = served();
    let Some(page) = Page::signed_in(&served, READ) else { return };
    let ground = || page.run("return getComputedStyle(document.body).backgroundColor", json!([]));
    page.dark(false);
    let light = ground();
    page.dark(true);
    let dark = ground();
    assert_ne!(light, dark);
    page.click("theme");
    page.until("it is not light", || (ground() == light).then_some(()));
    page.browser.load("about:blank");
    page.browser.load(&format!("{}/", page.url));
    page.see("source-card");
    assert_eq!(ground(), light);
    page.click("theme");
    page.dark(false);
    page.until("it is not dark", || (ground() == dark).then_some(()));
}
