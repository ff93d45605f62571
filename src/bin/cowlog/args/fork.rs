//! Of `fork`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Part, Source};

const EXAMPLES: &str = "\
The snapshot's manifests are verified always, and that its files are there and as long as they
should be. Their bytes are not read where they are shared (reflink): --verify reads them first.
Bytes that have to be copied are verified on the way.

Several are all made before the first gets its name: after an error none is there. A crash leaves
hidden directories (.DIR-1.restoring), which the next fork to DIR removes, and, where it came
between the renames at the very end, some of the forks, each of them whole.

Examples:
  cowlog fork data/orders-0 latest --to /tmp/orders-0
  cowlog fork data latest --to /tmp/experiment --count 3    # makes /tmp/experiment-1, -2 and -3";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Fork {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub part: Part,
    /// Which snapshot
    #[arg(value_name = "ID")]
    pub id: String,
    /// The directory to make; it must not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
    /// Make so many instead, beside each other: DIR-1, DIR-2 and so on; all or, after an error, none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: Option<u32>,
    /// Read every byte of the snapshot first and hold it against its digest
    #[arg(long)]
    pub verify: bool,
}
