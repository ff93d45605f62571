//! The command line as it was typed. Nothing here touches the disk.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use cowlog::store::Scope;

use crate::units::{parse_bytes, parse_duration};

mod cat;
mod create;
mod delete;
mod diff;
mod doctor;
mod elsewhere;
mod fork;
mod label;
mod manual;
mod prune;
mod repair;
mod restore;
mod verify;

pub use cat::{Cat, Format};
pub use create::{Create, ShareMethod, WriterProfile};
pub use delete::Delete;
pub use diff::Diff;
pub use doctor::Doctor;
pub use elsewhere::{From, Gc, Keygen, PackWith, Pull, Push, Reach, Sampled};
pub use fork::Fork;
pub use label::{Pins, Tag};
pub use manual::{Completions, Man};
pub use prune::Prune;
pub use repair::Repair;
pub use restore::{Restore, RestoreMethod, Undo};
pub use verify::{Verify, VerifyLevel};

const AFTER_HELP: &str = "\
Examples:
  cowlog create data/orders-0      keep what is there now
  cowlog list data/orders-0        what do I have?
  cowlog verify data/orders-0      is it good?
  cowlog space data/orders-0       what does it cost?
  cowlog restore data/orders-0 --at '2026-11-23 14:00' --until '2026-11-23 14:00' --to as-it-was
  cowlog restore data/orders-0 latest --replace
  cowlog undo data/orders-0        the replacement was a mistake

Exit codes:
  0    done
  1    failed: disk full, permission, I/O
  2    usage, invalid id
  3    done in part; the output names what was not
  4    verification found damage
  10   no such source, store or snapshot
  11   locked, busy, or too soon after the last snapshot
  130  interrupted; nothing was left behind

An ID is `latest`, `snapshot-<digits>`, the digits alone, or the beginning of either.";

/// Instant, verified snapshots of segmented append-only logs
#[derive(Debug, Parser)]
#[command(name = "cowlog", version, disable_help_subcommand = true, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct Global {
    /// Where the snapshots are, instead of beside or inside the source
    #[arg(long, global = true, value_name = "DIR", env = "COWLOG_STORE", hide_env_values = true,
          value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,
    /// Print exactly one JSON value on standard output, errors included
    #[arg(long, global = true, env = "COWLOG_JSON", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub json: bool,
    /// No progress, no warnings, no closing summary
    #[arg(short, long, global = true, env = "COWLOG_QUIET", value_parser = FalseyValueParser::new(),
          hide_env_values = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More columns, and how long each phase took
    #[arg(short, long, global = true, env = "COWLOG_VERBOSE", value_parser = FalseyValueParser::new(),
          hide_env_values = true)]
    pub verbose: bool,
    /// How long to try for a lock [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration, env = "COWLOG_LOCK_TIMEOUT",
          hide_env_values = true)]
    pub lock_timeout: Option<Duration>,
    /// Accept a store on a network filesystem that no other machine uses
    #[arg(long, global = true, env = "COWLOG_ALLOW_NETWORK", value_parser = FalseyValueParser::new(),
          hide_env_values = true)]
    pub allow_network: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a snapshot
    Create(Create),
    /// List the snapshots, oldest first
    List(List),
    /// List the topics of a data directory and their snapshots
    Topics(Topics),
    /// Show one snapshot: its logs and its files with their digests
    Show(Show),
    /// Print the records of a snapshot, or of the source itself
    Cat(Cat),
    /// Show what differs between two snapshots, or between one and the source
    Diff(Diff),
    /// Show what the snapshots take up, and what deleting them would free
    Space(Space),
    /// Hold a snapshot against its manifest, or read all of them through a piece at a time
    Verify(Verify),
    /// Restore a snapshot into a new directory or in place of what is there, after it has been verified in full
    Restore(Restore),
    /// Make a writable copy of a snapshot in milliseconds, or several, for tests and experiments
    Fork(Fork),
    /// Bring back what the last `restore --replace` or `--into` took out
    Undo(Undo),
    /// Delete snapshots
    Delete(Delete),
    /// Delete what the rules no longer keep
    Prune(Prune),
    /// Keep snapshots whatever the rules say
    #[command(after_help = "Example:\n  cowlog pin data/orders-0 latest")]
    Pin(Pins),
    /// Leave snapshots to the rules again
    #[command(after_help = "Example:\n  cowlog unpin data/orders-0 snapshot-1735998123000")]
    Unpin(Pins),
    /// Give a snapshot tags, or take them away
    Tag(Tag),
    /// Carry snapshots to an object store: S3, Azure, Google Cloud Storage, or a directory
    Push(Push),
    /// Bring a snapshot back from there into a store, or one file of it
    Pull(Pull),
    /// Remove from there what no snapshot needs any more
    Gc(Gc),
    /// Make a key for encrypted copies
    Keygen(Keygen),
    /// Create, prune, verify and try out snapshots by the clock, as a configuration says
    Run(Run),
    /// The same, with an HTTP API, metrics and a web console
    #[cfg(feature = "console")]
    Serve(crate::serve::args::Serve),
    /// Say what stands in the way of good snapshots, and what to do about it
    Doctor(Doctor),
    /// Rebuild the catalogue, remove what a dead process left, mend what is damaged
    Repair(Repair),
    /// Measure what a snapshot costs on a disk of yours, beside cp, rsync and restic
    Bench(Bench),
    /// Show what cowlog does, on real Kafka data and a log of its own, in a temporary directory
    Demo(Demo),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
    /// Append to a log until standard input ends (the second process of the demo)
    #[command(hide = true)]
    DemoWriter(DemoWriter),
}

/// What is snapshotted.
#[derive(Debug, Args)]
pub struct Source {
    /// A log directory, or a directory of log directories
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub source: PathBuf,
}

/// A part of a data directory.
#[derive(Debug, Args)]
pub struct Part {
    /// Only this topic of a data directory
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only this partition of the topic
    #[arg(long, value_name = "N", requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
}

impl Part {
    /// The scope, where a part is meant.
    pub fn scope(&self) -> Option<Scope> {
        let topic = self.topic.clone()?;
        Some(match self.partition {
            Some(partition) => Scope::Partition { topic, partition },
            None => Scope::Topic(topic),
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog topics data")]
pub struct Topics {
    /// A directory of partitions
    #[arg(value_name = "DATA_DIR", value_hint = ValueHint::DirPath)]
    pub source: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog list data/orders-0")]
pub struct List {
    /// A log directory, or a directory of log directories; with --from HOST/SOURCE, or nothing for all there are
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath, required_unless_present = "from")]
    pub source: Option<PathBuf>,
    #[command(flatten)]
    pub part: Part,
    /// Also look at the files of all of them: what only the store keeps alive of each, and what deleting it would free
    #[arg(long, conflicts_with = "from")]
    pub space: bool,
    #[command(flatten)]
    pub elsewhere: From,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog show data/orders-0 latest")]
pub struct Show {
    #[command(flatten)]
    pub source: Source,
    /// Which snapshot
    #[arg(value_name = "ID", default_value = "latest")]
    pub id: String,
    /// Also read what it holds of a Kafka broker: topics and their ids, open transactions, groups and their lag
    #[arg(long, conflicts_with = "from")]
    pub kafka: bool,
    /// Also look at the files of all snapshots: what this one takes up, and what deleting it would free
    #[arg(long, conflicts_with = "from")]
    pub space: bool,
    #[command(flatten)]
    pub elsewhere: From,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog space data/orders-0")]
pub struct Space {
    #[command(flatten)]
    pub source: Source,
    /// Also what deleting these together would free
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub part: Part,
    /// Also how many physical copies there are of each segment
    #[arg(long)]
    pub segments: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog run --once --config /etc/cowlog/cowlog.toml")]
pub struct Run {
    /// What is to be done, and when
    #[arg(long, value_name = "FILE", env = "COWLOG_CONFIG", default_value = "/etc/cowlog/cowlog.toml",
          value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Do what is due, and end: for a timer or for cron
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog bench /var/lib/kafka")]
pub struct Bench {
    /// A directory on that disk; what is made in it is removed again
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// How large a log to measure on, at least 16MiB; six times as much must be free [default: 256MiB, less on a slow disk]
    #[arg(long, value_name = "SIZE", value_parser = parse_log_size)]
    pub size: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cowlog demo --keep demo")]
pub struct Demo {
    /// Play it in DIR, which must not exist yet, and leave everything there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
    /// How large a log to write, at least 16MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_log_size, default_value = "256MiB")]
    pub size: u64,
}

/// A log of several segments.
fn parse_log_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 16 << 20;
    match parse_bytes(text)? {
        size if size < LEAST => Err(format!("{text} is less than 16MiB")),
        size => Ok(size),
    }
}

#[derive(Debug, Args)]
pub struct DemoWriter {
    /// The log
    pub log: PathBuf,
}

/// Whether a command line that could not be parsed asked for JSON: `--json` before any `--`, or the environment.
pub fn wants_json(args: &[OsString], environment: Option<&OsStr>) -> bool {
    let typed = args.iter().take_while(|a| *a != "--").any(|a| a == "--json");
    typed
        || environment.is_some_and(|v| {
            !matches!(v.to_string_lossy().to_lowercase().as_str(), "" | "0" | "n" | "no" | "f" | "false" | "off")
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// As a shell divides them.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = None;
        for c in line.trim().chars() {
            match (c, quoted) {
                (c, Some(quote)) if c == quote => quoted = None,
                ('"' | '\'', None) => quoted = Some(c),
                (' ', None) => words.push(String::new()),
                (c, _) => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_command_has_an_example_that_is_understood() {
        for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Example:\n").or_else(|| help.split_once("Examples:\n")).map(|(_, all)| all);
            let examples = examples.unwrap_or_else(|| panic!("{} has no example", command.get_name()));
            for example in examples.lines().map(str::trim) {
                // What it does, or where its output goes, may stand behind it.
                let typed = example.split("   ").next().unwrap().split(['>', '|']).next().unwrap();
                let typed = words(typed);
                let cli = Cli::try_parse_from(typed).unwrap_or_else(|e| panic!("{example}: {e}"));
                drop(cli);
            }
        }
    }

    #[test]
    fn the_source_comes_first() {
        let cli = Cli::try_parse_from(["cowlog", "restore", "a b", "17", "--to", "x", "--json"]);
        let Ok(Cli { global, command: Command::Restore(restore) }) = cli else { panic!("not parsed") };
        assert!(global.json);
        assert_eq!((restore.source.source, restore.id), (PathBuf::from("a b"), Some("17".to_owned())));
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "17"]).is_err(), "without --to");
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "17", "--to", "x", "--replace"]).is_err(), "both");
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "17", "--into", "x"]).is_err(), "without --topic");
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "17", "--to", "x", "--until", "-1"]).is_err());
        let cut = Cli::try_parse_from(["cowlog", "restore", "a", "17", "--to", "x", "--until-offset", "7"]);
        let Ok(Cli { command: Command::Restore(restore), .. }) = cut else { panic!("not parsed") };
        assert_eq!(restore.until, Some(cowlog::snapshot::Bound::Offset(7)));
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "--to", "x"]).is_err(), "neither an ID nor --at");
        assert!(Cli::try_parse_from(["cowlog", "restore", "a", "17", "--at", "2h", "--to", "x"]).is_err(), "both");
    }

    #[test]
    fn json_is_recognised_in_broken_command_lines() {
        let args = |a: &[&str]| a.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&args(&["cowlog", "--json", "--nonsense"]), None));
        assert!(!wants_json(&args(&["cowlog", "list", "--", "--json"]), None));
        assert!(wants_json(&args(&["cowlog"]), Some(OsStr::new("1"))));
        for no in ["", "0", "false", "OFF", "no"] {
            assert!(!wants_json(&args(&["cowlog"]), Some(OsStr::new(no))), "{no:?}");
        }
    }
}
