//! The commands of `docs/offsite.md`, as they stand there, against a real S3 server.

use std::path::Path;
use std::process::Command;

use crate::pages::blocks;
use crate::stage::{KEY, SECRET, Server, broker_data, clean, files, has_age, log, python, tree};

#[test]
fn every_command_of_the_guide_runs_as_written() {
    let Some(python) = python().filter(|_| has_age()) else { return };
    let Some(server) = Server::start("backups") else { return };
    let page = std::fs::read_to_string(tree().join("docs/offsite.md")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    broker_data(&dir.join("data"));
    log(&dir.join("events"), 120, 10 << 10);
    std::os::unix::fs::symlink(tree().join("tools"), dir.join("tools")).unwrap();
    let (data, events) = (files(&dir.join("data")), files(&dir.join("events")));
    let binary = Path::new(env!("CARGO_BIN_EXE_cowlog")).parent().unwrap();
    let path = format!("{}:{}:{}", python.display(), binary.display(), std::env::var("PATH").unwrap());
    let shell = |block: &str| {
        let mut command = clean(Command::new("sh"));
        command.args(["-e", "-c", block]).current_dir(dir).env("PATH", &path);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "us-east-1");
        command.env("AWS_ENDPOINT_URL", &server.endpoint).env("BUCKETS", server.root.path());
        let ran = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{block}\n{}\n{out}\n{err}", ran.status);
        // Errors of commands that had to fail, and what is told about new places.
        assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
        out.into_owned()
    };
    let blocks = blocks(&page);
    let mut said = String::new();
    for (typed, block) in &blocks {
        let out = shell(block);
        if *typed {
            said += &out;
        }
        if block.contains("--to events\n") {
            // The log's checkpoint says when it was closed, and what a snapshot says of it is its cut.
            let segments = |files: std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
                files.into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "log")).collect::<Vec<_>>()
            };
            assert_eq!(segments(files(&dir.join("events"))), segments(events.clone()));
            assert_eq!(files(&dir.join("data")), data);
        }
    }
    let typed: Vec<&str> = blocks.iter().filter(|(typed, _)| *typed).flat_map(|(_, b)| b.lines()).collect();
    assert!(typed.len() > 30, "{typed:?}");
    for promised in [
        "were not there yet",
        "read back whole, and deleted here",
        "web-1/events",
        "DAMAGED",
        "deleted: asked for",
        "named by nothing, to go after the grace period",
        "web-1/data/snapshot-",
    ] {
        assert!(said.contains(promised), "{promised}: {said}");
    }
    for restored in ["drill", "drill-without"] {
        assert_eq!(files(&dir.join(restored)), data, "{restored}");
    }
    assert_eq!(std::fs::read(dir.join("segment.log")).unwrap(), data[Path::new("orders-0/00000000000000000000.log")]);
    let before = cowlog::LogReader::open(dir.join("events-before")).unwrap();
    assert_eq!(before.log_end(), 30, "13:29 is the last minute");
    assert!(dir.join("orders-0/00000000000000000000.log").is_file());
}
