//! A broker that goes on writing: in which order its logs are to be copied, and how a truncation shows.

use super::checkpoints::LeaderEpochs;

/// Which logs of a data directory are taken before which. A snapshot is no one moment across logs, so what refers to other
/// logs is taken on the right side of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Committed offsets and the state of transactions: they must not speak of records that were not taken.
    Coordinators,
    /// Everything else.
    Data,
    /// The cluster's metadata: they must know every partition that was taken, or a broker sets it aside as stray
    /// (`core: LogManager.isStrayKraftReplica`).
    Metadata,
}

impl Turn {
    /// All of them, in their order.
    pub const ALL: [Turn; 3] = [Turn::Coordinators, Turn::Data, Turn::Metadata];

    /// That of a topic's partitions.
    pub fn of(topic: &str) -> Turn {
        match topic {
            "__consumer_offsets" | "__transaction_state" | "__share_group_state" => Turn::Coordinators,
            CLUSTER_METADATA => Turn::Metadata,
            _ => Turn::Data,
        }
    }
}

/// The log of the cluster's metadata.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Where the leader epoch of a log changes: the first offset that has it, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochChanges(Vec<(i64, i32)>);

impl EpochChanges {
    /// Takes the next batch.
    pub fn batch(&mut self, base_offset: i64, epoch: i32) {
        if self.0.last().is_none_or(|(_, last)| *last != epoch) {
            self.0.push((base_offset, epoch));
        }
    }

    /// Whether each batch has the epoch that the checkpoint gives its offset; offsets below the checkpoint's first entry are
    /// exempt, for a broker forgets epochs that end below the log start (`storage: LeaderEpochFileCache.truncateFromStart`).
    /// A log that was truncated and written anew while it was copied does not fit, though every CRC holds.
    pub fn fit(&self, checkpoint: &LeaderEpochs) -> Result<(), String> {
        for (offset, epoch) in self.0.iter().filter(|(_, epoch)| *epoch >= 0) {
            let at = checkpoint.entries.partition_point(|(_, start)| start <= offset);
            let known = at.checked_sub(1).and_then(|at| checkpoint.entries.get(at));
            if let Some((known, start)) = known
                && known != epoch
            {
                return Err(format!(
                    "the batch at offset {offset} has leader epoch {epoch}, the checkpoint says {known} from offset {start} on"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_first_and_metadata_last() {
        let mut topics = ["__cluster_metadata", "orders", "__consumer_offsets", "a", "__transaction_state"];
        topics.sort_by_key(|topic| Turn::of(topic));
        assert_eq!(topics, ["__consumer_offsets", "__transaction_state", "orders", "a", "__cluster_metadata"]);
    }

    #[test]
    fn epochs_that_fit() {
        let checkpoint = LeaderEpochs { entries: vec![(2, 100), (5, 300)] };
        let fit = |batches: &[(i64, i32)]| {
            let mut changes = EpochChanges::default();
            batches.iter().for_each(|(offset, epoch)| changes.batch(*offset, *epoch));
            changes.fit(&checkpoint).is_ok()
        };
        assert!(fit(&[]));
        assert!(fit(&[(0, 0), (50, 1), (100, 2), (200, 2), (300, 5), (900, 5)]), "what is below is exempt");
        assert!(fit(&[(100, -1)]), "a log without epochs");
        assert!(!fit(&[(100, 2), (299, 5)]));
        assert!(!fit(&[(100, 1)]));
        assert!(!fit(&[(100, 2), (300, 6)]));
        assert!(!fit(&[(300, 2)]));
    }
}
