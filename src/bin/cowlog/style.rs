//! Colour, on terminals that want it, and text that cannot do a terminal any harm.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style};

use crate::table::Tone;

/// Whether to colour.
#[derive(Debug, Clone, Copy)]
pub struct Styles {
    on: bool,
}

impl Styles {
    /// For a stream: colour if it is a terminal, `NO_COLOR` is not set and the terminal is not a dumb one.
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == OsStr::new("dumb"));
        Styles { on: stream.is_terminal() && !no_color && !dumb }
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Styles { on: false }
    }

    #[cfg(test)]
    pub fn coloured() -> Self {
        Styles { on: true }
    }

    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        };
        self.wrap(style, text)
    }

    pub fn bold(&self, text: &str) -> String {
        self.wrap(Style::new().bold(), text)
    }

    pub fn good(&self, text: &str) -> String {
        self.paint(Tone::Good, text)
    }

    pub fn bad(&self, text: &str) -> String {
        self.paint(Tone::Bad, text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint(Tone::Dim, text)
    }

    fn wrap(&self, style: Style, text: &str) -> String {
        if self.on { format!("{}{text}{}", style.render(), style.render_reset()) } else { text.to_owned() }
    }
}

/// The text with control characters written out, so that a path or a tag can neither break a line nor drive a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Directional overrides make a name look like another.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\nb\u{1b}[2Jc\u{202e}d é 日本"), "a\\nb\\u{1b}[2Jc\\u{202e}d é 日本");
    }
}
