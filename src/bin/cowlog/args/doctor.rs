//! Of `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Part;

#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 0 where nothing has to be done, else with 1.

Examples:
  cowlog doctor
  cowlog doctor data/orders-0")]
pub struct Doctor {
    /// A log, a data directory, a store, or any directory that is to hold one; without it the machine
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub source: Option<PathBuf>,
    #[command(flatten)]
    pub part: Part,
}
