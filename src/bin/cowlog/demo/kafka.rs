//! The directory that a real Kafka broker wrote.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use cowlog::snapshot::{Level, RestoreOptions};

use super::compare::same_records;
use super::report::Report;
use super::stage::Stage;
use super::{check, interruptible, io};
use crate::commands::methods;
use crate::failure::Failure;
use crate::session::Session;
use crate::units::{bytes, count, duration, plural};

/// A `log.dirs` of Kafka 4.3.0, copied while the broker ran: four topics, one per compression codec.
const DATA: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/codecs-live.tar.zst"));

pub fn unpack_data(stage: &Stage, session: &Session, report: &mut Report) -> Result<(), Failure> {
    let (mut files, mut size) = (0, 0);
    let bad = |e| io("unpack", Path::new("the Kafka data"))(e);
    let mut archive = tar::Archive::new(zstd::Decoder::new(DATA).map_err(bad)?);
    for entry in archive.entries().map_err(bad)? {
        interruptible(session)?;
        let mut entry = entry.map_err(bad)?;
        let name = entry.path().map_err(bad)?.into_owned();
        let target = place(&stage.kafka(), &name)?;
        if entry.header().entry_type().is_dir() {
            fs::create_dir_all(&target).map_err(io("make", &target))?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        let mut file = File::create_new(&target).map_err(io("make", &target))?;
        size += copy_sparse(&mut entry, &mut file).map_err(io("write", &target))?;
        let mtime = UNIX_EPOCH + Duration::from_secs(entry.header().mtime().map_err(bad)?);
        file.set_modified(mtime).map_err(io("set the time of", &target))?;
        files += 1;
    }
    check(files > 100, || format!("only {files} files came out of the Kafka data"))?;
    report.figure("Kafka 4.3.0's own files", format!("{} in {}, holes included", bytes(size), plural(files, "file")))
}

/// Below `root`, without the archive's own top directory, and never outside.
fn place(root: &Path, name: &Path) -> Result<PathBuf, Failure> {
    let mut parts = name.components().filter(|c| !matches!(c, Component::CurDir));
    parts.next();
    let mut path = root.to_owned();
    for part in parts {
        let Component::Normal(part) = part else {
            return Err(Failure::Demo(format!("{} is no path within an archive", name.display())));
        };
        path.push(part);
    }
    Ok(path)
}

/// Copies all bytes, leaving holes where a block is all zeros: a broker preallocates 20 MB per partition.
fn copy_sparse(from: &mut impl Read, to: &mut File) -> std::io::Result<u64> {
    let mut block = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let n = from.read(&mut block)?;
        let data = block.get(..n).unwrap_or_default();
        if data.is_empty() {
            to.set_len(size)?;
            return Ok(size);
        }
        if data.iter().all(|b| *b == 0) {
            to.seek(SeekFrom::Current(i64::try_from(n).unwrap_or(i64::MAX)))?;
        } else {
            to.write_all(data)?;
        }
        size += n as u64;
    }
}

/// Snapshot, deep verification, restore, and every record of every partition compared.
pub fn round_trip(stage: &Stage, session: &Session, report: &mut Report) -> Result<(), Failure> {
    let manager = session.manager(&stage.kafka())?;
    let created = manager.create().tag("demo").run()?;
    session.progress.finish();
    let info = &created.snapshot;
    let took = Duration::from_secs_f64(created.elapsed_ms / 1000.0);
    report.figure("snapshot", format!("{} in {}", info.id, duration(took)))?;
    report.figure(
        "holds",
        format!(
            "{}, {} in {}",
            plural(info.logs.len() as u64, "partition"),
            plural(info.num_segments, "segment"),
            bytes(info.total_size)
        ),
    )?;
    report.figure("files by method", methods(&info.methods))?;

    let started = Instant::now();
    let verified = manager.verify(&info.id, Level::Deep)?;
    session.progress.finish();
    check(verified.ok, || format!("damage right after the snapshot: {:?}", verified.damage))?;
    report.figure(
        "verified deep",
        format!(
            "{}: every digest, batch CRC and index entry, in {}",
            plural(verified.files_checked, "file"),
            duration(started.elapsed())
        ),
    )?;

    let target = stage.path().join("kafka-restored");
    let started = Instant::now();
    let restored = manager.restore_id(&info.id, RestoreOptions::to(&target))?;
    session.progress.finish();
    let took = started.elapsed();
    check(restored.files == info.methods.values().sum::<u64>(), || format!("{} files were restored", restored.files))?;
    report.figure(
        "restored",
        format!("{} ({}) in {}", plural(restored.files, "file"), methods(&restored.methods), duration(took)),
    )?;

    let mut records = 0;
    for log in &info.logs {
        let name = format!("{}-{}", log.topic, log.partition);
        let (was, is) = (stage.kafka().join(&name), target.join(&name));
        records += same_records(&was, &is, log.log_end_offset, session)?;
    }
    check(records >= 24_000, || format!("only {records} records were compared"))?;
    report.figure(
        "records compared",
        format!("{} in {}, all equal", count(records), plural(info.logs.len() as u64, "partition")),
    )
}
