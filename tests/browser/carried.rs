//! What is elsewhere is shown, and a snapshot that somebody takes by hand gets there like those of the clock.

use serde_json::json;

use crate::page::Page;
use crate::served::{OPERATE, Place};
use crate::stage::SOURCE;

#[test]
fn what_is_taken_by_hand_is_carried_elsewhere() {
    let place = Place::new();
    place.append(SOURCE, 50);
    let offsite = format!("every = \"30d\"\noffsite = {{ to = {:?}, host = \"here\" }}", place.path("elsewhere"));
    place.configure("", &[(SOURCE, &offsite)]);
    let served = place.serve();
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_source(SOURCE);
    // What is newest of all snapshots is there, and the page tells of just that.
    let carried = |count: u64| {
        page.until("the newest is not elsewhere", || {
            let source = served.get(&format!("/api/sources/{SOURCE}"));
            (source["snapshots"] == count && source["offsite"]["id"] == source["newest"]["id"]).then_some(())
        });
        let newest = served.get(&format!("/api/snapshots/{SOURCE}~latest"))["timestamp"].clone();
        page.until("the page does not tell", || {
            let script = "return Date.parse(document.querySelector('[data-test=offsite] time')?.dateTime) === Date.parse(arguments[0])";
            (page.run(script, json!([newest])) == true).then_some(())
        });
        page.says("offsite", place.path("elsewhere").to_str().unwrap());
    };
    // The clock takes the first one by itself.
    carried(1);
    page.click("create");
    page.click("dialog-confirm");
    page.click("create-again");
    page.click("dialog-confirm");
    carried(2);
    page.go("#/", "Sources");
    page.says("offsite", "up to");
}
