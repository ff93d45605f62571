//! The traps that `tests/data/README.md` lists, and Kafka's own reading against ours: of the original, of a snapshot,
//! and of what is restored from it.

mod fixtures;

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

#[test]
fn every_checkpoint_is_read() {
    type Line = (&'static str, i32, i64);
    let expected: [(&str, &str, &[Line]); 12] = [
        ("plain-clean", "cleaner-offset-checkpoint", &[]),
        ("plain-clean", "log-start-offset-checkpoint", &[]),
        ("plain-clean", "replication-offset-checkpoint", &[("orders", 0, 10_000), ("__consumer_offsets", 1, 7)]),
        ("plain-clean", "recovery-point-offset-checkpoint", &[("orders", 1, 10_000), ("__consumer_offsets", 0, 0)]),
        ("codecs-live", "recovery-point-offset-checkpoint", &[("events-lz4", 0, 5217), ("events-gzip", 0, 5164)]),
        ("codecs-live", "replication-offset-checkpoint", &[("events-lz4", 0, 6000), ("events-gzip", 0, 6000)]),
        ("txn-killed", "recovery-point-offset-checkpoint", &[]),
        ("txn-killed", "log-start-offset-checkpoint", &[]),
        ("txn-killed", "replication-offset-checkpoint", &[("clicks", 0, 5469), ("bulk", 0, 0)]),
        ("compacted-clean", "cleaner-offset-checkpoint", &[("users", 0, 5296)]),
        ("compacted-clean", "log-start-offset-checkpoint", &[("ledger", 0, 777), ("ledger", 1, 2000)]),
        ("compacted-clean", "replication-offset-checkpoint", &[("rolling", 0, 5000)]),
    ];
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for (_, file, lines) in expected.iter().filter(|e| e.0 == fixture) {
            let bytes = fs::read(root.join(file)).unwrap();
            let read = OffsetCheckpoint::parse(&bytes).unwrap();
            assert_eq!(read.is_empty(), lines.is_empty(), "{fixture} {file}");
            for (topic, partition, offset) in *lines {
                assert_eq!(read.get(topic, *partition), Some(*offset), "{fixture} {file} {topic}-{partition}");
            }
            let count = String::from_utf8(bytes).unwrap().lines().nth(1).map_or(0, |l| l.parse().unwrap());
            assert_eq!(read.len(), count);
        }
        let dir = open(&root);
        assert_eq!(RootCheckpoints::read(&dir).unwrap().warnings(), [""; 0]);
        let meta = parse_meta_properties(&fs::read(root.join("meta.properties")).unwrap()).unwrap();
        assert_eq!((meta.node_id, meta.cluster_id.unwrap().len(), meta.directory_id.unwrap().len()), (Some(1), 22, 22));
        for partition in fixtures::partitions(&root) {
            let bytes = fs::read(partition.join("leader-epoch-checkpoint")).unwrap();
            let epochs = LeaderEpochs::parse(&bytes).unwrap();
            assert_eq!((epochs.entries.len(), epochs.to_bytes()), (1, bytes));
            parse_partition_metadata(&fs::read(partition.join("partition.metadata")).unwrap()).unwrap();
        }
        assert_eq!(objections(&dir, &inventory(&dir).unwrap()).unwrap(), [""; 0], "a broker took all of it");
    }
    let (_temp, root) = fixtures::unpack("plain-clean");
    assert!(OffsetCheckpoint::parse(&fs::read(root.join("bootstrap.checkpoint")).unwrap()).is_err(), "it is binary");
}

#[test]
fn an_inventory_has_everything_once() {
    let expected = [
        ("plain-clean", 6, vec![".kafka_cleanshutdown"]),
        ("codecs-live", 8, vec![]),
        ("txn-killed", 11, vec![]),
        ("compacted-clean", 12, vec![".kafka_cleanshutdown"]),
    ];
    for (fixture, partitions, more) in expected {
        let (_temp, root) = fixtures::unpack(fixture);
        let found = inventory(&open(&root)).unwrap();
        assert_eq!(found.partitions.len(), partitions, "{fixture}");
        assert_eq!(found.left_out, []);
        let usual = [
            "bootstrap.checkpoint",
            "cleaner-offset-checkpoint",
            "log-start-offset-checkpoint",
            "meta.properties",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ];
        assert_eq!(found.root_files, more.into_iter().chain(usual).collect::<Vec<_>>());
        for partition in &found.partitions {
            assert_eq!(partition.name, format!("{}-{}", partition.topic, partition.partition));
            let dir = open(&root.join(&partition.name));
            assert!(is_log_dir(&dir).unwrap() && !is_data_dir(&dir).unwrap());
        }
        assert!(is_data_dir(&open(&root)).unwrap() && !is_log_dir(&open(&root)).unwrap());
    }
}

#[test]
fn what_a_broker_has_given_up_is_left_out_and_named() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let id = "0123456789abcdef0123456789abcdef";
    let dirs = [format!("gone-0.{id}-delete"), format!("lost-1.{id}-stray"), format!("orders-0.{id}-future")];
    for dir in dirs.iter().map(String::as_str).chain(["lost+found"]) {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("00000000000000000000.log"), b"x").unwrap();
    }
    for file in [".lock", "replication-offset-checkpoint.tmp", "orders-0/00000000000000000000.log.cleaned"] {
        fs::write(root.join(file), b"").unwrap();
    }
    let swap = "orders-0/00000000000000002970.log.swap";
    fs::copy(root.join("orders-0/00000000000000002970.log"), root.join(swap)).unwrap();
    std::os::unix::fs::symlink("orders-0", root.join("alias-0")).unwrap();
    let created = manager(&root).create().run().unwrap();
    let left_out: BTreeMap<_, _> = created.left_out.iter().map(|l| (l.path.as_str(), l.why.as_str())).collect();
    let expected: BTreeSet<&str> = dirs
        .iter()
        .map(String::as_str)
        .chain([".lock", "replication-offset-checkpoint.tmp", "orders-0/00000000000000000000.log.cleaned"])
        .chain(["lost+found", "alias-0"])
        .collect();
    assert_eq!(left_out.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(left_out.values().all(|why| !why.is_empty()));
    for path in expected {
        assert!(!created.snapshot.path.join(path).exists(), "{path}");
    }
    let path = &created.snapshot.path;
    assert_eq!(fs::read(path.join(swap)).unwrap(), fs::read(root.join(swap)).unwrap());
    assert!(manager(&root).verify("latest", Level::Deep).unwrap().ok);
}

#[test]
fn a_name_that_a_manifest_cannot_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    for place in ["", "orders-0"] {
        let (_temp, root) = fixtures::unpack("plain-clean");
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        fs::write(root.join(place).join(name), b"").unwrap();
        let refused = manager(&root).create().run().unwrap_err();
        assert_eq!(refused.kind(), Kind::Validation, "{refused}");
        assert!(refused.to_string().contains("UTF-8") && refused.to_string().contains("caf"), "{refused}");
        assert!(manager(&root).list().unwrap().is_empty());
    }
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

#[test]
fn kafkas_reading_is_ours_before_in_and_after_a_snapshot() {
    let mut total = 0;
    for fixture in fixtures::NAMES {
        let (temp, root) = fixtures::unpack(fixture);
        let seen = agrees_with_kafka(fixture, &root);
        let manager = manager(&root);
        let created = manager.create().run().unwrap();
        let target = temp.path().join("restored");
        manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
        assert_eq!(agrees_with_kafka(fixture, &created.snapshot.path), seen);
        assert_eq!(agrees_with_kafka(fixture, &target), seen);
        total += seen;
    }
    assert!(total > 4000, "{total}");
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

#[test]
fn a_snapshot_holds_every_record_that_a_consumer_gets() {
    let mut partitions = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        let created = manager(&root).create().run().unwrap();
        for line in fixtures::oracle(&format!("{fixture}.sum.jsonl")) {
            let (topic, partition) = (line["topic"].as_str().unwrap(), line["partition"].as_i64().unwrap());
            let start = line["start"].as_i64().unwrap();
            let path = created.snapshot.path.join(format!("{topic}-{partition}"));
            let log = LogReader::open(path).unwrap().with_log_start(start);
            let info = created.snapshot.logs.iter().find(|l| l.topic == topic && i64::from(l.partition) == partition);
            assert_eq!(info.unwrap().log_start_offset, start, "{fixture} {topic}-{partition}");
            assert_eq!(log.log_end(), line["end"].as_i64().unwrap());
            let (raw, committed) = sums(&log);
            assert_eq!(json!([raw.count, committed.count]), json!([line["count"], line["committed_count"]]), "{topic}");
            let theirs = json!([line["sha256"], line["committed_sha256"]]);
            assert_eq!(json!([raw.hex(), committed.hex()]), theirs, "{fixture} {topic}-{partition}");
            partitions += 1;
        }
    }
    assert_eq!(partitions, 15);
}

#[test]
fn empty_things_stay_empty() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let created = manager(&root).create().run().unwrap();
    let path = &created.snapshot.path;
    let log =
        |name: &str| created.snapshot.logs.iter().find(|l| format!("{}-{}", l.topic, l.partition) == name).unwrap();
    let empty = log("__consumer_offsets-0");
    assert_eq!((empty.base_offset, empty.log_start_offset, empty.high_watermark, empty.log_end_offset), (0, 0, 0, 0));
    assert_eq!(empty.num_segments, 1);
    assert_eq!(fs::metadata(path.join("cleaner-offset-checkpoint")).unwrap().len(), 0);
    assert_eq!(fs::metadata(path.join("__consumer_offsets-1/00000000000000000000.index")).unwrap().len(), 0);
    assert!(fs::metadata(path.join("__consumer_offsets-1/00000000000000000000.log")).unwrap().len() > 0);
    let beyond = "orders-0/00000000000000010000.snapshot";
    assert_eq!(fs::read(path.join(beyond)).unwrap(), fs::read(root.join(beyond)).unwrap());
    let listing = list_log(&open(&path.join("orders-0"))).unwrap();
    assert_eq!(listing.unattached, [(10_000, SegmentFile::ProducerState)]);
    assert_eq!(listing.active().map(SegmentEntry::base), Some(8871));
}

#[test]
fn no_snapshot_holds_a_preallocated_index() {
    for fixture in ["codecs-live", "txn-killed"] {
        let (temp, root) = fixtures::unpack(fixture);
        let is_index = |name: &str| name.ends_with(".index") || name.ends_with(".timeindex");
        let preallocated = |root: &Path| {
            let files = partition_files(root).into_iter().filter(|(name, _)| is_index(name));
            files.filter(|(_, bytes)| bytes.len() > 10_000_000).count()
        };
        let before = preallocated(&root);
        assert_eq!(before, 2 * fixtures::partitions(&root).len(), "both of every active segment");
        let manager = manager(&root);
        let created = manager.create().run().unwrap();
        let target = temp.path().join("restored");
        manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
        for root in [&created.snapshot.path, &target] {
            for (name, bytes) in partition_files(root).into_iter().filter(|(name, _)| is_index(name)) {
                let entry = if name.ends_with(".index") { 8 } else { 12 };
                assert_eq!(bytes.len() % entry, 0, "{name}");
                let last = bytes.len().checked_sub(entry).map(|at| &bytes[at..]);
                assert!(last.is_none_or(|entry| entry.iter().any(|b| *b != 0)), "{fixture} {name} ends in zeros");
            }
        }
        assert_eq!(preallocated(&root), before, "the source keeps its own");
    }
}

#[test]
fn a_killed_broker_leaves_open_transactions_and_a_torn_batch() {
    let (_temp, root) = fixtures::unpack("txn-killed");
    let created = manager(&root).create().run().unwrap();
    let path = &created.snapshot.path;
    assert_eq!(fs::metadata(path.join("bulk-0/00000000000000000000.log")).unwrap().len(), 2_951_112);
    assert_eq!(fs::metadata(root.join("bulk-0/00000000000000000000.log")).unwrap().len(), 5_242_880);
    let log = |topic: &str| created.snapshot.logs.iter().find(|l| l.topic == topic).unwrap();
    assert_eq!((log("clicks").high_watermark, log("clicks").log_end_offset), (5469, 5678), "the mark is older");
    assert_eq!((log("bulk").high_watermark, log("bulk").log_end_offset), (0, 59));

    let payments = path.join("payments-0");
    let with_index: Vec<_> = names(&payments).into_iter().filter(|n| n.ends_with(".txnindex")).collect();
    assert_eq!(with_index, [25, 935, 1845, 2755].map(|base| SegmentFile::TxnIndex.name(base)));
    let reader = LogReader::open(&payments).unwrap();
    let batches: Vec<_> = reader.read_from(0).collect::<Result<_, _>>().unwrap();
    let markers = batches.iter().filter(|b| b.header().is_control()).count();
    assert!(markers > 30 && batches.iter().any(|b| b.header().is_transactional()), "{markers}");
    // Open at the end, and begun in an earlier segment.
    let (_, committed) = sums(&reader);
    assert!(committed.count < 2551 && reader.log_end() == 3629);
    let state = parse_producer_state(&fs::read(payments.join(SegmentFile::ProducerState.name(935))).unwrap()).unwrap();
    assert_eq!(state.iter().map(|p| p.open_since).collect::<Vec<_>>(), [Some(910)]);
    // Rolled by age: the first segments are far below their size.
    assert!(fs::metadata(payments.join(SegmentFile::Log.name(0))).unwrap().len() < 5000);
    assert_eq!(created.snapshot.methods.get(&Method::Hardlink), None, "nothing is known to have been flushed");
}

#[test]
fn a_compacted_log_has_gaps_and_is_whole() {
    let (_temp, root) = fixtures::unpack("compacted-clean");
    let created = manager(&root).create().run().unwrap();
    let users = LogReader::open(created.snapshot.path.join("users-0")).unwrap();
    let batches: Vec<_> = users.read_from(0).collect::<Result<_, _>>().unwrap();
    assert_eq!((users.segments()[0].base(), batches[0].header().base_offset), (0, 2737));
    let empty: Vec<_> = batches.iter().filter(|b| b.header().record_count == 0).map(|b| b.header()).collect();
    assert_eq!(empty.len(), 1);
    assert_eq!((empty[0].base_offset, empty[0].last_offset(), empty[0].total_size()), (4494, 4499, 61));
    assert!(batches.iter().any(|b| b.header().has_delete_horizon()));
    assert!(batches.iter().any(|b| b.header().is_control()));
    let gaps = batches.windows(2).filter(|w| w[0].header().next_offset() < w[1].header().base_offset).count();
    assert!(gaps > 3, "{gaps}");
    let within = |b: &&cowlog::Batch| i64::from(b.header().record_count) <= i64::from(b.header().last_offset_delta);
    assert!(batches.iter().filter(within).count() > 3);

    let starts = |name: &str| {
        let log = created.snapshot.logs.iter().find(|l| format!("{}-{}", l.topic, l.partition) == name).unwrap();
        (log.base_offset, log.log_start_offset, log.log_end_offset)
    };
    assert_eq!(starts("ledger-0"), (581, 777, 2000));
    assert_eq!(starts("ledger-1"), (1718, 2000, 2000));
    assert_eq!(starts("rolling-0"), (3468, 3468, 5000));

    let deleted: BTreeSet<String> =
        partition_files(&root).into_iter().map(|f| f.0).filter(|n| n.ends_with(".deleted")).collect();
    let left_out: BTreeSet<String> = created.left_out.iter().map(|l| l.path.clone()).collect();
    assert!(deleted.len() > 50);
    assert_eq!(left_out, deleted);
    assert!(deleted.contains("users-0/00000000000000004958.log.deleted"));
    assert!(created.snapshot.path.join("users-0/00000000000000004958.log").is_file(), "the one that is not deleted");
}

#[test]
fn only_flushed_and_committed_log_files_are_linked() {
    let mut linked = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        let marks = RootCheckpoints::read(&open(&root)).unwrap();
        let manager = manager(&root);
        manager.create().run().unwrap();
        let manifest = manager.manifest("latest").unwrap().manifest;
        for file in manifest.files.iter().filter(|f| f.method == Method::Hardlink) {
            let (dir, name) = file.path.split_once('/').expect("no file of the root is linked");
            let log = manifest.logs.iter().find(|l| l.dir == dir).unwrap();
            let base: i64 = name.strip_suffix(".log").expect("only logs are linked").parse().unwrap();
            let end = *log.segments.iter().find(|b| **b > base).expect("the active one is not linked");
            let (topic, partition) = (log.topic.as_deref().unwrap(), log.partition.unwrap());
            assert!(marks.high_watermark(topic, partition).is_some_and(|mark| mark >= end), "{fixture} {}", file.path);
            assert!(marks.recovery_point(topic, partition).is_some_and(|mark| mark >= end), "{fixture} {}", file.path);
            assert!(file.exposed);
            linked += 1;
        }
        let can_reflink = manifest.files.iter().any(|f| f.method == Method::Reflink);
        assert!(linked > 0 || can_reflink, "{fixture}: nothing is shared");
    }
}

fn deep_damage(root: &Path) -> (Created, Vec<(String, DamageKind)>) {
    let manager = manager(root);
    let created = manager.create().run().unwrap();
    assert!(manager.verify("latest", Level::Full).unwrap().ok, "it is what the source was");
    let damage = manager.verify("latest", Level::Deep).unwrap().damage;
    (created, damage.into_iter().map(|d| (d.path, d.kind)).collect())
}

#[test]
fn deep_verification_reads_producer_snapshots_and_transaction_indexes() {
    let (_temp, root) = fixtures::unpack("txn-killed");
    let state = "payments-0/00000000000000001820.snapshot";
    let index = "payments-1/00000000000000000935.txnindex";
    for (path, at) in [(state, 20), (index, 24)] {
        let mut bytes = fs::read(root.join(path)).unwrap();
        bytes[at] ^= 0x40;
        fs::write(root.join(path), bytes).unwrap();
    }
    let misplaced = "clicks-0/00000000000000001000.snapshot";
    fs::copy(root.join("clicks-0/00000000000000002218.snapshot"), root.join(misplaced)).unwrap();
    let mut damage = deep_damage(&root).1;
    damage.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [(misplaced, DamageKind::Producers), (state, DamageKind::Producers), (index, DamageKind::Index)];
    assert_eq!(damage, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

#[test]
fn a_log_that_would_start_beyond_its_end_is_told_of_and_restored_so_that_a_broker_keeps_it() {
    let (temp, root) = fixtures::unpack("compacted-clean");
    let starts = b"0\n3\nstamped 0 2001\nledger 1 2000\nledger 0 777\n";
    fs::write(root.join("log-start-offset-checkpoint"), starts).unwrap();
    let (manager, heard) = listening(&root);
    let created = manager.create().run().unwrap();
    let warned = heard.lock().unwrap().clone();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("stamped-0") && warned[0].contains("2001"), "{warned:?}");
    let log = created.snapshot.logs.iter().find(|l| l.topic == "stamped").unwrap();
    assert_eq!((log.log_start_offset, log.log_end_offset), (2000, 2000));
    assert_eq!(fs::read(created.snapshot.path.join("log-start-offset-checkpoint")).unwrap(), starts, "kept as it was");
    let target = temp.path().join("restored");
    manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    let restored = fs::read(target.join("log-start-offset-checkpoint")).unwrap();
    assert_eq!(restored, b"0\n3\nstamped 0 2000\nledger 1 2000\nledger 0 777\n");
}

#[test]
fn files_that_a_broker_would_not_take_are_kept_and_told_of() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let broken = b"0\n9\norders 0 10000\n";
    fs::write(root.join("replication-offset-checkpoint"), broken).unwrap();
    fs::write(root.join("orders-0/leader-epoch-checkpoint"), b"zero").unwrap();
    fs::remove_file(root.join("orders-1/partition.metadata")).unwrap();
    let (manager, heard) = listening(&root);
    let created = manager.create().run().unwrap();
    let warned = heard.lock().unwrap().clone();
    assert!(warned.iter().any(|w| w.contains("replication-offset-checkpoint") && w.contains("9")), "{warned:?}");
    assert!(warned.iter().any(|w| w.contains("orders-1") && w.contains("stray")), "{warned:?}");
    assert!(warned.iter().all(|w| !w.contains("offsets-")), "{warned:?}");
    assert_eq!(created.snapshot.methods.get(&Method::Hardlink), None, "without a high watermark nothing is linked");
    assert_eq!(fs::read(created.snapshot.path.join("replication-offset-checkpoint")).unwrap(), broken);
    assert!(manager.verify("latest", Level::Deep).unwrap().ok);
    let target = temp.path().join("restored");
    manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert_eq!(fs::read(target.join("replication-offset-checkpoint")).unwrap(), broken);
    let told = heard.lock().unwrap()[warned.len()..].join("\n");
    assert!(told.contains("orders-0/leader-epoch-checkpoint") && told.contains("orders-1"), "{told}");
}

#[test]
fn a_partition_with_transactions_is_cut_with_all_its_side_files() {
    let (temp, root) = fixtures::unpack("txn-killed");
    let manager = manager(&root.join("payments-0"));
    let created = manager.create().run().unwrap();
    let whole = LogReader::open(created.snapshot.path.join("payments-0")).unwrap();
    for until in [0, 1, 24, 25, 500, 935, 1000, 2754, 3000, 3628, 3629] {
        let target = temp.path().join(format!("cut-{until}"));
        let end =
            manager.restore_id("latest", RestoreOptions::to(&target).until_offset(until)).unwrap().end_offset.unwrap();
        assert!(end <= until, "{end} {until}");
        let cut = LogReader::open(&target).unwrap();
        assert_eq!(cut.log_end(), end);
        let mut batches = 0;
        for (ours, theirs) in cut.read_from(0).zip(whole.read_from(0)) {
            assert_eq!(ours.unwrap(), theirs.unwrap());
            batches += 1;
        }
        let next = whole.read_from(end).next().map(|b| b.unwrap().header().last_offset());
        assert!(next.is_none_or(|last| last >= until), "{until}: the batch up to {next:?} fits too");
        for (name, bytes) in names(&target).into_iter().map(|n| (n.clone(), fs::read(target.join(n)).unwrap())) {
            let base = || name[..20].parse::<i64>().unwrap();
            if name.ends_with(".txnindex") {
                assert_eq!(check_txn_index(&bytes, base(), end), Ok(()), "{until} {name}");
            } else if name.ends_with(".snapshot") {
                assert!(base() <= end, "{until} {name}");
                assert_eq!(check_producer_state(&bytes, base()), Ok(()));
            } else if name == "leader-epoch-checkpoint" {
                assert!(LeaderEpochs::parse(&bytes).unwrap().entries.iter().all(|(_, start)| *start <= end));
            }
        }
        assert!(batches > 0 || end == 0);
    }
}

#[test]
fn a_running_broker_is_left_alone() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    fs::write(root.join(".lock"), b"").unwrap();
    let taken = manager(&root).create().run().unwrap();
    assert!(taken.left_out.iter().any(|l| l.path == ".lock"), "the file without a lock means nothing");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder_of_a_brokers_lock", "--nocapture"])
        .env("COWLOG_TEST_HOLD_LOCK", root.join(".lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("locked") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0, "the holder ended");
    }
    for source in [root.clone(), root.join("orders-0")] {
        let refused = manager(&source).create().run().unwrap_err();
        assert_eq!(refused.kind(), Kind::Concurrency, "{refused}");
        assert!(refused.to_string().contains(&format!("process {}", holder.id())), "{refused}");
    }
    assert_eq!(manager(&root).list().unwrap().len(), 1, "and nothing is left of it");
    assert_eq!(names(Path::new(&format!("{}.snapshots", root.display()))).len(), 3);
    // What has been taken can be verified all the same.
    assert!(manager(&root).verify("latest", Level::Deep).unwrap().ok);
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(holder.wait().unwrap().success());
    manager(&root).create().run().unwrap();
}

/// Not a test: the process that holds the lock, as a JVM's `FileChannel.lock` does.
#[test]
fn holder_of_a_brokers_lock() {
    let Some(path) = std::env::var_os("COWLOG_TEST_HOLD_LOCK") else { return };
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as nix::libc::c_short,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&lock)).unwrap();
    println!("\nlocked");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
