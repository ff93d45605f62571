//! Snapshots by the day, of which only some are kept: what would go, and why, is known before anything is deleted.
//!
//! `cargo run --example retention`

use std::time::Duration;

use cowlog::fs::Clock;
use cowlog::{BatchBuilder, Log, Policy, SnapshotConfig, SnapshotManager};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temp = tempfile::tempdir()?;
    let path = temp.path().join("events");
    let mut log = Log::open(&path)?;

    // Twenty days in a moment.
    let mut snapshots = None;
    for day in 0..20 {
        log.append(BatchBuilder::new().record(day * DAY, None, Some(b"something happened")).build()?)?;
        log.flush()?;
        let clock = Clock::new(move || 1_735_998_123_000 + day * DAY);
        let manager = SnapshotManager::open_with(&path, SnapshotConfig { clock, ..SnapshotConfig::default() })?;
        let create = manager.create();
        let create = if day == 0 { create.tag("the first") } else { create };
        create.run()?;
        snapshots = Some(manager);
    }
    let Some(snapshots) = snapshots else { return Ok(()) };

    let policy = Policy {
        max_snapshots: 3,
        retention_time: Duration::from_secs(4 * 86_400),
        keep_weekly: 3,
        ..Policy::default()
    };
    let plan = snapshots.plan_prune(&policy)?;
    for step in plan.steps() {
        println!("{} {}: {}", if step.remove { "delete" } else { "keep  " }, step.id, step.reason);
    }
    let deleted = snapshots.prune(&plan)?;
    println!("{} deleted, {} left", deleted.len(), snapshots.list()?.len());
    Ok(())
}
