//! `cowlog cat`

use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use cowlog::error::ValidationError;
use cowlog::log::{BatchHeader, RecordView};
use cowlog::snapshot::{At, LogAt, LogsAt};

use super::elsewhere::fetched::for_cat;
use super::record_json::RecordJson;
use super::record_text;
use crate::args::{self, Format};
use crate::failure::{DONE, Failure};
use crate::session::Session;

pub fn run(session: Session, args: args::Cat) -> Result<u8, Failure> {
    let format = match args.format {
        Some(Format::Text | Format::Raw) if session.output.json => {
            let what = "`--json` (or COWLOG_JSON) means `--format json`, and another format is asked for";
            return Err(Failure::Usage(what.into()));
        }
        Some(format) => format,
        None if session.output.json => Format::Json,
        None => Format::Text,
    };
    let fetched = args.place().map(|place| for_cat(&session, &args, place)).transpose()?;
    let manager = match &fetched {
        Some(fetched) => fetched.manager.clone(),
        None => session.manager(&args.source.source)?,
    };
    let at = At::from(fetched.as_ref().map_or(args.id.as_str(), |fetched| fetched.snapshot.id.as_str()));
    if at != At::Live {
        manager.must_be_known()?;
    }
    let opened = manager.logs_at(at, args.part.scope().as_ref())?;
    let logs = selected(&opened, &args)?;
    let named = logs.len() > 1;
    let mut printer = Printer { out: Lines::new()?, format, left: args.limit.unwrap_or(u64::MAX) };
    let times = args.since.unwrap_or(i64::MIN)..args.until.unwrap_or(i64::MAX);
    // A timestamp that is none is less than any time.
    let times = if args.until.is_some() { times.start.max(0)..times.end } else { times };
    let mut result = Ok(ControlFlow::Continue(()));
    for log in logs {
        if printer.left == 0 || !matches!(result, Ok(ControlFlow::Continue(()))) {
            break;
        }
        result = log.read_between(args.first()..args.to, times.clone(), |header, record| {
            let wanted = args.key.as_ref().is_none_or(|key| record.key == Some(key.as_bytes()) && !header.is_control());
            if wanted { printer.print((log, named), header, record) } else { Ok(ControlFlow::Continue(())) }
        });
    }
    // What came before an error is printed before it is told.
    match (printer.out.end(), result) {
        (_, Err(e)) => Err(e),
        (ended, Ok(_)) => ended.map(|()| DONE),
    }
}

/// One log, or the partitions of one topic.
fn selected<'a>(opened: &'a LogsAt, args: &args::Cat) -> Result<&'a [LogAt], Failure> {
    const SHOWN: usize = 5;
    let logs = opened.logs();
    if logs.len() <= 1 || args.part.topic.is_some() {
        return Ok(logs);
    }
    let mut topics: Vec<&str> = logs.iter().filter_map(|log| Some(log.topic()?.0)).collect();
    topics.dedup();
    // Kafka's own are seldom meant.
    topics.sort_by_key(|topic| topic.starts_with("__"));
    let mut named = topics.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if topics.len() > SHOWN {
        named.push_str(&format!(" and {} more", topics.len() - SHOWN));
    }
    let what = format!("{} has {} logs, of the topics {named}", opened.name(), logs.len());
    let hint = Some("name one with `--topic T`, and one of its partitions with `--partition N`".into());
    Err(cowlog::Error::from(ValidationError::Refused { what, path: Some(args.source.source.clone()), hint }).into())
}

struct Printer {
    out: Lines,
    format: Format,
    left: u64,
}

impl Printer {
    fn print(
        &mut self,
        (log, named): (&LogAt, bool),
        header: &BatchHeader,
        record: &RecordView<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        let out = &mut self.out.0;
        let written = match self.format {
            Format::Raw if header.is_control() => return Ok(ControlFlow::Continue(())),
            Format::Raw => out.write_all(record.value.unwrap_or_default()).and_then(|()| out.write_all(b"\n")),
            Format::Text => record_text::line(out, named.then(|| log.dir()), header, record),
            Format::Json => json(out, &RecordJson::new(log.topic(), header, record)),
        };
        self.left = self.left.saturating_sub(1);
        let flow = Lines::went(written)?;
        Ok(if self.left == 0 { ControlFlow::Break(()) } else { flow })
    }
}

pub fn json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Standard output in large pieces.
pub struct Lines(pub BufWriter<File>);

impl Lines {
    pub fn new() -> Result<Self, Failure> {
        let own = stdout().as_fd().try_clone_to_owned().map_err(Failure::Output)?;
        Ok(Lines(BufWriter::with_capacity(64 << 10, File::from(own))))
    }

    /// Whether to go on: a reader that went away ends the output, not the command.
    pub fn went(written: io::Result<()>) -> Result<ControlFlow<()>, Failure> {
        match written {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(e) => Err(Failure::Output(e)),
        }
    }

    /// Writes what is left.
    pub fn end(mut self) -> Result<(), Failure> {
        let flushed = self.0.flush();
        // Nothing is tried again when it is dropped.
        let _ = self.0.into_parts();
        Lines::went(flushed).map(drop)
    }
}
