//! An application with a log of its own: it appends, takes a snapshot of an exact offset while it goes on appending, and
//! comes back to that offset later.
//!
//! `cargo run --example own_log`

use cowlog::{BatchBuilder, Log, LogConfig, LogReader, RestoreOptions, SnapshotManager};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temp = tempfile::tempdir()?;
    let path = temp.path().join("events");
    let config = LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() };
    let mut log = Log::open_with(&path, config)?;
    append(&mut log, 0..1000)?;

    // Flushes, and holds truncation and retention off until the snapshot has shared the sealed segments.
    let cut = log.cut()?;
    append(&mut log, 1000..1500)?;
    let snapshots = SnapshotManager::open(&path)?;
    let created = snapshots.create().at(cut).tag("before the migration").run()?;
    let info = &created.snapshot;
    println!(
        "{}: {} segments, {} bytes shared, {} copied",
        info.id, info.num_segments, info.bytes_shared, info.bytes_copied
    );

    // The migration went wrong. The log as it was goes to a new directory, verified first.
    let restored = temp.path().join("events.restored");
    snapshots.restore(snapshots.verified("latest")?, RestoreOptions::to(&restored))?;
    println!("the log ends at {}, the restored one at {}", log.log_end_offset(), LogReader::open(&restored)?.log_end());

    // It is a log like any other.
    let mut again = Log::open(&restored)?;
    append(&mut again, 1000..1001)?;
    println!("appended to the restored one, which now ends at {}", again.log_end_offset());
    Ok(())
}

fn append(log: &mut Log, numbers: std::ops::Range<i64>) -> cowlog::Result<()> {
    for number in numbers {
        let value = format!("event {number}, with some details that make it longer");
        let batch = BatchBuilder::new().record(1_735_998_123_000 + number, None, Some(value.as_bytes())).build()?;
        log.append(batch)?;
    }
    log.flush()
}
