//! `cowlog prune --from` and `cowlog delete --from`

use std::fmt::Write;

use cowlog::offsite::RemoteStep;
use cowlog::snapshot::Policy;

use super::{name_of, open};
use crate::args;
use crate::commands::prune::policy;
use crate::failure::{DONE, Failure};
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
    let mut steps = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        let (of, id) = remote.resolve(&source, id)?;
        if !args.dry_run {
            remote.delete(&of.to_string(), &id, args.force)?;
        }
        steps.push(RemoteStep { of, id, remove: true, reason: "asked for".into() });
    }
    session.progress.finish();
    let all = steps.len();
    report(&session, &steps, if args.dry_run { "would be deleted" } else { "deleted" }, all)
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
