//! What a restore is asked for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::adopt::AsTopicId;
use super::bound::Bound;
use super::span::Bounds;
use crate::error::{Result, ValidationError};
use crate::fs::Dir;
use crate::store::Scope;

/// Where to restore to, and how much.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    pub(in crate::snapshot) target: PathBuf,
    /// The directory that is to hold the target, where it has been opened already.
    pub(in crate::snapshot) within: Option<Dir>,
    pub(in crate::snapshot) bounds: Bounds,
    pub(in crate::snapshot) part: Option<Scope>,
    pub(in crate::snapshot) method: Detach,
    pub(in crate::snapshot) put: Put,
    pub(in crate::snapshot) topic_id: Option<AsTopicId>,
    /// Made to be written to and thrown away: in milliseconds, and nobody looks at what a broker would do to it.
    pub(in crate::snapshot) is_fork: bool,
    /// The snapshot's files are nobody else's and go away with it: they need not be copied.
    pub(in crate::snapshot) take: bool,
}

/// What becomes of what is there.
#[derive(Debug, Clone, Default)]
pub(in crate::snapshot) enum Put {
    /// Nothing may be there.
    #[default]
    New,
    /// It takes the source's place.
    Replace,
    /// Partitions take their places in a data directory.
    Into,
}

/// How restored bytes get there. There is no hard link among these: what is restored will be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detach {
    /// Reflink where the filesystem can, else copy.
    #[default]
    Auto,
    /// Reflink or fail.
    Reflink,
    /// Copy.
    Copy,
}

impl RestoreOptions {
    /// All of the snapshot, to a directory that must not exist yet, in one that does.
    pub fn to(target: impl Into<PathBuf>) -> Self {
        RestoreOptions {
            target: target.into(),
            within: None,
            bounds: Bounds::default(),
            part: None,
            method: Detach::Auto,
            put: Put::New,
            topic_id: None,
            is_fork: false,
            take: false,
        }
    }

    /// In place of the source, which is exchanged for it atomically and kept for [`SnapshotManager::undo`](crate::snapshot::SnapshotManager::undo). See there for
    /// what holds then.
    pub fn replace() -> Self {
        RestoreOptions { put: Put::Replace, ..RestoreOptions::to("") }
    }

    /// The partitions of a topic, or one of them, into a data directory: each takes the place of its directory there, or a
    /// place of its own. Together with [`only`](Self::only). See [`SnapshotManager::undo`](crate::snapshot::SnapshotManager::undo).
    pub fn into_data_dir(data_dir: impl Into<PathBuf>) -> Self {
        RestoreOptions { put: Put::Into, ..RestoreOptions::to(data_dir) }
    }

    /// The same, in a directory that is open: whatever becomes of its path meanwhile, the target is made there.
    ///
    /// # Errors
    ///
    /// `Validation` where `name` is no plain name.
    pub fn within(dir: &Dir, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        if Path::new(name).file_name() != Some(name) {
            return Err(ValidationError::refused(format!("{} is no name for a directory", name.display())).into());
        }
        Ok(RestoreOptions { within: Some(dir.clone()), ..RestoreOptions::to(dir.path_of(name)) })
    }

    /// Only the batches from the beginning on that lie below an offset or a time, up to the first that does not; those behind
    /// it are left out whatever their timestamps are. Batches stay as they are, indexes are rebuilt, and the log goes on where
    /// it then ends. [`Restored::cuts`](crate::snapshot::Restored::cuts) says where that is.
    ///
    /// A time cuts every log of a data directory by itself, but for those in which a broker keeps its own records
    /// (`__consumer_offsets`, `__transaction_state`, `__share_group_state`, `__cluster_metadata`), unless one of these topics is
    /// all that is restored. A log of which nothing remains becomes an empty one that goes on at its start; where nothing
    /// remains of any, restoring is refused. An offset is for one log.
    pub fn until(mut self, bound: Bound) -> Self {
        self.bounds.until = Some(bound);
        self
    }

    /// Without the batches from the beginning on that lie below an offset or a time, up to the first that does not: the log
    /// begins there. What `until` keeps is what this leaves out. A log of which nothing remains becomes an empty one that goes
    /// on at its end.
    pub fn since(mut self, bound: Bound) -> Self {
        self.bounds.since = Some(bound);
        self
    }

    /// The same as [`until`](Self::until) with an offset.
    pub fn until_offset(self, offset: i64) -> Self {
        self.until(Bound::Offset(offset))
    }

    /// Only a topic, or a partition, of a snapshot that holds more. A partition becomes a log directory, a topic a
    /// directory with its partitions and with the files that stand beside the logs.
    pub fn only(mut self, part: Scope) -> Self {
        self.part = Some(part);
        self
    }

    /// Of partitions that go into a broker's data directory: makes them those of another topic, as in another cluster. They
    /// get its id; what a broker would remember of their producers is left out, since that cluster gives the same producer ids
    /// to others, whose records would be taken for repeated ones. Offsets, records and leader epochs stay as they are.
    ///
    /// Without it a partition that goes to a directory of a topic with another id is refused.
    pub fn as_topic_id(mut self, id: AsTopicId) -> Self {
        self.topic_id = Some(id);
        self
    }

    pub(in crate::snapshot) fn forking(mut self) -> Self {
        self.is_fork = true;
        self
    }

    #[cfg(feature = "offsite")]
    pub(in crate::snapshot) fn taking(mut self) -> Self {
        self.take = true;
        self
    }

    /// How.
    pub fn method(mut self, method: Detach) -> Self {
        self.method = method;
        self
    }
}
