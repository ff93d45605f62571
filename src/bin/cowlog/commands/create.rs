//! `cowlog create`

use std::fmt::Write;
use std::time::Duration;

use cowlog::fs::MethodChoice;
use cowlog::kafka::Profile;
use cowlog::snapshot::{Created, SnapshotInfo};

use super::methods;
use crate::args::{self, ShareMethod, WriterProfile};
use crate::failure::{DONE, Failure, IN_PART};
use crate::output;
use crate::session::Session;
use crate::units::{bytes, count, duration, plural};

pub fn run(mut session: Session, args: args::Create) -> Result<u8, Failure> {
    let config = &mut session.config;
    config.min_interval = args.min_interval.unwrap_or(config.min_interval);
    config.max_copy = args.max_copy;
    config.method = match args.method {
        ShareMethod::Auto => MethodChoice::Auto,
        ShareMethod::Reflink => MethodChoice::Reflink,
        ShareMethod::Hardlink => MethodChoice::Hardlink,
        ShareMethod::Copy => MethodChoice::Copy,
    };
    config.profile = args.profile.map(|profile| match profile {
        WriterProfile::Native => Profile::Native,
        WriterProfile::Kafka => Profile::Kafka,
    });
    let part = args.part.scope();
    let managers = args.sources.iter().map(|source| session.manager_of(source, part.clone()));
    let managers = managers.collect::<Result<Vec<_>, _>>()?;
    let Some((first, others)) = managers.split_first() else { return Ok(DONE) };
    let create = first.create().force(args.force).accept_loss(args.accept_loss).allow_partial(args.allow_partial);
    let create = others.iter().fold(create, |create, other| create.with(other));
    let created = args.tags.into_iter().fold(create, |create, tag| create.tag(tag)).run_all();
    session.progress.finish();
    let created = created?;
    match (session.output.json, session.output.quiet, created.as_slice()) {
        (true, _, [one]) => session.output.value(one)?,
        (true, _, all) => session.output.value(&all)?,
        (false, true, all) => session.output.text(&all.iter().take(1).map(id_line).collect::<String>())?,
        (false, false, all) => {
            session.output.text(&all.iter().map(|one| summary(one, &session)).collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(if created.iter().all(|one| one.missing.is_empty()) { DONE } else { IN_PART })
}

fn id_line(created: &Created) -> String {
    format!("{}\n", created.snapshot.id)
}

fn summary(created: &Created, session: &Session) -> String {
    let info = &created.snapshot;
    let styles = &session.output.styles;
    let took = duration(Duration::from_secs_f64(created.elapsed_ms.max(0.0) / 1000.0));
    let mut out = format!("{} taken in {}\n", styles.bold(&info.id), styles.good(&took));
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {}  {text}", styles.dim(&format!("{name:<7}")));
    };
    line("holds", extent(info));
    line("size", format!("{} in {} ({})", bytes(info.total_size), plural(files(info), "file"), methods(&info.methods)));
    line("shared", bytes(info.bytes_shared));
    line("copied", bytes(info.bytes_copied));
    if info.exposed > 0 {
        line("exposed", format!("{} that the live log still names", plural(info.exposed, "file")));
    }
    if !created.left_out.is_empty() {
        let more = if session.output.verbose { "" } else { " (-v lists them)" };
        line("left out", format!("{}{more}", plural(created.left_out.len() as u64, "file")));
        for left in created.left_out.iter().filter(|_| session.output.verbose) {
            line("", format!("{}: {}", crate::style::printable(&left.path), left.why));
        }
    }
    for missing in &created.missing {
        line("missing", format!("{}: {}", crate::style::printable(&missing.path), missing.why));
    }
    line("path", output::path(&info.path));
    line("root", info.root.clone());
    out
}

/// The files of a snapshot, by how they got there.
pub fn files(info: &SnapshotInfo) -> u64 {
    info.methods.values().sum()
}

/// `offsets 0 to 1,234 in 3 segments`, or how many logs with how many records' worth of offsets.
pub fn extent(info: &SnapshotInfo) -> String {
    let segments = plural(info.num_segments, "segment");
    match (info.base_offset, info.log_end_offset) {
        (Some(first), Some(end)) => {
            let committed = match info.high_watermark {
                Some(hw) if hw != end => format!(", high watermark {}", offset(hw)),
                _ => String::new(),
            };
            format!("offsets {} to {} in {segments}{committed}", offset(first), offset(end))
        }
        _ => format!("{} in {segments}", plural(info.logs.len() as u64, "log")),
    }
}

/// An offset, or a dash where it is no offset.
pub fn offset(n: i64) -> String {
    u64::try_from(n).map_or_else(|_| n.to_string(), count)
}
