//! `cowlog run`: by the clock.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{append, cowlog, run};

fn configured(dir: &Path, sources: &str) -> std::path::PathBuf {
    let file = dir.join("cowlog.toml");
    std::fs::write(&file, format!("state = {:?}\n{sources}", dir.join("state"))).unwrap();
    file
}

fn source(path: &Path, settings: &str) -> String {
    format!("[[source]]\npath = {path:?}\n{settings}\n")
}

#[test]
fn once_does_what_is_due_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let (good, gone) = (temp.path().join("orders-0"), temp.path().join("gone"));
    append(&good, 30);
    let tasks = format!(
        "every = \"1h\"\nverify = {{ every = \"1d\" }}\ndrill = {{ every = \"1d\", into = {:?} }}",
        temp.path()
    );
    let file = configured(temp.path(), &source(&good, &tasks));
    let once = |args: &[&str]| run(cowlog().args(["run", "--once", "--config"]).arg(&file).args(args));
    let done = once(&["--json"]).expect_code(0).json();
    let tasks: Vec<&Value> = done.as_array().unwrap().iter().map(|job| &job["task"]).collect();
    assert_eq!(tasks, ["create", "verify", "drill"]);
    assert_eq!(done[1]["result"]["report"]["id"], done[0]["result"]["created"]["id"]);
    assert_eq!(done[2]["result"]["report"]["logs"], 1);
    assert_eq!(once(&["--json"]).expect_code(0).json(), Value::Array(Vec::new()), "nothing is due");
    assert_eq!(once(&[]).expect_code(0).stdout, "");

    // One of two fails, then both do.
    configured(temp.path(), &(source(&good, "every = \"1s\"") + &source(&gone, "every = \"1s\"")));
    std::thread::sleep(Duration::from_millis(1100));
    let ran = once(&[]).expect_code(3);
    assert!(ran.stdout.lines().count() == 2 && ran.stdout.contains("failed: no such source"), "{}", ran.stdout);
    let memory = std::fs::read_to_string(temp.path().join("state/schedule.json")).unwrap();
    assert!(memory.contains("no such source") && memory.contains("\"since\""), "{memory}");
    std::fs::remove_dir_all(temp.path().join("state")).unwrap();
    configured(temp.path(), &source(&gone, "every = \"1h\""));
    once(&[]).expect_code(10);

    std::fs::write(&file, "state = \"/s\"\nsauce = 1\n").unwrap();
    let message = once(&["--json"]).expect_error(2, "validation");
    assert!(message.contains("line 2"), "{message}");
    std::fs::remove_file(&file).unwrap();
    once(&["--json"]).expect_error(1, "filesystem");
}

/// It goes on over a bad configuration, takes a good one over, and ends in time.
#[test]
fn signals_reload_and_stop_it() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    append(&one, 30);
    append(&two, 30);
    let file = configured(temp.path(), &source(&one, "every = \"1s\""));
    let mut command = cowlog();
    command.args(["run", "--json", "--config"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let kill = |signal: &str| {
        let done = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(done.success());
    };
    let snapshots = |log: &Path| cowlog::SnapshotManager::open(log).unwrap().list().unwrap().len();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("the first two snapshots", &|| snapshots(&one) >= 2);
    std::fs::write(&file, "nonsense").unwrap();
    kill("-HUP");
    let newest = || cowlog::SnapshotManager::open(&one).unwrap().get("latest").unwrap().id;
    let (first, second) = (newest(), std::cell::Cell::new(None));
    until("it goes on, twice", &|| {
        let now = newest();
        let known = second.take().or((now != first).then(|| now.clone()));
        let twice = known.as_ref().is_some_and(|known| *known != now);
        second.set(known);
        twice
    });
    configured(temp.path(), &source(&two, "every = \"1s\""));
    kill("-HUP");
    until("the other source", &|| snapshots(&two) >= 2);
    kill("-TERM");
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap();
    let jobs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sound = |job: &Value| job["ok"] == true || job["error"]["kind"] == "interrupted";
    assert!(jobs.iter().all(|job| sound(job) && job["task"] == "create"), "{lines}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("line 1") && errors.contains("the configuration before goes on"), "{errors}");
}

/// Killed in the middle, started again: it is told, and done again.
#[test]
fn what_a_killed_one_was_doing_is_told_and_done_again() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    append(&log, 30);
    let file = configured(temp.path(), &source(&log, "every = \"1h\""));
    let state = temp.path().join("state");
    run(cowlog().args(["run", "--once", "--config"]).arg(&file)).expect_code(0);
    // As it stands on the disk while a job is under way.
    let memory = std::fs::read_to_string(state.join("schedule.json")).unwrap();
    assert!(memory.contains("\"under_way\": false"), "{memory}");
    std::fs::write(state.join("schedule.json"), memory.replace("\"under_way\": false", "\"under_way\": true")).unwrap();
    let again = run(cowlog().args(["run", "--once", "--config"]).arg(&file)).expect_code(0);
    assert!(again.stderr.contains("log: create was interrupted"), "{}", again.stderr);
    assert!(again.stdout.contains("create"), "{}", again.stdout);
    assert_eq!(cowlog::SnapshotManager::open(&log).unwrap().list().unwrap().len(), 2);
}

/// The units that are shipped say what the documentation says, and so does the configuration that comes with them.
#[test]
fn the_units_are_sound() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    // Whoever serves has this machine's network, the others have none.
    let served = &["IPAddressDeny=any", "IPAddressAllow=localhost", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"];
    for (name, command, network) in [
        ("cowlog.service", "cowlog run --config", &["PrivateNetwork=yes"][..]),
        ("cowlog-once.service", "cowlog run --once --config", &["PrivateNetwork=yes"]),
        ("cowlog-serve.service", "cowlog serve --config", served),
    ] {
        let unit = read(name);
        let lines: Vec<&str> = unit.lines().collect();
        assert!(unit.contains(command), "{name}");
        let hardened = ["ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "PrivateDevices=yes"];
        for hardened in hardened.iter().chain(network) {
            assert!(lines.contains(hardened), "{name}: {hardened}");
        }
    }
    assert!(read("cowlog-once.timer").contains("Persistent=true"));
    // The configuration that comes with them is one.
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cowlog.toml");
    let sources = cowlog::schedule::Config::read(&config).unwrap().sources;
    assert_eq!(sources.len(), 2);
}

/// What systemd itself says of them. A unit that names a program that is not there is no unit to it.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let analyze = |args: &[&std::ffi::OsStr]| std::process::Command::new("systemd-analyze").args(args).output();
    if analyze(&["--version".as_ref()]).is_err() {
        assert!(std::env::var_os("COWLOG_NO_SKIP").is_none_or(|v| v != "1"), "systemd-analyze is not here");
        eprintln!("skipped, because systemd-analyze is not here");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let mut units = Vec::new();
    for unit in std::fs::read_dir(shipped).unwrap() {
        let unit = unit.unwrap();
        let text = std::fs::read_to_string(unit.path()).unwrap();
        let copy = temp.path().join(unit.file_name());
        std::fs::write(&copy, text.replace("/usr/bin/cowlog", env!("CARGO_BIN_EXE_cowlog"))).unwrap();
        units.push(copy);
    }
    units.sort();
    let mut args = vec!["verify".as_ref(), "--man=no".as_ref()];
    args.extend(units.iter().map(|unit| unit.as_os_str()));
    let ran = analyze(&args).unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success() && told.is_empty(), "{told}");
    for unit in units.iter().filter(|unit| unit.extension().is_some_and(|e| e == "service")) {
        // Tenths of what it calls exposure: below 2 is what it calls OK.
        let options = ["security", "--offline=true", "--no-pager", "--threshold=19"].map(std::ffi::OsStr::new);
        let ran = analyze(&[&options[..], &[unit.as_os_str()]].concat()).unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{}: {told}", unit.display());
    }
}
