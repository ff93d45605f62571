//! `cowlog space`

use std::fmt::Write;

use cowlog::snapshot::{Bounds, Forecast, SegmentCopies, Space};
use serde::Serialize;

use super::delete::resolve;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::{Session, must_have_store};
use crate::style::{Styles, printable};
use crate::table::{Side, Table};
use crate::units::{age, bytes, count, plural};

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    space: &'a Space,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleting: Option<Deleting<'a>>,
}

/// What deleting these together would free.
#[derive(Serialize)]
struct Deleting<'a> {
    ids: &'a [String],
    frees: Bounds,
}

pub fn run(session: Session, args: args::Space) -> Result<u8, Failure> {
    let manager = session.manager_of(&args.source.source, args.part.scope())?;
    must_have_store(&manager)?;
    let ids = resolve(&manager, &args.ids)?;
    let space = if args.segments { manager.space_by_segment() } else { manager.space() }?;
    let frees = space.freed_by(&ids);
    if session.output.json {
        let deleting = (!ids.is_empty()).then_some(Deleting { ids: &ids, frees });
        session.output.value(&Told { space: &space, deleting })?;
        return Ok(DONE);
    }
    let styles = &session.output.styles;
    let mut out = table(&space, session.now(), styles);
    if args.segments {
        out.push('\n');
        out.push_str(&segments(&space.segments, styles));
    }
    out.push('\n');
    out.push_str(&totals(&space));
    if !ids.is_empty() {
        let _ = writeln!(out, "deleting {} would free {}", ids.join(", "), between(frees));
    }
    session.output.text(&out)?;
    Ok(DONE)
}

/// `3.1 MiB`, `at most 3.1 MiB`, `1.0 MiB to 3.1 MiB`
pub fn between(bounds: Bounds) -> String {
    match bounds {
        b if b.exact() => bytes(b.most),
        b if b.least == 0 => format!("at most {}", bytes(b.most)),
        b => format!("{} to {}", bytes(b.least), bytes(b.most)),
    }
}

fn table(space: &Space, now: i64, styles: &Styles) -> String {
    let mut table = Table::new(&[
        ("ID", Side::Left),
        ("AGE", Side::Right),
        ("TO READ", Side::Right),
        ("ON DISK", Side::Right),
        ("HELD", Side::Right),
        ("FREES", Side::Right),
        ("EXPOSED", Side::Right),
    ]);
    for s in &space.snapshots {
        table.row(vec![
            s.id.clone().into(),
            age(now, s.timestamp_ms).into(),
            bytes(s.logical).into(),
            bytes(s.physical).into(),
            between(s.held).into(),
            between(s.frees).into(),
            if s.exposed > 0 { plural(s.exposed, "file") } else { String::new() }.into(),
        ]);
    }
    table.render(styles)
}

fn segments(segments: &[SegmentCopies], styles: &Styles) -> String {
    let mut table = Table::new(&[
        ("SEGMENT", Side::Left),
        ("PHYSICAL COPIES", Side::Right),
        ("SNAPSHOTS", Side::Right),
        ("SOURCE", Side::Left),
    ]);
    for s in segments {
        let source = if s.source { "has it" } else { "let it go" };
        table.row(vec![s.path.clone().into(), count(s.copies).into(), count(s.snapshots).into(), source.into()]);
    }
    table.render(styles)
}

fn totals(space: &Space) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", printable(&text));
    };
    let all = plural(space.snapshots.len() as u64, "snapshot");
    line(format!("{all}: {} to read, {} on disk", bytes(space.logical), bytes(space.physical)));
    line(format!(
        "the source uses {} of it too, only the store keeps {}",
        bytes(space.with_source),
        between(space.held)
    ));
    if space.elsewhere > 0 {
        line(format!("{} of it has another name, neither in the store nor in the source", bytes(space.elsewhere)));
    }
    if space.exposed > 0 {
        let files = plural(space.exposed, "file");
        line(format!("exposed to the source's writer: {files}, {}", bytes(space.exposed_bytes)));
    }
    line(format!("deleting all of them would free {}", between(space.frees)));
    line(format!("the disk has {} of {} free", bytes(space.available), bytes(space.size)));
    match (&space.forecast, &space.no_forecast) {
        (Some(forecast), _) => line(foreseen(forecast)),
        (None, Some(why)) => line(format!("no forecast: {why}")),
        (None, None) => {}
    }
    out
}

fn foreseen(forecast: &Forecast) -> String {
    let rate = format!(
        "over the last {} h {} a day were appended and {} copied",
        forecast.hours,
        bytes(forecast.appended_per_day),
        bytes(forecast.copied_per_day)
    );
    match forecast.until_full() {
        Some(time) => format!("{rate}: full in {time} if no snapshot is deleted"),
        None => format!("{rate}: it does not fill up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_called_what_they_are() {
        let told = |least, most| between(Bounds { least, most });
        assert_eq!(told(1024, 1024), "1.0 KiB");
        assert_eq!(told(0, 1024), "at most 1.0 KiB");
        assert_eq!(told(512, 1024), "512 B to 1.0 KiB");
        assert_eq!(told(0, 0), "0 B");
    }
}
