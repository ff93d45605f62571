//! A snapshot that is pinned goes only if that is said; a tag that is not there is told of.

use std::fs;

use crate::stage::Stage;

#[test]
fn what_is_pinned_is_deleted_only_by_force() {
    let stage = Stage::new();
    let ids: Vec<String> = (0..4).map(|_| stage.create()).collect();
    stage.run("pin", &[&ids[0]]).expect_code(0);
    for args in [&["--json"][..], &["--dry-run", "--json"]] {
        // The other one is not deleted either: all is looked at before the first goes.
        let ran = stage.run("delete", &[&[ids[1].as_str(), &ids[0]], args].concat());
        let hint = ran.json()["error"]["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("cowlog unpin") && hint.contains("--force"), "{hint}");
        assert_eq!(ran.expect_error(2, "validation"), format!("{} is pinned", ids[0]));
    }
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 4);
    stage.run("unpin", &[&ids[0]]).expect_code(0);
    stage.run("delete", &[&ids[0]]).expect_code(0);
    stage.run("pin", &[&ids[1]]).expect_code(0);
    stage.run("delete", &[&ids[1], "--force", "--dry-run"]).expect_code(0);
    stage.run("delete", &[&ids[1], "--force"]).expect_code(0);
    // Nobody knows what one is whose state cannot be read.
    fs::write(stage.snapshot(&ids[2]).join("state.json"), "odd").unwrap();
    let refused = stage.run("delete", &[&ids[2], "--json"]).expect_error(2, "validation");
    assert!(refused.contains("counts as pinned"), "{refused}");
    stage.run("delete", &[&ids[2], "--force"]).expect_code(0);
    assert_eq!(stage.run("list", &["--json"]).json()[0]["id"], ids[3].as_str());
}

#[test]
fn a_tag_that_is_not_there_is_told_of() {
    let stage = Stage::new();
    stage.create();
    stage.run("tag", &["latest", "here"]).expect_code(0);
    let ran = stage.run("tag", &["latest", "--remove", "here", "--remove", "never"]).expect_code(0);
    assert!(ran.stderr.contains("there is no tag never") && !ran.stderr.contains("tag here"), "{}", ran.stderr);
}

/// Blocks, not sizes: what a file takes up on the disk, and only if it has no other name.
#[test]
fn a_deletion_tells_what_becomes_free() {
    let stage = Stage::new();
    let id = stage.create();
    let only_here = |id: &str| -> u64 {
        use std::os::unix::fs::MetadataExt;
        let dir = stage.snapshot(id);
        let files = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().metadata().unwrap()).filter(|m| m.nlink() == 1);
        files.map(|m| m.blocks() * 512).sum::<u64>() + fs::metadata(&dir).unwrap().blocks() * 512
    };
    let expected = only_here(&id);
    let gone = stage.run("delete", &[&id, "--json"]).expect_code(0).json();
    assert_eq!(gone[0]["frees"]["most"].as_u64(), Some(expected), "{gone}");
    assert!(gone[0]["frees"]["least"].as_u64().unwrap() <= expected);
}
