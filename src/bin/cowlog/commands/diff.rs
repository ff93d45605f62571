//! `cowlog diff`

use std::io::{self, Write};
use std::ops::ControlFlow;

use cowlog::log::{BatchHeader, Record};
use cowlog::snapshot::{At, Change, Diff, LogDiff, LogState, RecordDiff};
use serde::Serialize;

use super::cat::{Lines, json};
use super::create::offset;
use super::record_json::RecordJson;
use super::record_text;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::style::{Styles, printable};
use crate::table::{Side, Table};
use crate::units::{bytes, count, plural};

/// A line of `--json --records`.
#[derive(Serialize)]
struct RecordLine<'a> {
    change: Change,
    dir: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<RecordJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<RecordJson<'a>>,
}

pub fn run(session: Session, args: args::Diff) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    manager.must_be_known()?;
    let (a, b) = (At::from(args.a.as_str()), At::from(args.b.as_str()));
    let comparison = manager.compare(a, b, args.part.scope().as_ref())?;
    session.progress.finish();
    let (diff, output) = (comparison.diff(), &session.output);
    if !args.records {
        if output.json {
            output.value(diff)?;
        } else {
            output.text(&page(diff, &output.styles))?;
        }
        return Ok(DONE);
    }
    let mut out = Lines::new()?;
    let summary =
        if output.json { json(&mut out.0, diff) } else { out.0.write_all(page(diff, &output.styles).as_bytes()) };
    let mut result = Lines::went(summary);
    if matches!(result, Ok(ControlFlow::Continue(()))) {
        result = comparison.records(|log, record| {
            Lines::went(if output.json {
                json(&mut out.0, &line(log, record))
            } else {
                text(&mut out.0, (diff.logs.len() > 1).then_some(log.dir.as_str()), record)
            })
        });
    }
    match (out.end(), result) {
        (_, Err(e)) => Err(e),
        (ended, Ok(_)) => ended.map(|()| DONE),
    }
}

fn line<'a>(log: &'a LogDiff, record: RecordDiff<'a>) -> RecordLine<'a> {
    let topic = log.topic.as_deref().zip(log.partition);
    let shown = |(header, record): (&BatchHeader, &'a Record)| RecordJson::new(topic, header, &record.view());
    let change = match (record.a, record.b) {
        (_, None) => Change::Removed,
        (None, _) => Change::Added,
        _ => Change::Changed,
    };
    RecordLine { change, dir: &log.dir, a: record.a.map(shown), b: record.b.map(shown) }
}

fn text(out: &mut impl Write, name: Option<&str>, record: RecordDiff<'_>) -> io::Result<()> {
    for (sign, side) in [("-\t", record.a), ("+\t", record.b)] {
        if let Some((header, record)) = side {
            out.write_all(sign.as_bytes())?;
            record_text::line(out, name, header, &record.view())?;
        }
    }
    Ok(())
}

fn page(diff: &Diff, styles: &Styles) -> String {
    if diff.equal {
        let of = if diff.logs_equal == 1 { String::new() } else { format!(" in {} logs", count(diff.logs_equal)) };
        return format!("{} and {} are equal{of}\n", diff.a, diff.b);
    }
    let mut table = Table::new(&[
        ("LOG", Side::Left),
        ("WHAT", Side::Left),
        ("CHANGE", Side::Left),
        ("A", Side::Right),
        ("B", Side::Right),
    ]);
    for file in &diff.files {
        let cells = [String::new(), file.name.clone(), name(file.change).into(), String::new(), String::new()];
        table.row(cells.map(Into::into).into());
    }
    for log in &diff.logs {
        rows(&mut table, log);
    }
    let mut out = format!("A is {}, B is {}\n\n{}", diff.a, diff.b, table.render(styles));
    let differ = plural(diff.logs.len() as u64, "log");
    let s = if diff.logs.len() == 1 { "s" } else { "" };
    out.push_str(&format!("\n{differ} differ{s}, {} equal\n", count(diff.logs_equal)));
    out
}

fn rows(table: &mut Table, log: &LogDiff) {
    let dir = printable(if log.dir.is_empty() { "." } else { &log.dir });
    let mut row = |what: String, change: &str, a: Option<String>, b: Option<String>| {
        let cells = [dir.clone(), what, change.to_owned(), a.unwrap_or_default(), b.unwrap_or_default()];
        table.row(cells.map(Into::into).into());
    };
    let whole = if log.a.is_some() && log.b.is_some() { "" } else { name(log.change) };
    let mut state = |what: &str, of: fn(&LogState) -> String| {
        let (a, b) = (log.a.as_ref().map(of), log.b.as_ref().map(of));
        if a != b {
            row(what.into(), whole, a, b);
        }
    };
    state("log start", |s| offset(s.log_start_offset));
    state("high watermark", |s| offset(s.high_watermark));
    state("log end", |s| offset(s.log_end_offset));
    state("segments", |s| count(s.num_segments));
    state("size", |s| bytes(s.bytes));
    for segment in &log.segments {
        let what = format!("segment {}", offset(segment.base_offset));
        row(what, name(segment.change), segment.bytes_a.map(bytes), segment.bytes_b.map(bytes));
    }
    for file in &log.files {
        row(file.name.clone(), name(file.change), None, None);
    }
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Appended => "appended",
        Change::Truncated => "truncated",
        Change::Changed => "changed",
    }
}
