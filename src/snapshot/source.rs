//! What is snapshotted: one log, or a data directory with all its logs.

use std::path::Path;

use super::create::marks::Marks;
use super::inside;
use crate::error::{ConcurrencyError, Error, Result, ValidationError};
use crate::fs::{Deadline, Dir, FileKind, Fs, Guard, LockMode, lock_file};
use crate::kafka::datadir::{Broker, MAX_CHECKPOINT, PartitionDir};
use crate::kafka::live::Turn;
use crate::kafka::{Profile, datadir};
use crate::log::{self, HeldCut, Listing};
use crate::observe::Observer;
use crate::store::{self, LeftOut, Scope, SourceKind};
use std::sync::Arc;

/// A source, open, with its native logs locked against truncation and retention.
pub(super) struct Source {
    pub(super) dir: Dir,
    pub(super) kind: SourceKind,
    pub(super) profile: Profile,
    pub(super) scope: Scope,
    pub(super) logs: Vec<SourceLog>,
    pub(super) root_files: Vec<String>,
    pub(super) left_out: Vec<LeftOut>,
    /// The broker that goes on writing to it.
    pub(super) broker: Option<Broker>,
    /// The data directory that a broker would lock: this one, or the one that this log is in.
    data_dir: Option<Dir>,
}

/// One log of a source.
pub(super) struct SourceLog {
    /// Its directory within a snapshot: empty for a log that stands alone.
    pub(super) prefix: String,
    pub(super) topic: Option<(String, i32)>,
    pub(super) dir: Dir,
    pub(super) profile: Profile,
    pub(super) marks: Marks,
    /// The cut that its writer named.
    pub(super) cut: Option<log::Cut>,
    /// Whether somebody writes to it who knows no lock of ours.
    pub(super) live: bool,
    /// The data directory that it is in.
    home: Option<Dir>,
    /// Shared `.segments.lock` of a native log, until its files have been shared.
    _guard: Option<Guard>,
}

/// What a log looked like before anything of it was shared.
pub(super) struct Look {
    pub(super) listing: Result<Listing>,
    /// The leader epochs, of a log that is being written to.
    pub(super) token: Option<Vec<u8>>,
}

impl Look {
    pub(super) fn files(&self) -> usize {
        self.listing.as_ref().map_or(0, Listing::files)
    }
}

impl Source {
    /// Opens what `path` names. Fails with `NoSuchSource`, `NotALog` or `Locked` (a truncation holds a native log for
    /// longer than the deadline). A log whose snapshots go to the store of its data
    /// directory is a partition there, whoever writes it. Of a data directory a part may be meant.
    pub(super) fn open(
        fs: &Arc<dyn Fs>,
        (path, part): (&Path, Option<&Scope>),
        profile: Option<Profile>,
        in_data_store: bool,
        held: Option<HeldCut>,
        deadline: &Deadline,
        observer: &Observer,
    ) -> Result<Source> {
        let dir = match Dir::open_on(fs.clone(), path) {
            Ok(dir) => dir,
            Err(e) if e.is_not_found() => return Err(ValidationError::NoSuchSource { path: path.into() }.into()),
            Err(Error::Filesystem(e)) if e.source.kind() == std::io::ErrorKind::NotADirectory => {
                let why = "it is not a directory".into();
                return Err(ValidationError::NotALog { path: path.into(), why }.into());
            }
            Err(e) => return Err(e),
        };
        inside::refuse_source(&dir)?;
        if let Some(part) = part {
            if !datadir::is_data_dir(&dir)? {
                let why = format!("it has no partition directories, so it holds no {part}");
                return Err(ValidationError::NotALog { path: path.into(), why }.into());
            }
            return match part {
                Scope::Partition { .. } => match dir.open_dir(part.to_string()) {
                    Ok(dir) => Source::single(dir, profile, true, held, deadline, observer),
                    Err(e) if e.is_not_found() => Err(no_such(&dir, part)),
                    Err(e) => Err(e),
                },
                Scope::Topic(_) | Scope::All => Source::data_dir(dir, part, profile, held, deadline, observer),
            };
        }
        if datadir::is_log_dir(&dir)? {
            Source::single(dir, profile, in_data_store, held, deadline, observer)
        } else if datadir::is_data_dir(&dir)? {
            Source::data_dir(dir, &Scope::All, profile, held, deadline, observer)
        } else {
            let why = "it has neither segments nor partition directories".into();
            Err(ValidationError::NotALog { path: path.into(), why }.into())
        }
    }

    fn single(
        dir: Dir,
        profile: Option<Profile>,
        in_data_store: bool,
        held: Option<HeldCut>,
        deadline: &Deadline,
        observer: &Observer,
    ) -> Result<Source> {
        let profile = match profile {
            Some(profile) => profile,
            None => datadir::profile_of(&dir)?,
        };
        let (mut scope, mut prefix, mut topic, mut marks) = (Scope::All, String::new(), None, Marks::default());
        let (mut data_dir, mut broker) = (None, None);
        if (profile == Profile::Kafka || in_data_store)
            && let Some((name, parent)) = partition_of_data_dir(&dir)?
            && let Some(found) = datadir::parse_partition_name(&name)
        {
            // Known before its marks are read: what they call safe is safe whenever the log is listed.
            broker = datadir::broker_on(&parent)?;
            let checkpoints = datadir::RootCheckpoints::read(&parent)?;
            for warning in checkpoints.warnings() {
                observer.warn(warning);
            }
            marks = Marks::of_kafka(&checkpoints, &found.topic, found.partition);
            scope = Scope::Partition { topic: found.topic.clone(), partition: found.partition };
            topic = Some((found.topic, found.partition));
            prefix = name;
            data_dir = Some(parent);
        }
        let home = data_dir.as_ref().map(|home| (home, broker));
        let log = SourceLog::open((prefix, topic), dir.clone(), home, profile, marks, held, deadline)?;
        Ok(Source {
            dir,
            kind: SourceKind::Log,
            profile,
            scope,
            logs: vec![log],
            root_files: Vec::new(),
            left_out: Vec::new(),
            broker,
            data_dir,
        })
    }

    fn data_dir(
        dir: Dir,
        part: &Scope,
        profile: Option<Profile>,
        held: Option<HeldCut>,
        deadline: &Deadline,
        observer: &Observer,
    ) -> Result<Source> {
        if held.is_some() {
            return Err(ValidationError::refused("a cut belongs to one log, not to a data directory").into());
        }
        let broker = datadir::broker_on(&dir)?;
        let mut inventory = datadir::inventory(&dir)?;
        inventory.partitions.retain(|found| part.has(&found.topic, found.partition));
        if broker.is_some() {
            inventory.leave_out_clean_shutdown();
        }
        if *part != Scope::All {
            if inventory.partitions.is_empty() {
                return Err(no_such(&dir, part));
            }
            let of_part =
                |name: &str| datadir::parse_partition_name(name).is_some_and(|p| part.has(&p.topic, p.partition));
            inventory.left_out.retain(|left| of_part(&left.path));
        }
        let checkpoints = datadir::RootCheckpoints::read(&dir)?;
        for warning in checkpoints.warnings() {
            observer.warn(warning);
        }
        let mut logs = Vec::with_capacity(inventory.partitions.len());
        for found in inventory.partitions {
            let marks = Marks::of_kafka(&checkpoints, &found.topic, found.partition);
            match open_partition((&dir, broker), found, profile, marks, deadline) {
                // Its topic was deleted a moment ago.
                Err(e) if broker.is_some() && e.is_not_found() => {}
                opened => logs.push(opened?),
            }
        }
        for left in inventory.left_out.iter().filter(|l| datadir::parse_partition_name(&l.path).is_some()) {
            observer.warn(&format!("{} in {} is left out: {}", left.path, dir.path().display(), left.why));
        }
        let (reserved, root_files): (Vec<String>, Vec<String>) =
            inventory.root_files.into_iter().partition(|name| store::RESERVED.contains(&name.as_str()));
        let mut left_out: Vec<LeftOut> =
            inventory.left_out.into_iter().map(|l| LeftOut { path: l.path, why: l.why }).collect();
        left_out.extend(reserved.into_iter().map(|path| LeftOut { path, why: store::RESERVED_WHY.into() }));
        let native = !logs.is_empty() && logs.iter().all(|l| l.profile == Profile::Native);
        Ok(Source {
            kind: SourceKind::Data,
            profile: if native { Profile::Native } else { Profile::Kafka },
            scope: part.clone(),
            logs,
            root_files,
            left_out,
            broker,
            data_dir: Some(dir.clone()),
            dir,
        })
    }

    /// The partitions that are there now and not known, open.
    pub(super) fn partitions_but(
        &self,
        known: impl Fn(&str) -> bool,
        deadline: &Deadline,
        observer: &Observer,
    ) -> Result<Vec<SourceLog>> {
        if self.kind != SourceKind::Data {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for partition in datadir::inventory(&self.dir)?.partitions {
            observer.check()?;
            if known(&partition.name) || !self.scope.has(&partition.topic, partition.partition) {
                continue;
            }
            // Nothing that its marks could call safe was there when the checkpoints were taken.
            let opened = open_partition((&self.dir, self.broker), partition, None, Marks::default(), deadline);
            match opened {
                Err(e) if e.is_not_found() => {}
                opened => found.push(opened?),
            }
        }
        Ok(found)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `Busy` where a broker has been started on it since it was opened.
    pub(super) fn still_at_rest(&self) -> Result<()> {
        match &self.data_dir {
            Some(data_dir) if self.broker.is_none() => refuse_running_broker(data_dir),
            _ => Ok(()),
        }
    }
}

impl SourceLog {
    fn open(
        (prefix, topic): (String, Option<(String, i32)>),
        dir: Dir,
        home: Option<(&Dir, Option<Broker>)>,
        profile: Profile,
        marks: Marks,
        held: Option<HeldCut>,
        deadline: &Deadline,
    ) -> Result<SourceLog> {
        let (cut, guard) = match held {
            Some(held) => {
                let (of, here) = (held.log().stat_self()?, dir.stat_self()?);
                if (of.dev, of.ino) != (here.dev, here.ino) {
                    let what =
                        format!("the cut is one of {}, not of {}", held.log().path().display(), dir.path().display());
                    return Err(ValidationError::refused(what).into());
                }
                let (cut, guard) = held.into_parts();
                (Some(cut), Some(guard))
            }
            None if profile == Profile::Native => {
                let what = "truncation, retention or a replacement of the log";
                (None, Some(lock_file(&dir, log::SEGMENTS_LOCK, LockMode::Shared, deadline, what)?))
            }
            None => (None, None),
        };
        let marks = match profile {
            // Read under the lock: a truncation moves both.
            Profile::Native => {
                // A replacement may have taken it away before it was locked.
                let (here, named) = (dir.stat_self()?, Dir::open_on(dir.fs().clone(), dir.path())?.stat_self()?);
                if (here.dev, here.ino) != (named.dev, named.ino) {
                    let why = "another log was put in its place a moment ago".into();
                    return Err(ConcurrencyError::Busy { path: dir.path().into(), why }.into());
                }
                Marks::of_native(&dir)?
            }
            Profile::Kafka => marks,
        };
        let live = profile == Profile::Kafka && home.is_some_and(|(_, broker)| broker.is_some());
        let home = home.map(|(dir, _)| dir.clone());
        Ok(SourceLog { prefix, topic, dir, profile, marks, cut, live, home, _guard: guard })
    }

    /// Its files as they are at `now` (milliseconds since 1970 UTC). Of a log that is being written to, a failure is for the
    /// caller to judge.
    pub(super) fn look(&self, now: i64) -> Result<Look> {
        if !self.live {
            let listing = match self.profile {
                Profile::Native => log::list_live(&self.dir, Some(now))?,
                // Nobody writes to it.
                Profile::Kafka => log::list_log(&self.dir)?,
            };
            return Ok(Look { listing: Ok(listing), token: None });
        }
        let token = self.token()?;
        Ok(Look { listing: log::list_live(&self.dir, Some(now)), token })
    }

    /// What tells of a truncation: the leader epochs, which a broker replaces by rename.
    pub(super) fn token(&self) -> Result<Option<Vec<u8>>> {
        self.dir.try_read(datadir::LEADER_EPOCHS, MAX_CHECKPOINT)
    }

    pub(super) fn turn(&self) -> Turn {
        self.topic.as_ref().map_or(Turn::Data, |(topic, _)| Turn::of(topic))
    }

    /// Whether its name in the data directory is another directory's by now, or nobody's.
    pub(super) fn is_gone(&self) -> Result<bool> {
        let Some(home) = &self.home else { return Ok(false) };
        let (there, here) = (home.try_stat(&self.prefix)?, self.dir.stat_self()?);
        Ok(there.is_none_or(|there| (there.dev, there.ino) != (here.dev, here.ino)))
    }
}

fn open_partition(
    (home, broker): (&Dir, Option<Broker>),
    found: PartitionDir,
    profile: Option<Profile>,
    marks: Marks,
    deadline: &Deadline,
) -> Result<SourceLog> {
    let dir = home.open_dir(&found.name)?;
    let profile = match profile {
        Some(profile) => profile,
        None => datadir::profile_of(&dir)?,
    };
    let name = (found.name, Some((found.topic, found.partition)));
    SourceLog::open(name, dir, Some((home, broker)), profile, marks, None, deadline)
}

pub(super) fn no_such(data_dir: &Dir, part: &Scope) -> Error {
    ValidationError::NoSuchSource { path: data_dir.path_of(part.to_string()) }.into()
}

/// The name of the directory and its parent, where that is a broker's data directory.
pub(super) fn partition_of_data_dir(dir: &Dir) -> Result<Option<(String, Dir)>> {
    let path = dir.fs().canonical(dir.path());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(None);
    };
    let (parent, name) = (dir.open_parent(parent)?, name.to_owned());
    let is_data = datadir::is_data_dir(&parent)? && parent.try_stat(&name)?.is_some_and(|s| s.kind == FileKind::Dir);
    Ok(is_data.then_some((name, parent)))
}

pub(super) fn refuse_running_broker(data_dir: &Dir) -> Result<()> {
    match datadir::broker_on(data_dir)? {
        None => Ok(()),
        Some(broker) => {
            let why = format!("a broker runs on it ({broker}); stop it first");
            Err(Error::from(ConcurrencyError::Busy { path: data_dir.path().into(), why }))
        }
    }
}
