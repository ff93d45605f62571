//! The data directory of a Kafka broker that is stopped: all of it is snapshotted as one, verified, and restored to where
//! a broker can be started on it; one partition also by itself, up to an offset.
//!
//! `cargo run --example kafka_at_rest [DATA_DIRECTORY]`; without one it takes the small one that the tests use.

use std::path::{Path, PathBuf};

use cowlog::{Level, LogReader, RestoreOptions, SnapshotManager};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temp = tempfile::tempdir()?;
    let data = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => unpack(temp.path())?,
    };

    let snapshots = SnapshotManager::open(&data)?;
    let created = snapshots.create().force(true).run()?;
    println!("{} of {} logs in {}", created.snapshot.id, created.snapshot.logs.len(), data.display());
    for log in &created.snapshot.logs {
        println!("  {}-{}: offsets {} to {}", log.topic, log.partition, log.log_start_offset, log.log_end_offset);
    }
    for left in &created.left_out {
        println!("  left out {}: {}", left.path, left.why);
    }

    let report = snapshots.verify("latest", Level::Deep)?;
    println!(
        "verified: {} files, {} bytes, {} damaged",
        report.files_checked,
        report.bytes_checked,
        report.damage.len()
    );

    let target = temp.path().join("restored");
    let restored = snapshots.restore_id("latest", RestoreOptions::to(&target))?;
    println!("restored {} files; a broker can be started on them", restored.files);

    // One partition, up to an offset. Its snapshots lie in the same store and count by themselves.
    let Some(log) = created.snapshot.logs.iter().max_by_key(|log| log.log_end_offset) else { return Ok(()) };
    let partition = SnapshotManager::open(data.join(format!("{}-{}", log.topic, log.partition)))?;
    partition.create().force(true).run()?;
    let half = temp.path().join("half");
    let offset = log.log_start_offset + (log.log_end_offset - log.log_start_offset) / 2;
    partition.restore_id("latest", RestoreOptions::to(&half).until_offset(offset))?;
    println!("{}-{} below {offset}: ends at {}", log.topic, log.partition, LogReader::open(&half)?.log_end());
    Ok(())
}

fn unpack(to: &Path) -> std::io::Result<PathBuf> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/plain-clean.tar.zst");
    tar::Archive::new(zstd::Decoder::new(std::fs::File::open(packed)?)?).unpack(to)?;
    Ok(to.join("plain-clean"))
}
