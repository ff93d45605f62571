//! The deep verification of one log: its batches, records, offsets, indexes and side files.

use std::collections::HashSet;

use super::examine::{Dirs, unreadable};
use crate::error::{Damage, DamageKind, Result};
use crate::fs::Dir;
use crate::kafka::producer_state::check_producer_state;
use crate::kafka::txn_index::check_txn_index;
use crate::log::{self, SegmentFile, parse_segment_name};
use crate::observe::Observer;
use crate::snapshot::create::capture::path_in;
use crate::store::LogManifest;

/// Batches, offsets and indexes of one log, as far as their bytes are right.
pub(in crate::snapshot) fn check_log(
    log: &LogManifest,
    native: bool,
    dirs: &Dirs<'_>,
    known: &HashSet<String>,
    observer: &Observer,
) -> Result<Vec<Damage>> {
    let Some(dir) = dirs.get(log.dir.as_str()) else { return Ok(Vec::new()) };
    let path = |name: &str| path_in(&log.dir, name);
    let mut damage = Vec::new();
    if let Some(first) = log.segments.first().filter(|first| native && log.cut.log_start_offset < **first) {
        damage.push(missing(path(&SegmentFile::Log.name(*first)), log.cut.log_start_offset, *first));
    }
    let ends = log.segments.iter().skip(1).map(|base| Some(*base)).chain([None]);
    for (base, end) in log.segments.iter().zip(ends) {
        observer.check()?;
        let name = SegmentFile::Log.name(*base);
        if known.contains(&path(&name)) {
            continue;
        }
        let Some(file) = dir.try_open(&name)? else { continue };
        let read = |file: SegmentFile| {
            let name = file.name(*base);
            if known.contains(&path(&name)) { Ok(None) } else { dir.try_read(name, MAX_INDEX) }
        };
        let (index, times) = (read(SegmentFile::Index)?, read(SegmentFile::TimeIndex)?);
        let check = log::check_segment(&file, index.as_deref(), times.as_deref(), *base, end)?;
        for problem in check.problems {
            let kind = if problem.file == SegmentFile::Log { DamageKind::Batch } else { DamageKind::Index };
            damage.push(Damage { path: path(&problem.file.name(*base)), kind, detail: problem.detail });
        }
        let reached = check.end.next_offset;
        if let Some(next) = end.filter(|next| native && check.end.stop.is_end() && reached < *next) {
            damage.push(missing(path(&name), reached, next));
        }
        if end.is_none() && reached != log.cut.log_end_offset {
            let detail = format!("the log ends at offset {reached}, its cut says {}", log.cut.log_end_offset);
            damage.push(Damage { path: path(&name), kind: DamageKind::Batch, detail });
        }
    }
    damage.extend(check_side_files(log, dir, known, path)?);
    Ok(damage)
}

fn missing(path: String, from: i64, next: i64) -> Damage {
    let detail = format!("the offsets {from} to {} are missing before the segment at {next}", next.saturating_sub(1));
    Damage { path, kind: DamageKind::Batch, detail }
}

/// Producer snapshots and transaction indexes, which not every segment has, and which may outlive theirs.
fn check_side_files(
    log: &LogManifest,
    dir: &Dir,
    known: &HashSet<String>,
    path: impl Fn(&str) -> String,
) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for entry in dir.list()? {
        let Some((name, (base, file))) = entry.name.to_str().and_then(|n| Some((n, parse_segment_name(n)?))) else {
            continue;
        };
        let kind = match file {
            SegmentFile::ProducerState => DamageKind::Producers,
            SegmentFile::TxnIndex => DamageKind::Index,
            SegmentFile::Log | SegmentFile::Index | SegmentFile::TimeIndex => continue,
        };
        if known.contains(&path(name)) {
            continue;
        }
        let bytes = match dir.read(name, MAX_INDEX) {
            Ok(bytes) => bytes,
            Err(e) => {
                damage.push(unreadable(&path(name), e)?);
                continue;
            }
        };
        let checked = match file {
            SegmentFile::ProducerState => check_producer_state(&bytes, base),
            _ => {
                let next = log.segments.iter().find(|next| **next > base);
                check_txn_index(&bytes, base, next.copied().unwrap_or(i64::MAX))
            }
        };
        if let Err(detail) = checked {
            damage.push(Damage { path: path(name), kind, detail });
        }
    }
    Ok(damage)
}

/// Larger than any index.
const MAX_INDEX: u64 = 1 << 31;
