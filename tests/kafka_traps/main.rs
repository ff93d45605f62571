//! The traps that `tests/data/README.md` lists, and Kafka's own reading against ours: of the original, of a snapshot,
//! and of what is restored from it.

#[path = "../support/broker_lock.rs"]
#[allow(dead_code)]
mod broker_lock;
mod contents;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod inventory;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowlog::LogReader;
use cowlog::error::{DamageKind, Kind};
use cowlog::fs::{Dir, Method, MethodChoice, Open};
use cowlog::kafka::boot::objections;
use cowlog::kafka::checkpoints::{LeaderEpochs, OffsetCheckpoint};
use cowlog::kafka::datadir::{RootCheckpoints, inventory, is_data_dir, is_log_dir};
use cowlog::kafka::metadata::{parse_meta_properties, parse_partition_metadata};
use cowlog::kafka::producer_state::{check_producer_state, parse_producer_state};
use cowlog::kafka::txn_index::{check_txn_index, parse_txn_index};
use cowlog::log::{SegmentEntry, SegmentFile, list_log, parse_offset_index, parse_time_index, scan};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Created, Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn config(method: MethodChoice) -> SnapshotConfig {
    SnapshotConfig { method, min_interval: Duration::ZERO, ..SnapshotConfig::default() }
}

fn manager(source: &Path) -> SnapshotManager {
    SnapshotManager::open_with(source, config(MethodChoice::Auto)).unwrap()
}

/// A manager and the warnings that it gives.
fn listening(source: &Path) -> (SnapshotManager, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let observer = Observer::new(move |event| {
        if let Event::Warning(text) = event {
            hear.lock().unwrap().push(text.to_owned());
        }
    });
    let config = SnapshotConfig { observer, ..config(MethodChoice::Auto) };
    (SnapshotManager::open_with(source, config).unwrap(), heard)
}

fn open(root: &Path) -> Dir {
    Dir::open(root).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn partition_files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let files = |dir: &PathBuf| {
        let prefix = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let read = |name: String| (format!("{prefix}/{name}"), fs::read(dir.join(&name)).unwrap());
        names(dir).into_iter().map(read).collect::<Vec<_>>()
    };
    fixtures::partitions(root).iter().flat_map(files).collect()
}

/// Everything that `DumpLogSegments` said of a directory, held against our reading of another one.
fn agrees_with_kafka(fixture: &str, root: &Path) -> usize {
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut entries: BTreeMap<String, Value> = BTreeMap::new();
    for line in fixtures::oracle(&format!("{fixture}.jsonl.zst")) {
        let file = line["file"].as_str().unwrap().to_owned();
        if line.get("base").is_some() {
            files.entry(file).or_default().push(line);
        } else if line.get("entries").is_some() {
            entries.insert(file, line["entries"].clone());
        }
    }
    let mut seen = 0;
    for (name, theirs) in files {
        let path = root.join(&name);
        let log = open(path.parent().unwrap()).open_file(path.file_name().unwrap(), Open::Read).unwrap();
        let mut ours = Vec::new();
        let end = scan(&log, 0, u64::MAX, 0, |b| {
            ours.push((b.header.base_offset, b.header.last_offset(), b.position, b.header.total_size(), b.header.crc));
            Ok(())
        })
        .unwrap();
        let int = |v: &Value, key: &str| v[key].as_i64().unwrap();
        let theirs: Vec<_> = theirs
            .iter()
            .map(|v| {
                let (position, size) = (v["position"].as_u64().unwrap(), v["size"].as_u64().unwrap());
                (int(v, "base"), int(v, "last"), position, size, u32::try_from(v["crc"].as_u64().unwrap()).unwrap())
            })
            .collect();
        assert_eq!(ours, theirs, "{fixture} {name}: {}", end.stop);
        seen += ours.len();
    }
    for (name, theirs) in entries {
        let base: i64 = name.rsplit('/').next().unwrap()[..20].parse().unwrap();
        let bytes = fs::read(root.join(&name)).unwrap();
        let ours = match name.rsplit('.').next().unwrap() {
            "index" => {
                let parsed = parse_offset_index(&bytes);
                json!(
                    parsed
                        .entries
                        .iter()
                        .map(|e| [base + i64::from(e.relative_offset), e.position.into()])
                        .collect::<Vec<_>>()
                )
            }
            "timeindex" => {
                let parsed = parse_time_index(&bytes);
                json!(
                    parsed
                        .entries
                        .iter()
                        .map(|e| [e.timestamp, base + i64::from(e.relative_offset)])
                        .collect::<Vec<_>>()
                )
            }
            "txnindex" => {
                assert_eq!(check_txn_index(&bytes, base, i64::MAX), Ok(()));
                let entries = parse_txn_index(&bytes).unwrap();
                json!(
                    entries
                        .iter()
                        .map(|t| json!({
                            "version": 0, "producerId": t.producer_id, "firstOffset": t.first_offset,
                            "lastOffset": t.last_offset, "lastStableOffset": t.last_stable_offset,
                        }))
                        .collect::<Vec<_>>()
                )
            }
            "snapshot" => {
                assert_eq!(check_producer_state(&bytes, base), Ok(()), "{fixture} {name}");
                json!(parse_producer_state(&bytes).unwrap().iter().map(producer).collect::<Vec<_>>())
            }
            other => panic!("{other}"),
        };
        // How DumpLogSegments shows a preallocated index that has no entry.
        let none = ours == json!([]) && (theirs == json!([[0, base]]) || theirs == json!([[base, 0]]));
        assert!(ours == theirs || none, "{fixture} {name}\n{ours}\n{theirs}");
        seen += ours.as_array().unwrap().len();
    }
    seen
}

fn producer(p: &cowlog::kafka::producer_state::Producer) -> Value {
    let mut shown = json!({
        "producerId": p.id, "producerEpoch": p.epoch, "coordinatorEpoch": p.coordinator_epoch,
        "currentTxnFirstOffset": p.open_since, "lastTimestamp": p.timestamp,
    });
    // A producer whose last act was a marker has no batch to show.
    if p.last_offset >= 0 {
        shown["firstSequence"] = (p.last_sequence - p.offset_delta).into();
        shown["lastSequence"] = p.last_sequence.into();
        shown["lastOffset"] = p.last_offset.into();
        shown["offsetDelta"] = p.offset_delta.into();
        shown["timestamp"] = p.timestamp.into();
    }
    shown
}

/// The number and the SHA-256 of records, as the client of `tests/kafka` sums what it reads.
#[derive(Default)]
struct Sum {
    count: u64,
    digest: Sha256,
}

impl Sum {
    fn add(&mut self, record: &cowlog::Record, append_time: bool) {
        self.count += 1;
        self.digest.update(record.offset.to_be_bytes());
        self.digest.update(record.timestamp.to_be_bytes());
        self.digest.update(i32::from(append_time).to_be_bytes());
        self.field(record.key.as_deref());
        self.field(record.value.as_deref());
        for (key, value) in &record.headers {
            self.field(Some(key.as_bytes()));
            self.field(value.as_deref());
        }
    }

    fn field(&mut self, bytes: Option<&[u8]>) {
        self.digest.update(bytes.map_or(-1, |b| i32::try_from(b.len()).unwrap()).to_be_bytes());
        self.digest.update(bytes.unwrap_or_default());
    }

    fn hex(self) -> String {
        self.digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// What a consumer gets, uncommitted and committed.
fn sums(log: &LogReader) -> (Sum, Sum) {
    const ABORT: [u8; 4] = [0, 0, 0, 0];
    let batches: Vec<_> = log.read_from(log.log_start()).collect::<Result<_, _>>().unwrap();
    // By producer: where its transactions end, and whether they were aborted.
    let mut ends: BTreeMap<i64, Vec<(i64, bool)>> = BTreeMap::new();
    for batch in batches.iter().filter(|b| b.header().is_control()) {
        let marker = batch.records().unwrap().remove(0);
        let end = (marker.offset, marker.key.unwrap()[..4] == ABORT);
        ends.entry(batch.header().producer_id).or_default().push(end);
    }
    let end_of = |b: &cowlog::Batch| {
        let of_producer = ends.get(&b.header().producer_id)?;
        of_producer.iter().find(|(offset, _)| *offset > b.header().base_offset).map(|(_, aborted)| *aborted)
    };
    let open = |b: &&cowlog::Batch| b.header().is_transactional() && !b.header().is_control() && end_of(b).is_none();
    let last_stable = batches.iter().find(open).map_or(i64::MAX, |b| b.header().base_offset);
    let (mut raw, mut committed) = (Sum::default(), Sum::default());
    for batch in batches.iter().filter(|b| !b.header().is_control()) {
        let append_time = batch.header().is_log_append_time();
        let aborted = batch.header().is_transactional() && end_of(batch) == Some(true);
        for record in batch.records().unwrap().iter().filter(|r| r.offset >= log.log_start()) {
            raw.add(record, append_time);
            if !aborted && record.offset < last_stable {
                committed.add(record, append_time);
            }
        }
    }
    (raw, committed)
}

fn deep_damage(root: &Path) -> (Created, Vec<(String, DamageKind)>) {
    let manager = manager(root);
    let created = manager.create().run().unwrap();
    assert!(manager.verify("latest", Level::Full).unwrap().ok, "it is what the source was");
    let damage = manager.verify("latest", Level::Deep).unwrap().damage;
    (created, damage.into_iter().map(|d| (d.path, d.kind)).collect())
}
