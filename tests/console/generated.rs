//! Requests that schemathesis makes up from the OpenAPI document: no 500, and nothing that the document does not describe.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::served::{ADMIN, Place};

const VERSION: &str = "schemathesis==4.32.5";

/// Installs it below `target` where it is missing. `None` where it cannot be had, after saying why.
fn schemathesis() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis");
    let program = home.join("bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(ran) if ran.status.success() => None,
        Ok(ran) => Some(String::from_utf8_lossy(&ran.stderr).into_owned()),
        Err(e) => Some(e.to_string()),
    };
    let failed = run(Command::new("python3").args(["-m", "venv"]).arg(&home))
        .or_else(|| run(Command::new(home.join("bin/pip")).args(["install", "--quiet", VERSION])));
    let Some(why) = failed else { return Some(program) };
    assert!(std::env::var_os("COWLOG_NO_SKIP").is_none(), "schemathesis cannot be installed: {why}");
    eprintln!("skipped, because schemathesis cannot be installed: {why}");
    None
}

#[test]
fn made_up_requests_are_answered_as_the_document_says() {
    let Some(program) = schemathesis() else { return };
    let place = Place::new();
    place.append("orders", 200);
    place.configure("rate = 1000000", &[("orders", "")]);
    let served = place.serve();
    for _ in 0..20 {
        served.create("orders");
    }
    let seed = std::env::var("COWLOG_SEED").unwrap_or_else(|_| "1".into());
    let examples = std::env::var("COWLOG_EXAMPLES").unwrap_or_else(|_| "30".into());
    let ran = Command::new(program)
        .args([
            "run",
            &format!("{}/openapi.json", served.url),
            "--no-color",
            "--seed",
            &seed,
            "--max-examples",
            &examples,
        ])
        .args(["--header", &format!("Authorization: Bearer {ADMIN}")])
        // This stream has no end. And of what is well formed much is refused: sources that there are not, tags that are too long.
        .args(["--exclude-path", "/api/events", "--exclude-checks", "positive_data_acceptance"])
        .current_dir(place.path("."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    // What was made up reached something.
    assert!(told.contains("Tested: 17") && !served.get("/api/jobs")["jobs"].as_array().unwrap().is_empty(), "{told}");
}
