//! Snapshots by topic and partition of a data directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Result, ValidationError};
use crate::fs::{Dir, Fs, OsFs};
use crate::kafka::datadir;
use crate::snapshot::{Created, RestoreOptions, Restored, SnapshotConfig, SnapshotInfo, SnapshotManager};
use crate::store::Scope;

/// The topics of a data directory, and their snapshots.
///
/// All of them are in one store beside the data directory, whoever writes the partitions: a topic that is deleted does not
/// take its snapshots along. `min_interval`, retention and `latest` count apart for everything, for each topic and for
/// each partition.
#[derive(Debug, Clone)]
pub struct TopicManager {
    data: SnapshotManager,
    fs: Arc<dyn Fs>,
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The numbers of its partitions in this directory, ascending. A broker has some of them, not all.
    pub partitions: Vec<i32>,
}

impl TopicManager {
    /// Of a directory of partitions, with the default settings.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(data_dir, SnapshotConfig::default())
    }

    /// With other settings.
    pub fn open_with(data_dir: impl AsRef<Path>, config: SnapshotConfig) -> Result<Self> {
        Self::open_on(Arc::new(OsFs), data_dir, config)
    }

    /// On another implementation of the operating system.
    ///
    /// # Errors
    ///
    /// `Validation` where the path names a log or has neither partitions nor a broker's files. One that is gone is none:
    /// its snapshots can be listed and restored.
    pub fn open_on(fs: Arc<dyn Fs>, data_dir: impl AsRef<Path>, config: SnapshotConfig) -> Result<Self> {
        let path = data_dir.as_ref();
        match Dir::open_on(fs.clone(), path) {
            Ok(dir) if datadir::is_log_dir(&dir)? || !datadir::is_data_dir(&dir)? => {
                return Err(ValidationError::Refused {
                    what: format!("{} is no directory of partitions", path.display()),
                    path: Some(path.to_owned()),
                    hint: Some("name the directory that holds `<topic>-<partition>` directories".into()),
                }
                .into());
            }
            Ok(_) => {}
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        Ok(TopicManager { data: SnapshotManager::open_on(fs.clone(), path, config)?, fs })
    }

    /// The topics that are there, by name; none where the data directory is gone.
    pub fn topics(&self) -> Result<Vec<Topic>> {
        let dir = match Dir::open_on(self.fs.clone(), self.data.source()) {
            Err(e) if e.is_not_found() => return Ok(Vec::new()),
            dir => dir?,
        };
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for found in datadir::inventory(&dir)?.partitions {
            topics.entry(found.topic).or_default().push(found.partition);
        }
        let topic = |(name, mut partitions): (String, Vec<i32>)| {
            partitions.sort_unstable();
            Topic { name, partitions }
        };
        Ok(topics.into_iter().map(topic).collect())
    }

    /// The snapshots of everything as one.
    pub fn everything(&self) -> &SnapshotManager {
        &self.data
    }

    /// The snapshots of all partitions of a topic as one.
    ///
    /// # Errors
    ///
    /// `Validation` for a name that no topic can have.
    pub fn topic(&self, topic: &str) -> Result<SnapshotManager> {
        self.data.part(Scope::Topic(topic.to_owned()))
    }

    /// The snapshots of one partition.
    ///
    /// # Errors
    ///
    /// As [`topic`](Self::topic).
    pub fn partition(&self, topic: &str, partition: i32) -> Result<SnapshotManager> {
        self.data.part(Scope::Partition { topic: topic.to_owned(), partition })
    }

    /// Takes a snapshot of one partition. See [`Create::run`](crate::snapshot::Create::run) for what holds then and for the
    /// errors.
    pub fn create_topic_snapshot(&self, topic: &str, partition: i32) -> Result<Created> {
        self.partition(topic, partition)?.create().run()
    }

    /// All snapshots that hold something of a topic, or of one partition of it, oldest first.
    pub fn snapshots_of(&self, topic: &str, partition: Option<i32>) -> Result<Vec<SnapshotInfo>> {
        self.data.holding(&scope(topic, partition))
    }

    /// Restores a topic, or one partition of it, from any snapshot that holds it; `latest` is the latest that holds all of
    /// it. See [`SnapshotManager::restore_part`].
    pub fn restore(&self, id: &str, topic: &str, partition: Option<i32>, options: RestoreOptions) -> Result<Restored> {
        self.data.restore_part(id, &scope(topic, partition), options)
    }
}

fn scope(topic: &str, partition: Option<i32>) -> Scope {
    let topic = topic.to_owned();
    match partition {
        Some(partition) => Scope::Partition { topic, partition },
        None => Scope::Topic(topic),
    }
}
