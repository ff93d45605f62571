//! `cowlog fork`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use cowlog::fs::Method;
use cowlog::snapshot::{ForkOptions, Level};
use serde::Serialize;

use super::methods;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;
use crate::units::{bytes, duration, plural};

/// What was made; `docs/json.md`.
#[derive(Serialize)]
struct Forked {
    id: String,
    level: Level,
    elapsed_ms: f64,
    files: u64,
    bytes: u64,
    methods: BTreeMap<Method, u64>,
    targets: Vec<String>,
}

pub fn run(session: Session, args: args::Fork) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    let mut options = ForkOptions::to(args.to).verify(args.verify);
    if let Some(part) = args.part.scope() {
        options = options.only(part);
    }
    if let Some(count) = args.count {
        options = options.count(count);
    }
    let started = Instant::now();
    let forks = manager.fork(&args.id, &options);
    session.progress.finish();
    let forks = forks?;
    let took = started.elapsed();
    let mut targets = Vec::with_capacity(forks.len());
    let mut first = None;
    for (fork, restored) in forks {
        targets.push(restored.target.clone());
        fork.keep();
        first.get_or_insert(restored);
    }
    let Some(one) = first else { return Ok(DONE) };
    if session.output.json {
        session.output.value(&Forked {
            id: one.id,
            level: if args.verify { Level::Full } else { Level::Quick },
            elapsed_ms: took.as_secs_f64() * 1000.0,
            files: one.files,
            bytes: one.bytes,
            methods: one.methods,
            targets: targets.iter().map(|target| target.to_string_lossy().into_owned()).collect(),
        })?;
    } else if !session.output.quiet {
        let styles = &session.output.styles;
        let made = styles.good(&duration(took));
        let mut out = format!("{} forked in {made}\n", styles.bold(&one.id));
        let each = if targets.len() > 1 { "each " } else { "" };
        let how = methods(&one.methods);
        let _ = writeln!(out, "  size  {each}{} in {} ({how})", bytes(one.bytes), plural(one.files, "file"));
        for target in &targets {
            let _ = writeln!(out, "  path  {}", output::path(target));
        }
        session.output.text(&out)?;
    }
    Ok(DONE)
}
