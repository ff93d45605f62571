//! The records of `__cluster_metadata` that tell which topics there are.
//!
//! A value is framed (`server-common: AbstractApiMessageSerde`): frame version, type, version, each an unsigned varint; then
//! the message, flexible (`metadata: TopicRecord.json`, `RemoveTopicRecord.json`, `ConfigRecord.json`,
//! `BeginTransactionRecord.json` and its two ends).

use super::Malformed;
use super::fields::Fields;
use super::metadata::TopicId;

/// One record, as far as it is about topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A topic was made.
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// A topic was deleted, with its settings.
    RemoveTopic(TopicId),
    /// A setting of a topic, or its removal.
    TopicConfig {
        /// The topic.
        topic: String,
        /// The setting.
        name: String,
        /// `None` removes it.
        value: Option<String>,
    },
    /// What follows counts once the transaction ends (KIP-868).
    BeginTransaction,
    /// It counts.
    EndTransaction,
    /// It does not.
    AbortTransaction,
    /// About something else.
    Other,
}

/// Reads the value of a record.
///
/// # Errors
///
/// A frame or a version that is not known, or a message that is short.
pub fn parse_metadata_record(bytes: &[u8]) -> Result<MetadataRecord, Malformed> {
    const TOPIC: i8 = 2;
    let mut f = Fields::new(bytes);
    let short = || "a record of the cluster's metadata is short or no text".to_owned();
    let (frame, kind, version) = (|| Some((f.uvarint()?, f.uvarint()?, f.uvarint()?)))().ok_or_else(short)?;
    if frame > 1 {
        return Err(format!("frame version {frame} of the cluster's metadata is not known"));
    }
    if matches!(kind, 2 | 4 | 9 | 23..=25) && version != 0 {
        return Err(format!("version {version} of the cluster's metadata record {kind} is not known"));
    }
    let mut read = || {
        Some(match kind {
            2 => MetadataRecord::Topic { name: f.compact_string()??, id: TopicId::from_bytes(f.array()?) },
            4 => match f.i8()? {
                TOPIC => MetadataRecord::TopicConfig {
                    topic: f.compact_string()??,
                    name: f.compact_string()??,
                    value: f.compact_string()?,
                },
                _ => MetadataRecord::Other,
            },
            9 => MetadataRecord::RemoveTopic(TopicId::from_bytes(f.array()?)),
            23 => MetadataRecord::BeginTransaction,
            24 => MetadataRecord::EndTransaction,
            25 => MetadataRecord::AbortTransaction,
            _ => MetadataRecord::Other,
        })
    };
    read().ok_or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_about_topics() {
        let id = TopicId::from_bytes([0xff; 16]);
        assert_eq!(id.as_str(), "_____________________w");
        let made = [b"\x01\x02\0\x03ab".as_slice(), &[0xff; 16], b"\0"].concat();
        assert_eq!(parse_metadata_record(&made), Ok(MetadataRecord::Topic { name: "ab".into(), id: id.clone() }));
        let gone = [b"\x01\x09\0".as_slice(), &[0xff; 16], b"\0"].concat();
        assert_eq!(parse_metadata_record(&gone), Ok(MetadataRecord::RemoveTopic(id)));
        let set = |value: Option<&str>| MetadataRecord::TopicConfig {
            topic: "ab".into(),
            name: "x".into(),
            value: value.map(str::to_owned),
        };
        assert_eq!(parse_metadata_record(b"\x01\x04\0\x02\x03ab\x02x\x02y\0"), Ok(set(Some("y"))));
        assert_eq!(parse_metadata_record(b"\x01\x04\0\x02\x03ab\x02x\0\0"), Ok(set(None)));
        assert_eq!(parse_metadata_record(b"\x01\x04\0\x04\x021\x02x\x02y\0"), Ok(MetadataRecord::Other), "a broker's");
        assert_eq!(parse_metadata_record(b"\x01\x1b\x03"), Ok(MetadataRecord::Other));
        for end in 0..made.len() - 1 {
            assert!(parse_metadata_record(&made[..end]).is_err(), "{end} bytes");
        }
        assert!(parse_metadata_record(b"\x02\x02\0").is_err());
        assert!(parse_metadata_record(b"\x01\x02\x01\x03ab").is_err());
        assert!(parse_metadata_record(b"\xff\xff\xff\xff\xff\xff").is_err());
    }
}
