//! Restore drills: a snapshot that nobody ever restored is a hope.

use serde::{Deserialize, Serialize};

use super::config::SourceConfig;
use crate::error::{IntegrityError, Result};
use crate::fs::Dir;
use crate::log::LogReader;
use crate::snapshot::{RestoreOptions, SnapshotManager};
use crate::store::{Loaded, Scope, SourceKind};

/// What came of one that went well: what came back was what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// The snapshot that was restored.
    pub id: String,
    /// When, in milliseconds since 1970 UTC.
    pub at: i64,
    /// Logs that were read.
    pub logs: u64,
    /// Batches in them, each with a CRC that holds.
    pub batches: u64,
    /// Bytes that were restored.
    pub bytes: u64,
    /// How long the restore took, in milliseconds.
    pub restore_ms: u64,
}

/// Restores the latest snapshot into `into`, reads every batch of every log and holds the ends against the manifest; then
/// removes it. What an earlier drill of the source left there goes first.
///
/// # Errors
///
/// Those of a restore, and `Integrity` where what was restored is not what the manifest says.
pub(super) fn drill(source: &SourceConfig, manager: &SnapshotManager, into: &Dir) -> Result<DrillReport> {
    // Not a name that a broker takes for a partition's.
    let name = format!(".cowlog-drill-{}.d", source.name);
    into.remove_tree(&name)?;
    let clock = &manager.config().clock;
    let loaded = manager.manifest("latest")?;
    let (id, at) = (loaded.id.to_string(), clock.now());
    let outcome = (|| -> Result<DrillReport> {
        let started = std::time::Instant::now();
        let restored = manager.restore_id(&id, RestoreOptions::to(into.path_of(&name)))?;
        let restore_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut report = DrillReport { id: id.clone(), at, logs: 0, batches: 0, bytes: restored.bytes, restore_ms };
        read_logs(&loaded, &into.open_dir(&name)?, &mut report)?;
        Ok(report)
    })();
    let removed = into.remove_tree(&name);
    let report = outcome?;
    removed?;
    Ok(report)
}

fn read_logs(loaded: &Loaded, restored: &Dir, report: &mut DrillReport) -> Result<()> {
    let manifest = &loaded.manifest;
    for log in &manifest.logs {
        let alone = manifest.source.kind == SourceKind::Log;
        let dir = if alone || log.dir.is_empty() { restored.clone() } else { restored.open_dir(&log.dir)? };
        report.logs += 1;
        if log.segments.is_empty() {
            continue;
        }
        let path = dir.path().to_owned();
        let reader = LogReader::open_on(dir)?;
        for batch in reader.read_from(0) {
            batch?;
            report.batches += 1;
        }
        if reader.log_end() != log.cut.log_end_offset {
            let what = format!(
                "what was restored of {} ends at offset {}, its manifest says {}",
                if log.dir.is_empty() { Scope::All.to_string() } else { log.dir.clone() },
                reader.log_end(),
                log.cut.log_end_offset
            );
            return Err(IntegrityError::new(path, what).into());
        }
    }
    Ok(())
}
