//! Kafka's own reading of real directories (`DumpLogSegments`) against ours, batch by batch and entry by entry.

mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cowlog::LogReader;
use cowlog::fs::{Dir, File, Open};
use cowlog::log::{
    BatchScanner, IndexStop, SegmentEntry, SegmentFile, Stop, check_segment, list_log, parse_offset_index,
    parse_time_index, scan,
};
use serde_json::{Value, json};

#[derive(Default)]
struct Oracle {
    batches: BTreeMap<String, Vec<Value>>,
    indexes: BTreeMap<String, Value>,
}

fn oracle(fixture: &str) -> Oracle {
    let mut oracle = Oracle::default();
    for line in fixtures::oracle(&format!("{fixture}.jsonl.zst")) {
        let file = line["file"].as_str().unwrap().to_owned();
        if line.get("start").is_some() {
            oracle.batches.entry(file).or_default();
        } else if line.get("base").is_some() {
            oracle.batches.entry(file).or_default().push(line);
        } else if line.get("entries").is_some() {
            oracle.indexes.insert(file, line["entries"].clone());
        }
    }
    oracle
}

fn open(path: &Path) -> File {
    Dir::open(path.parent().unwrap()).unwrap().open_file(path.file_name().unwrap(), Open::Read).unwrap()
}

#[test]
fn every_batch_is_read_as_kafka_reads_it() {
    let mut seen = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for (name, theirs) in oracle(fixture).batches {
            if !name.ends_with(".log") {
                continue;
            }
            let mut ours = Vec::new();
            let end = scan(&open(&root.join(&name)), 0, u64::MAX, 0, |b| {
                let h = &b.header;
                let no_time = h.max_timestamp == -1;
                ours.push(json!({
                    "file": name, "base": h.base_offset, "last": h.last_offset(), "count": h.record_count,
                    "position": b.position, "size": h.total_size(), "magic": h.magic, "crc": h.crc, "valid": true,
                    "codec": h.codec().unwrap().to_string(),
                    "time_type": if h.is_log_append_time() { "LogAppendTime" } else { "CreateTime" },
                    "max_timestamp": if no_time { Value::Null } else { h.max_timestamp.into() },
                    "leader_epoch": h.leader_epoch, "producer_id": h.producer_id, "producer_epoch": h.producer_epoch,
                    "base_sequence": h.base_sequence, "transactional": h.is_transactional(), "control": h.is_control(),
                    "delete_horizon": if h.has_delete_horizon() { h.base_timestamp.into() } else { Value::Null },
                }));
                Ok(())
            })
            .unwrap();
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let mut theirs = theirs.clone();
                if theirs["max_timestamp"] == -1 {
                    theirs["max_timestamp"] = Value::Null;
                }
                assert_eq!(ours, &theirs, "{fixture}");
            }
            assert_eq!(ours.len(), theirs.len(), "{fixture} {name}: {}", end.stop);
            seen += ours.len();
        }
    }
    assert!(seen > 2000, "{seen}");
}

#[test]
fn every_index_entry_is_read_as_kafka_reads_it() {
    let mut seen = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for (name, theirs) in oracle(fixture).indexes {
            let base: i64 = name.rsplit('/').next().unwrap()[..20].parse().unwrap();
            let bytes = fs::read(root.join(&name)).unwrap();
            let ours: Vec<[i64; 2]> = match name.rsplit('.').next().unwrap() {
                "index" => parse_offset_index(&bytes)
                    .entries
                    .iter()
                    .map(|e| [base + i64::from(e.relative_offset), e.position.into()])
                    .collect(),
                "timeindex" => parse_time_index(&bytes)
                    .entries
                    .iter()
                    .map(|e| [e.timestamp, base + i64::from(e.relative_offset)])
                    .collect(),
                _ => continue,
            };
            // How DumpLogSegments shows a preallocated index that has no entry.
            let none =
                ours.is_empty() && !bytes.is_empty() && theirs == json!([[0, base]]) || theirs == json!([[base, 0]]);
            assert!(none || json!(ours) == theirs, "{fixture} {name}\n{ours:?}\n{theirs}");
            seen += ours.len();
        }
    }
    assert!(seen > 1000, "{seen}");
}

/// Sealed segments, cleaned ones among them, and the active ones of a broker that was stopped: byte for byte. What a
/// broker that runs or was killed left of an active segment's indexes lacks the last time entry and has a zero tail.
/// (Elsewhere the spacing of entries may differ: a broker that was restarted in the middle of a segment counts the
/// interval from there.)
#[test]
fn rebuilt_indexes_are_the_ones_that_kafka_wrote() {
    let (mut whole, mut begun) = (0, 0);
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for partition in fixtures::partitions(&root) {
            let listing = list_log(&Dir::open(&partition).unwrap()).unwrap();
            let active = listing.active().unwrap().base();
            for base in listing.segments.iter().map(SegmentEntry::base) {
                let read = |f: SegmentFile| fs::read(partition.join(f.name(base))).ok();
                let mut scanner = BatchScanner::new(base);
                scanner.feed(&read(SegmentFile::Log).unwrap());
                let rebuilt = scanner.indexes();
                let at = format!("{fixture} {} {base}", partition.display());
                let (index, times) = (read(SegmentFile::Index).unwrap(), read(SegmentFile::TimeIndex).unwrap());
                if base < active || fixture.ends_with("-clean") {
                    assert_eq!((index, times), (rebuilt.offset, rebuilt.time), "{at}");
                    whole += 1;
                } else {
                    let (offsets, rebuilt_offsets) = (parse_offset_index(&index), parse_offset_index(&rebuilt.offset));
                    assert_eq!((offsets.entries, offsets.stop), (rebuilt_offsets.entries, IndexStop::ZeroTail), "{at}");
                    let (times, rebuilt_times) = (parse_time_index(&times), parse_time_index(&rebuilt.time));
                    assert!(rebuilt_times.entries.starts_with(&times.entries), "{at}");
                    assert!(rebuilt_times.entries.len() - times.entries.len() <= 1, "{at}");
                    begun += 1;
                }
            }
        }
    }
    assert!(whole >= 60 && begun >= 15, "{whole} {begun}");
}

#[test]
fn a_check_finds_nothing_but_what_a_broker_left_at_the_end() {
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for partition in fixtures::partitions(&root) {
            let listing = list_log(&Dir::open(&partition).unwrap()).unwrap();
            for (i, segment) in listing.segments.iter().enumerate() {
                let base = segment.base();
                let next = listing.segments.get(i + 1).map(SegmentEntry::base);
                let read = |f: SegmentFile| fs::read(partition.join(f.name(base))).ok();
                let log = open(&partition.join(SegmentFile::Log.name(base)));
                let (index, times) = (read(SegmentFile::Index), read(SegmentFile::TimeIndex));
                let check = check_segment(&log, index.as_deref(), times.as_deref(), base, next).unwrap();
                for problem in check.problems {
                    let torn = partition.ends_with("bulk-0") && problem.file == SegmentFile::Log;
                    let tail = problem.file != SegmentFile::Log && problem.detail.starts_with("zeros from");
                    let left = next.is_none() && !fixture.ends_with("-clean") && (torn || tail);
                    assert!(left, "{fixture} {} {base}: {problem}", partition.display());
                }
            }
        }
    }
}

#[test]
fn the_torn_batch_of_a_killed_broker_is_cut_where_kafka_cut_it() {
    let (_temp, root) = fixtures::unpack("txn-killed");
    let log = open(&root.join("bulk-0/00000000000000000000.log"));
    let end = scan(&log, 0, u64::MAX, 0, |_| Ok(())).unwrap();
    assert_eq!((end.valid_bytes, log.len().unwrap()), (2_951_112, 5_242_880));
    assert!(matches!(end.stop, Stop::Torn { .. }));
    let after_recovery = fixtures::oracle("txn-killed.sum.jsonl");
    let bulk = after_recovery.iter().find(|l| l["topic"] == "bulk").unwrap();
    assert_eq!(bulk["end"], end.next_offset);
}

/// Every record of every partition, as a consumer of the broker got it: offset, timestamp and its type, key, value,
/// headers, in the digest that the kit's client makes.
#[test]
fn every_record_is_read_as_a_consumer_read_it() {
    let mut seen = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for line in fixtures::oracle(&format!("{fixture}.sum.jsonl")) {
            let partition = format!("{}-{}", line["topic"].as_str().unwrap(), line["partition"]);
            let start = line["start"].as_i64().unwrap();
            let reader = LogReader::open(root.join(&partition)).unwrap().with_log_start(start);
            let (count, hex) = fixtures::sum(&reader);
            assert_eq!(
                (json!(count), json!(hex)),
                (line["count"].clone(), line["sha256"].clone()),
                "{fixture} {partition}"
            );
            assert_eq!(line["end"], reader.log_end(), "{fixture} {partition}");
            seen += count;
        }
    }
    assert!(seen > 60_000, "{seen}");
}
