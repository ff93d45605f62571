//! `diff`: what changed between snapshots, and since one.

use std::path::{Path, PathBuf};

use cowlog::BatchBuilder;
use cowlog::log::{Log, LogConfig};
use serde_json::{Value, json};

use crate::fixtures;
use crate::stage::{Stage, append, cowlog, records, run};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 4 << 10, ..LogConfig::default() }
}

fn diff(stage: &Stage, a: &str, b: &str) -> Value {
    stage.run("diff", &[a, b, "--json"]).expect_code(0).json()
}

/// The summary and the lines behind it: change, and offset of either side.
fn by_record(stage: &Stage, a: &str, b: &str) -> (Value, Vec<(String, i64)>) {
    let ran = stage.run("diff", &[a, b, "--json", "--records"]).expect_code(0);
    let mut lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let summary = lines.next().unwrap();
    let told = lines.map(|line| {
        let offset = |side: &str| line[side]["offset"].as_i64();
        let change = line["change"].as_str().unwrap().to_owned();
        assert_eq!(
            (line.get("a").is_some(), line.get("b").is_some()),
            match &*change {
                "added" => (false, true),
                "removed" => (true, false),
                _ => (true, true),
            }
        );
        (change, offset("a").or(offset("b")).unwrap())
    });
    (summary, told.collect())
}

fn changes(log: &Value) -> Vec<(i64, String)> {
    let change = |s: &Value| (s["base_offset"].as_i64().unwrap(), s["change"].as_str().unwrap().to_owned());
    log["segments"].as_array().unwrap().iter().map(change).collect()
}

fn segments(log: &Path) -> Vec<(i64, PathBuf)> {
    let all = std::fs::read_dir(log).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> = all
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .map(|p| (p.file_stem().unwrap().to_str().unwrap().parse().unwrap(), p))
        .collect();
    found.sort();
    found
}

#[test]
fn what_was_appended_and_rolled_is_told_against_a_snapshot_and_against_the_source() {
    let stage = Stage::new();
    let first = stage.create();
    let equal = diff(&stage, &first, "live");
    assert_eq!(
        (&equal["equal"], &equal["logs_equal"], &equal["logs"]),
        (&json!(true), &json!(1), &json!([])),
        "{equal}"
    );
    assert!(stage.run("diff", &[&first, "live"]).expect_code(0).stdout.ends_with(" are equal\n"));
    let active = segments(&stage.log).last().unwrap().0;
    append(&stage.log, 40);
    let second = stage.create();
    assert!(diff(&stage, &second, "latest")["equal"].as_bool().unwrap());
    let new: Vec<i64> = segments(&stage.log).iter().map(|(base, _)| *base).filter(|base| *base > active).collect();
    assert!(new.len() > 1);
    for at in [second.as_str(), "live"] {
        let (found, told) = by_record(&stage, &first, at);
        assert_eq!((&found["a"], &found["b"], &found["equal"]), (&json!(first), &json!(at), &json!(false)));
        let log = &found["logs"][0];
        let mut expected = vec![(active, "appended".to_owned())];
        expected.extend(new.iter().map(|base| (*base, "added".to_owned())));
        assert_eq!(changes(log), expected);
        assert_eq!(log["files"], json!([]), "{log}");
        assert_eq!((&log["a"]["log_end_offset"], &log["b"]["log_end_offset"]), (&json!(100), &json!(140)));
        assert_eq!(told, (100..140).map(|o| ("added".to_owned(), o)).collect::<Vec<_>>());
        // The other way round it is what was taken away.
        let (found, told) = by_record(&stage, at, &first);
        assert_eq!(changes(&found["logs"][0])[0], (active, "truncated".to_owned()));
        assert!(told.iter().all(|(change, _)| change == "removed") && told.len() == 40);
    }
    // A torn batch at the end is not there yet.
    let last = segments(&stage.log).pop().unwrap().1;
    let whole = std::fs::read(&last).unwrap();
    std::fs::write(&last, [&whole[..], &whole[..70]].concat()).unwrap();
    assert_eq!(diff(&stage, &second, "live")["equal"], true);
    let text = stage.run("diff", &[&first, "live", "--records"]).expect_code(0).stdout;
    for told in ["log end", "appended", "added", "1 log differs, 0 equal", "\n+\t100\t", "\n+\t139\t"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn what_was_truncated_and_written_anew_differs_from_there_on() {
    let stage = Stage::new();
    let first = stage.create();
    let mut log = Log::open_with(&stage.log, config()).unwrap();
    log.truncate_to(60).unwrap();
    log.close().unwrap();
    let (found, told) = by_record(&stage, &first, "live");
    assert!(
        changes(&found["logs"][0]).iter().all(|(_, change)| change == "truncated" || change == "removed"),
        "{found}"
    );
    assert_eq!(told, (60..100).map(|o| ("removed".to_owned(), o)).collect::<Vec<_>>());
    let mut log = Log::open_with(&stage.log, config()).unwrap();
    for i in 60..110 {
        log.append(BatchBuilder::new().record(i, None, Some(b"other")).build().unwrap()).unwrap();
    }
    log.close().unwrap();
    let second = stage.create();
    for at in [second.as_str(), "live"] {
        let (found, told) = by_record(&stage, &first, at);
        assert!(changes(&found["logs"][0]).iter().any(|(_, change)| change == "changed"), "{found}");
        let change = |o: i64| (if o < 100 { "changed" } else { "added" }.to_owned(), o);
        assert_eq!(told, (60..110).map(change).collect::<Vec<_>>());
    }
}

#[test]
fn what_retention_let_go_of_is_removed() {
    let stage = Stage::new();
    let first = stage.create();
    let mut log = Log::open_with(&stage.log, LogConfig { retention_bytes: Some(6 << 10), ..config() }).unwrap();
    assert!(!log.apply_retention(0).unwrap().is_empty());
    log.close().unwrap();
    let start = segments(&stage.log)[0].0;
    let second = stage.create();
    for at in [second.as_str(), "live"] {
        let (found, told) = by_record(&stage, &first, at);
        let log = &found["logs"][0];
        assert!(changes(log).iter().all(|(base, change)| change == "removed" && *base < start), "{log}");
        assert_eq!((&log["a"]["log_start_offset"], &log["b"]["log_start_offset"]), (&json!(0), &json!(start)));
        assert_eq!(told, (0..start).map(|o| ("removed".to_owned(), o)).collect::<Vec<_>>());
    }
}

/// As a cleaner would: the same offsets, fewer records, in other batches.
#[test]
fn across_compaction_the_records_that_went_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let log = data.join("orders-0");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(data.join("meta.properties"), "version=1\n").unwrap();
    let write = |kept: &[i64], size: i64| {
        let _ = std::fs::remove_file(log.join(format!("{:020}.log", 0)));
        let mut bytes = Vec::new();
        for base in (0..60).step_by(usize::try_from(size).unwrap()) {
            let mut builder = BatchBuilder::new();
            for offset in (base..base + size).filter(|o| kept.contains(o)) {
                builder.record(offset, Some(b"k"), Some(format!("v{offset}").as_bytes()));
            }
            if let Ok(batch) = builder.build() {
                bytes.extend_from_slice(&placed(batch.as_bytes(), base, size, kept));
            }
        }
        std::fs::write(log.join(format!("{:020}.log", 0)), bytes).unwrap();
    };
    let create =
        || run(cowlog().arg("create").arg(&data).args(["-q", "--force"])).expect_code(0).stdout.trim().to_owned();
    let all: Vec<i64> = (0..60).collect();
    write(&all, 10);
    let first = create();
    let kept: Vec<i64> = (0..60).filter(|o| o % 7 == 0 || *o > 40).collect();
    write(&kept, 20);
    let second = create();
    let told = |a: &str, b: &str, sign: &str| -> Vec<i64> {
        let ran = run(cowlog().arg("diff").arg(&data).args([a, b, "--records"])).expect_code(0);
        let lines = ran
            .stdout
            .lines()
            .filter_map(|l| l.strip_prefix(sign))
            .map(|l| l.split('\t').next().unwrap().parse().unwrap());
        lines.collect()
    };
    let gone: Vec<i64> = all.iter().copied().filter(|o| !kept.contains(o)).collect();
    for at in [second.as_str(), "live"] {
        assert_eq!((told(&first, at, "-\t"), told(&first, at, "+\t")), (gone.clone(), Vec::new()));
        assert_eq!((told(at, &first, "-\t"), told(at, &first, "+\t")), (Vec::new(), gone.clone()));
    }
}

/// A batch as a cleaner leaves it: `kept` of the offsets from `base` on, its last offset where it was.
fn placed(batch: &[u8], base: i64, size: i64, kept: &[i64]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[23..27].copy_from_slice(&i32::try_from(size - 1).unwrap().to_be_bytes());
    // Each record: its length, attributes, the difference of its time, that of its offset; all of one byte here.
    let mut at = 61;
    for offset in kept.iter().filter(|o| (base..base + size).contains(o)) {
        assert!(bytes[at] < 0x80 && bytes[at + 2] < 0x80);
        bytes[at + 3] = u8::try_from((offset - base) * 2).unwrap();
        at += 1 + usize::from(bytes[at] / 2);
    }
    assert_eq!(at, bytes.len());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn of_a_data_directory_topics_and_files_that_one_side_has_are_told() {
    let (_temp, data) = fixtures::unpack("plain-clean");
    let create =
        || run(cowlog().arg("create").arg(&data).args(["-q", "--force"])).expect_code(0).stdout.trim().to_owned();
    let diff = |args: &[&str]| run(cowlog().arg("diff").arg(&data).args(args).arg("--json")).expect_code(0).json();
    let first = create();
    let same = diff(&[&first, "live"]);
    assert_eq!(same["equal"], true, "{same}");
    std::fs::rename(data.join("orders-1"), data.join("orders-7")).unwrap();
    std::fs::write(data.join("meta.properties"), "version=1\n").unwrap();
    std::fs::write(data.join("orders-0/leader-epoch-checkpoint"), "0\n1\n0 0\n# other").unwrap();
    let second = create();
    for at in [second.as_str(), "live"] {
        let found = diff(&[&first, at]);
        assert_eq!(found["files"], json!([{"name": "meta.properties", "change": "changed"}]));
        let logs: Vec<_> = found["logs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| (l["dir"].as_str().unwrap(), l["change"].as_str().unwrap()))
            .collect();
        assert_eq!(logs, [("orders-0", "changed"), ("orders-1", "removed"), ("orders-7", "added")]);
        assert_eq!(found["logs"][0]["files"], json!([{"name": "leader-epoch-checkpoint", "change": "changed"}]));
        assert_eq!(found["logs"][0]["segments"], json!([]));
        let part = diff(&[&first, at, "--topic", "orders", "--partition", "0"]);
        assert_eq!((&part["logs"][0], &part["files"]), (&found["logs"][0], &json!([])));
        let topic = diff(&[&first, at, "--topic", "orders"]);
        assert_eq!((&topic["logs"], &topic["files"]), (&found["logs"], &json!([])), "what stands beside is no topic's");
    }
    let gone = diff(&["latest", "live", "--topic", "orders", "--partition", "7"]);
    assert_eq!(gone["equal"], true, "{gone}");
    std::fs::rename(data.join("orders-7"), data.join("other-7")).unwrap();
    let gone = diff(&["latest", "live", "--topic", "orders", "--partition", "7"]);
    assert_eq!((&gone["logs"][0]["change"], gone["logs"].as_array().unwrap().len()), (&json!("removed"), 1), "{gone}");
    std::fs::rename(data.join("other-7"), data.join("orders-7")).unwrap();
    let ran = run(cowlog().arg("diff").arg(&data).args([&first, "live", "--records"])).expect_code(0);
    let signs = |sign: &str| ran.stdout.lines().filter(|l| l.starts_with(sign)).count();
    assert_eq!((signs("-\torders-1\t"), signs("+\torders-7\t"), signs("-\torders-0\t")), (10_000, 10_000, 0));
    run(cowlog().arg("diff").arg(&data).args([&first, "snapshot-9", "--json"])).expect_error(10, "validation");
}

/// Digests decide between snapshots: what is not read cannot be found damaged.
#[test]
fn equal_segments_are_not_read() {
    let stage = Stage::new();
    let first = stage.create();
    append(&stage.log, 5);
    let second = stage.create();
    let before = records(&stage.log).len();
    for id in [&first, &second] {
        let (_, sealed) = &segments(&stage.snapshot(id))[0];
        let bytes = std::fs::read(sealed).unwrap();
        std::fs::remove_file(sealed).unwrap();
        std::fs::write(sealed, vec![0xff; bytes.len()]).unwrap();
    }
    let (_, told) = by_record(&stage, &first, &second);
    assert_eq!(told.len(), before - 100);
    // What has to be read is checked: in the midst of what differs.
    let (_, active) = segments(&stage.snapshot(&second)).pop().unwrap();
    let mut bytes = std::fs::read(&active).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&active, bytes).unwrap();
    let ran = stage.run("diff", &[&first, &second, "--records"]).expect_code(4);
    assert!(ran.stderr.contains("CRC"), "{}", ran.stderr);
}

#[test]
fn a_log_that_is_written_to_is_told_as_it_was_at_a_moment() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let stage = Stage::new();
    let first = stage.create();
    append(&stage.log, 5);
    let stop = AtomicBool::new(false);
    /// Also where an assertion fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let config = LogConfig { retention_bytes: Some(30 << 10), ..config() };
            let mut log = Log::open_with(&stage.log, config).unwrap();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let value = vec![b'x'; 400];
                    log.append(BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()).unwrap();
                }
                log.apply_retention(0).unwrap();
            }
        });
        for _ in 0..8 {
            let ran = stage.run("diff", &[&first, "live", "--json"]);
            // Faster than it can be looked at: that is said.
            assert!(ran.code == 0 || ran.code == 11, "{}", ran.stdout);
            if ran.code == 0 {
                let log = &ran.json()["logs"][0];
                let ends =
                    ["log_start_offset", "high_watermark", "log_end_offset"].map(|f| log["b"][f].as_i64().unwrap());
                assert!(ends.is_sorted() && ends[2] >= 100, "{log}");
            }
            let ran = stage.run("cat", &["live", "--json"]).expect_code(0);
            let offsets: Vec<i64> = ran
                .stdout
                .lines()
                .map(|l| serde_json::from_str::<Value>(l).unwrap()["offset"].as_i64().unwrap())
                .collect();
            assert!(!offsets.is_empty() && offsets.is_sorted());
        }
    });
}
