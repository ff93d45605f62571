//! Of `completions` and `man`: what is made from the definition of the command line.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog completions bash > /etc/bash_completion.d/cowlog")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cowlog man restore | man -l -
  cowlog man --to /usr/local/share/man/man1")]
pub struct Man {
    /// The command whose page is printed; without it that of cowlog itself
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command", value_hint = ValueHint::DirPath)]
    pub to: Option<PathBuf>,
}
