//! Of `repair`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Source;

const EXAMPLES: &str = "\
Examples:
  cowlog repair data/orders-0                          rebuild the catalogue, sweep
  cowlog repair data/orders-0 --heal --dry-run         what could be mended, and from where
  cowlog repair data/orders-0 --heal latest --from /backup/orders-0";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Repair {
    #[command(flatten)]
    pub source: Source,
    /// With --heal: only this snapshot, and what others share of its damage
    #[arg(value_name = "ID", requires = "heal")]
    pub id: Option<String>,
    /// Believe the manifest that this snapshot has now although the catalogue remembers another
    #[arg(long, value_name = "ID", conflicts_with = "heal")]
    pub accept: Option<String>,
    /// Read the snapshots and replace what is damaged by intact copies with the same digest, from other snapshots, the
    /// live log, or --from
    #[arg(long)]
    pub heal: bool,
    /// Also search this directory for intact copies; may be repeated
    #[arg(long, value_name = "DIR", requires = "heal", value_hint = ValueHint::DirPath)]
    pub from: Vec<PathBuf>,
    /// Show what would be mended from where
    #[arg(short = 'n', long, requires = "heal")]
    pub dry_run: bool,
}
