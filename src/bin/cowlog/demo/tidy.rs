//! Pruning: a plan with reasons, then the deed.

use std::time::Instant;

use cowlog::snapshot::{Level, Policy};

use super::check;
use super::live::Snapshots;
use super::report::Report;
use super::stage::Stage;
use crate::failure::Failure;
use crate::session::Session;
use crate::units::{bytes, duration, plural};

pub fn prune(stage: &Stage, session: &Session, report: &mut Report, snapshots: &Snapshots) -> Result<(), Failure> {
    let manager = session.manager(&stage.log())?;
    let third = manager.create().force(true).tag("after").run()?;
    session.progress.finish();
    let copied = bytes(third.snapshot.bytes_copied);
    let took = std::time::Duration::from_secs_f64(third.elapsed_ms.max(0.0) / 1000.0);
    report.figure("a third snapshot", format!("{} in {}, {copied} copied", third.snapshot.id, duration(took)))?;

    let verified = manager.verify(&third.snapshot.id, Level::Full)?;
    session.progress.finish();
    check(verified.ok, || format!("{} is damaged: {:?}", verified.id, verified.damage))?;

    let plan = manager.plan_prune(&Policy { max_snapshots: 1, ..manager.policy() })?;
    for step in &plan {
        let verb = if step.remove { "remove" } else { "keep" };
        report.figure(&step.id.to_string(), format!("{verb}: {}", step.reason))?;
    }
    let planned: Vec<String> = plan.removals().map(|s| s.id.to_string()).collect();
    check(planned == [snapshots.second.clone()], || format!("the plan removes {planned:?}"))?;
    let started = Instant::now();
    let gone: Vec<String> = manager.prune(&plan)?.into_iter().map(|d| d.id).collect();
    check(gone == planned, || format!("{planned:?} were to go, {gone:?} went"))?;
    report.figure("pruned", format!("{} in {}", plural(gone.len() as u64, "snapshot"), duration(started.elapsed())))?;

    let deleted = manager.delete(&snapshots.first)?;
    session.progress.finish();
    report.figure("deleted the damaged one", deleted.id)?;
    let left: Vec<String> = manager.list()?.into_iter().map(|s| s.id).collect();
    check(left == [third.snapshot.id], || format!("{left:?} are left"))?;
    let intact = manager.verify("latest", Level::Deep)?;
    session.progress.finish();
    check(intact.ok, || format!("{} is damaged: {:?}", intact.id, intact.damage))?;
    report.figure("what is left, verified deep", format!("{}: {}", intact.id, session.output.styles.good("ok")))
}
