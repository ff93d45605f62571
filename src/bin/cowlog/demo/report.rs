//! What the demo prints: numbered steps, aligned figures.

use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Output};

const LABEL: usize = 30;

/// Prints as it goes; under `--json` it collects and prints one value at the end.
#[derive(Debug)]
pub struct Report {
    output: Output,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    title: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    measured: String,
}

#[derive(Debug, Serialize)]
struct Whole<'a> {
    ok: bool,
    steps: &'a [Step],
    elapsed: &'a str,
}

impl Report {
    pub fn new(output: Output) -> Self {
        Report { output, steps: Vec::new() }
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str) -> Result<(), Failure> {
        let gap = if self.steps.is_empty() { "" } else { "\n" };
        self.steps.push(Step { title: title.to_owned(), figures: Vec::new() });
        let number = format!("{}.", self.steps.len());
        self.print(&format!("{gap}{} {}\n", self.output.styles.good(&number), self.output.styles.bold(title)))
    }

    /// A measured result.
    pub fn figure(&mut self, what: &str, measured: impl Into<String>) -> Result<(), Failure> {
        let measured = measured.into();
        let text = format!("   {}  {measured}\n", self.output.styles.dim(&format!("{what:<LABEL$}")));
        if let Some(step) = self.steps.last_mut() {
            step.figures.push(Figure { what: what.to_owned(), measured });
        }
        self.print(&text)
    }

    /// What to try on a stage that was kept.
    pub fn next_commands(&mut self, stage: &Path) -> Result<(), Failure> {
        self.step("Your turn")?;
        let me = std::env::args_os().next().unwrap_or_else(|| "cowlog".into());
        let me = quoted(&me.to_string_lossy());
        let at = |name: &str| quoted(&stage.join(name).to_string_lossy());
        let (log, kafka) = (at("orders-0"), at("kafka-data"));
        for (what, command) in [
            ("what there is", format!("{me} list {log}")),
            ("every file and its digest", format!("{me} show {log} latest")),
            ("one more snapshot", format!("{me} create {log} --force --tag mine")),
            ("read it all again", format!("{me} verify {log} --all --level deep")),
            ("bring it back", format!("{me} restore {log} latest --to {}", at("mine"))),
            ("the Kafka directory", format!("{me} list {kafka} -v")),
            ("what pruning would do", format!("{me} prune {log} --max-snapshots 1 --dry-run")),
        ] {
            self.figure(what, command)?;
        }
        Ok(())
    }

    /// The last line.
    pub fn end(&self, took: &str) -> Result<(), Failure> {
        if self.output.json {
            return self.output.value(&Whole { ok: true, steps: &self.steps, elapsed: took });
        }
        self.print(&format!("\nAll of it measured and checked in {took}.\n"))
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        if self.output.json || self.output.quiet { Ok(()) } else { self.output.text(text) }
    }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", output::path(Path::new(text)).replace('\'', r"'\''")) }
}
