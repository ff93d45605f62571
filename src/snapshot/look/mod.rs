//! Reading the records of a snapshot where they lie, or those of the source.

pub(in crate::snapshot) mod contents;
pub(in crate::snapshot) mod diff;
pub(in crate::snapshot) mod diff_records;
pub(in crate::snapshot) mod diff_sides;
pub(in crate::snapshot) mod present;

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use crate::error::{ConcurrencyError, Error, IntegrityError, Result};
use crate::fs::{Dir, Guard};
use crate::log::{BatchError, BatchHeader, CutReader, RecordView};
use crate::observe::Observer;
use crate::snapshot::manager::{SnapshotManager, no_such};
use crate::snapshot::restore::plan::narrowed;
use crate::store::{IdQuery, Loaded, LogManifest, Scope};
use present::{PresentLog, has_vanished};

/// What is read: a snapshot, or the source as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At<'a> {
    /// The snapshot of this id: `latest`, an id, its digits, or the beginning of either.
    Snapshot(&'a str),
    /// The source.
    Live,
}

impl<'a> From<&'a str> for At<'a> {
    /// The word `live` is the source, anything else an id.
    fn from(text: &'a str) -> Self {
        if text == "live" { At::Live } else { At::Snapshot(text) }
    }
}

/// The logs of a snapshot, which cannot be deleted while this lives; or those of the source, of which nothing is locked.
#[derive(Debug)]
pub struct LogsAt {
    name: String,
    logs: Vec<LogAt>,
    _guard: Option<Guard>,
}

/// One log, to be read.
#[derive(Debug)]
pub struct LogAt {
    dir: String,
    topic: Option<(String, i32)>,
    ground: Ground,
    observer: Observer,
}

#[derive(Debug)]
enum Ground {
    Snapshot { log: LogManifest, dir: Dir },
    Live(PresentLog),
}

/// How often a log is listed anew whose segments vanish.
const ATTEMPTS: usize = 1_000;

enum Read {
    Done(ControlFlow<()>),
    /// A segment is gone that was there when the log was listed.
    Vanished,
}

impl SnapshotManager {
    /// Opens the logs of a snapshot for reading, all of them or those of a topic or partition; then `latest` is the latest that
    /// holds all of that. Nothing is restored, and nothing of the logs is read yet.
    ///
    /// # Errors
    ///
    /// `Validation`: no such source or snapshot, or one that holds nothing of the part. `Integrity`: its manifests do not hold.
    /// `Concurrency`: it is being deleted. `Filesystem`.
    pub fn logs_at(&self, at: At<'_>, part: Option<&Scope>) -> Result<LogsAt> {
        let part = part.or(self.scope()).filter(|part| **part != Scope::All);
        let id = match at {
            At::Live => return self.present(part),
            At::Snapshot(id) => id,
        };
        let (loaded, guard) = self.open_part(id, part)?;
        let opened = |log: &LogManifest| -> LogAt {
            let ground = Ground::Snapshot { log: log.clone(), dir: loaded.dir.clone() };
            let topic = log.topic.clone().zip(log.partition);
            LogAt { dir: log.dir.clone(), topic, ground, observer: self.config().observer.clone() }
        };
        let logs = loaded.manifest.logs.iter().map(opened).collect();
        Ok(LogsAt { name: loaded.id.to_string(), logs, _guard: Some(guard) })
    }

    /// A snapshot, or the part of it, locked against deletion.
    pub(in crate::snapshot) fn open_part(&self, id: &str, part: Option<&Scope>) -> Result<(Loaded, Guard)> {
        let store = self.store()?;
        let id = match part {
            Some(part) => {
                let query: IdQuery = self.id_holding(&store, id, part)?.parse()?;
                query.resolve(&store.ids()?)?.ok_or_else(|| no_such(&store, &query))?
            }
            None => self.resolve(&store, id)?,
        };
        let opened = self.open_snapshot(&store, id)?;
        Ok((narrowed(opened.loaded?, part)?, opened.guard))
    }

    fn present(&self, part: Option<&Scope>) -> Result<LogsAt> {
        let observer = &self.config().observer;
        let opened = |log: PresentLog| LogAt {
            dir: log.name.clone(),
            topic: log.topic.clone(),
            ground: Ground::Live(log),
            observer: observer.clone(),
        };
        let logs = present::look(self.fs(), self.source(), part)?.with_any_of(part)?.logs;
        Ok(LogsAt { name: "live".into(), logs: logs.into_iter().map(opened).collect(), _guard: None })
    }
}

impl LogsAt {
    /// The snapshot's id, or `live`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The logs.
    pub fn logs(&self) -> &[LogAt] {
        &self.logs
    }
}

impl LogAt {
    /// Its directory within the data directory; empty for a log that stands alone.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// The topic and the partition, where the directory's name tells.
    pub fn topic(&self) -> Option<(&str, i32)> {
        self.topic.as_ref().map(|(topic, partition)| (topic.as_str(), *partition))
    }

    /// Shows the records of these offsets one by one, with the header of their batch, until the visitor breaks off. Offsets below
    /// the log start, above the end, or that compaction removed are passed over; control records are shown. Every batch's CRC is
    /// checked. It takes memory for two times the largest batch, and once for its records where they are compressed.
    ///
    /// Of the source it reads up to the last batch that is whole. If its writer lets go of segments meanwhile, it goes on behind
    /// them, with a warning.
    ///
    /// # Errors
    ///
    /// `Integrity`, naming segment and offset, where a batch is damaged; what is in front of it was shown. `Filesystem`.
    /// `Interrupted`. The visitor's own.
    pub fn read<E: From<Error>>(
        &self,
        offsets: Range<i64>,
        show: impl FnMut(&BatchHeader, &RecordView<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        self.read_between(offsets, i64::MIN..i64::MAX, show)
    }

    /// As [`read`](Self::read), only those whose timestamp (milliseconds since 1970 UTC; -1 where there is none) lies between these times
    /// too. They need not ascend, so that all headers are read; batches whose largest is earlier are not decoded.
    ///
    /// # Errors
    ///
    /// As `read`.
    pub fn read_between<E: From<Error>>(
        &self,
        offsets: Range<i64>,
        times: Range<i64>,
        mut show: impl FnMut(&BatchHeader, &RecordView<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        let mut wanted = offsets.clone();
        // Each time it has got further, or less is there.
        for _ in 0..ATTEMPTS {
            let Some(reader) = self.reader()? else { return Ok(ControlFlow::Continue(())) };
            let first = reader.log_start();
            if wanted.start > offsets.start && first > wanted.start {
                let (dir, last) = (&self.dir, first - 1);
                self.observer.warn(&format!("the offsets {} to {last} of {dir} went while it was read", wanted.start));
            }
            wanted.start = wanted.start.max(first);
            match self.read_by(&reader, &mut wanted, &times, &mut show)? {
                Read::Vanished => {}
                Read::Done(flow) => return Ok(flow),
            }
        }
        let why = "its segments go faster than they are read".to_owned();
        Err(Error::from(ConcurrencyError::Busy { path: self.path(), why }).into())
    }

    fn read_by<E: From<Error>>(
        &self,
        reader: &CutReader,
        wanted: &mut Range<i64>,
        times: &Range<i64>,
        show: &mut impl FnMut(&BatchHeader, &RecordView<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<Read, E> {
        let offsets = wanted.clone();
        // The largest of all is a time, too.
        let is_within = |time| time >= times.start && (time < times.end || times.end == i64::MAX);
        for batch in reader.read_from(wanted.start) {
            self.observer.check()?;
            let batch = match batch {
                Err(e) if matches!(self.ground, Ground::Live(_)) && has_vanished(&e) => return Ok(Read::Vanished),
                batch => batch?,
            };
            let header = batch.header();
            if header.base_offset >= offsets.end {
                break;
            }
            if header.max_timestamp < times.start {
                wanted.start = header.next_offset();
                continue;
            }
            let shown = batch.visit(|record| {
                if !offsets.contains(&record.offset) || !is_within(record.timestamp) {
                    return ControlFlow::Continue(());
                }
                match show(header, &record) {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    other => ControlFlow::Break(other.map(drop)),
                }
            });
            match shown.map_err(|why| unreadable(reader, header, &why))? {
                ControlFlow::Continue(()) => wanted.start = header.next_offset(),
                ControlFlow::Break(result) => return result.map(|()| Read::Done(ControlFlow::Break(()))),
            }
        }
        Ok(Read::Done(ControlFlow::Continue(())))
    }

    fn path(&self) -> PathBuf {
        match &self.ground {
            Ground::Live(log) => log.path(),
            Ground::Snapshot { log, dir } => dir.path_of(&log.dir),
        }
    }

    fn reader(&self) -> Result<Option<CutReader>> {
        match &self.ground {
            Ground::Live(log) => log.reader(),
            Ground::Snapshot { log, dir } => {
                let dir = if log.dir.is_empty() { dir.clone() } else { dir.open_dir(&log.dir)? };
                Ok(Some(CutReader::new(dir, &log.segments, &log.cut)))
            }
        }
    }
}

/// A batch whose CRC holds and whose records make no sense.
pub(in crate::snapshot) fn unreadable(reader: &CutReader, header: &BatchHeader, why: &BatchError) -> Error {
    let what = format!("the batch at offset {} cannot be read: {why}", header.base_offset);
    IntegrityError::new(reader.segment_of(header.base_offset), what).into()
}
