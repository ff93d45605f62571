//! What is left where the files of a log were removed.

use crate::error::Result;
use crate::fs::{Dir, Entry, FileKind};
use crate::kafka::datadir::is_log_dir;
use crate::log::{SEGMENTS_LOCK, WRITER_LOCK, parse_segment_name};
use crate::store::IN_LOG;

/// Whether it is no log any more, and nothing is there that would make it anything but the place of one: locks, the log's own
/// store, files of segments without their bytes.
pub(in crate::snapshot) fn of_a_log(dir: &Dir) -> Result<bool> {
    let of_log = |entry: &Entry| match entry.name.to_str() {
        Some(IN_LOG) => entry.kind == FileKind::Dir,
        Some(WRITER_LOCK | SEGMENTS_LOCK) => true,
        Some(name) => entry.kind == FileKind::File && parse_segment_name(name).is_some(),
        None => false,
    };
    Ok(!is_log_dir(dir)? && dir.list()?.iter().all(of_log))
}
