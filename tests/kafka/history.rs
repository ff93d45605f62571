//! What consumers saw of a broker while it was written to, against what they see of a restored one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::Node;
use super::load::{Mark, Offsets};

/// Hash of the key, if there is one, and of the whole record.
type Record = (Option<u64>, u64);
type Records = BTreeMap<i64, Record>;

/// The records of each partition, as consumers saw them.
#[derive(Default)]
pub struct History {
    uncommitted: HashMap<String, Records>,
    committed: HashMap<String, Records>,
}

/// A broker's offsets by partition.
#[derive(Debug, Deserialize)]
struct Extent {
    starts: Offsets,
    ends: Offsets,
    /// The last stable offsets.
    stable: Offsets,
    /// The starts after all was read: retention may have gone on meanwhile.
    left: Offsets,
}

impl Extent {
    /// Where a partition began after all was read. Only retention by size may have moved that, and it leaves 200,000 bytes: of
    /// records of 200 bytes, with all that is around them, 600 and more.
    fn left(&self, partition: &str) -> i64 {
        let (left, end) = (self.left[partition], self.ends[partition]);
        let by_retention = partition.starts_with("short-") && end - left >= 600;
        assert!(left == self.starts[partition] || by_retention, "{partition} was cut at its front: {self:?}");
        left
    }
}

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Compared {
    pub records: u64,
    pub committed: u64,
    /// Records that compaction or retention had removed.
    pub removed: u64,
    pub groups: u64,
    /// Records that the history lacks.
    pub unseen: u64,
}

impl std::ops::AddAssign for Compared {
    fn add_assign(&mut self, other: Compared) {
        self.records += other.records;
        self.committed += other.committed;
        self.removed += other.removed;
        self.groups += other.groups;
        self.unseen += other.unseen;
    }
}

impl History {
    pub fn read(file: &Path) -> History {
        let mut history = History::default();
        for line in BufReader::new(File::open(file).unwrap()).lines() {
            let line = line.unwrap();
            let [mark, topic, partition, offset, key, hash] =
                line.split(' ').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line:?}"));
            let by = if mark == "c" { &mut history.committed } else { &mut history.uncommitted };
            let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
            let record = ((key != "-").then(|| hex(key)), hex(hash));
            by.entry(format!("{topic}-{partition}")).or_default().insert(offset.parse().unwrap(), record);
        }
        history
    }

    /// Holds what a broker over a restored directory serves against this history: the snapshot was taken between two
    /// marks. Panics with whatever is lost or changed.
    pub fn judge(&self, restored: &Node, before: &Mark, after: &Mark, at: &Path) -> Compared {
        let (extent, served) = served(restored, at);
        let mut compared = Compared::default();
        let nothing = Records::new();
        for (partition, &end) in &extent.ends {
            let start = extent.starts[partition];
            let acked = before.acked.get(partition).copied().unwrap_or(0);
            assert!(end >= acked, "{partition} ends at {end}, but {acked} records were acknowledged before");
            let begins = after.starts[partition];
            assert!(start <= begins, "{partition} begins at {start}, though retention had only come to {begins}");

            let was = self.uncommitted.get(partition).unwrap_or(&nothing);
            let is = served.uncommitted.get(partition).unwrap_or(&nothing);
            for (offset, record) in is {
                match was.get(offset) {
                    // Compaction and retention may come before a consumer that is late.
                    None if goes(partition) => compared.unseen += 1,
                    was => assert_eq!(Some(record), was, "{partition}: the record at {offset} was changed"),
                }
            }
            let left = extent.left(partition);
            let mut last_of_key = HashMap::new();
            let below_end = was.range(left..end.max(left));
            for (offset, (key, _)) in below_end.clone() {
                last_of_key.insert(key, *offset);
            }
            for (offset, (key, _)) in below_end {
                if !is.contains_key(offset) {
                    let compacted = partition.starts_with("latest-");
                    let superseded = compacted && last_of_key[key] > *offset;
                    assert!(superseded, "{partition}: the record at {offset} of {left} to {end} is lost");
                    compared.removed += 1;
                }
            }
            compared.records += is.len() as u64;

            // A transaction that was open at the cut ends otherwise than it did; below the last stable offset there is none.
            let stable = extent.stable[partition];
            let was = self.committed.get(partition).unwrap_or(&nothing);
            let is = served.committed.get(partition).unwrap_or(&nothing);
            for (offset, record) in is {
                match was.get(offset) {
                    None if goes(partition) => {}
                    was => assert_eq!(Some(record), was, "{partition}: read committed, the record at {offset}"),
                }
            }
            if !partition.starts_with("latest-") {
                for (offset, _) in was.range(left..stable.max(left)) {
                    assert!(is.contains_key(offset), "{partition}: read committed, the record at {offset} is lost");
                }
            }
            compared.committed += is.len() as u64;
        }
        assert!(compared.unseen * 10 <= compared.records, "the history lacks too much: {compared:?}");
        compared.groups += judge_groups(restored, before, after, &extent);
        compared
    }

    /// Whether a broker that compacts nothing serves each record below these offsets, as it was.
    pub fn judge_below(&self, limits: &Offsets, broker: &Node, at: &Path) -> u64 {
        let (extent, served) = served(broker, at);
        let mut records = 0;
        for (partition, was) in &self.uncommitted {
            let is = &served.uncommitted[partition];
            let left = extent.left(partition);
            let end = extent.ends[partition];
            assert!(end >= limits[partition], "{partition} ends at {end}, below {}", limits[partition]);
            for (offset, record) in was.range(left..limits[partition].max(left)) {
                let found = is.get(offset);
                let found =
                    found.unwrap_or_else(|| panic!("{partition}: the record at {offset} is lost, of {extent:?}"));
                assert_eq!(found, record, "{partition}: the record at {offset} was changed");
                records += 1;
            }
        }
        records
    }
}

/// All that a broker serves, written to `at` on the way.
fn served(broker: &Node, at: &Path) -> (Extent, History) {
    let lines = broker.client(&["records", at.to_str().unwrap()]);
    (serde_json::from_value(lines[0].clone()).unwrap(), History::read(at))
}

/// Whether records go from a partition, by compaction or retention.
fn goes(partition: &str) -> bool {
    partition.starts_with("latest-") || partition.starts_with("short-")
}

fn judge_groups(restored: &Node, before: &Mark, after: &Mark, extent: &Extent) -> u64 {
    let mut found = Offsets::new();
    for line in restored.client(&["groups"]) {
        if line["group"] == "readers" {
            let partition = format!("{}-{}", line["topic"].as_str().unwrap(), line["partition"]);
            found.insert(partition, line["offset"].as_i64().unwrap());
        }
    }
    for (partition, &committed) in &before.commits {
        let has = found.get(partition).copied();
        let has = has.unwrap_or_else(|| panic!("the offset that was committed for {partition} is lost"));
        let latest = after.commits[partition];
        assert!((committed..=latest).contains(&has), "{partition}: {has} is committed, not {committed} to {latest}");
        assert!(has <= extent.ends[partition], "{partition}: {has} is committed, beyond its end");
    }
    found.len() as u64
}
