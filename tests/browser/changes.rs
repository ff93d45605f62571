//! What the role `operate` may do: create, verify, restore, cancel.

use serde_json::json;

use crate::page::Page;
use crate::served::{OPERATE, Place, damage};
use crate::stage::{Halted, SOURCE, large, own_file, served};

#[test]
fn a_snapshot_is_taken_and_appears_by_itself() {
    let (_place, served) = served();
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_source(SOURCE);
    page.says("#main", "There is no snapshot yet");
    page.run("window.sameDocument = true", json!([]));
    page.click("create");
    assert_eq!(page.focus(), "create-tags");
    page.fill("create-tags", "monday, spring");
    page.says("dialog-confirm", &format!("Snapshot {SOURCE}"));
    page.click("dialog-confirm");
    page.gone("create-dialog");
    page.says("notice", "was taken");
    page.says("snapshot-row", "spring");
    page.says("finished-job", "done");
    let known = served.get("/api/snapshots");
    assert_eq!((&known["total"], &known["snapshots"][0]["tags"]), (&json!(1), &json!(["monday", "spring"])));
    page.says("#live", "done");
    // Soon after another one it has to be said twice.
    page.click("create");
    page.click("dialog-confirm");
    page.says("[data-test=notice][data-kind=failing]", "less than the minimum interval");
    page.says("[data-test=notice] [data-test=hint]", "Take one all the same, or wait.");
    page.click("create-again");
    page.says("dialog-confirm", "all the same");
    page.click("dialog-confirm");
    page.until("there is no second one", || (page.count("snapshot-row") == 2).then_some(()));
    assert_eq!(page.run("return window.sameDocument", json!([])), true);
    page.go("#/", "Sources");
    page.see("[data-test=newest] a");
}

#[test]
fn a_running_job_is_shown_and_cancelled() {
    let place = Place::new();
    large(&place, SOURCE, 150);
    place.configure("", &[(SOURCE, "")]);
    let served = place.serve();
    let id = served.create(SOURCE);
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_source(SOURCE);
    page.see("snapshot-row");
    for attempt in 0.. {
        let halted = Halted::in_a_restore(&place, &served, &page, &id, 0);
        page.says("running-job", &id);
        page.says("running-job", "%");
        page.click("cancel-job");
        page.says("dialog-confirm", "Cancel: Restore of");
        drop(halted);
        page.click("dialog-confirm");
        page.gone("running-job");
        if page.count("[data-test=finished-job][data-state=cancelled]") > 0 {
            break;
        }
        assert!(attempt < 10, "it is always faster");
        // A dialog that was told that the job has ended stays, and covers what is below it.
        if page.count("dialog-cancel") > 0 {
            page.click("dialog-cancel");
        }
        page.go_to_source(SOURCE);
    }
    page.says("finished-job", "cancelled");
}

#[test]
fn a_damaged_file_is_found_and_named() {
    let (_place, served) = served();
    let id = served.create(SOURCE);
    let (file, name) = own_file(&served, &id);
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_snapshot(SOURCE, &id);
    page.click("verify");
    page.says("dialog-confirm", &format!("Verify {id} (full)"));
    page.click("dialog-confirm");
    page.says("[data-test=notice][data-kind=ok]", "all intact");
    page.says("heading", &id);
    page.says("verifications", "all intact");

    damage(&file);
    page.click("verify");
    page.click("#level-deep");
    page.says("dialog-confirm", "(deep)");
    page.click("dialog-confirm");
    page.says("[data-test=notice][data-kind=failing]", "found damage");
    page.says("[data-test=notice] [data-test=damaged-file]", &name);
    page.says("[data-test=snapshot-damage] [data-test=damaged-file]", &name);
    page.says("[data-test=notice] [data-test=damage]", "An intact copy is at");
    page.says("[data-test=notice] [data-test=hint]", "Put the intact copy");
    page.go("#/jobs", "Jobs");
    page.says("job-error", &name);
    page.go("#/", "Sources");
    page.says("source-card", "1 damaged");
    page.go_to_source(SOURCE);
    page.says("snapshot-row", "damage");
}

#[test]
fn a_restore_goes_below_its_directory_and_nowhere_else() {
    let (place, served) = served();
    let outside = place.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, place.path("restored/link")).unwrap();
    let id = served.create(SOURCE);
    let Some(page) = Page::signed_in(&served, OPERATE) else { return };
    page.go_to_source(SOURCE);
    page.click("restore");
    page.see("restore-dialog");
    for to in ["../x", "/etc/x", "a/../../x", ""] {
        // The browser's own `clear` is heard by nobody until something is typed.
        page.fill("restore-to", &format!("{to} "));
        page.says("#restore-fault", if to.is_empty() { "Name a directory" } else { "ame" });
        assert!(!page.enabled("dialog-confirm"), "{to}");
    }
    // What the page cannot know, the server does.
    page.fill("restore-to", "link/x");
    page.click("dialog-confirm");
    page.says("[data-test=dialog-problem], [data-test=notice]", "link");
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none(), "it was restored to the outside");

    let target = place.path("restored/back");
    page.fill("restore-to", "back");
    assert_eq!(page.says("restore-target", "back"), target.to_str().unwrap());
    page.says("dialog-confirm", &format!("Restore to {}", target.display()));
    page.click("dialog-confirm");
    page.says("notice", &format!("restored to {}", target.display()));
    assert_eq!(cowlog::Log::open(&target).unwrap().log_end_offset(), 50);
    page.says("finished-job", &id);
}
