//! Of `restore` and `undo`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use cowlog::fs::Clock;
use cowlog::snapshot::{AsTopicId, Bound};
use cowlog::units::parse_time;

use super::{From, Part, Source};

const EXAMPLES: &str = "\
A time is RFC 3339 (2026-11-23T14:00:00Z), the same without a zone, which is UTC then
(\"2026-11-23 14:00\"), or so long ago (2h). It is held against the timestamps that records have.
Digits alone are an offset. Batches stay whole; the output says between which the cuts fell.

Examples:
  cowlog restore data/orders-0 latest --to back
  cowlog restore data/orders-0 latest --to back --until 2800
  cowlog restore data --at \"2026-11-23 14:00\" --until \"2026-11-23 14:00\" --to data-at-two
  cowlog restore data latest --topic orders --replace --until 2h";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["to", "replace", "into"])), after_help = EXAMPLES)]
pub struct Restore {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub part: Part,
    /// Which snapshot
    #[arg(value_name = "ID", required_unless_present = "at")]
    pub id: Option<String>,
    /// The first snapshot that holds this time: the oldest one taken then or later that is not known to be damaged
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "id")]
    pub at: Option<i64>,
    /// The directory to make; it must not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: Option<PathBuf>,
    /// Take the place of what is there, which is kept for `cowlog undo`; its writer has to be stopped
    #[arg(long)]
    pub replace: bool,
    /// Put the partitions of --topic into this data directory, in place of those that are there, which are kept for
    /// `cowlog undo`; its broker has to be stopped
    #[arg(long, value_name = "DATA_DIR", value_hint = ValueHint::DirPath, requires = "topic")]
    pub into: Option<PathBuf>,
    /// Make the partitions those of another topic, as in another cluster: by its id, or of the topic that they replace
    #[arg(long, value_name = "ID|from-target", value_parser = parse_topic_id, conflicts_with = "to")]
    pub as_topic_id: Option<AsTopicId>,
    /// Leave out the batches from the first on that holds this offset, or a record of this time or later
    #[arg(long, value_name = "OFFSET|TIME", value_parser = parse_bound, alias = "until-offset")]
    pub until: Option<Bound>,
    /// Leave out the batches before the first that holds this offset, or a record of this time or later
    #[arg(long, value_name = "OFFSET|TIME", value_parser = parse_bound)]
    pub since: Option<Bound>,
    /// How files get into the new directory
    #[arg(long, value_enum, default_value = "auto")]
    pub method: RestoreMethod,
    #[command(flatten)]
    pub elsewhere: From,
}

fn parse_topic_id(text: &str) -> Result<AsTopicId, String> {
    if text == "from-target" { Ok(AsTopicId::FromTarget) } else { text.parse().map(AsTopicId::Id) }
}

fn parse_bound(text: &str) -> Result<Bound, String> {
    Bound::parse(text, Clock::default().now())
}

pub fn parse_moment(text: &str) -> Result<i64, String> {
    parse_time(text, Clock::default().now())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RestoreMethod {
    /// Reflink, else copy
    Auto,
    /// Reflink, else fail
    Reflink,
    /// Copy
    Copy,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cowlog undo data/orders-0\n  cowlog undo data/orders-0 --list")]
pub struct Undo {
    #[command(flatten)]
    pub source: Source,
    /// Show what is kept, oldest first, and bring nothing back
    #[arg(long, conflicts_with = "discard")]
    pub list: bool,
    /// Remove what is kept for good: these, or all of it
    #[arg(long, value_name = "UNDO_ID", num_args = 0..)]
    pub discard: Option<Vec<String>>,
    /// Show what a discard would remove
    #[arg(short = 'n', long, requires = "discard")]
    pub dry_run: bool,
}
