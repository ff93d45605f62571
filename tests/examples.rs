//! The examples do what they say, and leave nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;

fn run(example: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "-q", "--example", example]).env("TMPDIR", temp.path());
    // The tests' own build, in the directory of its profile: nothing is built twice.
    let this = std::env::current_exe().unwrap();
    let profile = this.ancestors().nth(2).and_then(Path::file_name).unwrap();
    if profile != "debug" {
        command.arg("--profile").arg(profile);
    }
    // What cargo tells a test of its package would make build scripts run anew, and all that depends on them be built once more.
    let told = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|it| name.starts_with(it))) {
            command.env_remove(name);
        }
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "{example} leaves something behind");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn own_log() {
    let out = run("own_log");
    assert!(out.contains("the log ends at 1500, the restored one at 1000"), "{out}");
    assert!(out.contains("now ends at 1001"), "{out}");
}

#[test]
fn kafka_at_rest() {
    let out = run("kafka_at_rest");
    assert!(out.contains("orders-0: offsets 0 to 10000") && out.contains(" 0 damaged"), "{out}");
    let end = out.lines().last().and_then(|l| l.rsplit(' ').next()).and_then(|n| n.parse::<i64>().ok()).unwrap();
    assert!((4900..=5000).contains(&end), "{out}");
}

#[test]
fn retention() {
    let out = run("retention");
    let kept = out.lines().filter(|l| l.starts_with("keep ")).count();
    assert_eq!(out.lines().filter(|l| l.starts_with("delete ")).count() + kept, 20, "{out}");
    assert!(out.contains(&format!("{} deleted, {kept} left", 20 - kept)) && out.contains("week"), "{out}");
}
