//! `cowlog doctor`: each thing that stands in the way is found, named, and comes with what to do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use cowlog::Log;
use serde_json::Value;

use crate::fixtures;
use crate::stage::{Ran, Stage, cowlog, run};

/// What was found about something: verdict, text, advice.
#[track_caller]
fn about(ran: &Ran, about: &str, verdict: &str) -> Vec<String> {
    let json = ran.json();
    let findings = json["findings"].as_array().unwrap();
    let all: Vec<String> = findings
        .iter()
        .filter(|f| f["about"] == about && f["verdict"] == verdict)
        .map(|f| format!("{} -> {}", f["what"].as_str().unwrap(), f["advice"].as_str().unwrap_or_default()))
        .collect();
    assert!(!all.is_empty(), "nothing {verdict} about {about}: {json:#}");
    all
}

fn problems(ran: &Ran) -> Vec<Value> {
    let json = ran.json();
    json["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "problem").cloned().collect()
}

fn names(dir: &Path) -> Vec<String> {
    sorted(fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn all_is_well_before_and_after_the_first_snapshot() {
    let stage = Stage::new();
    let before = names(&stage.log);
    let ran = stage.run("doctor", &["--json"]).expect_code(0);
    // What a snapshot locks, it locks too.
    let before = [before, vec![".segments.lock".to_owned()]].concat();
    assert!(about(&ran, "store", "note")[0].contains(".snapshots"), "where the first one makes it");
    assert!(about(&ran, "methods", "good")[0].contains("are shared by"));
    assert_eq!(names(&stage.log), sorted(before), "nothing else is left");
    stage.create();
    stage.run("verify", &[]).expect_code(0);
    let kept = names(&stage.store());
    let ran = stage.run("doctor", &["--json"]).expect_code(0);
    assert_eq!(ran.json()["well"], true);
    assert!(about(&ran, "store", "good")[0].contains("1 snapshot"));
    assert!(about(&ran, "format", "good")[0].contains("version 1"));
    assert_eq!(names(&stage.store()), kept);
    let of_store = run(cowlog().arg("doctor").arg(stage.store()).arg("--json")).expect_code(0);
    assert!(about(&of_store, "source", "good")[0].contains("orders-0: a native log"), "by its store");
    let text = stage.run("doctor", &[]).expect_code(0).stdout;
    assert!(text.ends_with("nothing has to be done\n") && text.contains("ok       methods"), "{text}");
    assert_eq!(stage.run("doctor", &["-q"]).expect_code(0).stdout, "");
}

#[test]
fn the_machine_and_any_directory() {
    let ran = run(cowlog().args(["doctor", "--json"])).expect_code(0);
    about(&ran, "clock", "good");
    let stage = Stage::new();
    fs::create_dir(stage.path("empty")).unwrap();
    let ran = run(cowlog().arg("doctor").arg(stage.path("empty")).arg("--json")).expect_code(0);
    about(&ran, "source", "note");
    about(&ran, "methods", "good");
    assert_eq!(names(&stage.path("empty")), [""; 0]);
    run(cowlog().args(["doctor", "/nowhere/at/all", "--json"])).expect_error(10, "validation");
}

#[test]
fn damage_is_named_with_the_way_out() {
    let stage = Stage::new();
    let ids = [stage.create(), stage.create(), stage.create()];
    fs::write(stage.snapshot(&ids[0]).join("manifest.b3"), "odd").unwrap();
    fs::write(stage.snapshot(&ids[1]).join("state.json"), "{}").unwrap();
    let ran = stage.run("doctor", &["--json"]).expect_code(1);
    let all = about(&ran, "snapshots", "problem").join("\n");
    assert!(all.contains(&format!("{} is damaged", ids[0])), "{all}");
    assert!(all.contains(&format!("remove {}/state.json", ids[1])), "{all}");
    assert_eq!(problems(&ran).len(), 2, "{}", ran.stdout);
    assert!(stage.run("doctor", &[]).expect_code(1).stdout.contains("PROBLEM  snapshots"));

    let stage = Stage::new();
    let id = stage.create();
    let segment = stage.snapshot(&id).join("00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, bytes).unwrap();
    stage.run("doctor", &["--json"]).expect_code(0);
    stage.run("verify", &[]).expect_code(4);
    let ran = stage.run("doctor", &["--json"]).expect_code(1);
    assert!(about(&ran, "snapshots", "problem")[0].contains("was found damaged"), "{}", ran.stdout);
}

#[test]
fn who_writes_and_who_holds() {
    let stage = Stage::new();
    let id = stage.create();
    let writer = Log::open(&stage.log).unwrap();
    let held = fs::File::open(stage.snapshot(&id)).unwrap();
    fs2::FileExt::lock_shared(&held).unwrap();
    let ran = stage.run("doctor", &["--json"]).expect_code(0);
    let me = std::process::id().to_string();
    assert!(about(&ran, "writer", "good")[0].contains(&me), "{}", ran.stdout);
    assert!(about(&ran, "locks", "note")[0].contains(&format!("{id} is in use by")), "{}", ran.stdout);
    drop(writer);
}

#[test]
fn a_store_elsewhere_and_a_clock_that_was_wrong() {
    let stage = Stage::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    if fs::metadata(elsewhere.path()).unwrap().dev() != fs::metadata(&stage.log).unwrap().dev() {
        let store = elsewhere.path().join("store");
        let ran = stage.run("doctor", &["--store", store.to_str().unwrap(), "--json"]).expect_code(1);
        assert!(about(&ran, "store", "problem")[0].contains("another filesystem"), "{}", ran.stdout);
        assert!(about(&ran, "methods", "problem")[0].contains("--store"), "{}", ran.stdout);
        assert!(!store.exists());
    }
    use cowlog::fs::Clock;
    use cowlog::snapshot::{SnapshotConfig, SnapshotManager};
    let config = SnapshotConfig { clock: Clock::new(|| 4_000_000_000_000), ..SnapshotConfig::default() };
    SnapshotManager::open_with(&stage.log, config).unwrap().create().run().unwrap();
    let ran = stage.run("doctor", &["--json"]).expect_code(1);
    assert!(about(&ran, "clock", "problem")[0].contains("of the future"), "{}", ran.stdout);
}

#[test]
fn somebody_who_may_not() {
    const NOBODY: u32 = 65_534;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let stage = Stage::new();
    stage.create();
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let segment = stage.log.join("00000000000000000000.log");
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    let binary = stage.path("cowlog");
    fs::copy(cowlog().get_program(), &binary).unwrap();
    let mut command = std::process::Command::new(&binary);
    let ran = run(command.arg("doctor").arg(&stage.log).arg("--json").current_dir("/").uid(NOBODY).gid(NOBODY));
    let ran = ran.expect_code(1);
    let all = about(&ran, "rights", "problem").join("\n");
    assert!(all.contains("1 of") && all.contains("00000000000000000000.log"), "{all}");
    assert!(all.contains("nothing can be made in"), "{all}");
    assert!(about(&ran, "rights", "note")[0].contains("belongs to this user"));
}

/// Doctor names what create refuses, of both sorts of logs, and create takes what doctor finds well.
#[test]
fn what_create_would_refuse() {
    type Breakage = fn(&Path);
    let native: [(&str, Breakage); 4] = [
        ("before its first segment", |log| remove_segment(log, 0)),
        ("behind its segment", |log| remove_segment(log, 1)),
        ("behind its segment", |log| cut(&logs(log)[1], 30)),
        ("records behind that were committed", |log| cut(logs(log).last().unwrap(), 30)),
    ];
    for (told, harm) in native {
        let stage = Stage::new();
        let ran = stage.run("doctor", &["--json"]).expect_code(0);
        assert!(about(&ran, "records", "good")[0].contains("no segment is missing or cut"));
        harm(&stage.log);
        let ran = stage.run("doctor", &["--json"]).expect_code(1);
        let found = about(&ran, "records", "problem");
        assert!(found.len() == 1 && found[0].contains(told) && found[0].contains("--accept-loss"), "{found:?}");
        let refused = stage.run("create", &["--json"]).expect_error(4, "integrity");
        assert!(refused.contains(told), "{refused}");
        stage.run("create", &["--accept-loss"]).expect_code(0);
    }
    for name in fixtures::NAMES {
        let (_temp, data) = fixtures::unpack(name);
        let on = |verb: &str, args: &[&str]| run(cowlog().arg(verb).arg(&data).args(args).arg("--json"));
        about(&on("doctor", &[]), "records", "good");
        let partitions = fixtures::partitions(&data);
        let segments = partitions.iter().map(|log| logs(log)).find(|segments| segments.len() > 1).unwrap();
        cut(&segments[0], 30);
        let ran = on("doctor", &[]).expect_code(1);
        assert!(about(&ran, "records", "problem")[0].contains("was cut behind offset"), "{}", ran.stdout);
        let refused = on("create", &[]).expect_error(4, "integrity");
        assert!(refused.contains("was cut behind offset"), "{refused}");
        on("create", &["--accept-loss"]).expect_code(0);
        if name == "plain-clean" {
            // It is linked, and what has not changed is not looked into again.
            on("create", &["--force"]).expect_code(0);
        }
        let verified = on("verify", &["--level", "deep"]).expect_code(4);
        assert!(verified.stdout.contains(segments[0].file_name().unwrap().to_str().unwrap()), "{}", verified.stdout);
    }
}

fn logs(dir: &Path) -> Vec<std::path::PathBuf> {
    let named = names(dir).into_iter().filter(|name| name.ends_with(".log"));
    named.map(|name| dir.join(name)).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn remove_segment(dir: &Path, at: usize) {
    let segment = logs(dir).swap_remove(at);
    for extension in ["log", "index", "timeindex"] {
        fs::remove_file(segment.with_extension(extension)).unwrap();
    }
}

fn cut(file: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}
