//! `cowlog serve`: what the configuration says, by the clock, and an HTTP API, metrics and a web console with it.

pub mod args;
mod demo;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use cowlog::console::{Options, Server, Tokens};
use cowlog::schedule::Config;
use cowlog::snapshot::SnapshotConfig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::failure::{DONE, Failure};
use crate::output::Output;
use args::LogFormat;
use demo::Demo;

/// How often it is looked whether the server still serves.
const GLANCE: Duration = Duration::from_millis(100);

pub fn run(base: SnapshotConfig, output: Output, args: args::Serve) -> Result<u8, Failure> {
    if base.store.is_some() {
        return Err(Failure::Usage(
            "`--store` is of no use here: each source of the configuration names its own".into(),
        ));
    }
    // First: a signal that comes early is not to end the process unheard.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(Failure::Output)?;
    log(&args)?;
    if args.demo {
        return show(base, output, &args, signals);
    }
    let file = std::fs::canonicalize(&args.config).unwrap_or(args.config.clone());
    let server = Server::start(read(&file, &args)?, base, Options::default())?;
    // As objects its log says so itself.
    if !output.quiet && matches!(args.log_format, LogFormat::Text) {
        output.note(&format!("listening on {}", server.address()));
    }
    until_stopped(server, signals, || read(&file, &args))
}

fn read(file: &Path, args: &args::Serve) -> cowlog::Result<Config> {
    let mut config = Config::read(file)?;
    let mut serve = config.serve.take().unwrap_or_default();
    serve.listen = args.listen.unwrap_or(serve.listen);
    config.serve = Some(serve);
    Ok(config)
}

fn show(base: SnapshotConfig, output: Output, args: &args::Serve, signals: Signals) -> Result<u8, Failure> {
    let demo = Demo::prepare(&base, output, args.listen)?;
    let token = demo.token.clone();
    let options = Options { tokens: Some(Tokens::one(&token)), demo: true };
    let server = Server::start(demo.config.clone(), base, options)?;
    let url = format!("http://{}/#token={token}", server.address());
    match output.json {
        true => output.value(&serde_json::json!({ "url": url }))?,
        false => {
            output.text(&format!("Sample data is served; open\n\n  {url}\n\nCtrl-C ends it and removes the data.\n"))?
        }
    }
    let config = demo.config.clone();
    let ended = until_stopped(server, signals, || Ok(config.clone()));
    demo.end()?;
    ended
}

/// SIGHUP: the configuration is read again, and taken over if nothing is wrong with it. SIGTERM, SIGINT: what is being done
/// is undone, or ends.
fn until_stopped(
    server: Server,
    mut signals: Signals,
    again: impl Fn() -> cowlog::Result<Config>,
) -> Result<u8, Failure> {
    while server.is_serving() {
        for signal in signals.pending() {
            if signal != SIGHUP {
                tracing::info!("stopping");
                if !server.stop() {
                    tracing::warn!(
                        "some jobs did not end in time: what they leave is swept by the next that opens the store"
                    );
                }
                return Ok(DONE);
            }
            match server.reload(&again) {
                Ok(()) => tracing::info!("the configuration was read again"),
                Err(e) => tracing::error!(error = %e, "the configuration before goes on"),
            }
        }
        std::thread::sleep(GLANCE);
    }
    server.stop();
    let e = std::io::Error::other("the server ended by itself; its log says why");
    Err(cowlog::Error::io("serve", "the HTTP API", e).into())
}

fn log(args: &args::Serve) -> Result<(), Failure> {
    let wrong =
        |e: tracing_subscriber::filter::ParseError| Failure::Usage(format!("--log-level {:?}: {e}", args.log_level));
    let filter = EnvFilter::try_new(&args.log_level).map_err(wrong)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            lines.with_ansi(colour).with_target(false).init();
        }
    }
    Ok(())
}
