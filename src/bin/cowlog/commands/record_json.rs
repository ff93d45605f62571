//! A record as a JSON object.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use cowlog::log::{BatchHeader, RecordView};
use serde::{Serialize, Serializer};

use super::record_text::{marker, time};

/// One record. Bytes that are UTF-8 are text, others stand under a name with `_base64`.
#[derive(Serialize)]
pub struct RecordJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    timestamp_ms: i64,
    timestamp_type: &'static str,
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderJson<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    transactional: bool,
    #[serde(skip_serializing_if = "is_false")]
    control: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer_id: Option<i64>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Bytes::is_binary")]
    key: Bytes<'a>,
    #[serde(skip_serializing_if = "Bytes::is_text")]
    key_base64: Bytes<'a>,
    #[serde(skip_serializing_if = "Bytes::is_binary")]
    value: Bytes<'a>,
    #[serde(skip_serializing_if = "Bytes::is_text")]
    value_base64: Bytes<'a>,
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Bytes::is_binary")]
    value: Bytes<'a>,
    #[serde(skip_serializing_if = "Bytes::is_text")]
    value_base64: Bytes<'a>,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    None,
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> From<Option<&'a [u8]>> for Bytes<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        match bytes {
            None => Bytes::None,
            Some(bytes) => std::str::from_utf8(bytes).map_or(Bytes::Binary(bytes), Bytes::Text),
        }
    }
}

impl Bytes<'_> {
    fn is_binary(&self) -> bool {
        matches!(self, Bytes::Binary(_))
    }

    fn is_text(&self) -> bool {
        !self.is_binary()
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Bytes::None => serializer.serialize_none(),
            Bytes::Text(text) => serializer.serialize_str(text),
            Bytes::Binary(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

impl<'a> RecordJson<'a> {
    pub fn new(topic: Option<(&'a str, i32)>, header: &BatchHeader, record: &RecordView<'a>) -> Self {
        let (key, value) = (Bytes::from(record.key), Bytes::from(record.value));
        let headers = record.headers().map(|(key, value)| {
            let value = Bytes::from(value);
            HeaderJson { key, value, value_base64: value }
        });
        RecordJson {
            topic: topic.map(|(topic, _)| topic),
            partition: topic.map(|(_, partition)| partition),
            offset: record.offset,
            timestamp: time(record.timestamp),
            timestamp_ms: record.timestamp,
            timestamp_type: if header.is_log_append_time() { "append" } else { "create" },
            content: Content { key, key_base64: key, value, value_base64: value },
            headers: headers.collect(),
            transactional: header.is_transactional(),
            control: header.is_control(),
            marker: header.is_control().then(|| marker(record.key)),
            producer_id: (header.producer_id >= 0).then_some(header.producer_id),
        }
    }
}

fn is_false(b: &bool) -> bool {
    !*b
}
