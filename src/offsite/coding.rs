//! From the bytes of a file to those of a blob, and back: zstd, then age.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

use super::blobs::Form;
use super::body::Body;
use super::keys::{Identities, Recipients};
use crate::error::{Error, Result, ValidationError};

const LEVEL: i32 = 1;
/// What a reader has to remember at most, as a power of two: far beyond what level 1 makes.
const WINDOW: u32 = 23;

/// Whether a file is worth compressing, by its beginning: it has to shrink by a twentieth.
pub(super) fn shrinks(beginning: &[u8]) -> bool {
    let Ok(packed) = zstd::bulk::compress(beginning, LEVEL) else { return false };
    packed.len() < beginning.len() - beginning.len() / 20
}

/// Runs what `feed` writes through the steps of a form, into `out`.
pub(super) fn encode<W: Write>(
    compressed: bool,
    recipients: Option<&Recipients>,
    size: u64,
    out: W,
    feed: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<W> {
    match recipients {
        None => compress(compressed, size, out, feed),
        Some(recipients) => {
            let sealed = compress(compressed, size, recipients.wrap(out).map_err(carried)?, feed)?;
            sealed.finish().map_err(carried)
        }
    }
}

fn compress<W: Write>(
    compressed: bool,
    size: u64,
    mut out: W,
    feed: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<W> {
    if !compressed {
        feed(&mut out)?;
        return Ok(out);
    }
    let mut packer = zstd::stream::write::Encoder::new(out, LEVEL).map_err(carried)?;
    packer.set_pledged_src_size(Some(size)).map_err(carried)?;
    feed(&mut packer)?;
    packer.finish().map_err(carried)
}

/// The bytes of the file, from those of its blob.
pub(super) fn decode<'a>(
    form: Form,
    identities: Option<&Identities>,
    input: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    let opened: Box<dyn Read + 'a> = match (form.encrypted, identities) {
        (false, _) => Box::new(input),
        (true, Some(identities)) => Box::new(identities.unwrap(io::BufReader::with_capacity(1 << 16, input))?),
        (true, None) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is encrypted, this place is not")),
    };
    if !form.compressed {
        return Ok(opened);
    }
    let mut unpacker = zstd::stream::read::Decoder::new(opened)?;
    unpacker.window_log_max(WINDOW)?;
    Ok(Box::new(unpacker))
}

/// An error of ours on its way through somebody else's writer or reader.
pub(super) fn carry(e: Error) -> io::Error {
    io::Error::other(e)
}

/// The error that was carried; others are of the coding itself.
pub(super) fn carried(e: io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(e) => e,
        Err(e) => ValidationError::refused(format!("it cannot be encoded: {e}")).into(),
    }
}

/// A body as something to read from.
pub(super) struct BodyReader<'a> {
    body: &'a mut Body,
    rest: Bytes,
    arrived: &'a (dyn Fn(usize) -> Result<()> + 'a),
}

impl<'a> BodyReader<'a> {
    /// `arrived` is told of every piece.
    pub(super) fn new(body: &'a mut Body, arrived: &'a (dyn Fn(usize) -> Result<()> + 'a)) -> Self {
        BodyReader { body, rest: Bytes::new(), arrived }
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.body.next().map_err(carry)? {
                Some(more) => {
                    (self.arrived)(more.len()).map_err(carry)?;
                    self.rest = more;
                }
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(buf.len());
        let (Some(to), Some(from)) = (buf.get_mut(..n), self.rest.get(..n)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.rest.advance(n);
        Ok(n)
    }
}
