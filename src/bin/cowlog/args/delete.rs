//! Of `delete`.

use clap::Args;

use super::{From, Source};

#[derive(Debug, Args)]
#[command(after_help = "\
Nobody is asked; a snapshot that is pinned is refused.

Examples:
  cowlog delete data/orders-0 snapshot-1735998123000 --dry-run
  cowlog delete data/orders-0 snapshot-1735998123000 --force")]
pub struct Delete {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshots
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Show what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Delete also those that are pinned
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub elsewhere: From,
}
