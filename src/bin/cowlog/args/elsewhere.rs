//! Of `push`, `pull`, `gc` and `keygen`, and of other commands that look elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::Source;
use crate::units::{parse_duration, parse_rate};

/// How a place elsewhere is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Elsewhere")]
pub struct Reach {
    /// Another server than the cloud's, like http://127.0.0.1:7070
    #[arg(long, value_name = "URL", env = "COWLOG_ENDPOINT", hide_env_values = true)]
    pub endpoint: Option<String>,
    /// The region of an S3 bucket, where AWS_REGION does not say it
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Address an S3 bucket as a host name, not as a part of the path
    #[arg(long)]
    pub virtual_hosted: bool,
    /// The age identity file that opens an encrypted place
    #[arg(long, value_name = "FILE", env = "COWLOG_IDENTITY", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub identity: Option<PathBuf>,
    /// Send or fetch at most so much a second
    #[arg(long = "rate", value_name = "SIZE", value_parser = parse_rate, env = "COWLOG_RATE", hide_env_values = true)]
    pub rate: Option<u64>,
    /// How many files are on the way at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// How long to try again while the server fails
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3m")]
    pub retry: Duration,
}

/// Where snapshots are looked for instead of in a store; SRC is HOST/SOURCE then.
#[derive(Debug, Args)]
pub struct From {
    /// Look there: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a directory. SRC is HOST/SOURCE then, or
    /// SOURCE alone, as `cowlog list --from` shows them
    #[arg(long, value_name = "URL", help_heading = "Elsewhere")]
    pub from: Option<String>,
    #[command(flatten)]
    pub reach: Reach,
}

/// The same where nothing else would make sense.
#[derive(Debug, Args)]
pub struct Place {
    /// Where from: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a directory
    #[arg(long, value_name = "URL")]
    pub from: String,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The first push makes the place: then --recipient and --compression say how everything in it is kept.

Examples:
  cowlog push data latest --to s3://backups/cowlog
  cowlog push data --all-new --to s3://backups/cowlog --delete-local-after
  cowlog push data latest --to /mnt/usb/cowlog --recipient age1zkalx3lhapxwx7d4vlrsdfqk6ruvvxvq2pzps6wyhvejr4eg3y9s2w8nn0")]
pub struct Push {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshots [default: latest]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Every snapshot that is not there yet, oldest first
    #[arg(long, conflicts_with = "ids")]
    pub all_new: bool,
    /// Where to: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a directory
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// What this machine is called there [default: its host name]
    #[arg(long, value_name = "NAME", env = "COWLOG_HOST", hide_env_values = true)]
    pub host: Option<String>,
    /// What the source is called there [default: the name of its directory]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Send files that are there already, too: to replace what was found damaged
    #[arg(long)]
    pub again: bool,
    /// The source moved, or came back to another directory, since snapshots of it were pushed: it is the same all the same
    #[arg(long)]
    pub moved: bool,
    /// Delete the snapshot here once every byte of it has been read back from there and found right; a pinned one is kept.
    /// With --all-new also those that are there already
    #[arg(long)]
    pub delete_local_after: bool,
    /// Of a new place: to whom everything is encrypted, an age recipient; may be repeated
    #[arg(long = "recipient", value_name = "AGE1...", help_heading = "Elsewhere")]
    pub recipients: Vec<String>,
    /// Of a new place: how files that shrink are compressed
    #[arg(long, value_enum, default_value = "zstd", help_heading = "Elsewhere")]
    pub compression: PackWith,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PackWith {
    /// zstd, level 1
    Zstd,
    /// Not at all
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cowlog pull web-1/data latest --from s3://backups/cowlog --store data.snapshots
  cowlog pull web-1/data latest --from s3://backups/cowlog --file orders-0/00000000000000000000.log --to orders.log")]
pub struct Pull {
    /// HOST/SOURCE, or SOURCE alone where one machine only has such a one
    #[arg(value_name = "SRC")]
    pub source: String,
    /// Which snapshot
    #[arg(value_name = "ID", default_value = "latest")]
    pub id: String,
    /// Only this file of it
    #[arg(long, value_name = "PATH", requires = "to")]
    pub file: Option<String>,
    /// Where the file goes; nothing may be there
    #[arg(long, value_name = "FILE", requires = "file", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It takes two runs: the first marks what no snapshot names, one after the grace period removes it. Run it once a day, on any
machine; others may push meanwhile.

Example:
  cowlog gc --from s3://backups/cowlog")]
pub struct Gc {
    /// How long after it was marked something goes at the earliest
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    pub grace: Duration,
    /// Show what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file is an age identity file, as `age-keygen` makes one. Keep a copy where the machine's loss does not take it along.

Example:
  cowlog keygen /etc/cowlog/backup.key")]
pub struct Keygen {
    /// The file to make; only its owner can read it
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Of `verify --from`.
#[derive(Debug, Args)]
pub struct Sampled {
    /// Elsewhere: read this many percent of the files, chosen by chance, and look that the others are there
    #[arg(long, value_name = "PERCENT", requires = "from", value_parser = parse_percent, help_heading = "Elsewhere")]
    pub sample: Option<f64>,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err(format!("{text} is not between 0 and 100 percent")),
    }
}
