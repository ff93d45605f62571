//! A part of a file that was read ahead, and the batches' headers by way of one.

use super::header::{BatchError, BatchHeader};
use super::scan::Stop;
use crate::error::Result;
use crate::fs::{Buffer, File};

/// A part of a file that was read ahead.
#[derive(Debug)]
pub(super) struct Window {
    ahead: usize,
    bytes: Buffer,
    at: u64,
    filled: usize,
}

impl Window {
    /// One that reads at least so many bytes at a time.
    pub(super) fn new(ahead: usize) -> Window {
        Window { ahead, bytes: Buffer::default(), at: 0, filled: 0 }
    }

    /// Before another file is read through it.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// `len` bytes from `position`, fewer where the file ends.
    pub(super) fn at(&mut self, file: &File, position: u64, len: u64) -> Result<&[u8]> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let inside = position.checked_sub(self.at).and_then(|skip| usize::try_from(skip).ok());
        let skip = match inside.filter(|skip| skip.saturating_add(len) <= self.filled) {
            Some(skip) => skip,
            None => {
                let room = len.max(self.ahead);
                if self.bytes.len() < room {
                    self.bytes = Buffer::new(room);
                }
                self.filled = file.read_at(self.bytes.get_mut(..room).unwrap_or_default(), position)?;
                self.at = position;
                0
            }
        };
        Ok(self.bytes.get(skip..skip.saturating_add(len).min(self.filled)).unwrap_or_default())
    }
}

/// The headers of a segment's batches, one after the other; what lies between them is not read.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    log: &'a File,
    position: u64,
    end: u64,
    window: Window,
}

impl<'a> Headers<'a> {
    /// From `position`, where a batch begins or is said to, to `end`.
    pub(super) fn new(log: &'a File, position: u64, end: u64) -> Self {
        Headers { log, position, end, window: Window::new(4096) }
    }

    /// The next one and where it stands; `None` at the end, and where no batch begins that ends there or before.
    pub(super) fn step(&mut self) -> Result<Option<(u64, BatchHeader)>> {
        let (at, left) = (self.position, self.end.saturating_sub(self.position));
        if left < BatchHeader::SIZE as u64 {
            return Ok(None);
        }
        let head = self.window.at(self.log, at, BatchHeader::SIZE as u64)?;
        let Some(header) = BatchHeader::parse(head).ok().filter(|h| h.total_size() <= left) else { return Ok(None) };
        self.position += header.total_size();
        Ok(Some((at, header)))
    }

    /// Where the next one stands, or should.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Why they stop, where they do.
    pub(super) fn stop(&mut self) -> Result<Stop> {
        let left = self.end.saturating_sub(self.position);
        let head = self.window.at(self.log, self.position, left.min(BatchHeader::SIZE as u64))?;
        if head.is_empty() {
            return Ok(Stop::End);
        }
        if head.len() < BatchHeader::SIZE {
            let zeros = head.iter().all(|byte| *byte == 0);
            return Ok(if zeros { Stop::ZeroTail } else { Stop::Torn { have: left, need: BatchHeader::SIZE as u64 } });
        }
        Ok(match BatchHeader::parse(head) {
            Ok(header) => Stop::Torn { have: left, need: header.total_size() },
            Err(BatchError::Length(0)) => Stop::ZeroTail,
            Err(e) => Stop::BadHeader(e),
        })
    }

    /// Whether all up to the end were batches.
    pub(super) fn is_done(&self) -> bool {
        self.position == self.end
    }
}
