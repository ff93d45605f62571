//! The batches of a segment by their headers alone.

use std::ops::ControlFlow;

use super::header::BatchHeader;
use super::window::Headers;
use crate::error::{IntegrityError, Result};
use crate::fs::File;

/// Shows where each batch of a `.log` begins, and its header, until told to stop. What lies between is not read: the bytes
/// have been vouched for.
///
/// # Errors
///
/// `Integrity` where no batch begins before the end of the file.
pub(crate) fn walk(log: &File, mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<()>) -> Result<()> {
    let mut headers = Headers::new(log, 0, log.len()?);
    while let Some((position, header)) = headers.step()? {
        if visit(position, &header).is_break() {
            return Ok(());
        }
    }
    if headers.is_done() {
        return Ok(());
    }
    Err(IntegrityError::new(log.path(), format!("no batch begins at byte {}", headers.position())).into())
}
