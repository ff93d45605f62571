//! Of `pin`, `unpin` and `tag`.

use clap::Args;

use super::{From, Source};

#[derive(Debug, Args)]
pub struct Pins {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshots
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub elsewhere: From,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cowlog tag data/orders-0 latest release-7
  cowlog tag data/orders-0 latest --remove release-7")]
pub struct Tag {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshot
    #[arg(value_name = "ID")]
    pub id: String,
    /// The tags that it gets
    #[arg(value_name = "TAG", required_unless_present = "remove")]
    pub tags: Vec<String>,
    /// Take this one away; may be repeated
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    #[command(flatten)]
    pub elsewhere: From,
}
