//! Any sequence of operations on a `Log` gives what a list of records gives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::fs::{Dir, Open};
use cowlog::log::{Codec, SegmentFile, check_segment, list_log};
use cowlog::{BatchBuilder, Log, LogConfig, LogReader, Record};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Append {
        records: u8,
        size: u16,
        step: i16,
        codec: u8,
    },
    Flush,
    Roll,
    /// To a place in the log, in 256ths.
    Truncate(u8),
    SetStart(u8),
    Retain(u16),
    /// Hard links to all sealed segments, as a snapshot has them.
    Link,
    Reopen,
    /// Ends without closing; the active segment loses or gains bytes at its end.
    Crash(Tail),
}

#[derive(Debug, Clone)]
enum Tail {
    Whole,
    Lost(u16),
    Garbage(Vec<u8>),
    Zeros(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let tail = prop_oneof![
        Just(Tail::Whole),
        (1..3000u16).prop_map(Tail::Lost),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Tail::Garbage),
        (1..2000u16).prop_map(Tail::Zeros),
    ];
    let append = (1..12u8, 0..400u16, -300..900i16, 0..5u8).prop_map(|(records, size, step, codec)| Op::Append {
        records,
        size,
        step,
        codec,
    });
    prop_oneof![
        12 => append,
        2 => Just(Op::Flush),
        2 => Just(Op::Roll),
        2 => any::<u8>().prop_map(Op::Truncate),
        1 => any::<u8>().prop_map(Op::SetStart),
        1 => (0..20_000u16).prop_map(Op::Retain),
        1 => Just(Op::Link),
        1 => Just(Op::Reopen),
        2 => tail.prop_map(Op::Crash),
    ]
}

struct ModelBatch {
    records: Vec<Record>,
    bytes: u64,
}

impl ModelBatch {
    fn base(&self) -> i64 {
        self.records[0].offset
    }
    fn next(&self) -> i64 {
        self.records[self.records.len() - 1].offset + 1
    }
}

struct Model {
    path: PathBuf,
    log: Option<Log>,
    batches: Vec<ModelBatch>,
    start: i64,
    end: i64,
    flushed: i64,
    time: i64,
    serial: u64,
    links: Vec<(PathBuf, u64, Vec<u8>)>,
}

fn config(retention_bytes: Option<u64>) -> LogConfig {
    LogConfig {
        segment_bytes: 6000,
        index_interval: 500,
        retention_bytes,
        lock_timeout: Duration::from_millis(200),
        ..LogConfig::default()
    }
}

impl Model {
    fn new(root: &Path) -> Model {
        let path = root.join("log");
        let log = Log::open_with(&path, config(None)).unwrap();
        Model {
            path,
            log: Some(log),
            batches: Vec::new(),
            start: 0,
            end: 0,
            flushed: 0,
            time: 1_700_000_000_000,
            serial: 0,
            links: Vec::new(),
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn open(&mut self, retention: Option<u64>) {
        self.log = Some(Log::open_with(&self.path, config(retention)).unwrap());
    }

    fn place(&self, at: u8) -> i64 {
        self.start + (self.end - self.start) * i64::from(at) / 255
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { records, size, step, codec } => self.append(*records, *size, *step, *codec),
            Op::Flush => {
                self.log().flush().unwrap();
                self.flushed = self.end;
            }
            Op::Roll => {
                let before = self.log().segments().to_vec();
                self.log().roll().unwrap();
                if self.log().segments() != before {
                    self.flushed = self.end;
                }
            }
            Op::Truncate(at) => {
                let to = self.place(*at);
                if to < self.end {
                    self.batches.retain(|b| b.next() <= to);
                    let begun = self.batches.last().map_or(0, ModelBatch::next);
                    // Without a batch left the log ends where its first segment begins.
                    self.end = self.log().truncate_to(to).unwrap();
                    assert!(self.batches.is_empty() || self.end == begun);
                    assert!(self.end <= to);
                    self.start = self.start.min(self.end);
                    self.flushed = self.flushed.min(self.end);
                }
            }
            Op::SetStart(at) => {
                let to = self.place(*at).min(self.flushed);
                self.log().set_log_start_offset(to).unwrap();
                self.start = to;
            }
            Op::Retain(bytes) => {
                self.log.take().unwrap().close().unwrap();
                self.flushed = self.end;
                self.open(Some(u64::from(*bytes)));
                let before = self.log().segments().to_vec();
                let removed = self.log().apply_retention(i64::MAX).unwrap();
                let left = self.log().segments().to_vec();
                assert_eq!([removed, left.clone()].concat(), before);
                self.start = self.start.max(left[0]);
                self.batches.retain(|b| b.next() > left[0]);
            }
            Op::Link => self.link(),
            Op::Reopen => {
                self.log.take().unwrap().close().unwrap();
                self.flushed = self.end;
                self.open(None);
            }
            Op::Crash(tail) => self.crash(tail),
        }
    }

    fn append(&mut self, records: u8, size: u16, step: i16, codec: u8) {
        let mut builder = BatchBuilder::new();
        builder.codec(Codec::ALL[usize::from(codec)]);
        let mut model = Vec::new();
        for i in 0..i64::from(records) {
            self.time += i64::from(step);
            self.serial += 1;
            let value = format!("{} ", self.serial).repeat(usize::from(size) / 8).into_bytes();
            builder.record(self.time, None, Some(&value));
            let (offset, timestamp) = (self.end + i, self.time);
            model.push(Record { offset, timestamp, value: Some(value), ..Record::default() });
        }
        let batch = builder.build().unwrap();
        let bytes = batch.as_bytes().len() as u64;
        let segments = self.log().segments().len();
        assert_eq!(self.log().append(batch).unwrap(), self.end);
        if self.log().segments().len() > segments {
            self.flushed = self.end;
        }
        self.batches.push(ModelBatch { records: model, bytes });
        self.end += i64::from(records);
    }

    fn link(&mut self) {
        let listing = list_log(&Dir::open(&self.path).unwrap()).unwrap();
        for segment in listing.sealed() {
            for file in segment.entry().files() {
                let link = self.path.with_file_name(format!("{}-{}", self.links.len(), file.name(segment.base())));
                fs::hard_link(self.path.join(file.name(segment.base())), &link).unwrap();
                self.links.push((link.clone(), link.metadata().unwrap().ino(), fs::read(&link).unwrap()));
            }
        }
    }

    fn crash(&mut self, tail: &Tail) {
        let active = *self.log().segments().last().unwrap();
        drop(self.log.take());
        let file = self.path.join(SegmentFile::Log.name(active));
        let bytes = fs::read(&file).unwrap();
        let in_active: u64 = self.batches.iter().filter(|b| b.base() >= active).map(|b| b.bytes).sum();
        assert_eq!(bytes.len() as u64, in_active);
        let after = match tail {
            Tail::Whole => bytes.clone(),
            Tail::Lost(lost) => bytes[..bytes.len().saturating_sub(usize::from(*lost))].to_vec(),
            Tail::Garbage(garbage) => [&bytes[..], garbage].concat(),
            Tail::Zeros(zeros) => [bytes.clone(), vec![0; usize::from(*zeros)]].concat(),
        };
        fs::write(&file, &after).unwrap();
        let mut left = after.len() as u64;
        let mut kept = 0;
        for batch in self.batches.iter().filter(|b| b.base() >= active) {
            if batch.bytes > left {
                break;
            }
            left -= batch.bytes;
            kept += 1;
        }
        let before = self.batches.iter().filter(|b| b.base() < active).count();
        let last = (before + kept).checked_sub(1).map(|i| self.batches[i].next());
        let end = last.unwrap_or(active).max(active);
        if self.start > end {
            // Flushed records are not lost in a crash: this is damage, which is told and left as it is.
            assert!(Log::open_with(&self.path, config(None)).is_err());
            assert_eq!(fs::read(&file).unwrap(), after);
            fs::write(&file, &bytes).unwrap();
        } else {
            self.batches.truncate(before + kept);
            self.end = end;
        }
        self.open(None);
        self.flushed = self.end;
        assert_eq!(self.log().high_watermark(), self.end);
    }

    fn visible(&self) -> Vec<Record> {
        self.batches.iter().flat_map(|b| b.records.clone()).filter(|r| r.offset >= self.start).collect()
    }

    fn check(&mut self, probe: u8) {
        let (start, end, place) = (self.start, self.end, self.place(probe));
        let expected = self.visible();
        let log = self.log.as_ref().unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, end));
        let records = |batches: Vec<cowlog::Batch>| -> Vec<Record> {
            batches.iter().flat_map(|b| b.records().unwrap()).collect()
        };
        let read: Vec<_> = records(log.read(0, u64::MAX).unwrap()).into_iter().filter(|r| r.offset >= start).collect();
        assert_eq!(read, expected);
        if place < end {
            let first = log.read(place, 0).unwrap();
            assert!(first[0].header().base_offset <= place && first[0].header().last_offset() >= place);
        }
        let reader = LogReader::open(&self.path).unwrap();
        assert_eq!((reader.log_start(), reader.log_end()), (start, end));
        for near in [0, place, end - 1] {
            let Some(time) = expected.iter().find(|r| r.offset >= near).map(|r| r.timestamp) else { continue };
            for time in [time - 1, time, time + 1] {
                let first = expected.iter().find(|r| r.timestamp >= time).map(|r| r.offset);
                assert_eq!(log.offset_for_timestamp(time).unwrap(), first, "time {time}");
                assert_eq!(reader.offset_for_timestamp(time).unwrap(), first, "time {time}, reader");
            }
        }
    }

    fn finish(&mut self) {
        self.log.take().unwrap().close().unwrap();
        let dir = Dir::open(&self.path).unwrap();
        let listing = list_log(&dir).unwrap();
        for (i, segment) in listing.segments.iter().enumerate() {
            let base = segment.base();
            let next = listing.segments.get(i + 1).map(|s| s.base());
            let read = |f: SegmentFile| fs::read(self.path.join(f.name(base))).unwrap();
            let (index, times) = (read(SegmentFile::Index), read(SegmentFile::TimeIndex));
            let log = dir.open_file(SegmentFile::Log.name(base), Open::Read).unwrap();
            let check = check_segment(&log, Some(&index), Some(&times), base, next).unwrap();
            assert_eq!(check.problems, []);
        }
        for (path, ino, bytes) in &self.links {
            assert_eq!(path.metadata().unwrap().ino(), *ino);
            assert!(&fs::read(path).unwrap() == bytes, "{} was written", path.display());
        }
    }
}

/// `PROPTEST_CASES`, or as many as take a few seconds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(80, |n| n.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list_of_records(ops in prop::collection::vec((op(), any::<u8>()), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        let mut model = Model::new(temp.path());
        for (op, probe) in &ops {
            model.apply(op);
            model.check(*probe);
        }
        model.finish();
    }
}
