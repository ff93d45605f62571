//! Record by record.

use std::path::Path;
use std::time::Instant;

use cowlog::log::{Batch, LogReader, Record};
use cowlog::snapshot::RestoreOptions;

use super::live::Snapshots;
use super::report::Report;
use super::stage::Stage;
use super::synthetic::{self, Batches};
use super::{check, interruptible};
use crate::commands::methods;
use crate::failure::Failure;
use crate::session::Session;
use crate::units::{bytes, count, duration, plural};

pub fn restore_and_compare(
    stage: &Stage,
    session: &Session,
    report: &mut Report,
    snapshots: &Snapshots,
) -> Result<(), Failure> {
    let manager = session.manager(&stage.log())?;
    let target = stage.path().join("restored");
    let started = Instant::now();
    let restored = manager.restore_id(&snapshots.second, RestoreOptions::to(&target))?;
    session.progress.finish();
    report.figure(
        "restored the second",
        format!(
            "{} in {} ({}), verified on the way, in {}",
            bytes(restored.bytes),
            plural(restored.files, "file"),
            methods(&restored.methods),
            duration(started.elapsed())
        ),
    )?;
    check(restored.end_offset == Some(snapshots.second_end), || format!("it ends at {:?}", restored.end_offset))?;

    let started = Instant::now();
    let records = same_records(&stage.log(), &target, snapshots.second_end, session)?;
    let expected = snapshots.second_end.unsigned_abs();
    check(records == expected, || format!("{records} records were compared, {expected} should be there"))?;
    report.figure(
        "records compared",
        format!("{} with the live log, all equal, in {}", count(records), duration(started.elapsed())),
    )?;

    let mut log = synthetic::open(&target)?;
    let offset = log.append(Batches::new(3).next_batch(1)?)?;
    log.close()?;
    let live_end = LogReader::open(stage.log())?.log_end();
    check(offset == snapshots.second_end, || format!("the restored log went on at offset {offset}"))?;
    check(live_end == snapshots.log_end, || format!("the live log now ends at {live_end}"))?;
    report.figure("it is a log again", format!("a record appended at offset {offset}; the live log is untouched"))
}

/// Compares all records of two logs up to `end`, and says how many there are.
pub fn same_records(one: &Path, other: &Path, end: i64, session: &Session) -> Result<u64, Failure> {
    let (a, b) = (LogReader::open(one)?, LogReader::open(other)?);
    check(b.log_end() == end, || format!("{} ends at offset {}, not {end}", other.display(), b.log_end()))?;
    let mut compared = 0;
    let mut left = a.read_from(0);
    for batch in b.read_from(0) {
        interruptible(session)?;
        let (theirs, ours) = (records(&batch?)?, left.next().transpose()?);
        let ours = ours.as_ref().map(records).transpose()?.unwrap_or_default();
        check(ours == theirs, || {
            let at = theirs.first().map(|r| r.offset);
            format!("{} and {} differ at offset {at:?}", one.display(), other.display())
        })?;
        compared += theirs.len() as u64;
    }
    let next = left.next().transpose()?.map(|batch| batch.header().base_offset);
    check(next.is_none_or(|offset| offset >= end), || format!("{} lacks offset {next:?}", other.display()))?;
    Ok(compared)
}

fn records(batch: &Batch) -> Result<Vec<Record>, Failure> {
    batch.records().map_err(|e| Failure::Demo(format!("the batch at offset {}: {e}", batch.header().base_offset)))
}
