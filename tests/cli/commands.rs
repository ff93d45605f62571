//! Every command and every exit code.

use std::fs;

use fs2::FileExt;

use crate::stage::{Stage, append, cowlog, records, run};

#[test]
fn create_says_what_it_did() {
    let stage = Stage::new();
    let ran = stage.run("create", &["--tag", "first", "-t", "second"]).expect_code(0);
    for part in ["taken in", "offsets 0 to 100", "shared", "copied", "root"] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    let listed = stage.run("list", &["--json"]).json();
    assert_eq!(listed[0]["tags"], serde_json::json!(["first", "second"]));
}

#[test]
fn create_heeds_the_minimum_interval() {
    let stage = Stage::new();
    stage.run("create", &[]).expect_code(0);
    let ran = stage.run("create", &[]).expect_code(11);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("cowlog: snapshot-"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  hint: `--force`"), "{}", ran.stderr);
    stage.run("create", &["--json"]).expect_error(11, "concurrency");
    stage.run("create", &["--force"]).expect_code(0);
    stage.run("create", &["--min-interval", "0"]).expect_code(0);
    run(cowlog().arg("create").arg(&stage.log).env("COWLOG_MIN_INTERVAL", "0s")).expect_code(0);
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 4);
}

#[test]
fn create_copies_where_it_is_told_to() {
    let stage = Stage::new();
    let made = stage.run("create", &["--method", "copy", "--json"]).expect_code(0).json();
    assert_eq!(made["methods"].as_object().unwrap().keys().collect::<Vec<_>>(), ["copy"]);
    assert_eq!((made["bytes_shared"].as_u64(), made["exposed"].as_u64()), (Some(0), Some(0)));
    assert_eq!(made["bytes_copied"], made["total_size"]);
}

#[test]
fn what_is_no_source_is_refused() {
    let stage = Stage::new();
    let nowhere = stage.path("nowhere");
    for verb in ["create", "list", "show", "verify", "prune", "repair"] {
        run(cowlog().arg(verb).arg(&nowhere).arg("--json")).expect_error(10, "validation");
    }
    run(cowlog().args(["delete", "x", "1", "--json"])).expect_error(10, "validation");
    run(cowlog().args(["restore", "x", "1", "--to", "y", "--json"])).expect_error(10, "validation");
    fs::create_dir(&nowhere).unwrap();
    run(cowlog().arg("create").arg(&nowhere).arg("--json")).expect_error(2, "validation");
    assert_eq!(fs::read_dir(&nowhere).unwrap().count(), 0, "nothing is made where there is no log");
}

#[test]
fn list_is_empty_where_there_is_no_store() {
    let stage = Stage::new();
    assert_eq!(stage.run("list", &["--json"]).expect_code(0).stdout, "[]\n");
    let ran = stage.run("list", &[]).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "no snapshots yet\n"));
    // What did not happen is no success.
    stage.run("verify", &["--all", "--json"]).expect_error(10, "validation");
    stage.run("prune", &["--json"]).expect_error(10, "validation");
    assert!(!stage.store().exists(), "looking makes no store");
}

#[test]
fn list_lines_up() {
    let stage = Stage::new();
    stage.run("create", &["--tag", "números"]).expect_code(0);
    append(&stage.log, 50);
    stage.create();
    let ran = stage.run("list", &[]).expect_code(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.stdout);
    let right = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
    let size_ends = right(lines[0], "SIZE").unwrap();
    for line in &lines[1..3] {
        assert!(line[..size_ends].ends_with("iB") && line[size_ends..].starts_with("  "), "{}", ran.stdout);
    }
    assert!(lines[3].starts_with("2 snapshots, "), "{}", ran.stdout);
    assert!(lines.iter().all(|l| l.trim_end() == *l), "no blanks at line ends");
    let wide = stage.run("list", &["-v"]).expect_code(0).stdout;
    assert!(wide.contains("TAKEN (UTC)") && wide.contains("150"), "{wide}");
}

#[test]
fn ids_are_found_by_what_identifies_them() {
    let stage = Stage::new();
    let (first, second) = (stage.create(), stage.create());
    let digits = first.strip_prefix("snapshot-").unwrap();
    for id in [first.as_str(), digits] {
        assert_eq!(stage.run("show", &[id, "--json"]).json()["id"], first.as_str());
    }
    for id in ["latest", &second] {
        assert_eq!(stage.run("show", &[id, "--json"]).json()["id"], second.as_str());
    }
    assert_eq!(stage.run("show", &["--json"]).json()["id"], second.as_str());
    let message = stage.run("show", &["1", "--json"]).expect_error(2, "validation");
    assert!(message.contains(&first) && message.contains(&second), "{message}");
    stage.run("show", &["snapshot-7", "--json"]).expect_error(10, "validation");
    for bad in ["../x", "", "snapshot-", "LATEST", "1 2", "９"] {
        stage.run("show", &[bad, "--json"]).expect_error(2, "validation");
    }
    let long = "9".repeat(100_000);
    assert!(stage.run("verify", &[&long, "--json"]).expect_error(2, "validation").len() < 400);
}

#[test]
fn show_lists_every_file() {
    let stage = Stage::new();
    let id = stage.create();
    let page = stage.run("show", &[]).expect_code(0).stdout;
    for file in fs::read_dir(stage.snapshot(&id)).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert_eq!(page.contains(&name), !name.starts_with("manifest") && name != "state.json", "{name} in {page}");
    }
}

#[test]
fn verify_at_every_level() {
    let stage = Stage::new();
    let (first, second) = (stage.create(), stage.create());
    for level in ["quick", "full", "deep"] {
        let report = stage.run("verify", &["--level", level, "--json"]).expect_code(0).json();
        assert_eq!((report["id"].as_str(), report["ok"].as_bool()), (Some(second.as_str()), Some(true)));
        assert_eq!(report["level"], level);
    }
    let all = stage.run("verify", &["--all", "--json"]).expect_code(0).json();
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [first.as_str(), second.as_str()]);
    let text = stage.run("verify", &[&first]).expect_code(0).stdout;
    assert!(text.contains("ok  full"), "{text}");
    assert!(stage.run("verify", &["-q"]).expect_code(0).stdout.is_empty());
    assert!(stage.run("list", &[]).stdout.contains("  full "));
}

#[test]
fn restore_gives_back_every_record() {
    let stage = Stage::new();
    stage.create();
    let was = records(&stage.log);
    append(&stage.log, 7);
    let target = stage.path("restored");
    let to = target.to_str().unwrap();
    let restored = stage.run("restore", &["latest", "--to", to, "--json"]).expect_code(0).json();
    assert_eq!((restored["end_offset"].as_i64(), restored["target"].as_str()), (Some(100), Some(to)));
    assert_eq!(records(&target), was);
    stage.run("restore", &["latest", "--to", to, "--json"]).expect_error(2, "validation");
    assert_eq!(records(&target), was, "an existing target is not touched");

    let cut = stage.path("cut");
    let ran = stage.run("restore", &["latest", "--to", cut.to_str().unwrap(), "--until", "42"]).expect_code(0);
    assert!(ran.stdout.contains("offset 42"), "{}", ran.stdout);
    assert_eq!(records(&cut), was[..42]);
    let copied = stage.path("copied");
    let args = ["latest", "--to", copied.to_str().unwrap(), "--method", "copy", "--json"];
    let copied = stage.run("restore", &args).expect_code(0).json();
    assert_eq!(copied["methods"].as_object().unwrap().keys().collect::<Vec<_>>(), ["copy"]);
}

#[test]
fn a_source_that_is_gone_still_has_its_snapshots_elsewhere() {
    let stage = Stage::new();
    let store = stage.path("store");
    let was = records(&stage.log);
    let store = store.to_str().unwrap();
    stage.run("create", &["--store", store]).expect_code(0);
    assert!(!stage.store().exists());
    fs::remove_dir_all(&stage.log).unwrap();
    let listed = run(cowlog().arg("list").arg(&stage.log).arg("--json").env("COWLOG_STORE", store)).expect_code(0);
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
    let target = stage.path("back");
    stage.run("restore", &["latest", "--to", target.to_str().unwrap(), "--store", store]).expect_code(0);
    assert_eq!(records(&target), was);
}

#[test]
fn delete_deletes_what_is_named_and_nothing_else() {
    let stage = Stage::new();
    let ids: Vec<String> = (0..4).map(|_| stage.create()).collect();
    stage.run("delete", &[&ids[0], "7", "--json"]).expect_error(10, "validation");
    stage.run("delete", &[&ids[0], "../x", "--json"]).expect_error(2, "validation");
    let planned = stage.run("delete", &[&ids[0], "latest", "-n", "--json"]).expect_code(0).json();
    assert_eq!(planned.as_array().unwrap().len(), 2);
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 4, "so far nothing went");
    let gone = stage.run("delete", &[&ids[0], "latest", &ids[3], "--json"]).expect_code(0).json();
    let gone: Vec<_> = gone.as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    assert_eq!(gone, [ids[0].as_str(), ids[3].as_str()], "each once");
    let text = stage.run("delete", &[&ids[1]]).expect_code(0).stdout;
    assert!(text.starts_with(&format!("{}  deleted", ids[1])), "{text}");
    let left = stage.run("list", &["--json"]).json();
    assert_eq!((left.as_array().unwrap().len(), left[0]["id"].as_str()), (1, Some(ids[2].as_str())));
}

#[test]
fn what_is_in_use_stays_and_the_rest_goes() {
    let stage = Stage::new();
    let (first, second) = (stage.create(), stage.create());
    let reader = fs::File::open(stage.snapshot(&first)).unwrap();
    FileExt::try_lock_shared(&reader).unwrap();
    let args = [first.as_str(), "--lock-timeout", "100ms", "--json"];
    stage.run("delete", &args).expect_error(11, "concurrency");
    let ran = stage.run("delete", &[&first, &second, "--lock-timeout", "100ms", "--json"]).expect_code(3);
    let fates = ran.json();
    assert_eq!((fates[0]["id"].as_str(), fates[1]["id"].as_str()), (Some(first.as_str()), Some(second.as_str())));
    assert_eq!(fates[0]["error"]["kind"], "concurrency");
    assert!(fates[1]["reason"].is_string() && fates[1].get("error").is_none());
    drop(reader);
    stage.run("delete", &[&first]).expect_code(0);
}

#[test]
fn a_held_store_is_waited_for_and_then_reported() {
    let stage = Stage::new();
    stage.create();
    let lock = fs::File::open(stage.store().join(".lock")).unwrap();
    FileExt::try_lock_exclusive(&lock).unwrap();
    let message =
        stage.run("create", &["--force", "--lock-timeout", "150ms", "--json"]).expect_error(11, "concurrency");
    assert!(message.contains("locked"), "{message}");
    drop(lock);
    stage.create();
}

#[test]
fn prune_tells_before_it_acts() {
    let stage = Stage::new();
    let ids: Vec<String> = (0..4).map(|_| stage.create()).collect();
    let ran = stage.run("prune", &["--max-snapshots", "2", "--dry-run"]).expect_code(0);
    assert_eq!(ran.stdout.matches("would be deleted: more than 2").count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("kept: ").count(), 2, "{}", ran.stdout);
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 4);
    let gone = stage.run("prune", &["--max-snapshots", "2", "--json"]).expect_code(0).json();
    let gone: Vec<_> = gone.as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    assert_eq!(gone, [ids[0].as_str(), ids[1].as_str()], "the oldest first");
    assert_eq!(stage.run("prune", &["--json"]).expect_code(0).stdout, "[]\n", "the defaults keep five of a day");
    let ran = run(cowlog().arg("prune").arg(&stage.log).env("COWLOG_RETENTION", "0")).expect_code(0);
    assert!(ran.stdout.contains("1 snapshot deleted"), "the newest stays: {}", ran.stdout);
    stage.run("prune", &["--retention", "soon", "--json"]).expect_error(2, "validation");
}

#[test]
fn prune_keeps_by_the_calendar() {
    let stage = Stage::new();
    let ids: Vec<String> = (0..3).map(|_| stage.create()).collect();
    let args = ["--max-snapshots", "0", "--keep-monthly", "1", "--json"];
    let gone = stage.run("prune", &args).expect_code(0).json();
    assert_eq!(gone.as_array().unwrap().len(), 2);
    assert_eq!(stage.run("show", &["--json"]).json()["id"], ids[2].as_str());
}

#[test]
fn pins_and_tags_outlive_the_catalogue() {
    let stage = Stage::new();
    let ids: Vec<String> = (0..4).map(|_| stage.create()).collect();
    let labelled = stage.run("pin", &[&ids[0], &ids[1], "--json"]).expect_code(0).json();
    assert_eq!((&labelled[0]["id"], &labelled[1]["pinned"]), (&ids[0].as_str().into(), &true.into()));
    stage.run("unpin", &[&ids[1]]).expect_code(0);
    let ran = stage.run("tag", &[&ids[1], "release 7", "kept", "--remove", "never had"]).expect_code(0);
    assert_eq!(ran.stdout, format!("{}  not pinned, tagged kept, release 7\n", ids[1]));
    stage.run("tag", &[&ids[1], "--remove", "kept"]).expect_code(0);
    stage.run("tag", &[&ids[2], "passing"]).expect_code(0);
    fs::remove_file(stage.store().join("snapshots.json")).unwrap();
    stage.run("repair", &[]).expect_code(0);
    let args = ["--max-snapshots", "0", "--keep-tag", "release 7", "-n"];
    let ran = stage.run("prune", &args).expect_code(0);
    let line = |id: &str| ran.stdout.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert_eq!(line(&ids[0]), format!("{}  kept: pinned", ids[0]));
    assert_eq!(line(&ids[1]), format!("{}  kept: tagged release 7", ids[1]));
    assert!(line(&ids[2]).contains("would be deleted: more than 0 snapshots"), "{}", ran.stdout);
    assert_eq!(line(&ids[3]), format!("{}  kept: the newest", ids[3]));
    assert!(ran.stdout.lines().last().unwrap().contains("becomes free"), "{}", ran.stdout);
    stage.run("prune", &args[..4]).expect_code(0);
    let left = stage.run("list", &["--json"]).json();
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(left, [&ids[0], &ids[1], &ids[3]]);

    stage.run("pin", &["snapshot-5", "--json"]).expect_error(10, "validation");
    stage.run("tag", &[&ids[0], "a\nb", "--json"]).expect_error(2, "validation");
    stage.run("tag", &[&ids[0], "--json"]).expect_error(2, "validation");
    let state = stage.snapshot(&ids[0]).join("state.json");
    fs::write(&state, "{}").unwrap();
    let refused = stage.run("unpin", &[&ids[0], "--json"]).expect_error(4, "integrity");
    assert!(refused.contains("state.json"), "{refused}");
    assert_eq!(fs::read(&state).unwrap(), b"{}", "what cannot be read is left as it is");
}

#[test]
fn repair_rebuilds_the_catalogue() {
    let stage = Stage::new();
    let id = stage.create();
    assert_eq!(stage.run("repair", &["--json"]).expect_code(0).json()["catalogue_rebuilt"], false);
    fs::remove_file(stage.store().join("snapshots.json")).unwrap();
    let repaired = stage.run("repair", &["--json"]).expect_code(0).json();
    assert_eq!((repaired["snapshots"].as_u64(), repaired["catalogue_rebuilt"].as_bool()), (Some(1), Some(true)));
    assert_eq!(stage.run("list", &["--json"]).json()[0]["id"], id.as_str());
    fs::create_dir(stage.store().join(".staging-12")).unwrap();
    let ran = stage.run("repair", &[]).expect_code(0);
    assert!(ran.stdout.starts_with("1 snapshot"), "{}", ran.stdout);
    assert!(!stage.store().join(".staging-12").exists());
}

#[test]
fn usage_errors_exit_with_2() {
    let ran = run(&mut cowlog()).expect_code(2);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("Usage: cowlog"));
    assert!(run(cowlog().arg("--nonsense")).expect_code(2).stderr.contains("--nonsense"));
    run(cowlog().args(["create", "x", "--method", "magic", "--json"])).expect_error(2, "validation");
    let missing = run(cowlog().args(["create", "--json"])).expect_error(2, "validation");
    assert!(missing.contains("<SRC>"), "{missing}");
    run(cowlog().args(["demo", "--size", "1MiB", "--json"])).expect_error(2, "validation");
    run(cowlog().arg("nonsense").env("COWLOG_JSON", "true")).expect_error(2, "validation");
    run(cowlog().args(["list", "x", "--lock-timeout", "10", "--json"])).expect_error(2, "validation");
    run(cowlog().args(["list", "x", "-q", "-v", "--json"])).expect_error(2, "validation");
    assert!(run(cowlog().arg("--help")).expect_code(0).stdout.contains("Exit codes:"));
    let version = run(cowlog().arg("--version")).expect_code(0).stdout;
    assert_eq!(version, format!("cowlog {}\n", env!("CARGO_PKG_VERSION")));
}

/// `groff` is the judge: it warns of what it does not understand.
#[test]
fn every_command_has_a_manual_page() {
    let stage = Stage::new();
    let dir = stage.path("man1");
    run(cowlog().args(["man", "--to"]).arg(&dir)).expect_code(0);
    let help = run(cowlog().arg("--help")).stdout;
    let commands = help.split_once("Commands:").unwrap().1.split("Options:").next().unwrap();
    let verbs: Vec<&str> = commands.lines().filter_map(|l| l.strip_prefix("  ")?.split(' ').next()).collect();
    let verbs: Vec<&str> = verbs.into_iter().filter(|verb| !verb.is_empty()).collect();
    assert!(verbs.contains(&"restore") && verbs.contains(&"man"), "{verbs:?}");
    let mut pages: Vec<String> = verbs.iter().map(|verb| format!("cowlog-{verb}.1")).collect();
    pages.push("cowlog.1".into());
    for page in &pages {
        let page = dir.join(page);
        let checked = std::process::Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(&page).output();
        let checked = match checked {
            Err(_) if std::env::var_os("COWLOG_NO_SKIP").is_none() => {
                return eprintln!("skipped, because groff is not here");
            }
            checked => checked.unwrap(),
        };
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.is_empty(), "{}: {said}", page.display());
        assert!(String::from_utf8_lossy(&checked.stdout).contains("xample"), "{}", page.display());
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), pages.len());
    let printed = run(cowlog().args(["man", "restore"])).expect_code(0).stdout;
    assert_eq!(printed, fs::read_to_string(dir.join("cowlog-restore.1")).unwrap());
    run(cowlog().args(["man", "nothing", "--json"])).expect_error(2, "validation");
    run(cowlog().args(["man", "--to"]).arg(stage.path("no/such")).arg("--json")).expect_error(1, "filesystem");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(cowlog().args(["completions", shell])).expect_code(0).stdout;
        for word in ["create", "until", "lock-timeout"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        assert!(script.len() > 1000);
    }
    let script = run(cowlog().args(["completions", "bash"])).stdout;
    let checked = std::process::Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(checked.success());
    run(cowlog().args(["completions", "cobol"])).expect_code(2);
}
