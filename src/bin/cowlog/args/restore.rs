//! Of `restore` and `undo`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use cowlog::snapshot::AsTopicId;

use super::{Part, Source};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cowlog restore data/orders-0 latest --to back\n  cowlog restore data/orders-0 latest --replace"
)]
#[command(group(ArgGroup::new("where").required(true).args(["to", "replace", "into"])))]
pub struct Restore {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub part: Part,
    /// Which snapshot
    #[arg(value_name = "ID")]
    pub id: String,
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
    /// Leave out the records from this offset on
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub until_offset: Option<i64>,
    /// How files get into the new directory
    #[arg(long, value_enum, default_value = "auto")]
    pub method: RestoreMethod,
}

fn parse_topic_id(text: &str) -> Result<AsTopicId, String> {
    if text == "from-target" { Ok(AsTopicId::FromTarget) } else { text.parse().map(AsTopicId::Id) }
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
