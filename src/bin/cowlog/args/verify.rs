//! Of `verify`.

use clap::{Args, ValueEnum};
use cowlog::snapshot::Budget;

use super::{From, Sampled, Source};

const EXAMPLES: &str = "\
Examples:
  cowlog verify data/orders-0                    every byte of the latest snapshot
  cowlog verify data/orders-0 --all --level deep
  cowlog verify data/orders-0 --budget 5%        a twentieth of all of them: once a day reads everything in 20 days";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshot
    #[arg(value_name = "ID", default_value = "latest")]
    pub id: String,
    /// Every snapshot of the source
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Hold it against this root, which was kept elsewhere
    #[arg(long, value_name = "ROOT", conflicts_with = "all")]
    pub expect: Option<String>,
    /// Read all snapshots through a piece at a time, what was read the longest ago first: so much in this run, as 5%,
    /// 10GiB or 2min. The next run goes on where this one ended
    #[arg(long, value_name = "BUDGET", value_parser = parse_budget, conflicts_with_all = ["id", "all", "expect"])]
    pub budget: Option<Budget>,
    /// How thoroughly
    #[arg(short, long, value_enum, default_value = "full", env = "COWLOG_LEVEL", hide_env_values = true)]
    pub level: VerifyLevel,
    #[command(flatten)]
    pub sampled: Sampled,
    #[command(flatten)]
    pub elsewhere: From,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum VerifyLevel {
    /// The manifests' digests; presence and size of every file
    Quick,
    /// BLAKE3 of every byte
    Full,
    /// Also the CRC of every batch, the order of offsets, the agreement of the indexes
    Deep,
}

fn parse_budget(text: &str) -> Result<Budget, String> {
    text.parse()
}
