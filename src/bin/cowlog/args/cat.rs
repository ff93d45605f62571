//! Of `cat`.

use clap::{Args, ValueEnum, value_parser};

use super::restore::parse_moment;
use super::{Part, Reach, Source};

const EXAMPLES: &str = "\
The columns of `text` are divided by tabs: offset, time, key, value, and one more for each header. What could break a line or
drive a terminal is written as \\t, \\n, \\r, \\\\, \\xNN or \\u{N}; \\N stands for no key, no value or no time, \\control for the key of
a marker of transactions. Where several partitions are printed, one after the other, the first column names them.
A time is RFC 3339 (2026-11-23T14:00:00Z), the same without a zone, which is UTC then (\"2026-11-23 14:00\"), or so long ago (2h). It is
held against each record's timestamp; these need not ascend. A record without one is of no time.

Examples:
  cowlog cat data/orders-0 latest --from 100 --limit 10
  cowlog cat data latest --topic orders --partition 0 --format json | jq .value
  cowlog cat data latest --topic orders --since \"2026-11-23 14:00\" --until \"2026-11-23 14:05\"
  cowlog cat data live --topic orders --key customer-17";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cat {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshot; `live` is the source itself
    #[arg(value_name = "ID", default_value = "latest")]
    pub id: String,
    #[command(flatten)]
    pub part: Part,
    /// The first offset (inclusive); or a place elsewhere where the snapshot is, s3://BUCKET/PREFIX for instance, SRC is
    /// HOST/SOURCE then; may be given twice
    #[arg(long, value_name = "OFFSET|URL", value_parser = parse_beginning)]
    pub from: Vec<Beginning>,
    /// The offset to stop before (exclusive)
    #[arg(long, value_name = "OFFSET", value_parser = value_parser!(i64).range(0..), default_value_t = i64::MAX, hide_default_value = true)]
    pub to: i64,
    /// Only records of this time or later
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<i64>,
    /// Only records of an earlier time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<i64>,
    /// Only records with this key
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// At most so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,
    /// How [default: text, with --json json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub reach: Reach,
}

/// Where the records begin, or where the snapshot is.
#[derive(Debug, Clone)]
pub enum Beginning {
    Offset(i64),
    Place(String),
}

fn parse_beginning(text: &str) -> Result<Beginning, String> {
    match text.parse::<i64>() {
        Ok(offset) if offset >= 0 => Ok(Beginning::Offset(offset)),
        Ok(_) => Err(format!("{text} is no offset")),
        Err(_) => Ok(Beginning::Place(text.to_owned())),
    }
}

impl Cat {
    /// The first offset.
    pub fn first(&self) -> i64 {
        let offset = |given: &Beginning| if let Beginning::Offset(offset) = given { Some(*offset) } else { None };
        self.from.iter().rev().find_map(offset).unwrap_or(0)
    }

    /// The place elsewhere, where one is meant.
    pub fn place(&self) -> Option<&str> {
        self.from
            .iter()
            .rev()
            .find_map(|given| if let Beginning::Place(place) = given { Some(place.as_str()) } else { None })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line a record, safe for any terminal
    Text,
    /// One JSON object a line; see docs/json.md
    Json,
    /// The values alone, each with a newline behind it
    Raw,
}
