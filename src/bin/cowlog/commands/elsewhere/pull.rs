//! `cowlog pull`

use std::time::Instant;

use serde::Serialize;

use super::open;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;
use crate::units::{bytes, duration};

/// The JSON value of `--file`.
#[derive(Serialize)]
struct PulledFile {
    file: String,
    to: String,
    bytes_fetched: u64,
}

pub fn run(session: Session, args: args::Pull) -> Result<u8, Failure> {
    let remote = open(&session, &args.place.from, &args.place.reach)?;
    let started = Instant::now();
    if let (Some(file), Some(to)) = (args.file, args.to) {
        let bytes_fetched = remote.pull_file(&args.source, &args.id, &file, &to)?;
        session.progress.finish();
        let shown = output::path(&to);
        if session.output.json {
            session.output.value(&PulledFile { file, to: to.to_string_lossy().into_owned(), bytes_fetched })?;
        } else if !session.output.quiet {
            session.output.text(&format!("{file} is in {shown}, {} fetched\n", bytes(bytes_fetched)))?;
        }
        return Ok(DONE);
    }
    let into = session.manager(std::path::Path::new(&args.source))?;
    if into.config().store.is_none() {
        let what = "`pull` needs `--store DIR`: where the snapshot is to come to, the store of a source that is here or a new one";
        return Err(Failure::Usage(what.into()));
    }
    let pulled = remote.pull(&args.source, &args.id, &into);
    session.progress.finish();
    let pulled = pulled?;
    if session.output.json {
        session.output.value(&pulled)?;
    } else if !session.output.quiet {
        let styles = &session.output.styles;
        let place = output::path(&pulled.snapshot.path);
        let text = match pulled.was_there {
            true => format!("{} is in {place} already\n", styles.bold(&pulled.snapshot.id)),
            false => format!(
                "{} pulled to {place} in {}, {} fetched\n",
                styles.bold(&pulled.snapshot.id),
                styles.good(&duration(started.elapsed())),
                bytes(pulled.bytes_fetched)
            ),
        };
        session.output.text(&text)?;
    }
    Ok(DONE)
}
