//! Where results, warnings and errors go.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use crate::args::Global;
use crate::failure::Failure;
use crate::style::{Styles, printable};

/// Standard output and standard error, as the global flags want them.
///
/// A reader of standard output that went away ends the output, not the command.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub styles: Styles,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        Output {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            styles: Styles::for_stream(&io::stdout()),
        }
    }

    /// For what goes wrong before the flags are known.
    pub fn json_only() -> Self {
        Output { json: true, quiet: true, verbose: false, styles: Styles::for_stream(&io::stdout()) }
    }

    /// Prints a result for people. Ends with a line end.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        write_stdout(text.as_bytes())
    }

    /// Prints the one JSON value of a command: laid out on a terminal, in one line elsewhere.
    pub fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut bytes =
            if io::stdout().is_terminal() { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) }
                .map_err(|e| Failure::Output(e.into()))?;
        bytes.push(b'\n');
        write_stdout(&bytes)
    }

    /// Prints a line on standard error.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints a warning on standard error, unless nobody wants any.
    pub fn warning(&self, text: &str) {
        if !self.quiet {
            self.note(&format!("cowlog: warning: {}", printable(text)));
        }
    }

    /// Reports a failure: on standard error for people, as the JSON value for programs.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let _ = self.value(&failure.to_json());
            return;
        }
        let styles = Styles::for_stream(&io::stderr());
        let mut text = format!("{} {}", styles.bad("cowlog:"), printable(&failure.message()));
        if let Some(hint) = failure.hint() {
            text.push_str(&format!("\n  hint: {}", printable(&hint)));
        }
        self.note(&text);
    }
}

fn write_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(e)),
        _ => Ok(()),
    }
}

/// A path for people.
pub fn path(path: &Path) -> String {
    printable(&path.display().to_string())
}
