//! What `cowlog bench` prints.

use std::time::Duration;

use cowlog::fs::Method;
use serde::Serialize;

use super::clock::median;
use super::contenders::Contender;
use super::stage::Summary;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::table::{Cell, Side, Table, Tone};
use crate::units::{bytes, duration, plural};

const BAR: usize = 24;

#[derive(Debug, Serialize)]
struct Whole {
    path: String,
    segments: u64,
    files: u64,
    bytes: u64,
    results: Vec<Row>,
    elapsed_ms: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    runs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Times {
    elapsed_ms: f64,
    least_ms: f64,
    most_ms: f64,
    durable_ms: f64,
}

pub fn print(session: &Session, summary: &Summary, contenders: &[Contender], elapsed: Duration) -> Result<(), Failure> {
    let rows: Vec<Row> = contenders.iter().map(row).collect();
    if session.output.json {
        let path = summary.dir.to_string_lossy().into_owned();
        let &Summary { segments, files, bytes, .. } = summary;
        return session.output.value(&Whole { path, segments, files, bytes, results: rows, elapsed_ms: ms(elapsed) });
    }
    session.output.text(&text(session, summary, &rows, elapsed))
}

fn row(contender: &Contender) -> Row {
    let elapsed = || contender.times.iter().map(|t| t.elapsed);
    let times = (!contender.times.is_empty()).then(|| Times {
        elapsed_ms: ms(median(elapsed())),
        least_ms: ms(elapsed().min().unwrap_or_default()),
        most_ms: ms(elapsed().max().unwrap_or_default()),
        durable_ms: ms(median(contender.times.iter().map(|t| t.durable))),
    });
    Row {
        what: contender.what.clone(),
        method: contender.method(),
        runs: contender.times.len(),
        times,
        left_out: contender.left_out.clone(),
    }
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn text(session: &Session, summary: &Summary, rows: &[Row], elapsed: Duration) -> String {
    let mut table =
        Table::new(&[("SNAPSHOT BY", Side::Left), ("TIME", Side::Right), ("DURABLE", Side::Right), ("", Side::Left)]);
    let longest = rows.iter().filter_map(|r| r.times).map(|t| t.durable_ms).fold(0.0, f64::max);
    let shown = |ms: f64| duration(Duration::from_secs_f64(ms.max(0.0) / 1e3));
    for row in rows {
        let tone = if row.method.is_some() { Tone::Good } else { Tone::Plain };
        let name = Cell::new(row.what.clone(), tone);
        table.row(match (row.times, &row.left_out) {
            (Some(t), _) => {
                vec![name, shown(t.elapsed_ms).into(), shown(t.durable_ms).into(), bar(t.durable_ms, longest).into()]
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or_default();
                vec![Cell::new(row.what.clone(), Tone::Dim), "".into(), "".into(), Cell::new(why, Tone::Dim)]
            }
        });
    }
    let runs = rows.iter().map(|r| r.runs).max().unwrap_or_default();
    let styles = &session.output.styles;
    let mut out = format!(
        "{} in {}, in {}\n\n{}",
        bytes(summary.bytes),
        plural(summary.segments, "segment"),
        output::path(&summary.dir),
        table.render(styles)
    );
    if !session.output.quiet {
        let runs = if runs > 1 { format!("Medians of up to {runs} runs") } else { "One run each".into() };
        let line = format!(
            "{runs}, {} in all. DURABLE is the time until a power cut would not have undone it: \
             cowlog and restic have\nsynced when they return, the others were followed by a sync. Only cowlog and restic can \
             prove their bytes.",
            duration(elapsed)
        );
        out.push_str(&format!("\n{}\n", styles.dim(&line)));
    }
    out
}

/// A share of the longest, in eighths of a character; never nothing.
fn bar(value: f64, longest: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if longest > 0.0 { value / longest } else { 0.0 };
    let eighths = ((share * (BAR * 8) as f64).round() as usize).clamp(1, BAR * 8);
    "█".repeat(eighths / 8) + EIGHTHS.get(eighths % 8).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar(1.0, 1.0), "█".repeat(24));
        assert_eq!(bar(1.0, 2.0), "█".repeat(12));
        assert_eq!((bar(0.0, 1.0), bar(1e-9, 0.0)), ("▏".into(), "▏".into()));
        assert_eq!(bar(5.0 / 192.0, 1.0), "▋");
    }
}
