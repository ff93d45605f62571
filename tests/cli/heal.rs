//! A scrub and a heal from outside: exit codes, what they say, and what `list` says of it.

use std::fs;

use crate::stage::{Ran, Stage, cowlog, run};

/// With two snapshots that hold a file each that the other lacks and the log does not.
fn damaged() -> (Stage, [String; 2]) {
    let stage = Stage::new();
    let ids = [stage.create(), stage.create()];
    for id in &ids {
        fs::remove_file(stage.snapshot(id).join("00000000000000000000.index")).unwrap();
    }
    (stage, ids)
}

fn heal(stage: &Stage, args: &[&str]) -> Ran {
    stage.run("repair", &[&["--heal"], args].concat())
}

#[test]
fn what_is_damaged_is_found_listed_and_mended() {
    let (stage, ids) = damaged();
    let text = stage.run("verify", &["--budget", "100%"]).expect_code(4).stdout;
    assert!(text.starts_with("DAMAGED  ") && text.contains("cowlog repair --heal"), "{text}");
    assert!(ids.iter().all(|id| text.contains(&format!("{id}  00000000000000000000.index  missing"))), "{text}");
    let listed = stage.run("list", &[]).expect_code(0).stdout;
    assert!(listed.contains("READ") && listed.matches("damage now").count() == 2, "{listed}");
    let target = stage.path("r");
    let refused = stage.run("restore", &[&ids[0], "--to", target.to_str().unwrap()]).expect_code(4).stderr;
    assert!(refused.contains("the live log has an intact 00000000000000000000.index"), "{refused}");

    let foreseen = heal(&stage, &["--dry-run"]).expect_code(0).stdout;
    assert!(foreseen.contains("2 files would be mended"), "{foreseen}");
    assert!(!stage.snapshot(&ids[0]).join("00000000000000000000.index").exists());
    let told = heal(&stage, &[]).expect_code(0).stdout;
    assert!(told.contains("2 files mended") && told.contains("a hard link to"), "{told}");
    assert!(heal(&stage, &[]).expect_code(0).stdout.contains("nothing is damaged"));
    stage.run("verify", &["--all"]).expect_code(0);
    let report = stage.run("verify", &["--budget", "1min", "--json"]).expect_code(0).json();
    assert_eq!((report["ok"].as_bool(), report["budget"].as_str()), (Some(true), Some("60000ms")));
}

#[test]
fn exit_codes_tell_whether_all_of_it_was_mended() {
    let (stage, ids) = damaged();
    // Of its own checkpoint there is no other copy once the log has gone on.
    let checkpoint = stage.snapshot(&ids[0]).join("checkpoint.json");
    let saved = stage.path("saved");
    fs::create_dir(&saved).unwrap();
    fs::copy(&checkpoint, saved.join("by-another-name")).unwrap();
    crate::stage::append(&stage.log, 3);
    for id in &ids {
        fs::remove_file(stage.snapshot(id).join("checkpoint.json")).unwrap();
    }
    let json = heal(&stage, &["--json"]).expect_code(3).json();
    assert_eq!(
        (json["mended"].as_array().unwrap().len(), json["not_mended"].as_array().unwrap().len()),
        (2, 2),
        "{json}"
    );
    let text = heal(&stage, &["-q"]).expect_code(4).stdout;
    assert!(text.contains("checkpoint.json  not mended: no intact copy was found"), "{text}");
    heal(&stage, &["--from", saved.to_str().unwrap()]).expect_code(0);
    stage.run("verify", &["--all"]).expect_code(0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let stage = Stage::new();
    for args in [&["--from", "x"][..], &["latest"], &["--heal", "--accept", "latest"], &["-n"]] {
        stage.run("repair", args).expect_code(2);
    }
    for args in
        [&["--budget", "0%"][..], &["--budget", "5 %"], &["--budget", "5%", "--all"], &["latest", "--budget", "5%"]]
    {
        stage.run("verify", args).expect_code(2);
    }
    stage.run("verify", &["--budget", "5%"]).expect_code(10);
    heal(&stage, &[]).expect_code(10);
    stage.create();
    heal(&stage, &["--from", "/nowhere/at/all"]).expect_code(1);
    heal(&stage, &["snapshot-99"]).expect_code(10);
    for (verb, example) in [("verify", "--budget 5%"), ("repair", "--heal latest --from")] {
        let help = run(cowlog().args([verb, "--help"])).expect_code(0).stdout;
        assert!(help.contains("Examples:") && help.contains(example), "{help}");
    }
}
