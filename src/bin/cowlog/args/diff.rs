//! Of `diff`.

use clap::Args;

use super::{Part, Source};

const EXAMPLES: &str = "\
Of a segment: `added` and `removed` where one side has it, `appended` where B goes on from A, `truncated` where it ends before, else
`changed`. With --records, a line begins with `-` for what A has and with `+` for what B has; the columns are those of `cowlog cat`.
Against `live` the log is told as it is at the moment, up to its last whole batch.

Examples:
  cowlog diff data/orders-0 latest live
  cowlog diff data snapshot-17 snapshot-18 --topic orders --records";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Diff {
    #[command(flatten)]
    pub source: Source,
    /// A snapshot; `live` is the source itself
    #[arg(value_name = "A")]
    pub a: String,
    /// Another, or `live`
    #[arg(value_name = "B")]
    pub b: String,
    #[command(flatten)]
    pub part: Part,
    /// Also print the records that only one side has, or that differ
    #[arg(long)]
    pub records: bool,
}
