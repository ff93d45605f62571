//! `space`, and what a dry run says of it.

use crate::stage::{Stage, append};

#[test]
fn space_says_who_holds_what_and_a_dry_run_what_becomes_free() {
    let stage = Stage::new();
    let first = stage.create();
    append(&stage.log, 30);
    let second = stage.create();
    let space = stage.run("space", &["--json", &first, &second]).expect_code(0).json();
    let told = space["snapshots"].as_array().unwrap();
    assert_eq!(told.iter().map(|s| s["id"].as_str().unwrap()).collect::<Vec<_>>(), [first.as_str(), second.as_str()]);
    assert_eq!(space["deleting"]["frees"], space["frees"], "these are all");
    assert!(space["no_forecast"].as_str().unwrap().contains("less than an hour"), "{space}");
    assert!(space["logical"].as_u64().unwrap() > 2 * 4096, "{space}");

    let planned = stage.run("delete", &["-n", "--json", &first, &second]).expect_code(0).json();
    let sum =
        |bound: &str| planned.as_array().unwrap().iter().map(|d| d["frees"][bound].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(sum("most")), space["frees"]["most"].as_u64(), "one after the other they free what both free");
    let pruned = stage.run("prune", &["-n", "--json", "--max-snapshots", "1"]).expect_code(0).json();
    assert_eq!(pruned[0]["frees"], told[0]["frees"]);
    let gone = stage.run("delete", &[&first, "--json"]).expect_code(0).json();
    assert!(gone[0]["frees"]["most"].as_u64() >= planned[0]["frees"]["least"].as_u64(), "{gone}");

    let shown = stage.run("show", &[&second, "--space", "--json"]).expect_code(0).json();
    let alone = stage.run("space", &["--json"]).expect_code(0).json();
    assert_eq!(shown["space"], alone["snapshots"][0]);
    let listed = stage.run("list", &["--space", "--json"]).expect_code(0).json();
    assert_eq!(listed[0]["space"], alone["snapshots"][0]);
    assert!(stage.run("list", &["--json"]).expect_code(0).json()[0].get("space").is_none());
    let text = stage.run("list", &["--space"]).expect_code(0).stdout;
    assert!(text.contains("HELD") && text.contains("FREES"), "{text}");
    let text = stage.run("show", &[&second, "--space"]).expect_code(0).stdout;
    assert!(text.contains("when it is deleted") && text.contains("only the store keeps"), "{text}");
    assert!(!stage.run("show", &[&second]).expect_code(0).stdout.contains("when it is deleted"));

    let text = stage.run("space", &[&second, "--segments"]).expect_code(0).stdout;
    for told in
        ["FREES", "PHYSICAL COPIES", "1 snapshot: ", "only the store keeps", &format!("deleting {second} would free ")]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    stage.run("space", &["snapshot-9", "--json"]).expect_error(10, "validation");
}

#[test]
fn without_a_store_there_is_nothing_to_tell() {
    let stage = Stage::new();
    stage.run("space", &["--json"]).expect_error(10, "validation");
}
