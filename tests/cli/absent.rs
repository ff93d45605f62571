//! What is asked for and is not there: the answer names what is there instead, and a mistyped path is no empty list.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stage::{Ran, Stage, append, cowlog, run};

fn on(verb: &str, source: &Path, args: &[&str]) -> Ran {
    run(cowlog().arg(verb).arg(source).args(args).arg("--json"))
}

fn data(topics: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    topics.iter().for_each(|name| append(&data.join(name), 5));
    (temp, data)
}

#[track_caller]
fn hint(ran: &Ran) -> String {
    ran.json()["error"]["hint"].as_str().unwrap_or_else(|| panic!("no hint: {}", ran.stdout)).to_owned()
}

#[test]
fn a_topic_that_no_snapshot_holds() {
    let (temp, data) = data(&["orders-0", "orders-1", "payments-0", "zebra-0"]);
    let taken = on("create", &data, &[]).expect_code(0).json();
    let id = taken["id"].as_str().unwrap();
    let to = temp.path().join("to");
    let to = to.to_str().unwrap();
    let calls: [(&str, &[&str]); 9] = [
        ("cat", &["latest"]),
        ("cat", &[id]),
        ("diff", &["latest", "live"]),
        ("fork", &["latest", "--to", to]),
        ("restore", &["latest", "--to", to]),
        ("restore", &["--at", "2020-01-01", "--to", to]),
        ("list", &[]),
        ("prune", &[]),
        ("doctor", &[]),
    ];
    for (verb, args) in calls {
        for (part, nearest) in
            [(&["--topic", "ordres"][..], "orders"), (&["--topic", "order", "--partition", "1"], "orders-1")]
        {
            let ran = on(verb, &data, &[args, part].concat());
            let hint = hint(&ran);
            let message = ran.expect_error(10, "validation");
            assert!(message.starts_with("no snapshot in ") && message.contains("holds "), "{verb}: {message}");
            assert!(hint.contains(&format!("first: {nearest},")) && hint.contains("zebra"), "{verb}: {hint}");
        }
    }
    // A partition's path that is gone, or never was.
    for verb in ["list", "doctor", "show"] {
        let ran = on(verb, &data.join("orders-7"), &[]);
        assert!(hint(&ran).contains("orders-0"), "{verb}: {}", ran.stdout);
        ran.expect_error(10, "validation");
    }
    assert_eq!(on("list", &data.join("orders-1"), &[]).expect_code(0).json(), Value::Array(Vec::new()));
    // One that is there and was made after the last snapshot has none yet.
    append(&data.join("young-0"), 1);
    assert_eq!(on("list", &data, &["--topic", "young"]).expect_code(0).json(), Value::Array(Vec::new()));
    // Of one that is gone the snapshots remain.
    fs::remove_dir_all(data.join("zebra-0")).unwrap();
    assert_eq!(on("list", &data, &["--topic", "zebra"]).expect_code(0).json().as_array().unwrap().len(), 1);
    on("doctor", &data, &["--topic", "zebra"]).expect_code(0);
}

#[test]
fn a_piece_of_a_topic_is_named() {
    let (temp, data) = data(&["orders-0", "orders-1"]);
    let id = on("create", &data, &["--topic", "orders", "--partition", "1"]).expect_code(0).json()["id"].clone();
    let to = temp.path().join("to");
    let ran = on("restore", &data, &["latest", "--topic", "orders", "--to", to.to_str().unwrap()]);
    assert!(hint(&ran).contains(id.as_str().unwrap()), "{}", ran.stdout);
    assert!(ran.expect_error(10, "validation").contains("all of orders"));
}

#[test]
fn doctor_on_a_topic_looks_at_all_of_the_store() {
    let (_temp, data) = data(&["orders-0", "payments-0"]);
    let whole = on("create", &data, &[]).expect_code(0).json();
    let ran = on("doctor", &data, &["--topic", "orders"]).expect_code(0);
    assert!(ran.stdout.contains("1 snapshot, all of which are looked at; 1 of all of orders"), "{}", ran.stdout);
    fs::write(Path::new(whole["path"].as_str().unwrap()).join("manifest.b3"), "odd").unwrap();
    let ran = on("doctor", &data, &["--topic", "orders"]).expect_code(1);
    assert!(ran.stdout.contains(&format!("{} is damaged", whole["id"].as_str().unwrap())), "{}", ran.stdout);
}

#[test]
fn what_is_no_source_has_no_empty_list() {
    let stage = Stage::new();
    assert_eq!(stage.run("list", &["--json"]).expect_code(0).stdout, "[]\n", "there, and without snapshots");
    let empty = stage.path("empty");
    fs::create_dir(&empty).unwrap();
    assert!(on("list", &empty, &[]).expect_error(2, "validation").contains("is not a log"));
    let file = stage.log.join("00000000000000000000.log");
    assert!(on("list", &file, &[]).expect_error(2, "validation").contains("not a directory"));
    on("list", &stage.path("nowhere"), &[]).expect_error(10, "validation");
    let id = stage.create();
    for verb in ["list", "show", "verify", "prune", "topics", "cat"] {
        let ran = on(verb, &stage.store(), &[]);
        if verb != "topics" {
            assert!(hint(&ran).contains(stage.log.to_str().unwrap()), "{verb}: {}", ran.stdout);
        }
        ran.expect_error(2, "validation");
    }
    let message = on("list", &stage.snapshot(&id), &[]).expect_error(2, "validation");
    assert!(message.contains("is in the snapshot"), "{message}");
    assert_eq!(stage.run("list", &["--json"]).expect_code(0).json().as_array().unwrap().len(), 1);
}
