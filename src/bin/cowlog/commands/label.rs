//! `cowlog pin`, `cowlog unpin`, `cowlog tag`

use std::fmt::Write;

use cowlog::snapshot::SnapshotInfo;

use super::delete::resolve;
use super::elsewhere;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::style::printable;

pub fn pin(session: Session, args: args::Pins, pinned: bool) -> Result<u8, Failure> {
    if let Some(place) = &args.elsewhere.from {
        let remote = elsewhere::open(&session, place, &args.elsewhere.reach)?;
        let source = elsewhere::name_of(&args.source.source);
        let labelled = args.ids.iter().map(|id| Ok(remote.set_pinned(&source, id, pinned)?.info));
        return report(&session, &labelled.collect::<Result<Vec<_>, Failure>>()?);
    }
    let manager = session.manager(&args.source.source)?;
    // All of them are found before the first is changed.
    let ids = resolve(&manager, &args.ids)?;
    let labelled = ids.iter().map(|id| manager.set_pinned(id, pinned)).collect::<Result<Vec<_>, _>>()?;
    report(&session, &labelled)
}

pub fn tag(session: Session, args: args::Tag) -> Result<u8, Failure> {
    let (add, remove) = (args.tags.into_iter().collect(), args.remove.into_iter().collect());
    if let Some(place) = &args.elsewhere.from {
        let remote = elsewhere::open(&session, place, &args.elsewhere.reach)?;
        let labelled = remote.retag(&elsewhere::name_of(&args.source.source), &args.id, &add, &remove)?;
        return report(&session, &[labelled.info]);
    }
    let manager = session.manager(&args.source.source)?;
    report(&session, &[manager.retag(&args.id, &add, &remove)?])
}

fn report(session: &Session, labelled: &[SnapshotInfo]) -> Result<u8, Failure> {
    session.progress.finish();
    if session.output.json {
        session.output.value(&labelled)?;
        return Ok(DONE);
    }
    let mut out = String::new();
    for info in labelled {
        let pin = if info.pinned { "pinned" } else { "not pinned" };
        let tags = match info.tags.as_slice() {
            [] => "no tags".to_owned(),
            tags => format!("tagged {}", printable(&tags.join(", "))),
        };
        let _ = writeln!(out, "{}  {pin}, {tags}", info.id);
    }
    if !session.output.quiet {
        session.output.text(&out)?;
    }
    Ok(DONE)
}
