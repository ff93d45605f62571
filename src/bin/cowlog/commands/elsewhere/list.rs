//! `cowlog list --from`

use std::collections::BTreeMap;
use std::fmt::Write;

use cowlog::offsite::RemoteSnapshot;
use cowlog::snapshot::SnapshotInfo;

use super::{name_of, open};
use crate::args;
use crate::commands::list::table;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::style::printable;
use crate::units::{age, millis_of};

pub fn run(session: Session, args: args::List) -> Result<u8, Failure> {
    let remote = open(&session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let mut all = match &args.source {
        Some(source) => remote.list_of(&name_of(source))?,
        None => remote.list()?,
    };
    if let Some(part) = args.part.scope() {
        all.retain(|s| s.info.logs.iter().any(|log| part.has(&log.topic, log.partition)));
    }
    session.progress.finish();
    if session.output.json {
        session.output.value(&all)?;
        return Ok(DONE);
    }
    if all.is_empty() && !session.output.quiet {
        session.output.note("no snapshots yet");
        return Ok(DONE);
    }
    let mut sources: BTreeMap<String, Vec<&RemoteSnapshot>> = BTreeMap::new();
    for snapshot in &all {
        sources.entry(snapshot.of.to_string()).or_default().push(snapshot);
    }
    let mut out = String::new();
    for (of, snapshots) in sources {
        let newest = snapshots.last().and_then(|s| millis_of(s.pushed.as_deref()?));
        let pushed = match newest.map(|at| age(session.now(), at)) {
            None => String::new(),
            Some(age) if age == "now" => ", pushed just now".to_owned(),
            Some(age) => format!(", pushed last {age} ago"),
        };
        let path = snapshots.last().map(|s| s.source_path.as_str()).filter(|path| !path.is_empty());
        let path = path.map(|path| format!(" ({})", printable(path))).unwrap_or_default();
        let _ = writeln!(out, "{}{path}{pushed}", session.output.styles.bold(&of));
        let infos: Vec<SnapshotInfo> = snapshots.into_iter().map(|s| s.info.clone()).collect();
        out.push_str(&table(&infos, &BTreeMap::new(), &session));
    }
    session.output.text(&out)?;
    Ok(DONE)
}
