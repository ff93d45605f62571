//! Two snapshots of a log that another process appends to, and a full copy beside them.

use std::time::Duration;

use cowlog::fs::Method;
use cowlog::snapshot::{Created, Level};

use super::report::Report;
use super::stage::Stage;
use super::synthetic::SEGMENT_BYTES;
use super::writer::Writer;
use super::{check, full_copy};
use crate::commands::methods;
use crate::failure::Failure;
use crate::session::Session;
use crate::units::{bytes, count, duration, plural};

/// The two snapshots, and where the log ended when its writer stopped.
#[derive(Debug)]
pub struct Snapshots {
    pub first: String,
    pub second: String,
    pub second_end: i64,
    pub log_end: i64,
}

pub fn take_two(stage: &Stage, session: &Session, report: &mut Report) -> Result<Snapshots, Failure> {
    let manager = session.manager(&stage.log())?;
    let mut writer = Writer::start(&stage.log())?;
    let start = writer.wait_beyond(0, session)?;

    let first = take(&mut writer, "first snapshot", || manager.create().tag("demo").run(), session, report)?;
    let info = &first.snapshot;
    let reflinks = info.methods.get(&Method::Reflink).copied().unwrap_or_default();
    let links = info.methods.get(&Method::Hardlink).copied().unwrap_or_default();
    check(reflinks + links > 0, || format!("nothing was shared: {}", methods(&info.methods)))?;
    let how = match (reflinks, links) {
        (0, _) => "hard links; this filesystem cannot reflink",
        (_, 0) => "reflinks",
        _ => "reflinks and hard links",
    };
    let sharing = format!("{} shared, {} copied", bytes(info.bytes_shared), bytes(info.bytes_copied));
    report.figure("", format!("{sharing} ({how})"))?;
    check(info.bytes_copied <= SEGMENT_BYTES + (1 << 20), || format!("{} bytes were copied", info.bytes_copied))?;

    // One segment more, so that the second has both something old and something new.
    let a_segment = i64::try_from(SEGMENT_BYTES / 1000).unwrap_or(i64::MAX);
    let after_first = writer.end();
    writer.wait_beyond(after_first.saturating_add(a_segment), session)?;
    let second = take(&mut writer, "second snapshot", || manager.create().force(true).run(), session, report)?;
    let info = &second.snapshot;
    let inherited = info.methods.get(&Method::Inherit).copied().unwrap_or_default();
    check(inherited > 0, || format!("nothing was inherited: {}", methods(&info.methods)))?;
    let sharing = format!("{} shared, {} copied", bytes(info.bytes_shared), bytes(info.bytes_copied));
    report.figure("", format!("{sharing} ({})", methods(&info.methods)))?;

    let copy = full_copy::copy(&stage.log(), &stage.path().join("full-copy"), session)?;
    let took = milliseconds(second.elapsed_ms);
    let ratio = copy.took.as_secs_f64() / took.as_secs_f64().max(1e-9);
    let beside = if ratio > 1.0 { format!("; the snapshot took 1/{ratio:.0} of that") } else { String::new() };
    report.figure("a full copy, synced", format!("{} in {}{beside}", bytes(copy.bytes), duration(copy.took)))?;

    let log_end = writer.stop()?;
    report.figure(
        "the writer meanwhile",
        format!("{} records appended, {} to {}", count(log_end.abs_diff(start)), start, log_end),
    )?;
    let mut checked = 0;
    for snapshot in [&first.snapshot, &second.snapshot] {
        let verified = manager.verify(&snapshot.id, Level::Deep)?;
        session.progress.finish();
        check(verified.ok, || format!("{} is damaged: {:?}", verified.id, verified.damage))?;
        checked += verified.files_checked;
    }
    report.figure("both verified deep", format!("{}, no damage", plural(checked, "file")))?;
    let second_end = second.snapshot.log_end_offset.unwrap_or(-1);
    Ok(Snapshots { first: first.snapshot.id, second: second.snapshot.id, second_end, log_end })
}

/// Takes a snapshot and holds its end against what the writer had said before and says afterwards.
fn take(
    writer: &mut Writer,
    name: &str,
    create: impl FnOnce() -> cowlog::Result<Created>,
    session: &Session,
    report: &mut Report,
) -> Result<Created, Failure> {
    let before = writer.end();
    let created = create()?;
    session.progress.finish();
    let after = writer.end();
    let later = writer.wait_beyond(after, session)?;
    let end = created.snapshot.log_end_offset.unwrap_or(-1);
    check(before <= end && end <= later, || {
        format!("the snapshot ends at offset {end}, the writer went from {before} to {later} meanwhile")
    })?;
    report.figure(
        name,
        format!(
            "{} in {}, up to offset {}; {} were appended meanwhile",
            created.snapshot.id,
            duration(milliseconds(created.elapsed_ms)),
            count(end.unsigned_abs()),
            plural(after.abs_diff(before), "record"),
        ),
    )?;
    Ok(created)
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1000.0)
}
