//! The logs of a source as they are at the moment, for reading: nothing is locked, so that its writer is not held up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Fs};
use crate::kafka::{Profile, datadir};
use crate::log::{CutReader, SegmentEntry, list_live};
use crate::snapshot::create::marks::Marks;
use crate::snapshot::source::{no_such, partition_of_data_dir};
use crate::store::Scope;

/// A source that was looked through.
pub(in crate::snapshot) struct Present {
    pub(in crate::snapshot) dir: Dir,
    pub(in crate::snapshot) logs: Vec<PresentLog>,
    /// Of a data directory.
    pub(in crate::snapshot) root_files: Vec<String>,
}

/// One of its logs.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct PresentLog {
    /// Its directory's name in a data directory; empty for a log that stands alone.
    pub(in crate::snapshot) name: String,
    pub(in crate::snapshot) topic: Option<(String, i32)>,
    /// The source.
    home: Dir,
    alone: bool,
    pub(in crate::snapshot) profile: Profile,
    pub(in crate::snapshot) marks: Marks,
}

/// Looks through what `path` names, or a part of the data directory that it is, of which there may be nothing.
///
/// # Errors
///
/// `Validation`: there is no such source, or it is no log.
pub(in crate::snapshot) fn look(fs: &Arc<dyn Fs>, path: &Path, part: Option<&Scope>) -> Result<Present> {
    let dir = match Dir::open_on(fs.clone(), path) {
        Err(e) if e.is_not_found() => return Err(ValidationError::NoSuchSource { path: path.into() }.into()),
        other => other?,
    };
    if datadir::is_log_dir(&dir)? {
        if let Some(part) = part {
            let what = format!("{} is a log, so there is no {part} in it", path.display());
            let hint = Some("leave out `--topic`, or name the data directory".into());
            return Err(ValidationError::Refused { what, path: Some(path.into()), hint }.into());
        }
        let log = alone(&dir)?;
        return Ok(Present { dir, logs: vec![log], root_files: Vec::new() });
    }
    if !datadir::is_data_dir(&dir)? {
        let why = "it has neither segments nor partition directories".into();
        return Err(ValidationError::NotALog { path: path.into(), why }.into());
    }
    let checkpoints = datadir::RootCheckpoints::read(&dir)?;
    let inventory = datadir::inventory(&dir)?;
    let mut logs = Vec::new();
    for found in inventory.partitions {
        if part.is_some_and(|part| !part.has(&found.topic, found.partition)) {
            continue;
        }
        let opened = dir.open_dir(&found.name).and_then(|log| {
            let profile = datadir::profile_of(&log)?;
            Ok((profile, marks(&log, profile, (&checkpoints, &found.topic, found.partition))?))
        });
        match opened {
            // Its topic was deleted a moment ago.
            Err(e) if e.is_not_found() => {}
            opened => {
                let (profile, marks) = opened?;
                let topic = Some((found.topic, found.partition));
                logs.push(PresentLog { name: found.name, topic, home: dir.clone(), alone: false, profile, marks });
            }
        }
    }
    Ok(Present { dir, logs, root_files: inventory.root_files })
}

impl Present {
    /// `Validation` where nothing of the part is there.
    pub(in crate::snapshot) fn with_any_of(self, part: Option<&Scope>) -> Result<Present> {
        match part {
            Some(part) if self.logs.is_empty() => Err(no_such(&self.dir, part)),
            _ => Ok(self),
        }
    }
}

fn alone(dir: &Dir) -> Result<PresentLog> {
    let profile = datadir::profile_of(dir)?;
    let within = partition_of_data_dir(dir)?;
    // A native log that stands alone is no partition, whatever it is called.
    let within = within.filter(|_| profile == Profile::Kafka);
    let named = within.and_then(|(name, home)| Some((datadir::parse_partition_name(&name)?, home)));
    let (topic, marks) = match named {
        Some((of, home)) => {
            let checkpoints = datadir::RootCheckpoints::read(&home)?;
            let marks = marks(dir, profile, (&checkpoints, &of.topic, of.partition))?;
            (Some((of.topic, of.partition)), marks)
        }
        None if profile == Profile::Native => (None, Marks::of_native(dir)?),
        None => (None, Marks::default()),
    };
    Ok(PresentLog { name: String::new(), topic, home: dir.clone(), alone: true, profile, marks })
}

fn marks(
    log: &Dir,
    profile: Profile,
    (root, topic, partition): (&datadir::RootCheckpoints, &str, i32),
) -> Result<Marks> {
    match profile {
        Profile::Native => Marks::of_native(log),
        Profile::Kafka => Ok(Marks::of_kafka(root, topic, partition)),
    }
}

impl PresentLog {
    pub(in crate::snapshot) fn path(&self) -> PathBuf {
        if self.alone { self.home.path().to_owned() } else { self.home.path_of(&self.name) }
    }

    /// Its directory as it is now.
    pub(in crate::snapshot) fn open(&self) -> Result<Dir> {
        if self.alone { Ok(self.home.clone()) } else { self.home.open_dir(&self.name) }
    }

    /// A reader from its first segment on that is there now; `None` where there is none.
    pub(in crate::snapshot) fn reader(&self) -> Result<Option<CutReader>> {
        let dir = self.open()?;
        let bases: Vec<i64> = list_live(&dir, None)?.segments.iter().map(SegmentEntry::base).collect();
        let Some(first) = bases.first() else { return Ok(None) };
        let start = self.marks.log_start.map_or(*first, |start| start.max(*first));
        Ok(Some(CutReader::growing(dir, &bases, start)))
    }
}

/// Whether it is about a file that was there when its directory was listed.
pub(in crate::snapshot) fn has_vanished(e: &Error) -> bool {
    matches!(e, Error::Filesystem(_)) && e.is_not_found()
}
