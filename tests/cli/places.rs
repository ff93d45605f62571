//! Paths of all sorts, stores that are elsewhere or read-only, output that nobody reads.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::stage::{Stage, append, cowlog, records, run};
use crate::support;

#[test]
fn paths_with_anything_in_them() {
    for name in ["with space", "new\nline", "ünïcödé-日本-0", "-dash", "quote'\"", "\u{1b}[31mred"] {
        let stage = Stage::named(name);
        // Relative and behind `--`, where a leading dash is no flag.
        run(cowlog().args(["create", "--", name]).current_dir(stage.path("."))).expect_code(0);
        let listed = stage.run("list", &["--json"]).expect_code(0).json();
        assert!(listed[0]["path"].as_str().unwrap().contains(name), "{listed}");
        let page = stage.run("show", &[]).expect_code(0).stdout;
        assert!(!page.contains('\u{1b}') && !page.contains("new\nline"), "{page}");
        stage.run("verify", &["--level", "deep"]).expect_code(0);
        let target = stage.path(&format!("{name} restored"));
        stage.run("restore", &["latest", "--to", target.to_str().unwrap()]).expect_code(0);
        assert_eq!(records(&target), records(&stage.log));
    }
}

#[test]
fn paths_that_are_not_unicode() {
    let stage = Stage::named(OsStr::from_bytes(b"caf\xe9-0"));
    let created = stage.run("create", &["--json"]).expect_code(0).json();
    assert!(created["path"].as_str().unwrap().contains("caf\u{fffd}-0"));
    assert_eq!(stage.run("list", &["--json"]).expect_code(0).json().as_array().unwrap().len(), 1);
    stage.run("show", &[]).expect_code(0);
    stage.run("show", &["7", "--json"]).expect_error(10, "validation");
    let target = stage.path("x").with_file_name(OsStr::from_bytes(b"r\xff"));
    let restored = run(cowlog().arg("restore").arg(&stage.log).args(["latest", "--json", "--to"]).arg(&target));
    assert_eq!(records(&target), records(&stage.log));
    assert!(restored.expect_code(0).json()["target"].as_str().unwrap().ends_with("r\u{fffd}"));
}

#[test]
fn a_store_on_another_filesystem_copies_only_what_it_may() {
    let stage = Stage::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    if fs::metadata(elsewhere.path()).unwrap().dev() == fs::metadata(&stage.log).unwrap().dev() {
        return;
    }
    let store = elsewhere.path().join("store");
    let store = store.to_str().unwrap();
    let message = stage.run("create", &["--store", store, "--max-copy", "1kB", "--json"]).expect_error(2, "validation");
    assert!(message.contains("the limit is 1000"), "{message}");
    assert_eq!(stage.run("list", &["--store", store, "--json"]).expect_code(0).stdout, "[]\n");
    let created = stage.run("create", &["--store", store, "--max-copy", "1GiB", "--json"]).expect_code(0).json();
    assert_eq!(created["bytes_shared"], 0);
    stage.run("verify", &["--store", store, "--level", "deep"]).expect_code(0);
}

#[test]
fn nothing_is_put_among_the_files_of_a_snapshot_a_store_or_a_log() {
    let stage = Stage::new();
    let id = stage.create();
    let (snapshot, store) = (stage.snapshot(&id), stage.store());
    let before = support::contents(&stage.log);
    // A snapshot is neither written to nor a source.
    let error = cowlog::Log::open(&snapshot).unwrap_err();
    assert!(error.to_string().contains("is a snapshot") && error.hint().is_some(), "{error}");
    let error = run(cowlog().arg("create").arg(&snapshot).arg("--json")).expect_error(2, "validation");
    assert!(error.contains("in the snapshot"), "{error}");
    for inside in [&snapshot, &store, &stage.log] {
        let to = inside.join("x");
        let error = stage.run("restore", &["latest", "--json", "--to", to.to_str().unwrap()]);
        assert!(error.expect_error(2, "validation").contains("would lie"), "{}", inside.display());
        if inside != &store {
            let error = stage.run("create", &["--force", "--json", "--store", to.to_str().unwrap()]);
            assert!(error.expect_error(2, "validation").contains("would lie"), "{}", inside.display());
        }
    }
    let itself = stage.log.to_str().unwrap();
    let error = stage.run("create", &["--force", "--json", "--store", itself]).expect_error(2, "validation");
    assert!(error.contains("holds a log"), "{error}");
    assert_eq!(support::contents(&stage.log), before);
    // Its own place may be named.
    stage.run("create", &["--force", "--store", store.to_str().unwrap()]).expect_code(0);
}

#[test]
fn a_copy_of_a_snapshot_is_a_log() {
    let stage = Stage::new();
    let id = stage.create();
    let copy = stage.path(&id);
    let copied = std::process::Command::new("cp").arg("-a").args([stage.snapshot(&id), copy.clone()]).status().unwrap();
    assert!(copied.success());
    run(cowlog().arg("create").arg(&copy)).expect_code(0);
    append(&copy, 1);
    assert_eq!(records(&copy).len(), records(&stage.log).len() + 1);
    // A store without its catalogue is one all the same.
    fs::remove_file(stage.store().join("snapshots.json")).unwrap();
    let inside = stage.store().join("back");
    stage.run("restore", &[&id, "--json", "--to", inside.to_str().unwrap()]).expect_error(2, "validation");
    assert!(cowlog::Log::open(stage.snapshot(&id)).is_err());
}

#[test]
fn where_there_is_no_store_nothing_was_verified_or_pruned() {
    let stage = Stage::new();
    stage.create();
    let typo = stage.path("typo");
    let typo = typo.to_str().unwrap();
    for verb in [&["verify", "--all"][..], &["prune"]] {
        let args: Vec<&str> = verb[1..].iter().copied().chain(["--store", typo, "--json"]).collect();
        stage.run(verb[0], &args).expect_error(10, "validation");
    }
    assert_eq!(stage.run("list", &["--store", typo, "--json"]).expect_code(0).stdout, "[]\n");
    fs::write(typo, "").unwrap();
    for verb in ["list", "create"] {
        let error = stage.run(verb, &["--store", typo, "--json"]).expect_error(2, "validation");
        assert!(error.contains("not a directory"), "{error}");
    }
    let error = run(cowlog().args(["create", "--json", typo])).expect_error(2, "validation");
    assert!(error.contains("it is not a directory"), "{error}");
}

#[test]
fn nothing_but_partitions_is_put_into_a_brokers_data_directory() {
    let stage = Stage::new();
    let (data, partition) = (stage.path("data"), stage.path("data/orders-1"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("meta.properties"), "version=1\n").unwrap();
    stage.create();
    let to = |path: &std::path::Path| stage.run("restore", &["latest", "--json", "--to", path.to_str().unwrap()]);
    to(&data.join("back")).expect_error(2, "validation");
    to(&partition).expect_code(0);
    let named = data.join("store");
    stage.run("create", &["--force", "--json", "--store", named.to_str().unwrap()]).expect_error(2, "validation");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
}

const NOBODY: u32 = 65_534;

/// A directory is not a broker's because there is a log in it that is named like a partition.
#[test]
fn an_ordinary_user_restores_beside_the_log() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let stage = Stage::named("home/orders-0");
    stage.create();
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = stage.path("cowlog");
    fs::copy(cowlog().get_program(), &binary).unwrap();
    chown(stage.path("home"), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = std::process::Command::new(&binary);
    command.args(["restore", "orders-0", "latest", "--to", "back"]);
    run(command.current_dir(stage.path("home")).uid(NOBODY).gid(NOBODY)).expect_code(0);
    assert_eq!(records(&stage.path("home/back")), records(&stage.log));
}

/// As somebody who may read everything and write nothing.
#[test]
fn a_store_that_may_only_be_read_is_listed_and_verified() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let stage = Stage::new();
    stage.create();
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = stage.path("cowlog");
    fs::copy(cowlog().get_program(), &binary).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        run(command.arg(args[0]).arg(&stage.log).args(&args[1..]).current_dir("/").uid(NOBODY).gid(NOBODY))
    };
    assert_eq!(as_nobody(&["list", "--json"]).expect_code(0).json().as_array().unwrap().len(), 1);
    as_nobody(&["show"]).expect_code(0);
    let verified = as_nobody(&["verify", "--json"]).expect_code(0);
    assert_eq!(verified.json()["ok"], true, "a warning is no second value");
    assert!(verified.stderr.contains("warning"), "{}", verified.stderr);
    // As of a filesystem that is all the log's own.
    fs::create_dir(stage.log.join("lost+found")).unwrap();
    fs::set_permissions(stage.log.join("lost+found"), fs::Permissions::from_mode(0o700)).unwrap();
    as_nobody(&["space"]).expect_code(0);
    as_nobody(&["create", "--force", "--json"]).expect_error(1, "filesystem");
    as_nobody(&["delete", "latest", "--json"]).expect_error(1, "filesystem");
    assert_eq!(stage.run("list", &["--json"]).json().as_array().unwrap().len(), 1);
}

/// Root replaces a log; its owner goes on. Where the journal may not be read, nobody can tell which log is in place.
#[test]
fn what_root_replaced_is_no_secret_from_the_owner() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let stage = Stage::named("home/orders-0");
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = stage.path("cowlog");
    fs::copy(cowlog().get_program(), &binary).unwrap();
    let own = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(stage.path("home")).status();
    assert!(own.unwrap().success());
    let as_owner = |args: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command.args(args).current_dir(stage.path("home"));
        run(command.uid(NOBODY).gid(NOBODY))
    };
    as_owner(&["create", "orders-0"]).expect_code(0);
    stage.run("restore", &["latest", "--replace"]).expect_code(0);
    as_owner(&["create", "orders-0", "--force"]).expect_code(0);
    let kept = as_owner(&["undo", "orders-0", "--list", "--json"]).expect_code(0).json();
    let kept = std::path::PathBuf::from(kept[0]["path"].as_str().unwrap());
    chown(&kept, Some(0), Some(0)).unwrap();
    for args in [
        &["create", "orders-0", "--force", "--json"][..],
        &["restore", "orders-0", "latest", "--replace", "--json"],
        &["undo", "orders-0", "--json"],
    ] {
        let error = as_owner(args).expect_error(2, "validation");
        assert!(error.contains("nobody can tell") && error.contains("Permission denied"), "{args:?}: {error}");
    }
    let listed = as_owner(&["list", "orders-0", "--json"]).expect_code(0);
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    assert!(listed.stderr.contains("nobody can tell"), "{}", listed.stderr);
    chown(&kept, Some(NOBODY), Some(NOBODY)).unwrap();
    as_owner(&["undo", "orders-0"]).expect_code(0);
}

/// The next restore to `back` takes it for the remains of one that died.
#[test]
fn a_name_that_is_removed_with_what_died_is_no_target() {
    let stage = Stage::new();
    stage.create();
    for name in [".back.restoring", ".cowlog-probe"] {
        let target = stage.path(name);
        let error =
            stage.run("restore", &["latest", "--json", "--to", target.to_str().unwrap()]).expect_error(2, "validation");
        assert!(error.contains("not whole yet"), "{error}");
        assert!(!target.exists());
    }
    let target = stage.path("back.restoring");
    stage.run("restore", &["latest", "--to", target.to_str().unwrap()]).expect_code(0);
    stage.run("restore", &["latest", "--to", stage.path("back").to_str().unwrap()]).expect_code(0);
    assert_eq!(records(&target), records(&stage.log));
}

/// Each partition takes some descriptors while it is snapshotted, verified or restored.
#[test]
fn more_partitions_than_files_may_be_open_at_first() {
    let stage = Stage::new();
    let data = stage.path("data");
    for number in 0..300 {
        let partition = data.join(format!("many-{number}"));
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n").unwrap();
        fs::write(partition.join(format!("{:020}.log", 0)), "").unwrap();
    }
    let limited = |limit: &str, args: &[&str]| {
        let mut command = std::process::Command::new("sh");
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        run(command.args(["-c", &script]).arg(cowlog().get_program()).args(args))
    };
    let source = data.to_str().unwrap();
    limited("-S -n 128", &["create", source, "-q"]).expect_code(0);
    limited("-S -n 128", &["create", source, "-q", "--force"]).expect_code(0);
    limited("-S -n 128", &["verify", source, "--level", "deep", "-q"]).expect_code(0);
    let back = stage.path("back");
    limited("-S -n 128", &["restore", source, "latest", "-q", "--to", back.to_str().unwrap()]).expect_code(0);
    // Where the limit is a hard one, that is said.
    let error = limited("-n 128", &["create", source, "--force", "--json"]).expect_error(1, "filesystem");
    assert!(error.contains("Too many open files"), "{error}");
    let ran = limited("-n 128", &["create", source, "--force"]).expect_code(1);
    assert!(ran.stderr.contains("ulimit -n") && ran.stderr.contains("LimitNOFILE"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_goes_away_ends_the_output_quietly() {
    let stage = Stage::new();
    stage.create();
    for args in [&["list"][..], &["show"], &["list", "--json"]] {
        let mut command = cowlog();
        command.arg(args[0]).arg(&stage.log).args(&args[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let stage = Stage::new();
    stage.create();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = cowlog().arg("list").arg(&stage.log).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn a_relative_source_is_the_same_source() {
    let stage = Stage::new();
    let id = stage.create();
    append(&stage.log, 1);
    let ran = run(cowlog().args(["list", ".", "--json"]).current_dir(&stage.log)).expect_code(0);
    assert_eq!(ran.json()[0]["id"], id.as_str());
    let ran = run(cowlog().args(["create", "orders-0", "--force", "-q"]).current_dir(stage.path("."))).expect_code(0);
    assert!(stage.snapshot(ran.stdout.trim()).is_dir());
}
