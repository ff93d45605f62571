//! Of `create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::Part;
use crate::units::{parse_bytes, parse_duration};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog create data/orders-0 --tag before-upgrade")]
pub struct Create {
    /// A log directory, or a directory of log directories; several are the log.dirs of one broker
    #[arg(value_name = "SRC", required = true, value_hint = ValueHint::DirPath)]
    pub sources: Vec<PathBuf>,
    #[command(flatten)]
    pub part: Part,
    /// Take one even if the last is younger than the minimum interval
    #[arg(short, long)]
    pub force: bool,
    /// Take a source that has lost records as it is, with a warning
    #[arg(long)]
    pub accept_loss: bool,
    /// Leave out the logs of a running broker that do not come to rest, instead of failing
    #[arg(long)]
    pub allow_partial: bool,
    /// Give the snapshot a tag; may be repeated
    #[arg(short, long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// How old the last snapshot must be [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, env = "COWLOG_MIN_INTERVAL", hide_env_values = true)]
    pub min_interval: Option<Duration>,
    /// How new or changed sealed files get into the snapshot
    #[arg(long, value_enum, default_value = "auto", env = "COWLOG_METHOD", hide_env_values = true)]
    pub method: ShareMethod,
    /// How much sealed data may be copied where it cannot be shared [default: 1GiB or a tenth of the source]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, env = "COWLOG_MAX_COPY", hide_env_values = true)]
    pub max_copy: Option<u64>,
    /// Who writes the source, where what is found there is not to decide
    #[arg(long, value_enum, env = "COWLOG_PROFILE", hide_env_values = true)]
    pub profile: Option<WriterProfile>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ShareMethod {
    /// Reflink, else hard link where that is safe, else copy
    Auto,
    /// Reflink, else copy
    Reflink,
    /// Hard link where that is safe, else copy
    Hardlink,
    /// Copy
    Copy,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum WriterProfile {
    /// cowlog's own log: a sealed file is never written again
    Native,
    /// A Kafka broker
    Kafka,
}
