//! `cowlog completions`

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::failure::{DONE, Failure};
use crate::session::Session;

pub fn run(session: Session, args: Completions) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cowlog", &mut script);
    let script = String::from_utf8_lossy(&script);
    if session.output.json {
        session.output.value(&serde_json::json!({ "shell": args.shell.to_string(), "script": script }))?;
    } else {
        session.output.text(&script)?;
    }
    Ok(DONE)
}
