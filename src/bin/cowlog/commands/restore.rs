//! `cowlog restore`

use std::fmt::Write;
use std::time::Instant;

use cowlog::snapshot::{Detach, RestoreOptions, Restored};

use super::create::offset;
use super::methods;
use crate::args::{self, RestoreMethod};
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;
use crate::units::{bytes, duration, plural};

pub fn run(session: Session, args: args::Restore) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    let options = match (args.to, args.into) {
        (Some(to), _) => RestoreOptions::to(to),
        (None, Some(data_dir)) => RestoreOptions::into_data_dir(data_dir),
        (None, None) => RestoreOptions::replace(),
    };
    let mut options = options.method(match args.method {
        RestoreMethod::Auto => Detach::Auto,
        RestoreMethod::Reflink => Detach::Reflink,
        RestoreMethod::Copy => Detach::Copy,
    });
    if let Some(id) = args.as_topic_id {
        options = options.as_topic_id(id);
    }
    if let Some(until) = args.until_offset {
        options = options.until_offset(until);
    }
    let started = Instant::now();
    let restored = match args.part.scope() {
        Some(part) => manager.restore_part(&args.id, &part, options),
        None => manager.restore_id(&args.id, options),
    };
    session.progress.finish();
    let restored = restored?;
    if session.output.json {
        session.output.value(&restored)?;
    } else if !session.output.quiet {
        session.output.text(&summary(&restored, started, &session))?;
    }
    Ok(DONE)
}

fn summary(restored: &Restored, started: Instant, session: &Session) -> String {
    let styles = &session.output.styles;
    let took = duration(started.elapsed());
    let mut out = format!(
        "{} restored to {} in {}\n",
        styles.bold(&restored.id),
        output::path(&restored.target),
        styles.good(&took)
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {}  {text}", styles.dim(&format!("{name:<7}")));
    };
    let how = methods(&restored.methods);
    line("size", format!("{} in {} ({how})", bytes(restored.bytes), plural(restored.files, "file")));
    if let Some(end) = restored.end_offset {
        line("ends at", format!("offset {}", offset(end)));
    } else if !restored.logs.is_empty() {
        line("logs", plural(restored.logs.len() as u64, "log"));
    }
    if let Some(replaced) = &restored.replaced {
        let kept = format!("{} in {}", replaced.undo, output::path(&replaced.kept));
        line("kept", format!("{kept}; `cowlog undo` brings it back"));
    }
    for denied in &restored.not_restored {
        line("not set", crate::style::printable(denied));
    }
    out
}
