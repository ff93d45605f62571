//! The lines of docs/api.md work as they stand there, and there is one for each route.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::served::{ADMIN, Place};

fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.flat_map(|(block, _)| block.lines()).map(str::to_owned).collect()
}

#[test]
fn each_line_of_the_page_works_and_each_route_has_one() {
    let place = Place::new();
    place.append("orders", 50);
    place.configure("", &[("orders", "")]);
    let served = place.serve();
    let document = served.ask("GET", "/openapi.json", "", &[], None).expect(200);
    let mut untold: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    served.create("orders");
    let lines = lines();
    assert!(lines.len() > 20, "{lines:#?}");
    for line in &lines {
        let ran = Command::new("sh").args(["-c", line]).env("URL", &served.url).env("TOKEN", ADMIN).output().unwrap();
        // A stream without end is ended by curl.
        let ended = ran.status.success() || line.contains("--max-time") && ran.status.code() == Some(28);
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ended, "{line}\n{out}\n{err}");
        // One that is cancelled has ended already.
        assert!(!out.starts_with(r#"{"type":"urn:"#) || line.ends_with("/cancel"), "{line}\n{out}");
        let url = line.split(['"', ' ', '?']).find_map(|word| word.strip_prefix("$URL")).unwrap();
        let path =
            url.replace("/orders~latest", "/{id}").replace("/j1", "/{id}").replace("sources/orders", "sources/{name}");
        let method = match () {
            () if line.contains("-X DELETE") => "delete",
            () if line.contains("-X PATCH") => "patch",
            () if line.contains("-X POST") || line.contains(" -d ") => "post",
            () => "get",
        };
        untold.remove(&format!("{method} {path}"));
    }
    assert!(untold.is_empty(), "these have no line: {untold:#?}");
}

/// The table of statuses has all that the document names, and no other.
#[test]
fn every_status_is_in_the_table() {
    let place = Place::new();
    place.append("orders", 5);
    place.configure("", &[("orders", "")]);
    let served = place.serve();
    let document = served.ask("GET", "/openapi.json", "", &[], None).expect(200);
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let named: BTreeSet<String> = operations
        .flat_map(|operation| operation["responses"].as_object().unwrap().keys().cloned())
        .filter(|status| status.as_str() >= "400")
        .collect();
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let mut table: BTreeSet<String> =
        rows.map(|(status, _)| status.to_owned()).filter(|s| s.parse::<u16>().is_ok()).collect();
    // That a method does not exist is nowhere described.
    assert!(table.remove("405"));
    assert_eq!(named, table);
}
