//! What `Log` writes, read by Kafka itself: dumped by DumpLogSegments, served by a real broker.
//!
//! Needs Java, Maven and, the first time, a Maven repository; skipped without them unless `COWLOG_NO_SKIP=1`.

mod fixtures;
mod kafka;

use std::fs;
use std::path::{Path, PathBuf};

use cowlog::log::Codec;
use cowlog::{BatchBuilder, Log, LogConfig, LogReader};
use kafka::{Node, kit, kit_works};

const T0: i64 = 1_735_998_123_000;

/// Several segments, written by way of everything that changes files: reopening, truncation, rolling, retention.
fn write_log(path: &Path, codec: Codec) {
    let segment_bytes = if codec == Codec::None { 200_000 } else { 20_000 };
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    let mut log = Log::open_with(path, config.clone()).unwrap();
    let append = |log: &mut Log, batches: i64| {
        for _ in 0..batches {
            let first = log.log_end_offset();
            let mut builder = BatchBuilder::new();
            builder.codec(codec);
            for n in first..first + 1 + first % 60 {
                let (key, value) = (format!("key-{}", n % 97), format!("{n} ").repeat(20 + (n % 50) as usize));
                let value = (n % 31 != 0).then_some(value.as_bytes());
                builder.record(T0 + n * 250 - n % 3, (n % 7 != 0).then_some(key.as_bytes()), value);
                if n % 4 == 0 {
                    builder.header("trace", Some(b"abc")).header("trace", None);
                }
            }
            log.append(builder.build().unwrap()).unwrap();
        }
    };
    append(&mut log, 120);
    log.flush().unwrap();
    drop(log);
    let mut log = Log::open_with(path, config.clone()).unwrap();
    append(&mut log, 60);
    let middle = log.segments()[log.segments().len() / 2] + 5;
    log.truncate_to(middle).unwrap();
    append(&mut log, 60);
    log.roll().unwrap();
    append(&mut log, 5);
    log.close().unwrap();
    let log = Log::open_with(path, config).unwrap();
    assert!(log.segments().len() >= 4, "{:?}", log.segments());
    log.close().unwrap();
}

fn segment_files(log: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(log).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| ["log", "index", "timeindex"].contains(&e.to_str().unwrap())))
        .collect();
    files.sort();
    files
}

#[test]
fn kafka_dumps_what_log_writes_without_an_error() {
    if !kit_works() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut records = 0;
    for codec in Codec::ALL {
        let path = temp.path().join(codec.to_string());
        write_log(&path, codec);
        records += fixtures::sum(&LogReader::open(&path).unwrap()).0;
        files.extend(segment_files(&path).into_iter().map(|p| p.to_str().unwrap().to_owned()));
    }
    let args: Vec<&str> = std::iter::once("dump").chain(files.iter().map(String::as_str)).collect();
    let dump = kit(&args);
    for complaint in
        ["Mismatch", "mismatch", "Non-consecutive", "out of order", "Exception", "isvalid: false", "corrupt"]
    {
        assert!(!dump.contains(complaint), "{}", dump.lines().find(|l| l.contains(complaint)).unwrap());
    }
    let dumped = dump.lines().filter(|l| l.trim_start().starts_with("| offset: ")).count() as u64;
    assert_eq!(dumped, records);
    let entries = dump.lines().filter(|l| l.starts_with("offset: ") || l.starts_with("timestamp: ")).count();
    assert!(entries > 100, "{entries}");
}

#[test]
fn a_broker_serves_what_log_writes() {
    if !kit_works() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let node = Node::new(temp.path().join("node"), None, &[]);
    kit(&["start", node.path()]);
    for codec in Codec::ALL {
        kit(&["client", node.path(), "topic", &format!("log-{codec}"), "1", "retention.ms=-1"]);
    }
    kit(&["stop", node.path()]);
    let mut expected = Vec::new();
    for codec in Codec::ALL {
        let log = temp.path().join(codec.to_string());
        write_log(&log, codec);
        let partition = node.0.join(format!("data/log-{codec}-0"));
        for entry in fs::read_dir(&partition).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "partition.metadata" {
                fs::remove_file(path).unwrap();
            }
        }
        for file in segment_files(&log) {
            fs::copy(&file, partition.join(file.file_name().unwrap())).unwrap();
        }
        let reader = LogReader::open(&log).unwrap();
        let (count, sha256) = fixtures::sum(&reader);
        expected.push((format!("log-{codec}"), reader.log_end(), count, sha256));
    }
    kit(&["start", node.path()]);
    let served = node.client(&["sum"]);
    for (topic, end, count, sha256) in &expected {
        let line = served.iter().find(|l| l["topic"] == topic.as_str()).unwrap();
        assert_eq!((&line["start"], &line["end"]), (&0.into(), &(*end).into()), "{topic}");
        assert_eq!((&line["count"], &line["sha256"]), (&(*count).into(), &sha256.as_str().into()), "{topic}");
    }
    // The broker goes on where `Log` ended, and what both wrote is read as one.
    kit(&["client", node.path(), "produce", "log-zstd", "200", "size=100", "codec=zstd"]);
    let line = node.client(&["sum"]).into_iter().find(|l| l["topic"] == "log-zstd").unwrap();
    kit(&["stop", node.path()]);
    let both = LogReader::open(node.0.join("data/log-zstd-0")).unwrap();
    let (count, sha256) = fixtures::sum(&both);
    assert_eq!(
        (&line["end"], &line["count"], &line["sha256"]),
        (&both.log_end().into(), &count.into(), &sha256.into())
    );
    assert_eq!(count, expected.iter().find(|e| e.0 == "log-zstd").unwrap().2 + 200);
}
