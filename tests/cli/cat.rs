//! `cat`: the records of a snapshot, without restoring it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cowlog::BatchBuilder;
use cowlog::log::{Batch, Codec, Log, LogConfig, Record, SegmentFile};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::fixtures;
use crate::stage::{Ran, Stage, append, cowlog, records, run};

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A field that is text, or bytes in base64, or null.
fn bytes(object: &Value, name: &str) -> Option<Vec<u8>> {
    let binary = format!("{name}_base64");
    match (&object[name], &object[binary.as_str()]) {
        (Value::String(text), Value::Null) => Some(text.clone().into_bytes()),
        (Value::Null, Value::String(text)) => {
            let bytes = STANDARD.decode(text).unwrap();
            assert!(std::str::from_utf8(&bytes).is_err(), "{object}");
            Some(bytes)
        }
        (Value::Null, Value::Null) => {
            assert!(object.get(name).is_some(), "{name} is missing: {object}");
            None
        }
        _ => panic!("{object}"),
    }
}

fn record(object: &Value) -> Record {
    let header = |header: &Value| (header["key"].as_str().unwrap().to_owned(), bytes(header, "value"));
    Record {
        offset: object["offset"].as_i64().unwrap(),
        timestamp: object["timestamp_ms"].as_i64().unwrap(),
        key: bytes(object, "key"),
        value: bytes(object, "value"),
        headers: object["headers"].as_array().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
    }
}

/// Reads a column of text back.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    if text == "\\N" {
        return None;
    }
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (skip, bytes) = match after.as_bytes()[0] {
            b'n' => (1, vec![b'\n']),
            b't' => (1, vec![b'\t']),
            b'r' => (1, vec![b'\r']),
            b'\\' => (1, vec![b'\\']),
            b'x' => (3, vec![u8::from_str_radix(&after[1..3], 16).unwrap()]),
            b'u' => {
                let end = after.find('}').unwrap();
                let c = char::from_u32(u32::from_str_radix(&after[2..end], 16).unwrap()).unwrap();
                (end + 1, c.to_string().into_bytes())
            }
            other => panic!("{other}: {text}"),
        };
        out.extend_from_slice(&bytes);
        rest = &after[skip..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

fn hostile() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"plain"[..],
        b"",
        b"\\N",
        b"a\tb\nc\rd",
        b"\x1b]0;owned\x07\x1b[2J\x9b31m",
        b"\xff\xfe\x00\x80",
        "\u{9b}31m \u{202e}desrever\u{202c} \u{2028} é".as_bytes(),
        b"{\"json\": \"\\\"\"}",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    all.push((0..=255).collect());
    all
}

fn fill(path: &Path, batches: impl IntoIterator<Item = Batch>) {
    let mut log = Log::open_with(path, LogConfig { segment_bytes: 8 << 10, ..LogConfig::default() }).unwrap();
    for batch in batches {
        log.append(batch).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn every_byte_comes_back_from_text_and_from_json_whatever_the_codec() {
    let stage = Stage::new();
    for codec in Codec::ALL {
        let mut batch = BatchBuilder::new();
        batch.codec(codec);
        for bytes in hostile() {
            batch.record(1_700_000_000_000, Some(&bytes), Some(&bytes)).header("a=b\t", Some(&bytes)).header("", None);
            batch.record(0, None, None);
        }
        fill(&stage.log, [batch.build().unwrap()]);
    }
    stage.create();
    let expected = records(&stage.log);
    let json = stage.run("cat", &["--json"]).expect_code(0);
    assert_eq!(lines(&json).iter().map(record).collect::<Vec<_>>(), expected);
    assert!(lines(&json).iter().all(|l| l.get("topic").is_none() && l.get("control").is_none()));
    assert_eq!(stage.run("cat", &["latest", "--format", "json"]).stdout, json.stdout);

    let text = stage.run("cat", &[]).expect_code(0).stdout;
    assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "a terminal is driven");
    assert!(!text.contains(['\u{202e}', '\u{2028}', '\u{9b}']));
    let rows: Vec<&str> = text.split_terminator('\n').collect();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        let columns: Vec<&str> = row.split('\t').collect();
        assert_eq!(columns[0], expected.offset.to_string());
        assert_eq!(columns[1].parse::<jiff::Timestamp>().unwrap().as_millisecond(), expected.timestamp);
        assert_eq!(unescaped(columns[2]), expected.key);
        assert_eq!(unescaped(columns[3]), expected.value);
        let header = |column: &&str| {
            let (name, value) = column.split_once('=').unwrap();
            (String::from_utf8(unescaped(name).unwrap()).unwrap(), unescaped(value))
        };
        assert_eq!(columns[4..].iter().map(header).collect::<Vec<_>>(), expected.headers);
    }

    let raw = cowlog().arg("cat").arg(&stage.log).args(["--format", "raw"]).output().unwrap().stdout;
    let values: Vec<u8> =
        expected.iter().flat_map(|r| [r.value.as_deref().unwrap_or_default(), b"\n"].concat()).collect();
    assert_eq!(raw, values);
}

#[test]
fn from_is_inclusive_to_is_not_and_the_source_itself_may_be_read() {
    let stage = Stage::new();
    let id = stage.create();
    append(&stage.log, 20);
    let offsets = |args: &[&str]| -> Vec<i64> {
        let ran = stage.run("cat", &[args, &["--json"]].concat()).expect_code(0);
        lines(&ran).iter().map(|line| line["offset"].as_i64().unwrap()).collect()
    };
    assert_eq!(offsets(&[&id]), (0..100).collect::<Vec<_>>());
    assert_eq!(offsets(&[&id, "--from", "40", "--to", "43"]), [40, 41, 42]);
    assert_eq!(offsets(&[&id, "--from", "98"]), [98, 99]);
    assert_eq!(offsets(&[&id, "--from", "100"]), [0; 0]);
    assert_eq!(offsets(&[&id, "--from", "5", "--to", "5"]), [0; 0]);
    assert_eq!(offsets(&["live", "--from", "98", "--limit", "4"]), [98, 99, 100, 101]);
    assert_eq!(offsets(&["live", "-n", "0"]), [0; 0]);
    assert_eq!(offsets(&[&id, "--key", "key", "-n", "2"]), [0, 1]);
    assert_eq!(offsets(&[&id, "--key", "ke"]), [0; 0]);

    // What an append has left that did not end is not there yet; what stands in its place later is.
    let active = std::fs::read_dir(&stage.log).unwrap().map(|e| e.unwrap().path());
    let active = active.filter(|p| p.extension().is_some_and(|e| e == "log")).max().unwrap();
    let whole = std::fs::read(&active).unwrap();
    for tail in [&whole[..30], &whole[..90], &[0; 20], &[0; 4096]] {
        std::fs::write(&active, [&whole[..], tail].concat()).unwrap();
        assert_eq!(offsets(&["live", "--from", "100"]), (100..120).collect::<Vec<_>>(), "{} bytes", tail.len());
    }
    let mut bad = whole.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&active, bad).unwrap();
    let ran = stage.run("cat", &["live", "--format", "json"]).expect_code(4);
    assert_eq!(lines(&ran).len(), 119);

    stage.run("cat", &["snapshot-9", "--json"]).expect_error(10, "validation");
    stage.run("cat", &["--json", "--topic", "orders"]).expect_error(10, "validation");
    stage.run("cat", &["live", "--json", "--topic", "orders"]).expect_error(2, "validation");
    stage.run("cat", &["--json", "--format", "raw"]).expect_error(2, "validation");
    std::fs::remove_dir_all(stage.store()).unwrap();
    stage.run("cat", &["--json"]).expect_error(10, "validation");
}

#[test]
fn below_the_log_start_nothing_is_shown() {
    let (_temp, data) = fixtures::unpack("plain-clean");
    // In the midst of a batch.
    std::fs::write(data.join("log-start-offset-checkpoint"), "0\n1\norders 0 33\n").unwrap();
    run(cowlog().arg("create").arg(&data)).expect_code(0);
    for (source, at) in [(&data, "latest"), (&data, "live"), (&data.join("orders-0"), "live")] {
        let part: &[&str] = if source == &data { &["--topic", "orders", "--partition", "0"] } else { &[] };
        let ran = run(cowlog().arg("cat").arg(source).args([at, "--json", "-n", "1"]).args(part)).expect_code(0);
        assert_eq!(lines(&ran)[0]["offset"], 33, "{at}");
    }
}

#[test]
fn a_damaged_batch_is_named_after_what_is_in_front_of_it() {
    let stage = Stage::new();
    let id = stage.create();
    let mut segments: Vec<_> = std::fs::read_dir(stage.snapshot(&id)).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|p| p.extension().is_some_and(|e| e == "log"));
    segments.sort();
    let second = &segments[1];
    let mut bytes = std::fs::read(second).unwrap();
    bytes[100] ^= 1;
    std::fs::write(second, bytes).unwrap();
    let base: i64 = second.file_stem().unwrap().to_str().unwrap().parse().unwrap();

    let ran = stage.run("cat", &[]).expect_code(4);
    assert_eq!(ran.stdout.lines().count() as i64, base);
    for told in [second.file_name().unwrap().to_str().unwrap(), &format!("offset {base} "), "CRC"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let ran = stage.run("cat", &["--json"]).expect_code(4);
    let told = lines(&ran);
    assert_eq!(told.len() as i64, base + 1);
    assert_eq!(told.last().unwrap()["error"]["kind"], "integrity");
    // It can be read around.
    let next: i64 = segments[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let ran = stage.run("cat", &["--from", &next.to_string(), "--json"]).expect_code(0);
    assert_eq!(lines(&ran).len() as i64, 100 - next);
    // A snapshot whose end is gone does not look like a shorter one.
    let last = segments.last().unwrap();
    let short = std::fs::read(last).unwrap();
    std::fs::write(last, &short[..short.len() - 10]).unwrap();
    stage.run("cat", &["--from", &next.to_string()]).expect_code(4);
}

/// Every record of every partition as a consumer of the broker got it, in the digest that the kit's client makes.
#[test]
fn kafkas_own_records_are_those_that_its_consumer_read() {
    let mut seen = 0;
    for fixture in fixtures::NAMES {
        let (_temp, data) = fixtures::unpack(fixture);
        run(cowlog().arg("create").arg(&data)).expect_code(0);
        let mut of = std::collections::BTreeMap::new();
        for topic in
            fixtures::oracle(&format!("{fixture}.sum.jsonl")).iter().map(|l| l["topic"].as_str().unwrap().to_owned())
        {
            of.entry(topic.clone()).or_insert_with(|| {
                let cat = |id: &str| {
                    run(cowlog().arg("cat").arg(&data).args([id, "--json", "--topic", &topic])).expect_code(0)
                };
                let ran = cat("latest");
                // Of a broker that runs, whose last segments end in what was not written to its end.
                assert!(fixture != "codecs-live" || ran.stdout == cat("live").stdout, "{fixture} {topic}");
                lines(&ran)
            });
        }
        for line in fixtures::oracle(&format!("{fixture}.sum.jsonl")) {
            let topic = line["topic"].as_str().unwrap();
            let (mut digest, mut count) = (Sha256::new(), 0);
            let mut last = -1;
            for object in of[topic].iter().filter(|r| r["partition"] == line["partition"]) {
                let r = record(object);
                assert!(r.offset > last);
                last = r.offset;
                if object.get("control").is_some() {
                    assert!(["commit", "abort"].contains(&object["marker"].as_str().unwrap()), "{object}");
                    continue;
                }
                count += 1;
                digest.update(r.offset.to_be_bytes());
                digest.update(r.timestamp.to_be_bytes());
                digest.update(i32::from(object["timestamp_type"] == "append").to_be_bytes());
                let mut field = |bytes: Option<&[u8]>| {
                    digest.update(bytes.map_or(-1, |b| b.len() as i32).to_be_bytes());
                    digest.update(bytes.unwrap_or_default());
                };
                field(r.key.as_deref());
                field(r.value.as_deref());
                for (key, value) in &r.headers {
                    field(Some(key.as_bytes()));
                    field(value.as_deref());
                }
            }
            let hex: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
            let at = format!("{fixture} {topic}-{}", line["partition"]);
            assert_eq!((Value::from(count), Value::from(hex)), (line["count"].clone(), line["sha256"].clone()), "{at}");
            seen += count;
        }
    }
    assert!(seen > 60_000, "{seen}");
}

#[test]
fn of_several_logs_one_topic_must_be_named() {
    let (_temp, data) = fixtures::unpack("txn-killed");
    run(cowlog().arg("create").arg(&data)).expect_code(0);
    let cat = |args: &[&str]| run(cowlog().arg("cat").arg(&data).args(args));
    for at in ["latest", "live"] {
        let told = cat(&[at, "--json"]).expect_error(2, "validation");
        assert!(told.contains("payments") && told.contains("logs"), "{told}");
        cat(&[at, "--topic", "nonsense", "--json"]).expect_error(10, "validation");
    }
    // The markers of transactions.
    let text = cat(&["--topic", "payments"]).expect_code(0).stdout;
    assert!(text.contains("\t\\control\tcommit\n") && text.contains("\t\\control\tabort\n"), "{text}");
    let data_lines = text.lines().filter(|l| !l.contains("\\control")).count();
    let raw = cowlog().arg("cat").arg(&data).args(["--topic", "payments", "--format", "raw"]).output().unwrap();
    assert_eq!(raw.stdout.iter().filter(|b| **b == b'\n').count(), data_lines, "raw leaves them out");
    // Several partitions are named, one is not.
    let (_temp, data) = fixtures::unpack("plain-clean");
    run(cowlog().arg("create").arg(&data)).expect_code(0);
    let cat = |args: &[&str]| run(cowlog().arg("cat").arg(&data).args(args)).expect_code(0).stdout;
    let both = cat(&["--topic", "orders"]);
    let (zero, one) =
        (cat(&["--topic", "orders", "--partition", "0"]), cat(&["--topic", "orders", "--partition", "1"]));
    let named = |name: &str, text: &str| text.lines().map(|l| format!("{name}\t{l}\n")).collect::<String>();
    assert_eq!(both, named("orders-0", &zero) + &named("orders-1", &one));
    assert!(zero.lines().count() > 0 && one.lines().count() > 0);
    // By the partition's own directory there is one log.
    let live = run(cowlog().arg("cat").arg(data.join("orders-0")).arg("live")).expect_code(0).stdout;
    assert_eq!(live, zero);
}

/// One record of 1 MiB a batch, packed to next to nothing.
fn large(stage: &Stage, mib: usize) {
    let value = vec![b'x'; (1 << 20) - 1];
    let batch = BatchBuilder::new().codec(Codec::Zstd).record(1, None, Some(&value)).build().unwrap();
    fill(&stage.log, std::iter::repeat_n(batch, mib));
}

fn spawn(stage: &Stage, args: &[&str]) -> Child {
    cowlog().arg("cat").arg(&stage.log).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The most memory that a process has had, in MiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Reads all but the last MiB, where the process must wait for its reader; gives the most memory that it has had.
fn peak_of(mut child: Child, bytes: u64) -> u64 {
    let mut out = child.stdout.take().unwrap();
    let read = std::io::copy(&mut (&mut out).take(bytes - (1 << 20)), &mut std::io::sink()).unwrap();
    assert_eq!(read, bytes - (1 << 20));
    let peak = peak(&child);
    assert_eq!(std::io::copy(&mut out, &mut std::io::sink()).unwrap(), 1 << 20);
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn memory_is_that_of_one_batch() {
    let stage = Stage::named("large");
    std::fs::remove_dir_all(&stage.log).unwrap();
    large(&stage, 256);
    stage.create();
    let whole = peak_of(spawn(&stage, &["--format", "raw"]), 256 << 20);
    assert!(whole < 48, "{whole} MiB");

    let stage = Stage::named("huge");
    std::fs::remove_dir_all(&stage.log).unwrap();
    let value = vec![b'x'; (48 << 20) - 1];
    fill(&stage.log, [BatchBuilder::new().record(1, None, Some(&value)).build().unwrap()]);
    stage.create();
    let whole = peak_of(spawn(&stage, &["--format", "raw"]), 48 << 20);
    assert!(whole < 2 * 48 + 32, "{whole} MiB");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly_and_soon() {
    let stage = Stage::named("large");
    std::fs::remove_dir_all(&stage.log).unwrap();
    large(&stage, 512);
    stage.create();
    for format in ["text", "json", "raw"] {
        let mut child = spawn(&stage, &["--format", format]);
        let begun = Instant::now();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.len() >= 1 << 20);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        assert!(begun.elapsed() < Duration::from_secs(3), "{format}: {:?}", begun.elapsed());
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = run(cowlog().arg("cat").arg(&stage.log).stdout(full)).expect_code(1);
    assert!(ran.stderr.contains("cannot write standard output"), "{}", ran.stderr);
}

#[test]
fn what_is_printed_cannot_be_deleted_meanwhile() {
    let stage = Stage::named("large");
    std::fs::remove_dir_all(&stage.log).unwrap();
    large(&stage, 4);
    let id = stage.create();
    let mut child = spawn(&stage, &["--format", "raw"]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0]).unwrap();
    stage.run("delete", &[&id, "--json", "--lock-timeout", "100ms"]).expect_error(11, "concurrency");
    drop(out);
    assert!(child.wait().unwrap().success());
    stage.run("delete", &[&id]).expect_code(0);
    assert!(!stage.log.join(SegmentFile::Log.name(7)).exists());
}
