//! Which cluster a data directory belongs to, and which topic a partition.
//!
//! `partition.metadata`: `version: 0` and `topic_id: <URL-safe base64 of 16 bytes>`
//! (`storage: PartitionMetadataFile`). `meta.properties`: Java properties `version`, `cluster.id`, `node.id`,
//! `directory.id` (`metadata: MetaProperties`).

use std::str::FromStr;

use super::Malformed;

/// The identity of a topic, which outlives its name: a broker sets a partition with another one aside as stray.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicId(String);

impl TopicId {
    /// The id that these bytes are (`clients: Uuid.toString`: URL-safe base64 without padding).
    pub fn from_bytes(bytes: [u8; 16]) -> TopicId {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from_be_bytes(bytes);
        // 128 bits are 21 digits of six bits and two bits at the upper end of one more.
        let digit = |i: u32| {
            let bits = if i < 21 { number >> (122 - 6 * i) } else { number << 4 };
            DIGITS.get((bits & 0x3f) as usize).copied().unwrap_or_default()
        };
        TopicId((0..22).map(|i| char::from(digit(i))).collect())
    }

    /// As Kafka prints it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicId {
    type Err = Malformed;

    fn from_str(id: &str) -> Result<Self, Malformed> {
        // 16 bytes without padding.
        let base64 = id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if base64 { Ok(TopicId(id.to_owned())) } else { Err(format!("{id:?} is no topic id")) }
    }
}

/// A `partition.metadata`, as a broker writes it.
pub fn partition_metadata(id: &TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {}", id.as_str()).into_bytes()
}

/// Reads a `partition.metadata`.
///
/// # Errors
///
/// What is wrong with it. A broker does not start over such a file.
pub fn parse_partition_metadata(bytes: &[u8]) -> Result<TopicId, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let mut lines = text.lines();
    let mut field = |key: &str| {
        let line = lines.next().unwrap_or_default();
        let value = line.split_once(':').filter(|(name, _)| *name == key).map(|(_, value)| value.trim());
        value.ok_or_else(|| format!("{line:?} is not `{key}: …`"))
    };
    let version = field("version")?;
    if version != "0" {
        return Err(format!("version {version:?} is not known"));
    }
    let id = field("topic_id")?;
    let id: TopicId = id.parse()?;
    if let Some(more) = lines.find(|l| !l.is_empty()) {
        return Err(format!("{more:?} follows the topic id"));
    }
    Ok(id)
}

/// A `meta.properties`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster.
    pub cluster_id: Option<String>,
    /// The node within it.
    pub node_id: Option<i32>,
    /// This directory among the node's.
    pub directory_id: Option<String>,
}

/// Reads a `meta.properties`. Other properties are passed over.
///
/// # Errors
///
/// What is wrong with it. A broker does not start over such a file.
pub fn parse_meta_properties(bytes: &[u8]) -> Result<MetaProperties, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let mut meta = MetaProperties::default();
    let mut version = None;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', '!'])) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        match key.trim() {
            "version" => version = Some(value),
            "cluster.id" => meta.cluster_id = Some(value.to_owned()),
            "node.id" => meta.node_id = Some(value.parse().map_err(|_| format!("{value:?} is no node id"))?),
            "directory.id" => meta.directory_id = Some(value.to_owned()),
            _ => {}
        }
    }
    match version {
        Some("1") if meta.cluster_id.is_none() => Err("it has no cluster.id".to_owned()),
        Some("1") if meta.node_id.is_none() => Err("it has no node.id".to_owned()),
        Some("0" | "1") => Ok(meta),
        Some(other) => Err(format!("version {other:?} is not known")),
        None => Err("it has no version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_a_partition() {
        let read = parse_partition_metadata(b"version: 0\ntopic_id: 7OYAWBg_Q-STgm_GXLBazA").unwrap();
        assert_eq!(read.as_str(), "7OYAWBg_Q-STgm_GXLBazA");
        assert_eq!(parse_partition_metadata(b"version: 0\ntopic_id: 7OYAWBg_Q-STgm_GXLBazA\n").unwrap(), read);
        assert_eq!(parse_partition_metadata(&partition_metadata(&read)).unwrap(), read);
        for bad in [
            "",
            "version: 1\ntopic_id: 7OYAWBg_Q-STgm_GXLBazA",
            "version: 0",
            "version: 0\ntopic_id: 7OYAWBg_Q-STgm_GXLBaz",
            "version: 0\ntopic_id: 7OYAWBg/Q+STgm/GXLBazA",
            "topic_id: 7OYAWBg_Q-STgm_GXLBazA\nversion: 0",
            "version: 0\ntopic_id: 7OYAWBg_Q-STgm_GXLBazA\nmore",
        ] {
            assert!(parse_partition_metadata(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse_partition_metadata(b"\xff").is_err());
    }

    #[test]
    fn meta_properties() {
        let text =
            b"#\n#Mon Nov 23 14:23:28 UTC 2026\nnode.id=1\ndirectory.id=njv0\nversion=1\ncluster.id=N9Iv=\nx=y\n";
        let read = parse_meta_properties(text).unwrap();
        let expected =
            MetaProperties { cluster_id: Some("N9Iv=".into()), node_id: Some(1), directory_id: Some("njv0".into()) };
        assert_eq!(read, expected);
        for bad in [
            "",
            "version=2\ncluster.id=a\nnode.id=1",
            "version=1\nnode.id=1",
            "version=1\ncluster.id=a",
            "version=1\ncluster.id=a\nnode.id=one",
        ] {
            assert!(parse_meta_properties(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
