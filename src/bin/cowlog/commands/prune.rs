//! `cowlog prune`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use cowlog::Error;
use cowlog::snapshot::{Deleted, Policy, PrunePlan, SnapshotManager};

use super::delete::{Fate, foresee, report};
use crate::args;
use crate::failure::{DONE, Failure, IN_PART, INTERRUPTED};
use crate::session::{Session, must_have_store};
use crate::units::plural;

pub fn run(session: Session, args: args::Prune) -> Result<u8, Failure> {
    if args.elsewhere.from.is_some() {
        return super::elsewhere::prune::run(session, args);
    }
    let source = args.source.clone().unwrap_or_default();
    let manager = session.manager_of(&source, args.part.scope())?;
    must_have_store(&manager)?;
    let plan = manager.plan_prune(&policy(&args, manager.policy()))?;
    let going = going(&manager, &plan)?;
    if !session.output.json && !session.output.quiet && (args.dry_run || session.output.verbose) {
        session.output.text(&kept(&plan))?;
    }
    if args.dry_run {
        let going = foresee(&manager, going.into_values().collect());
        let fates: Vec<Fate> = going.into_iter().map(Fate::Gone).collect();
        return report_or_nothing(&session, &fates, "would be deleted", &plan);
    }
    let outcome = manager.prune(&plan);
    session.progress.finish();
    match outcome {
        Ok(gone) => {
            let fates: Vec<Fate> = gone.into_iter().map(Fate::Gone).collect();
            report_or_nothing(&session, &fates, "deleted", &plan)
        }
        Err(e) => stopped(&session, &manager, going, e),
    }
}

/// The rules that were asked for.
pub fn policy(args: &args::Prune, defaults: Policy) -> Policy {
    Policy {
        max_snapshots: args.max_snapshots.unwrap_or(defaults.max_snapshots),
        retention_time: args.retention.unwrap_or(defaults.retention_time),
        keep_last: args.keep_last,
        keep_within: args.keep_within.unwrap_or_default(),
        keep_tags: args.keep_tags.iter().cloned().collect(),
        keep_hourly: args.keep_hourly,
        keep_daily: args.keep_daily,
        keep_weekly: args.keep_weekly,
        keep_monthly: args.keep_monthly,
    }
}

/// What the plan removes, oldest first, with sizes.
fn going(manager: &SnapshotManager, plan: &PrunePlan) -> Result<BTreeMap<String, Deleted>, Failure> {
    let sizes: BTreeMap<String, (u64, u64)> =
        manager.list()?.into_iter().map(|s| (s.id, (s.methods.values().sum(), s.total_size))).collect();
    let step = |id: String, reason: &str| {
        let (files, bytes) = sizes.get(&id).copied().unwrap_or_default();
        (id.clone(), Deleted { id, reason: reason.to_owned(), files, bytes, frees: None })
    };
    Ok(plan.removals().map(|s| step(s.id.to_string(), &s.reason)).collect())
}

fn kept(plan: &PrunePlan) -> String {
    let mut out = String::new();
    for step in plan.into_iter().filter(|s| !s.remove).collect::<Vec<_>>().into_iter().rev() {
        let _ = writeln!(out, "{}  kept: {}", step.id, step.reason);
    }
    out
}

fn report_or_nothing(session: &Session, fates: &[Fate], verb: &str, plan: &PrunePlan) -> Result<u8, Failure> {
    if fates.is_empty() && !session.output.json && !session.output.quiet {
        let all = plural(plan.steps().len() as u64, "snapshot");
        session.output.text(&format!("nothing to prune among {all}\n"))?;
        return Ok(DONE);
    }
    report(session, fates, verb)
}

/// An error on the way: what went before it is gone, the rest is there.
fn stopped(
    session: &Session,
    manager: &SnapshotManager,
    going: BTreeMap<String, Deleted>,
    e: Error,
) -> Result<u8, Failure> {
    let present: BTreeSet<String> = manager.list()?.into_iter().map(|s| s.id).collect();
    let failure = Failure::from(e);
    if going.keys().all(|id| present.contains(id)) {
        return Err(failure);
    }
    let fates: Vec<Fate> = going
        .into_values()
        .map(|step| match present.contains(&step.id) {
            true => Fate::Kept { id: step.id, error: failure.to_json().error },
            false => Fate::Gone(step),
        })
        .collect();
    report(session, &fates, "deleted")?;
    Ok(if failure.exit_code() == INTERRUPTED { INTERRUPTED } else { IN_PART })
}
