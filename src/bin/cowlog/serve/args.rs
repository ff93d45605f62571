//! The command line of `cowlog serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cowlog serve --demo\n  cowlog serve --config /etc/cowlog/cowlog.toml")]
pub struct Serve {
    /// What is served, and what is to be done when
    #[arg(long, value_name = "FILE", env = "COWLOG_CONFIG", default_value = "/etc/cowlog/cowlog.toml",
          value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Serve sample data in a temporary directory instead, and print the address to open
    #[arg(long)]
    pub demo: bool,
    /// Where to listen, instead of where the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// How the log is written on standard error
    #[arg(long, value_enum, default_value = "text", env = "COWLOG_LOG_FORMAT", hide_env_values = true)]
    pub log_format: LogFormat,
    /// What is logged: a level, or `tracing` directives
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "COWLOG_LOG", hide_env_values = true)]
    pub log_level: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// An object a line
    Json,
}
