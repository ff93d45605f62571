//! A whole log directory, made of batches that are real, patched, mended, cut short, out of order or none at all: it is
//! read, snapshotted, verified, restored, and opened for writing. All in memory.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use cowlog::fs::{Dir, Fs, MemFs, Open};
use cowlog::log::{Checkpoint, Codec, Durable, Log, LogConfig, LogReader};
use cowlog::snapshot::{Level, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::{Batch, BatchBuilder, Error};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Directory {
    checkpoint: Option<(u8, Option<u8>)>,
    segments: Vec<Segment>,
    others: Vec<(Name, Vec<u8>)>,
}

#[derive(Debug, Arbitrary)]
struct Segment {
    base: u8,
    batches: Vec<Written>,
    index: Option<Vec<u8>>,
    time_index: Option<Vec<u8>>,
    tail: Tail,
}

#[derive(Debug, Arbitrary)]
struct Written {
    skip: u8,
    records: u8,
    size: u8,
    codec: u8,
    patches: Vec<(u8, u8)>,
    mended: bool,
}

#[derive(Debug, Arbitrary)]
enum Tail {
    None,
    Zeros(u8),
    Bytes(Vec<u8>),
    Cut(u8),
}

#[derive(Debug, Arbitrary)]
enum Name {
    Temporary,
    OrphanIndex(u8),
    Deleted(u8),
    LeaderEpochs,
    Absurd,
    Odd,
}

fuzz_target!(|directory: Directory| {
    if directory.segments.len() > 6 || directory.others.len() > 6 {
        return;
    }
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let root = Dir::open_on(fs.clone(), "/").expect("the root");
    let dir = root.make_dir("log", 0o755).expect("a directory");
    fill(&dir, &directory);
    dir.sync().expect("memory does not fail");
    read(&dir);
    snapshot(&fs);
    write(&dir);
});

fn fill(dir: &Dir, directory: &Directory) {
    if let Some((start, high_watermark)) = directory.checkpoint {
        let checkpoint = Checkpoint {
            log_start_offset: start.into(),
            high_watermark: high_watermark.map(Into::into),
            durable: high_watermark.map(|bytes| Durable { segment: 16, bytes: bytes.into() }),
        };
        put(dir, "checkpoint.json", &checkpoint.to_bytes());
    }
    for segment in &directory.segments {
        let base = i64::from(segment.base) * 16;
        let mut bytes = Vec::new();
        let mut next = base;
        for written in segment.batches.iter().take(8) {
            next += i64::from(written.skip % 4);
            next = written.put(next, &mut bytes);
        }
        match &segment.tail {
            Tail::None => {}
            Tail::Zeros(n) => bytes.resize(bytes.len() + usize::from(*n), 0),
            Tail::Bytes(tail) => bytes.extend_from_slice(tail),
            Tail::Cut(n) => bytes.truncate(bytes.len().saturating_sub((*n).into())),
        }
        put(dir, &format!("{base:020}.log"), &bytes);
        for (extension, content) in [("index", &segment.index), ("timeindex", &segment.time_index)] {
            if let Some(content) = content {
                put(dir, &format!("{base:020}.{extension}"), content);
            }
        }
    }
    for (name, content) in &directory.others {
        let name = match name {
            Name::Temporary => ".checkpoint.json.tmp".to_owned(),
            Name::OrphanIndex(base) => format!("{:020}.index", u64::from(*base)),
            Name::Deleted(base) => format!("{:020}.log.deleted", u64::from(*base)),
            Name::LeaderEpochs => "leader-epoch-checkpoint".to_owned(),
            Name::Absurd => "99999999999999999999.log".to_owned(),
            Name::Odd => "new\nline \\".to_owned(),
        };
        put(dir, &name, content);
    }
}

impl Written {
    /// Gives the offset behind it, as far as it was not patched.
    fn put(&self, base: i64, to: &mut Vec<u8>) -> i64 {
        let mut builder = BatchBuilder::new();
        builder.codec(Codec::ALL[usize::from(self.codec) % Codec::ALL.len()]);
        let records = i64::from(self.records % 16) + 1;
        for i in 0..records {
            builder.record(1000 * (base + i), Some(b"k"), Some(&vec![self.size; self.size.into()]));
        }
        let mut bytes = builder.build().expect("a batch").as_bytes().to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
        for (at, value) in &self.patches {
            if let Some(byte) = bytes.get_mut(usize::from(*at)) {
                *byte = *value;
            }
        }
        if self.mended {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        to.extend_from_slice(&bytes);
        base + records
    }
}

fn put(dir: &Dir, name: &str, bytes: &[u8]) {
    // Two segments may have the same base: the first one stays.
    let Ok(file) = dir.open_file(name, Open::CreateNew(0o644)) else { return };
    file.write_all_at(bytes, 0).expect("memory does not fail");
    file.sync().expect("memory does not fail");
}

fn all(reader: &LogReader) -> Vec<Batch> {
    reader.read_from(reader.log_start()).map_while(Result::ok).collect()
}

fn read(dir: &Dir) {
    let Ok(reader) = LogReader::open_on(dir.clone()) else { return };
    let batches = all(&reader);
    assert!(batches.windows(2).all(|w| w[0].header().last_offset() < w[1].header().base_offset));
    for offset in [0, 1, 100, i64::MAX] {
        for batch in reader.read_from(offset).map_while(Result::ok).take(3) {
            assert!(batch.header().last_offset() >= offset);
        }
        if let Ok(Some(found)) = reader.offset_for_timestamp(offset) {
            assert!(found < reader.log_end());
        }
    }
}

fn snapshot(fs: &Arc<dyn Fs>) {
    let config = SnapshotConfig { lock_timeout: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_on(fs.clone(), "/log", config).expect("a manager");
    let Ok(made) = snaps.create().force(true).run() else { return };
    let id = made.snapshot.id;
    let report = snaps.verify(&id, Level::Full).expect("a report");
    assert!(report.ok, "{report:?}");
    // The source may be damaged within; a report of that is fine, an error is not.
    snaps.verify(&id, Level::Deep).expect("a report");
    let restored = snaps.restore_id(&id, RestoreOptions::to("/restored")).expect("a restore");
    let reader = |path: &str| LogReader::open_on(Dir::open_on(fs.clone(), path).expect("it is there"));
    let (Ok(original), Ok(copy)) = (reader(made.snapshot.path.to_str().expect("UTF-8")), reader("/restored")) else {
        return;
    };
    assert_eq!(restored.end_offset, Some(copy.log_end()));
    assert_eq!(all(&original), all(&copy));
}

/// Opening mends what is broken, once; then the log goes on.
fn write(dir: &Dir) {
    let config = LogConfig { lock_timeout: Duration::ZERO, segment_bytes: 1 << 20, ..LogConfig::default() };
    let mut log = match Log::open_on(dir.clone(), config.clone()) {
        Ok(log) => log,
        Err(Error::Integrity(_) | Error::Validation(_)) => return,
        Err(e) => panic!("{e}"),
    };
    let end = log.log_end_offset();
    let batch = BatchBuilder::new().record(1, None, Some(b"one more")).build().expect("a batch");
    match log.append(batch) {
        Ok(offset) => assert_eq!(offset, end),
        // The offsets may be used up.
        Err(Error::Validation(_)) => return,
        Err(e) => panic!("{e}"),
    }
    log.close().expect("memory does not fail");
    let log = Log::open_on(dir.clone(), config).expect("it was right when it was closed");
    assert_eq!(log.log_end_offset(), end + 1);
    assert_eq!(log.recovery().cut_bytes, 0);
    assert_eq!(log.read(end, u64::MAX).expect("its records").len(), 1);
}
