//! One task of one source, done.

use serde::Serialize;

use super::config::SourceConfig;
use super::drill::{DrillReport, drill};
use super::memory::SourceMemory;
use super::offsite::{PushReport, push};
use super::plan::Task;
use crate::error::{Error, IntegrityError, Result};
use crate::fs::Dir;
use crate::snapshot::{
    Budget, Created, Deleted, Level, ScrubReport, SnapshotConfig, SnapshotInfo, SnapshotManager, VerifyReport,
};

/// What came of a task.
#[derive(Debug, Serialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Outcome {
    /// A snapshot was taken, and some that the policy no longer keeps were deleted.
    Create {
        /// The new one.
        created: Box<Created>,
        /// Those that went.
        pruned: Vec<Deleted>,
        /// Why not all went that should have.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_pruned: Option<String>,
    },
    /// Everything is elsewhere, too; `None` where there is no snapshot.
    Push {
        /// What was done.
        report: Option<PushReport>,
    },
    /// A snapshot was verified and is whole; `None` where there is none.
    Verify {
        /// What was found.
        report: Option<VerifyReport>,
    },
    /// A piece of all snapshots was read and is whole.
    #[serde(rename = "verify")]
    Scrub {
        /// What was found.
        report: Box<ScrubReport>,
    },
    /// A snapshot was restored and read.
    Drill {
        /// What was found.
        report: DrillReport,
    },
}

/// Does it, knowing what was done with the source before. Damage that is found is an error.
pub(super) fn run(source: &SourceConfig, task: Task, base: &SnapshotConfig, before: &SourceMemory) -> Result<Outcome> {
    let manager = source.manager(base)?;
    match task {
        Task::Create => create(source, &manager),
        Task::Push => {
            let last = before.push.as_ref();
            let report = source.offsite.as_ref().map(|offsite| push(source, offsite, &manager, last)).transpose()?;
            Ok(Outcome::Push { report: report.flatten() })
        }
        Task::Verify => verify(source, &manager),
        Task::Drill => {
            let into = source.drill.as_ref().map_or(source.path.as_path(), |drill| drill.into.as_path());
            Ok(Outcome::Drill { report: drill(source, &manager, &Dir::open(into)?)? })
        }
    }
}

fn create(source: &SourceConfig, manager: &SnapshotManager) -> Result<Outcome> {
    // Parts of a data directory have policies of their own.
    let prune = |scope: &str| manager.prune(&manager.plan_prune(&source.keep)?.only(scope));
    // The schedule says when it is time.
    let take = || manager.create().force(true).run();
    let mut pruned = Vec::new();
    let created = match take() {
        // What is to go holds the space.
        Err(Error::Filesystem(e)) if is_full(e.source.kind()) => {
            pruned = manager.get("latest").and_then(|latest| prune(&latest.scope)).unwrap_or_default();
            if pruned.is_empty() {
                return Err(e.into());
            }
            take()?
        }
        other => other?,
    };
    // The snapshot is there, whatever keeps an old one from going.
    let not_pruned = match prune(&created.snapshot.scope) {
        Ok(gone) => {
            pruned.extend(gone);
            None
        }
        Err(e) => Some(e.to_string()),
    };
    Ok(Outcome::Create { created: Box::new(created), pruned, not_pruned })
}

fn is_full(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn verify(source: &SourceConfig, manager: &SnapshotManager) -> Result<Outcome> {
    let level = source.verify.as_ref().map_or(Level::Full, |(_, level)| *level);
    if manager.store_path()?.is_none() && source.create.is_none() {
        // Nobody will ever make one: this names the places where it was looked for.
        manager.get("latest")?;
    }
    if let Some(budget) = source.verify_budget.filter(|_| manager.store_path().is_ok_and(|store| store.is_some())) {
        return scrub(manager, budget);
    }
    let (damaged, sound): (Vec<SnapshotInfo>, Vec<SnapshotInfo>) = manager.list()?.into_iter().partition(is_damaged);
    // Whose bytes have not been read for longest.
    let read = |s: &SnapshotInfo| s.verified.as_ref().map(|v| v.at.clone()).max(s.oldest_read.clone());
    let report = match sound.into_iter().min_by_key(read) {
        Some(next) => {
            let report = manager.verify(&next.id, level)?;
            if !report.ok {
                return Err(damage(next, report));
            }
            Some(report)
        }
        None => None,
    };
    known_damage(damaged).map_or(Ok(Outcome::Verify { report }), Err)
}

/// Damage that was found before is not forgotten because others are whole.
fn known_damage(damaged: Vec<SnapshotInfo>) -> Option<Error> {
    let known = damaged.into_iter().next()?;
    let what = format!("{} is damaged", known.id);
    let hint = format!(
        "`cowlog repair --heal` mends what there is an intact copy of, `cowlog verify` tells of all damage; delete {} when it is of no use",
        known.id
    );
    Some(IntegrityError { hint: Some(hint), ..IntegrityError::new(known.path, what) }.into())
}

fn scrub(manager: &SnapshotManager, budget: Budget) -> Result<Outcome> {
    let report = manager.scrub(budget)?;
    match known_damage(manager.list()?.into_iter().filter(is_damaged).collect()) {
        Some(known) => Err(known),
        None => Ok(Outcome::Scrub { report: Box::new(report) }),
    }
}

fn is_damaged(s: &SnapshotInfo) -> bool {
    s.damaged.is_some() || s.verified.as_ref().is_some_and(|verified| !verified.ok)
}

fn damage(of: SnapshotInfo, report: VerifyReport) -> Error {
    let files: Vec<&str> = report.damage.iter().map(|d| d.path.as_str()).take(3).collect();
    let files = match report.damage.len().saturating_sub(files.len()) {
        0 => files.join(", "),
        more => format!("{} and {more} more", files.join(", ")),
    };
    let hint = Some("`cowlog verify` tells of all damage and where an intact copy is".into());
    let what = format!("{} is damaged: {files}", of.id);
    IntegrityError { damage: report.damage, hint, ..IntegrityError::new(of.path, what) }.into()
}
