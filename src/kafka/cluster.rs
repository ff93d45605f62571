//! The topics of a cluster, from the records of `__cluster_metadata` in their order.

use std::collections::BTreeMap;

use super::Malformed;
use super::metadata::TopicId;
use super::metadata_record::{MetadataRecord, parse_metadata_record};
use crate::log::Batch;

/// A topic, as the cluster's metadata have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// The settings that differ from the broker's.
    pub config: BTreeMap<String, String>,
}

/// The topics that there are behind the records that were taken.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    known: BTreeMap<String, Topic>,
    /// As they were before a transaction that has not ended.
    before: Option<BTreeMap<String, Topic>>,
}

impl Topics {
    /// Takes the next batch of the log, or of a `.checkpoint`, which has the same form.
    ///
    /// # Errors
    ///
    /// What of it cannot be read. The records before that have been taken.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), Malformed> {
        if batch.header().is_control() {
            return Ok(());
        }
        for record in batch.records().map_err(|e| e.to_string())? {
            let read = parse_metadata_record(record.value.as_deref().unwrap_or_default());
            self.record(read.map_err(|why| format!("offset {}: {why}", record.offset))?);
        }
        Ok(())
    }

    /// Behind the last record: what a transaction that is still open did does not count.
    pub fn end_of_log(&mut self) {
        if let Some(before) = self.before.take() {
            self.known = before;
        }
    }

    /// The topic of this name.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.known.get(name)
    }

    /// Every topic, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.known.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    fn record(&mut self, record: MetadataRecord) {
        match record {
            MetadataRecord::Topic { name, id } => {
                let config = self.known.remove(&name).filter(|known| known.id == id).map(|known| known.config);
                self.known.insert(name, Topic { id, config: config.unwrap_or_default() });
            }
            MetadataRecord::RemoveTopic(id) => self.known.retain(|_, topic| topic.id != id),
            MetadataRecord::TopicConfig { topic, name, value } => {
                if let Some(topic) = self.known.get_mut(&topic) {
                    match value {
                        Some(value) => drop(topic.config.insert(name, value)),
                        None => drop(topic.config.remove(&name)),
                    }
                }
            }
            MetadataRecord::BeginTransaction => self.before = Some(self.known.clone()),
            MetadataRecord::EndTransaction => self.before = None,
            MetadataRecord::AbortTransaction => self.end_of_log(),
            MetadataRecord::Other => {}
        }
    }
}
