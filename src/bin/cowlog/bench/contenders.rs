//! What is measured: cowlog's methods, and other programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cowlog::fs::{Method, MethodChoice};
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};

use super::clock::Took;
use super::process::{self, Ended};
use super::stage::Stage;
use crate::failure::Failure;
use crate::session::Session;

const NOT_HERE: &str = "not on this filesystem";
/// Why something was not measured, or not to its end.
pub const NO_TIME: &str = "no time was left";

/// One way of taking a snapshot.
pub struct Contender {
    pub what: String,
    way: Way,
    /// Why it could not be measured.
    pub left_out: Option<String>,
    pub times: Vec<Took>,
}

enum Way {
    /// A second snapshot, of which nothing has changed.
    Inherit(SnapshotManager),
    /// A first snapshot, which reads and hashes everything, by this method.
    First(MethodChoice, Method),
    Program {
        argv: Vec<OsString>,
        within: PathBuf,
        environment: Vec<(&'static str, OsString)>,
        /// It syncs what it writes.
        durable: bool,
        /// What it means when it fails.
        failing: &'static str,
    },
}

/// How a contender's turn ended.
pub enum Outcome {
    Took(Took),
    Impossible(String),
}

/// Everybody, with what each needs in place.
pub fn contenders(stage: &Stage, until: Instant, session: &Session) -> Result<Vec<Contender>, Failure> {
    let inherit = manager(&stage.log(), &stage.path().join("snapshots"), MethodChoice::Auto, session)?;
    inherit.create().run()?;
    let (log, linked, target) = (stage.log(), stage.linked(), stage.target());
    let mut all = vec![
        Contender::new("cowlog, nothing changed", Way::Inherit(inherit)),
        Contender::new("cowlog, first, hard links", Way::First(MethodChoice::Hardlink, Method::Hardlink)),
        Contender::new("cowlog, first, reflinks", Way::First(MethodChoice::Reflink, Method::Reflink)),
        Contender::new("cowlog, first, copies", Way::First(MethodChoice::Copy, Method::Copy)),
        Contender::copying("cp -al", &["-al"], &linked, &target),
        Contender::copying("cp -a --reflink=always", &["-a", "--reflink=always"], &log, &target),
        Contender::copying("cp -a --reflink=never", &["-a", "--reflink=never"], &log, &target),
    ];
    all.push(rsync(stage, until, session)?);
    all.push(restic(stage, until, session)?);
    Ok(all)
}

fn manager(log: &Path, store: &Path, method: MethodChoice, session: &Session) -> Result<SnapshotManager, Failure> {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        store: Some(store.to_owned()),
        method,
        ..session.config.clone()
    };
    Ok(SnapshotManager::open_with(log, config)?)
}

/// A second run: what has not changed is linked to the first one's files.
fn rsync(stage: &Stage, until: Instant, session: &Session) -> Result<Contender, Failure> {
    let (mut from, first) = (stage.apart().into_os_string(), stage.path().join("rsynced"));
    from.push("/");
    let ended = process::run(Command::new("rsync").arg("-a").arg(&from).arg(&first), until, session)?;
    let mut link = OsString::from("--link-dest=");
    link.push(&first);
    let argv = vec!["rsync".into(), "-a".into(), link, from, stage.target().into()];
    Ok(Contender::program("rsync -a --link-dest, nothing changed", argv, stage.path(), ended))
}

/// A second run likewise. It keeps its bytes in a repository of its own.
fn restic(stage: &Stage, until: Instant, session: &Session) -> Result<Contender, Failure> {
    let environment: Vec<(&str, OsString)> = vec![
        ("RESTIC_REPOSITORY", stage.path().join("restic").into()),
        ("RESTIC_CACHE_DIR", stage.path().join("restic-cache").into()),
        ("RESTIC_PASSWORD", "bench".into()),
    ];
    let mut ended = Ended::Well;
    for args in [&["init"][..], &["backup", "."]] {
        if ended == Ended::Well {
            let mut command = Command::new("restic");
            command.arg("-q").args(args).envs(environment.iter().cloned()).current_dir(stage.apart());
            ended = process::run(&mut command, until, session)?;
        }
    }
    let argv = ["restic", "-q", "backup", "."].map(OsString::from).to_vec();
    let mut restic = Contender::program("restic backup, nothing changed", argv, &stage.apart(), ended);
    if let Way::Program { environment: its, durable, .. } = &mut restic.way {
        *its = environment;
        *durable = true;
    }
    Ok(restic)
}

impl Contender {
    fn new(what: &str, way: Way) -> Contender {
        Contender { what: what.to_owned(), way, left_out: None, times: Vec::new() }
    }

    fn copying(what: &str, options: &[&str], from: &Path, to: &Path) -> Contender {
        let words = std::iter::once("cp").chain(options.iter().copied()).map(OsString::from);
        let argv = words.chain([from.into(), to.into()]).collect();
        let mut copying = Contender::program(what, argv, Path::new("/"), Ended::Well);
        if let Way::Program { failing, .. } = &mut copying.way {
            *failing = NOT_HERE;
        }
        copying
    }

    /// A program that left it to the system when to write; `ended` is how its preparation did.
    fn program(what: &str, argv: Vec<OsString>, within: &Path, ended: Ended) -> Contender {
        let left_out = match ended {
            Ended::Well => None,
            Ended::Badly => Some("its first run failed".to_owned()),
            Ended::Late => Some(NO_TIME.to_owned()),
            Ended::NotHere => Some("not installed".to_owned()),
        };
        let way = Way::Program {
            argv,
            within: within.to_owned(),
            environment: Vec::new(),
            durable: false,
            failing: "it failed",
        };
        Contender { left_out, ..Contender::new(what, way) }
    }

    /// cowlog's own method.
    pub fn method(&self) -> Option<Method> {
        match &self.way {
            Way::Inherit(_) => Some(Method::Inherit),
            Way::First(_, method) => Some(*method),
            Way::Program { .. } => None,
        }
    }

    /// Takes its turn. What it leaves in the target is removed by the caller.
    pub fn run(&self, stage: &Stage, until: Instant, session: &Session) -> Result<Outcome, Failure> {
        match &self.way {
            Way::Inherit(manager) => {
                let started = Instant::now();
                let created = manager.create().run()?;
                let took = Took::durably(started);
                manager.delete(&created.snapshot.id)?;
                Ok(Outcome::Took(took))
            }
            Way::First(choice, method) => {
                let log = if *method == Method::Hardlink { stage.linked() } else { stage.log() };
                let manager = manager(&log, &stage.target(), *choice, session)?;
                let started = Instant::now();
                let created = manager.create().run()?;
                let took = Took::durably(started);
                let used = created.snapshot.methods.get(method).is_some_and(|files| *files > 0);
                Ok(if used { Outcome::Took(took) } else { Outcome::Impossible(NOT_HERE.into()) })
            }
            Way::Program { argv, within, environment, durable, failing } => {
                let Some((program, args)) = argv.split_first() else { return Ok(Outcome::Impossible(String::new())) };
                let mut command = Command::new(program);
                command.args(args).current_dir(within).envs(environment.iter().cloned());
                let started = Instant::now();
                match process::run(&mut command, until, session)? {
                    Ended::Well if *durable => Ok(Outcome::Took(Took::durably(started))),
                    Ended::Well => Took::and_sync(started, stage.path()).map(Outcome::Took),
                    Ended::Badly => Ok(Outcome::Impossible((*failing).into())),
                    Ended::Late => Ok(Outcome::Impossible(NO_TIME.into())),
                    Ended::NotHere => Ok(Outcome::Impossible("not installed".into())),
                }
            }
        }
    }
}
