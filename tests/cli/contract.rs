//! The JSON contract of `docs/json.md`: names, types, units.

use serde_json::Value;

use crate::stage::{Stage, append};

#[derive(Clone, Copy)]
enum Type {
    Text,
    Count,
    Offset,
    Number,
    Bool,
    Time,
    Counts,
    Offsets,
    List,
    Object,
}
use Type::*;

#[track_caller]
fn has(value: &Value, fields: &[(&str, Type)]) {
    for (name, kind) in fields {
        let field = &value[name];
        let right = match kind {
            Text => field.is_string(),
            Count => field.is_u64(),
            Offset => field.is_i64(),
            Number => field.is_number(),
            Bool => field.is_boolean(),
            Time => field.as_str().is_some_and(|t| t.ends_with('Z') && t.parse::<jiff::Timestamp>().is_ok()),
            Counts => field.as_object().is_some_and(|o| o.values().all(Value::is_u64)),
            Offsets => field.as_array().is_some_and(|a| a.iter().all(Value::is_i64)),
            List => field.is_array(),
            Object => field.is_object(),
        };
        assert!(right, "{name}: {field} in {value}");
    }
}

const SNAPSHOT: &[(&str, Type)] = &[
    ("id", Text),
    ("timestamp", Time),
    ("timestamp_ms", Offset),
    ("scope", Text),
    ("num_segments", Count),
    ("total_size", Count),
    ("methods", Counts),
    ("bytes_copied", Count),
    ("bytes_shared", Count),
    ("exposed", Count),
    ("root", Text),
    ("path", Text),
    ("pinned", Bool),
    ("oldest_read", Time),
];
const OF_ONE_LOG: &[(&str, Type)] =
    &[("base_offset", Offset), ("high_watermark", Offset), ("log_end_offset", Offset), ("segment_offsets", Offsets)];

#[test]
fn create_and_list_print_the_same_record() {
    let stage = Stage::new();
    let created = stage.run("create", &["--json"]).expect_code(0).json();
    has(&created, SNAPSHOT);
    has(&created, OF_ONE_LOG);
    has(&created, &[("elapsed_ms", Number), ("bytes_hashed", Count)]);
    let listed = stage.run("list", &["--json"]).expect_code(0).json();
    let [record] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    has(record, SNAPSHOT);
    for (name, value) in record.as_object().unwrap() {
        assert_eq!(created[name], *value, "{name}");
    }
    let total = created["total_size"].as_u64().unwrap();
    assert_eq!(created["bytes_copied"].as_u64().unwrap() + created["bytes_shared"].as_u64().unwrap(), total);
    assert_eq!(created["base_offset"], 0);
    assert_eq!(created["log_end_offset"], 100);
    assert_eq!(created["num_segments"].as_u64(), Some(created["segment_offsets"].as_array().unwrap().len() as u64));
    let on_disk = std::fs::read_dir(created["path"].as_str().unwrap()).unwrap().map(|e| e.unwrap());
    let data = on_disk.filter(|e| !["manifest.json", "manifest.b3", "state.json"].iter().any(|n| e.file_name() == *n));
    let sizes: Vec<u64> = data.map(|e| e.metadata().unwrap().len()).collect();
    assert_eq!(sizes.iter().sum::<u64>(), total);
    let files: u64 = created["methods"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum();
    assert_eq!(files, sizes.len() as u64);
    let root =
        blake3::hash(&std::fs::read(stage.snapshot(created["id"].as_str().unwrap()).join("manifest.b3")).unwrap());
    assert_eq!(created["root"], root.to_hex().as_str());
}

#[test]
fn show_adds_the_particulars() {
    let stage = Stage::new();
    stage.create();
    let shown = stage.run("show", &["--json"]).expect_code(0).json();
    has(&shown, SNAPSHOT);
    has(&shown, &[("cowlog", Text), ("source", Object), ("cuts", List), ("files", List)]);
    for file in shown["files"].as_array().unwrap() {
        let text = [("path", Text), ("kind", Text), ("digest", Text), ("method", Text), ("mode", Text)];
        has(file, &text);
        has(file, &[("size", Count), ("exposed", Bool), ("trimmed", Bool), ("uid", Count), ("gid", Count)]);
        has(file, &[("mtime", Time), ("read_at", Time)]);
        let path = std::path::Path::new(shown["path"].as_str().unwrap()).join(file["path"].as_str().unwrap());
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(file["digest"], blake3::hash(&bytes).to_hex().as_str());
        assert_eq!(file["size"], bytes.len() as u64);
    }
    assert_eq!(shown["cuts"][0]["cut"]["log_end_offset"], 100);
}

#[test]
fn verify_restore_delete_prune_repair() {
    let stage = Stage::new();
    let id = stage.create();
    append(&stage.log, 3);
    stage.create();
    let report = stage.run("verify", &[&id, "--json"]).expect_code(0).json();
    has(&report, &[("id", Text), ("level", Text), ("ok", Bool), ("damage", List)]);
    has(&report, &[("files_checked", Count), ("bytes_checked", Count)]);
    let verified = &stage.run("list", &["--json"]).json()[0]["verified"];
    has(verified, &[("at", Time), ("level", Text), ("ok", Bool)]);
    let target = stage.path("r");
    let restored = stage.run("restore", &[&id, "--to", target.to_str().unwrap(), "--json"]).expect_code(0).json();
    has(&restored, &[("id", Text), ("target", Text), ("files", Count), ("bytes", Count), ("methods", Counts)]);
    has(&restored, &[("end_offset", Offset)]);
    let fate = [("id", Text), ("reason", Text), ("files", Count), ("bytes", Count)];
    let pruned = stage.run("prune", &["--max-snapshots", "1", "--retention", "7d", "--json"]).expect_code(0).json();
    assert!(pruned.as_array().unwrap().is_empty(), "the newest and the newest verified stay: {pruned}");
    stage.create();
    stage.run("verify", &["--json"]).expect_code(0);
    let pruned = stage.run("prune", &["--max-snapshots", "1", "--json"]).expect_code(0).json();
    assert_eq!(pruned.as_array().unwrap().len(), 2);
    pruned.as_array().unwrap().iter().for_each(|p| has(p, &fate));
    let deleted = stage.run("delete", &["latest", "--json"]).expect_code(0).json();
    has(&deleted[0], &fate);
    let repaired = stage.run("repair", &["--json"]).expect_code(0).json();
    has(&repaired, &[("snapshots", Count), ("swept", List), ("catalogue_rebuilt", Bool), ("damaged", List)]);
}

#[test]
fn errors_have_a_kind_a_message_a_path_and_a_hint() {
    let stage = Stage::new();
    let ran = stage.run("show", &["--json"]).expect_code(10);
    has(&ran.json()["error"], &[("kind", Text), ("message", Text), ("path", Text), ("hint", Text)]);
    assert!(ran.stderr.is_empty());
    let text = stage.run("show", &[]).expect_code(10);
    assert!(text.stdout.is_empty());
    let json = ran.json();
    let (message, hint) = (json["error"]["message"].as_str().unwrap(), json["error"]["hint"].as_str().unwrap());
    assert_eq!(text.stderr, format!("cowlog: {message}\n  hint: {hint}\n"), "each cause is said once");
}

#[test]
fn a_data_directory_has_its_logs_listed() {
    let temp = tempfile::tempdir().unwrap();
    let packed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compacted-clean.tar.zst");
    let packed = std::fs::File::open(packed).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(temp.path()).unwrap();
    let data = temp.path().join("compacted-clean");
    let run = |verb: &str, args: &[&str]| {
        crate::stage::run(crate::stage::cowlog().arg(verb).arg(&data).args(args).arg("--json")).expect_code(0).json()
    };
    let created = run("create", &[]);
    has(&created, SNAPSHOT);
    for log in created["logs"].as_array().unwrap() {
        has(log, &[("topic", Text), ("partition", Offset), ("base_offset", Offset), ("log_start_offset", Offset)]);
        has(log, &[("high_watermark", Offset), ("log_end_offset", Offset), ("num_segments", Count)]);
        has(log, &[("total_size", Count), ("segment_offsets", Offsets)]);
    }
    let ledger = created["logs"].as_array().unwrap().iter().find(|l| l["topic"] == "ledger" && l["partition"] == 0);
    let ledger = ledger.unwrap();
    assert_eq!((ledger["log_start_offset"].as_i64(), ledger["log_end_offset"].as_i64()), (Some(777), Some(2000)));
    for left in created["left_out"].as_array().unwrap() {
        has(left, &[("path", Text), ("why", Text)]);
    }
    assert_eq!(run("verify", &["--level", "deep"])["ok"], true);
    let target = temp.path().join("restored");
    let restored = run("restore", &["latest", "--to", target.to_str().unwrap()]);
    assert!(restored.get("end_offset").is_none());
    has(&restored["logs"][0], &[("topic", Text), ("partition", Offset), ("end_offset", Offset)]);
    // One partition of it has its own scope in the same store.
    let one = crate::stage::run(crate::stage::cowlog().arg("create").arg(data.join("ledger-0")).args(["--json"]));
    let one = one.expect_code(0).json();
    assert_eq!(one["scope"], "ledger-0");
    assert_eq!(run("list", &[]).as_array().unwrap().len(), 2);
}
