//! The commands of `docs/runbook.md`, as they stand there.

use std::path::Path;
use std::process::Command;

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};

use crate::pages::blocks;
use crate::stage::cowlog;

/// 2026-11-23 13:00 UTC.
const BEGIN: i64 = 1_795_438_800_000;

/// A record a minute, for two hours.
fn events(log: &Path) {
    let config = LogConfig { segment_bytes: 4 << 10, ..LogConfig::default() };
    let mut log = Log::open_with(log, config).unwrap();
    for minute in 0..120 {
        let (key, value) = (format!("customer-{}", minute % 10), format!("event {minute} ").repeat(10));
        let batch =
            BatchBuilder::new().record(BEGIN + minute * 60_000, Some(key.as_bytes()), Some(value.as_bytes())).build();
        log.append(batch.unwrap()).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn every_command_of_the_runbook_runs_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/runbook.md")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let packed = std::fs::File::open(root.join("tests/data/plain-clean.tar.zst")).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(temp.path()).unwrap();
    std::fs::rename(temp.path().join("plain-clean"), temp.path().join("data")).unwrap();
    events(&temp.path().join("events"));
    events(&temp.path().join("events.backup"));
    let binary = cowlog();
    let path =
        format!("{}:{}", Path::new(binary.get_program()).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = |block: &str| {
        let mut command = Command::new("sh");
        command.args(["-e", "-c", block]).current_dir(temp.path()).env("PATH", &path);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("COWLOG_")) {
            command.env_remove(name);
        }
        let ran = command.output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&ran.stdout).into_owned(), String::from_utf8_lossy(&ran.stderr).into_owned());
        assert!(ran.status.success(), "{block}\n{}\n{out}\n{err}", ran.status);
        out
    };
    shell("cowlog create data; cowlog create --force data; cowlog create events; cowlog create --force events");
    let blocks = blocks(&page);
    let mut said = String::new();
    for (typed, block) in &blocks {
        let out = shell(block);
        if *typed {
            said += &out;
        }
    }
    let typed: Vec<&str> = blocks.iter().filter(|(typed, _)| *typed).flat_map(|(_, b)| b.lines()).collect();
    assert!(typed.len() > 25 && typed.iter().all(|line| line.starts_with("cowlog ")), "{typed:?}");
    for promised in
        ["pinned", "orders", "event 102", "nothing has to be done", "becomes free", "the catalogue was rebuilt"]
    {
        assert!(said.contains(promised), "{promised}: {said}");
    }
    let two = cowlog::LogReader::open(temp.path().join("events-at-two")).unwrap();
    assert_eq!(two.log_end(), 60, "13:59 is the last minute");
    assert_eq!(cowlog::LogReader::open(temp.path().join("events-before")).unwrap().log_end(), 100);
    for name in ["data/orders-0", "data/orders-1", "events-fork"] {
        assert!(temp.path().join(name).is_dir(), "{name} is there");
    }
}
