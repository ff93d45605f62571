//! `cowlog push`

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use cowlog::error::ValidationError;
use cowlog::offsite::{Compression, PushOptions, Pushed, Recipients, Remote, RemoteLevel, SourceName, refuse_within};
use cowlog::snapshot::SnapshotManager;
use serde::Serialize;

use super::options;
use crate::args::{self, PackWith};
use crate::commands::delete::resolve;
use crate::failure::{DONE, ErrorBody, Failure, IN_PART, INTERRUPTED};
use crate::session::{Session, must_have_store};
use crate::style::printable;
use crate::units::{bytes, duration, plural};

const INTERRUPTED_HERE: &str = "interrupted; what has arrived there stays, and the next push does not send it again";

/// What became of one snapshot.
#[derive(Serialize)]
struct Fate {
    #[serde(flatten)]
    pushed: Pushed,
    /// It was read back whole, and deleted here.
    deleted_here: bool,
    /// Why it was not deleted here, though that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_here: Option<&'static str>,
}

/// The JSON value.
#[derive(Serialize)]
struct Outcome<'a> {
    pushed: &'a [Fate],
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Failed>,
}

/// The one that the command stopped at; those behind it were not tried.
#[derive(Serialize)]
struct Failed {
    id: String,
    #[serde(flatten)]
    error: ErrorBody,
}

pub fn run(session: Session, args: args::Push) -> Result<u8, Failure> {
    let manager = session.manager(&args.source.source)?;
    must_have_store(&manager)?;
    let name = source_name(&args)?;
    let recipients = match args.recipients.as_slice() {
        [] => None,
        given => Some(Recipients::parse(given)?),
    };
    let compression = match args.compression {
        PackWith::Zstd => Compression::Zstd,
        PackWith::None => Compression::None,
    };
    refuse_within(&args.to, &manager)?;
    let remote = Remote::open_or_make(&args.to, compression, recipients.as_ref(), options(&session, &args.reach)?)?;
    let ids = match (args.all_new, args.ids.as_slice()) {
        (true, _) if args.delete_local_after => all_to_go(&manager, remote.missing(&manager, &name)?)?,
        (true, _) => remote.missing(&manager, &name)?,
        (false, []) => resolve(&manager, &["latest".to_owned()])?,
        (false, ids) => resolve(&manager, ids)?,
    };
    let options = PushOptions { name, again: args.again, moved: args.moved };
    let mut fates = Vec::with_capacity(ids.len());
    let mut stopped = None;
    for id in ids {
        let started = Instant::now();
        match push(&remote, &manager, &id, &options, args.delete_local_after) {
            Ok(fate) => {
                session.progress.finish();
                if !session.output.json && !session.output.quiet {
                    session.output.text(&line(&fate, started, &session))?;
                }
                fates.push(fate);
            }
            Err(e) => {
                let failure = match e {
                    cowlog::Error::Interrupted => Failure::Interrupted(INTERRUPTED_HERE),
                    e => e.into(),
                };
                stopped = Some((id, failure));
                break;
            }
        }
    }
    session.progress.finish();
    let (id, failure) = match stopped {
        Some((_, failure)) if fates.is_empty() => return Err(failure),
        other => other.unzip(),
    };
    if session.output.json {
        let error = failure.as_ref().map(|f| f.to_json().error);
        let failed = id.zip(error).map(|(id, error)| Failed { id, error });
        session.output.value(&Outcome { pushed: &fates, failed })?;
    } else if let Some(failure) = &failure {
        session.output.failure(failure);
    } else if fates.is_empty() && !session.output.quiet {
        session.output.note("every snapshot is there already");
    }
    Ok(match failure {
        None => DONE,
        Some(failure) if failure.exit_code() == INTERRUPTED => INTERRUPTED,
        Some(_) => IN_PART,
    })
}

fn push(
    remote: &Remote,
    manager: &SnapshotManager,
    id: &str,
    options: &PushOptions,
    delete: bool,
) -> cowlog::Result<Fate> {
    let pushed = remote.push(manager, id, options)?;
    if !delete {
        return Ok(Fate { pushed, deleted_here: false, kept_here: None });
    }
    let pinned = |pushed| Ok(Fate { pushed, deleted_here: false, kept_here: Some("it is pinned") });
    let is_pinned = |e: &cowlog::Error| matches!(e, cowlog::Error::Validation(ValidationError::Pinned { .. }));
    match manager.must_not_be_pinned(id) {
        Err(e) if is_pinned(&e) => return pinned(pushed),
        other => other?,
    }
    let report = remote.verify(&options.name.to_string(), &pushed.id, RemoteLevel::Full)?;
    if !report.ok || report.root != pushed.root {
        let what = "what is there is damaged; the snapshot here was kept".to_owned();
        let hint = Some("`cowlog push --again` sends its files again".into());
        let path = pushed.address.clone().into();
        return Err(cowlog::error::IntegrityError { path, what, damage: report.damage, hint }.into());
    }
    match manager.delete(&pushed.id) {
        Err(e) if is_pinned(&e) => return pinned(pushed),
        other => other?,
    };
    Ok(Fate { pushed, deleted_here: true, kept_here: None })
}

/// Those that are not there, and those that are and that an earlier run did not come to delete here. Of pinned ones only the
/// former: they stay.
fn all_to_go(manager: &SnapshotManager, missing: Vec<String>) -> cowlog::Result<Vec<String>> {
    let all = manager.list()?.into_iter().filter(|info| info.damaged.is_none());
    Ok(all.filter(|info| !info.pinned || missing.contains(&info.id)).map(|info| info.id).collect())
}

fn source_name(args: &args::Push) -> Result<SourceName, Failure> {
    let named = |what: &str, flag: &str| -> Failure {
        let what = format!("it is not known what this {what} is called");
        let hint = Some(format!("say it by `{flag} NAME`"));
        cowlog::Error::from(ValidationError::Refused { what, path: None, hint }).into()
    };
    let host = args.host.clone().or_else(cowlog::fs::host_name).ok_or_else(|| named("machine", "--host"))?;
    let name = args.name.clone().or_else(|| directory_name(&args.source.source));
    Ok(SourceName::new(&host, &name.ok_or_else(|| named("source", "--name"))?)?)
}

fn directory_name(source: &Path) -> Option<String> {
    let whole = std::path::absolute(source).ok()?;
    Some(whole.file_name()?.to_str()?.to_owned())
}

fn line(fate: &Fate, started: Instant, session: &Session) -> String {
    let styles = &session.output.styles;
    let Fate { pushed, .. } = fate;
    let place = printable(&pushed.address);
    if pushed.was_there {
        return format!("{} is at {place} already{}\n", styles.bold(&pushed.id), here(fate));
    }
    let took = duration(started.elapsed());
    let mut out = format!("{} pushed to {place} in {}\n", styles.bold(&pushed.id), styles.good(&took));
    let _ = writeln!(
        out,
        "  {} in {}; {} in {} were not there yet{}",
        bytes(pushed.bytes),
        plural(pushed.files, "file"),
        bytes(pushed.bytes_sent),
        plural(pushed.blobs_sent, "blob"),
        here(fate)
    );
    out
}

fn here(fate: &Fate) -> String {
    match fate.kept_here {
        Some(why) => format!("; kept here, because {why}"),
        None if fate.deleted_here => "; read back whole, and deleted here".into(),
        None => String::new(),
    }
}
