//! Stores of older versions open, verify and restore for ever. `tests/data/golden-VERSION.tar.zst` holds one, and
//! `golden-VERSION.json` what its snapshots are.
//!
//! A new one, once a version changes the format: `COWLOG_GOLDEN=DIR cargo test --test golden make`, then
//! `tar -C DIR -c . | zstd -19`. DIR should be no path of your own machine: manifests name their source.

mod fixtures;
mod native;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cowlog::LogReader;
use cowlog::fs::MethodChoice;
use cowlog::log::{Log, LogConfig};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use native::{Hands, NOON, append, content, make_log};
use serde_json::{Value, json};

const VERSIONS: [&str; 1] = ["0.1"];

fn manager(source: &Path, hands: &Hands) -> SnapshotManager {
    let config = SnapshotConfig { clock: hands.clock(), method: MethodChoice::Hardlink, ..SnapshotConfig::default() };
    SnapshotManager::open_with(source, config).unwrap()
}

/// What a restored directory holds, by log.
fn sums(dir: &Path) -> Value {
    let has_log = |dir: &Path| {
        fs::read_dir(dir).unwrap().any(|e| e.unwrap().path().extension().is_some_and(|extension| extension == "log"))
    };
    if has_log(dir) {
        let digest = blake3::hash(&content(dir)).to_hex().to_string();
        return json!({ "end": LogReader::open(dir).unwrap().log_end(), "batches": digest });
    }
    let logs = fixtures::partitions(dir).into_iter().filter(|p| has_log(p));
    logs.map(|p| (p.file_name().unwrap().to_str().unwrap().to_owned(), sums(&p))).collect()
}

fn describe(source: &Path) -> Vec<Value> {
    let snaps = SnapshotManager::open(source).unwrap();
    let all = snaps.list().unwrap();
    all.iter()
        .map(|s| {
            let report = snaps.verify(&s.id, Level::Deep).unwrap();
            assert!(report.ok && report.extra.is_empty(), "{report:#?}");
            let temp = tempfile::tempdir().unwrap();
            let target = temp.path().join("back");
            snaps.restore_id(&s.id, RestoreOptions::to(&target)).unwrap();
            let time = s.timestamp_ms;
            json!({
                "id": s.id, "time": time, "root": s.root, "size": s.total_size, "segments": s.num_segments,
                "tags": s.tags, "holds": sums(&target),
            })
        })
        .collect()
}

#[test]
fn make() {
    let Some(dir) = std::env::var_os("COWLOG_GOLDEN") else { return };
    let dir = Path::new(&dir);
    let hands = Hands::at(NOON);
    let log = dir.join("orders-0");
    make_log(&log, 300);
    for (round, tags) in [vec![], vec!["before-upgrade"], vec!["a tag", "zwei"]].into_iter().enumerate() {
        let snaps = manager(&log, &hands);
        let mut create = snaps.create();
        for tag in tags {
            create = create.tag(tag);
        }
        create.run().unwrap();
        hands.advance(Duration::from_secs(7200));
        let mut writer = Log::open_with(&log, LogConfig { segment_bytes: 2_000, ..LogConfig::default() }).unwrap();
        if round == 0 {
            writer.truncate_to(250).unwrap();
        }
        append(&mut writer, 60);
        writer.close().unwrap();
    }
    let (_temp, kafka) = fixtures::unpack("compacted-clean");
    let root = dir.join("kafka");
    assert!(std::process::Command::new("cp").arg("-a").arg(&kafka).arg(&root).status().unwrap().success());
    manager(&root, &hands).create().run().unwrap();
    let what = json!({ "orders-0": describe(&log), "kafka": describe(&root) });
    fs::write(dir.with_extension("json"), serde_json::to_string_pretty(&what).unwrap() + "\n").unwrap();
}

#[test]
fn stores_of_every_version_are_read() {
    for version in VERSIONS {
        let name = format!("golden-{version}");
        let (_temp, dir) = fixtures::unpack(&name);
        let expected = fs::read(fixtures::data().join(format!("{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        for source in ["orders-0", "kafka"] {
            let before = describe(&dir.join(source));
            assert_eq!(json!(before), expected[source], "{version}: {source}");
            // They are built upon.
            let snaps = SnapshotManager::open(dir.join(source)).unwrap();
            snaps.create().run().unwrap();
            snaps.delete(before[0]["id"].as_str().unwrap()).unwrap();
            assert_eq!(describe(&dir.join(source)).len(), before.len());
        }
    }
}
