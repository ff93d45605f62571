//! `cowlog prune --from` and `cowlog delete --from`

use std::collections::BTreeSet;
use std::fmt::Write;

use cowlog::offsite::RemoteStep;
use cowlog::snapshot::Policy;

use super::{name_of, open};
use crate::args;
use crate::commands::prune::policy;
use crate::failure::{DONE, Failure, IN_PART, INTERRUPTED};
use crate::session::Session;
use crate::style::printable;
use crate::units::plural;

pub fn run(session: Session, args: args::Prune) -> Result<u8, Failure> {
    if args.part.topic.is_some() {
        let what = "elsewhere every scope is pruned for itself; `--topic` is not for that";
        return Err(Failure::Usage(what.into()));
    }
    let remote = open(&session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let source = args.source.as_deref().map(name_of);
    let plan = remote.plan_prune(source.as_deref(), &policy(&args, Policy::default()))?;
    let (steps, verb) = match args.dry_run {
        true => (plan.clone(), "would be deleted"),
        false => (remote.prune(&plan)?, "deleted"),
    };
    session.progress.finish();
    report(&session, &steps, verb, plan.len())
}

pub fn delete(session: Session, args: args::Delete) -> Result<u8, Failure> {
    let remote = open(&session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let source = name_of(&args.source.source);
    // All of them are found before the first goes: a slip of the pen deletes nothing.
    let mut found = args.ids.iter().map(|id| remote.resolve(&source, id)).collect::<cowlog::Result<Vec<_>>>()?;
    let mut named = BTreeSet::new();
    found.retain(|(_, id)| named.insert(id.clone()));
    if !args.force {
        found.iter().try_for_each(|(of, id)| remote.must_not_be_pinned(&of.to_string(), id))?;
    }
    let mut steps = Vec::with_capacity(found.len());
    let mut failed = None;
    for (of, id) in found {
        let gone = if args.dry_run { Ok(()) } else { remote.delete(&of.to_string(), &id, args.force).map(drop) };
        match gone {
            Ok(()) => steps.push(RemoteStep { of, id, remove: true, reason: "asked for".into() }),
            Err(e) => {
                failed = Some(Failure::from(e));
                break;
            }
        }
    }
    session.progress.finish();
    let failed = match failed {
        Some(failure) if steps.is_empty() => return Err(failure),
        other => other,
    };
    let all = steps.len();
    let done = report(&session, &steps, if args.dry_run { "would be deleted" } else { "deleted" }, all)?;
    Ok(match failed {
        None => done,
        Some(failure) => {
            // What went is on standard output.
            session.output.failure(&failure);
            if failure.exit_code() == INTERRUPTED { INTERRUPTED } else { IN_PART }
        }
    })
}

fn report(session: &Session, steps: &[RemoteStep], verb: &str, all: usize) -> Result<u8, Failure> {
    if session.output.json {
        session.output.value(&steps)?;
        return Ok(DONE);
    }
    if session.output.quiet {
        return Ok(DONE);
    }
    let mut out = String::new();
    for step in steps {
        let fate = if step.remove { verb } else { "kept" };
        let _ = writeln!(out, "{}/{}  {fate}: {}", step.of, step.id, printable(&step.reason));
    }
    let gone = steps.iter().filter(|step| step.remove).count() as u64;
    let line = match gone {
        0 => format!("nothing to prune among {}", plural(all as u64, "snapshot")),
        _ => format!("{} {verb}; `cowlog gc` removes what nothing else needs of them", plural(gone, "snapshot")),
    };
    let _ = writeln!(out, "{}", session.output.styles.dim(&line));
    session.output.text(&out)?;
    Ok(DONE)
}
