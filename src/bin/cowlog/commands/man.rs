//! `cowlog man`

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::{Cli, Man};
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::units::plural;

pub fn run(session: Session, args: Man) -> Result<u8, Failure> {
    let pages = pages()?;
    if let Some(dir) = args.to {
        for (name, page) in &pages {
            let path = dir.join(format!("{name}.1"));
            write(&dir, &path, page).map_err(|e| Failure::from(cowlog::Error::io("write", &path, e)))?;
        }
        if session.output.json {
            let names: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
            session.output.value(&serde_json::json!({ "to": dir.to_string_lossy(), "pages": names }))?;
        } else if !session.output.quiet {
            session.output.note(&format!("{} written to {}", plural(pages.len() as u64, "page"), dir.display()));
        }
        return Ok(DONE);
    }
    let wanted = args.command.map_or("cowlog".to_owned(), |command| format!("cowlog-{command}"));
    let Some((_, page)) = pages.iter().find(|(name, _)| *name == wanted) else {
        return Err(Failure::Usage(format!("there is no page {wanted:?}; `cowlog --help` lists the commands")));
    };
    if session.output.json {
        session.output.value(&serde_json::json!({ "page": wanted, "roff": page }))?;
    } else {
        session.output.text(page)?;
    }
    Ok(DONE)
}

fn write(dir: &Path, path: &Path, page: &str) -> std::io::Result<()> {
    if !dir.is_dir() {
        fs::create_dir(dir)?;
    }
    fs::write(path, page)
}

/// Name and text of each page: the program's own, and one for each command that `--help` shows.
fn pages() -> Result<Vec<(String, String)>, Failure> {
    let mut cli = Cli::command();
    cli.build();
    let mut commands = vec![("cowlog".to_owned(), cli.clone())];
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let name = format!("cowlog-{}", command.get_name());
        commands.push((name, command.clone()));
    }
    commands.into_iter().map(|(name, command)| Ok((name, page(command)?))).collect()
}

fn page(command: Command) -> Result<String, Failure> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut roff)
        .map_err(|e| Failure::from(cowlog::Error::io("render", Path::new("the manual page"), e)))?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}
