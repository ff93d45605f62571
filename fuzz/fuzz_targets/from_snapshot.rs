//! An example for other projects' harnesses: every round begins with the same log, which is made once. Here it is in memory,
//! where a fork takes microseconds; on disk `VerifiedSnapshot::scratch` does the same by reflinks.
//!
//! What is fuzzed here is recovery: any bytes stand behind the log's last batch, then it is opened.
#![no_main]

use std::sync::{Arc, LazyLock};

use cowlog::fs::{Dir, Fs, MemFs, Open};
use cowlog::log::{LogConfig, SegmentFile};
use cowlog::snapshot::{RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::{BatchBuilder, Log};
use libfuzzer_sys::fuzz_target;

const RECORDS: i64 = 30;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 500, ..LogConfig::default() }
}

fn batch(offset: i64) -> cowlog::Batch {
    BatchBuilder::new().record(offset, None, Some(b"a record")).build().expect("a batch")
}

/// A log that was restored from a snapshot.
static STAGE: LazyLock<MemFs> = LazyLock::new(|| {
    let memory = MemFs::new();
    let fs: Arc<dyn Fs> = Arc::new(memory.clone());
    let mut log = Log::open_in(fs.clone(), "/original", config()).expect("a log");
    for offset in 0..RECORDS {
        log.append(batch(offset)).expect("room");
    }
    log.close().expect("closed");
    let snaps = SnapshotManager::open_on(fs, "/original", SnapshotConfig::default()).expect("a manager");
    snaps.create().run().expect("a snapshot");
    snaps.restore_id("latest", RestoreOptions::to("/log")).expect("a restore");
    memory
});

fuzz_target!(|tail: &[u8]| {
    let fs: Arc<dyn Fs> = Arc::new(STAGE.fork());
    let dir = Dir::open_on(fs.clone(), "/log").expect("it was restored");
    let segments = cowlog::log::list_log(&dir).expect("a listing");
    let active = SegmentFile::Log.name(segments.active().expect("a segment").base());
    let file = dir.open_file(active, Open::Write).expect("it is there");
    file.write_all_at(tail, file.len().expect("a length")).expect("memory does not fail");
    drop(file);

    let mut log = Log::open_in(fs, "/log", config()).expect("whatever stands at the end is cut");
    let end = log.log_end_offset();
    assert!(end >= RECORDS);
    assert!(end > RECORDS || log.recovery().cut_bytes == tail.len() as u64);
    assert_eq!(log.read(0, 1).expect("its first record").len(), 1);
    match log.append(batch(end)) {
        Ok(offset) => assert_eq!(offset, end),
        // A batch that was made up may have used up the offsets.
        Err(e) => assert!(matches!(e, cowlog::Error::Validation(_)), "{e}"),
    }
});
