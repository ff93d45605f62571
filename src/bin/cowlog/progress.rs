//! What a running operation shows on a terminal.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cowlog::observe::{Event, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::Output;
use crate::units;

const BY_BYTES: &str = "{msg:>8} {wide_bar:.cyan/dim} {binary_bytes:>10} of {binary_total_bytes}  {binary_bytes_per_sec:>12}  {eta:>4} left";
const BY_FILES: &str =
    "{msg:>8} {wide_bar:.cyan/dim} {human_pos:>10} of {human_len} files  {files_per_sec:>12}  {eta:>4} left";
const UNKNOWN: &str = "{msg:>8} {spinner} {elapsed}";

/// What is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows progress on a terminal, collects the times of the phases, passes warnings on.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// Whether there is to be a bar.
    show: bool,
    /// Set once the bar is on the screen.
    settled: Arc<AtomicBool>,
    by_bytes: Arc<AtomicBool>,
    phases: Arc<Mutex<Vec<(&'static str, Instant)>>>,
    output: Output,
}

impl Progress {
    /// Hidden unless standard error is a terminal and somebody wants to look at it.
    pub fn new(output: Output) -> Self {
        let show = stderr().is_terminal() && !output.quiet;
        Progress {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            started: Instant::now(),
            show,
            settled: Arc::default(),
            by_bytes: Arc::default(),
            phases: Arc::default(),
            output,
        }
    }

    /// The hook for the library.
    pub fn observer(&self) -> Observer {
        let progress = self.clone();
        Observer::new(move |event| progress.on(event))
    }

    /// Takes the bar off the screen and, where that was asked for, says how long each phase took.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        if !self.output.verbose {
            return;
        }
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = phases.iter().skip(1).map(|(_, at)| *at).chain(std::iter::once(Instant::now()));
        let times: Vec<String> = phases
            .iter()
            .zip(ends)
            .map(|((name, from), to)| format!("{name} {}", units::duration(to.duration_since(*from))))
            .collect();
        if !times.is_empty() {
            self.output.note(&times.join(", "));
        }
    }

    fn show_when_due(&self) {
        if self.show && self.started.elapsed() > PATIENCE && !self.settled.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn on(&self, event: Event<'_>) {
        // Two threads that count what nobody sees wait for each other all the same.
        if !self.show && matches!(event, Event::Advance { .. }) {
            return;
        }
        self.show_when_due();
        match event {
            Event::Phase { name, files, bytes } => {
                self.phases.lock().unwrap_or_else(PoisonError::into_inner).push((name, Instant::now()));
                let (template, length) = match (files, bytes) {
                    (_, 1..) => (BY_BYTES, Some(bytes)),
                    (1.., 0) => (BY_FILES, Some(files)),
                    (0, 0) => (UNKNOWN, None),
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style.progress_chars("━━╌").with_key("files_per_sec", files_per_sec));
                }
                self.by_bytes.store(bytes > 0, Ordering::Relaxed);
                self.bar.reset();
                match length {
                    Some(length) => self.bar.set_length(length),
                    None => self.bar.unset_length(),
                }
                self.bar.set_message(name);
            }
            Event::Advance { files, bytes } => {
                self.bar.inc(if self.by_bytes.load(Ordering::Relaxed) { bytes } else { files });
            }
            Event::Warning(text) => self.bar.suspend(|| self.output.warning(text)),
            _ => {}
        }
    }
}

fn files_per_sec(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // The bar goes on without the figure.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}
