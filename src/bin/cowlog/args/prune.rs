//! Of `prune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::{From, Part};
use crate::units::parse_duration;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cowlog prune data/orders-0 --dry-run
  cowlog prune data/orders-0 --max-snapshots 0 --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --keep-tag release")]
pub struct Prune {
    /// A log directory, or a directory of log directories; with --from HOST/SOURCE, or nothing for all there are
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath, required_unless_present = "from")]
    pub source: Option<PathBuf>,
    #[command(flatten)]
    pub part: Part,
    /// How many snapshots to keep [default: 5]
    #[arg(long, value_name = "N", env = "COWLOG_MAX_SNAPSHOTS", hide_env_values = true)]
    pub max_snapshots: Option<usize>,
    /// How old a snapshot may become [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, env = "COWLOG_RETENTION", hide_env_values = true)]
    pub retention: Option<Duration>,
    /// Keep the newest N whatever their age
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_last: usize,
    /// Keep those that are not older than this, however many
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub keep_within: Option<Duration>,
    /// Keep those with this tag; may be repeated
    #[arg(long = "keep-tag", value_name = "TAG")]
    pub keep_tags: Vec<String>,
    /// Keep the newest of each of the last N hours that have a snapshot
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_hourly: usize,
    /// The same by UTC day
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_daily: usize,
    /// The same by ISO week
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_weekly: usize,
    /// The same by month
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_monthly: usize,
    /// Show what would go and what would stay, and why
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub elsewhere: From,
}
