//! The bytes of an object, however often the connection breaks.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::{GetOptions, GetRange, UpdateVersion};

use super::bucket::Bucket;
use super::trouble::is_final;
use crate::error::{Error, Result};

pub(super) type Stream = BoxStream<'static, object_store::Result<Bytes>>;

/// The bytes of an object as they come. Where a connection breaks it goes on from there, for as long as requests are tried
/// again without that a byte comes.
pub(super) struct Body {
    bucket: Bucket,
    key: String,
    stream: Stream,
    pub(super) size: u64,
    /// How many have come.
    at: u64,
    /// Of which these are the bytes.
    pub(super) version: UpdateVersion,
    /// Since when none has come.
    stuck: Option<Instant>,
}

impl Body {
    /// Begins to read an object.
    pub(super) fn open(bucket: &Bucket, key: &str) -> Result<Body> {
        let (meta, stream) = bucket.begin(key, GetOptions::new())?;
        let (size, version) = (meta.size, UpdateVersion { e_tag: meta.e_tag, version: meta.version });
        Ok(Body { bucket: bucket.clone(), key: key.to_owned(), stream, size, at: 0, version, stuck: None })
    }

    /// What comes next; nothing only once all of it has come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>> {
        const PAUSE: Duration = Duration::from_millis(200);
        loop {
            let broken = match self.bucket.wait("read", &self.key, self.stream.next().map(Option::transpose)) {
                Ok(Some(bytes)) => {
                    (self.at, self.stuck) = (self.at + bytes.len() as u64, None);
                    return Ok(Some(bytes));
                }
                Ok(None) if self.at >= self.size => return Ok(None),
                Ok(None) => {
                    let address = self.bucket.address(&self.key);
                    Error::elsewhere("read all of", address, io::ErrorKind::UnexpectedEof.into())
                }
                Err(e) => e,
            };
            let may_pass = matches!(&broken, Error::Filesystem(e) if e.is_elsewhere() && !is_final(&e.source));
            if !may_pass || self.stuck.get_or_insert_with(Instant::now).elapsed() >= self.bucket.retry {
                return Err(broken);
            }
            self.bucket.pause(PAUSE)?;
            // The rest of these bytes, not of others that somebody put there meanwhile.
            let rest =
                GetOptions::new().with_range(Some(GetRange::Offset(self.at))).with_if_match(self.version.e_tag.clone());
            self.stream = self.bucket.begin(&self.key, rest)?.1;
        }
    }
}
