//! What a role does not allow is shown, and says which role it needs.

use crate::page::Page;
use crate::served::{OPERATE, READ};
use crate::stage::{SOURCE, served};

#[test]
fn what_needs_more_than_the_role_is_disabled_and_says_so() {
    let (_place, served) = served();
    let id = served.create(SOURCE);
    let Some(page) = Page::signed_in(&served, READ) else { return };
    for (token, name) in [(READ, "reader"), (OPERATE, "operator")] {
        page.sign_in(token);
        page.says("who", name);
        let check = |buttons: &[(&str, &str)]| {
            for (hook, role) in buttons {
                page.see(hook);
                let allowed = token == OPERATE && *role == "operate";
                assert_eq!(page.enabled(hook), allowed, "{hook} as {name}");
                let title = page.attribute(hook, "title").unwrap_or_default();
                assert_eq!(title.contains(role), !allowed, "{hook} as {name}: {title:?}");
            }
        };
        let of_each = [("verify", "operate"), ("restore", "operate"), ("delete", "admin")];
        page.go_to_source(SOURCE);
        page.see("snapshot-row");
        check(&[("create", "operate"), ("prune", "admin")]);
        check(&of_each);
        let note = page.says("role-note", "Your role is");
        assert_eq!((note.contains("operate or admin"), note.contains("admin")), (token == READ, true), "{note}");
        page.go_to_snapshot(SOURCE, &id);
        check(&of_each);
    }
}
