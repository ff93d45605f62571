//! The command line. It sees the library's public API only.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod args;
mod bench;
mod commands;
mod demo;
mod failure;
mod interrupt;
mod output;
mod progress;
#[cfg(feature = "console")]
mod serve;
mod session;
mod style;
mod table;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use failure::{DONE, Failure};
use output::Output;
use session::Session;

fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(e) => return not_understood(&e, &typed).into(),
    };
    cowlog::fs::raise_descriptors();
    let output = Output::new(&cli.global);
    match run(cli, output) {
        Ok(code) => code.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code().into()
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<u8, Failure> {
    if let Command::Run(args) = cli.command {
        // It heeds signals in a way of its own.
        return commands::run::run(session::settings(&cli.global), output, args);
    }
    #[cfg(feature = "console")]
    if let Command::Serve(args) = cli.command {
        return serve::run(session::settings(&cli.global), output, args);
    }
    let session = Session::new(&cli.global, output);
    match cli.command {
        Command::Create(args) => commands::create::run(session, args),
        Command::List(args) => commands::list::run(session, args),
        Command::Topics(args) => commands::topics::run(session, args),
        Command::Show(args) => commands::show::run(session, args),
        Command::Cat(args) => commands::cat::run(session, args),
        Command::Diff(args) => commands::diff::run(session, args),
        Command::Space(args) => commands::space::run(session, args),
        Command::Verify(args) => commands::verify::run(session, args),
        Command::Fork(args) => commands::fork::run(session, args),
        Command::Restore(args) => commands::restore::run(session, args),
        Command::Undo(args) => commands::undo::run(session, args),
        Command::Delete(args) => commands::delete::run(session, args),
        Command::Prune(args) => commands::prune::run(session, args),
        Command::Pin(args) => commands::label::pin(session, args, true),
        Command::Unpin(args) => commands::label::pin(session, args, false),
        Command::Tag(args) => commands::label::tag(session, args),
        Command::Push(args) => commands::elsewhere::push::run(session, args),
        Command::Pull(args) => commands::elsewhere::pull::run(session, args),
        Command::Gc(args) => commands::elsewhere::gc::run(session, args),
        Command::Keygen(args) => commands::elsewhere::keygen::run(session, args),
        Command::Run(_) => Ok(DONE),
        #[cfg(feature = "console")]
        Command::Serve(_) => Ok(DONE),
        Command::Doctor(args) => commands::doctor::run(session, args),
        Command::Repair(args) => commands::repair::run(session, args),
        Command::Completions(args) => commands::completions::run(session, args),
        Command::Man(args) => commands::man::run(session, args),
        Command::Bench(args) => bench::run(session, args),
        Command::Demo(args) => demo::run(session, args),
        Command::DemoWriter(args) => demo::writer::run(&args.log),
    }
}

/// Help, the version, or a command line that makes no sense.
fn not_understood(e: &clap::Error, typed: &[OsString]) -> u8 {
    let asked_for = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked_for && args::wants_json(typed, std::env::var_os("COWLOG_JSON").as_deref()) {
        // The first paragraph: what is wrong, and which arguments it is about.
        let text = e.render().to_string();
        let message: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = message.join(" ");
        let failure = Failure::Usage(message.strip_prefix("error: ").unwrap_or(&message).to_owned());
        Output::json_only().failure(&failure);
        return failure.exit_code();
    }
    // Nobody is left to tell where this cannot be written.
    let _ = e.print();
    if asked_for { DONE } else { 2 }
}
