//! What of a log's directory belongs to no segment, and whether it belongs into a snapshot.

use crate::error::{IntegrityError, Result, ValidationError};
use crate::fs::{Dir, Entry, FileKind};
use crate::kafka::{Profile, datadir};
use crate::log;
use crate::store;

/// What becomes of a file that is no segment's.
pub(in crate::snapshot) enum Side<'a> {
    Take(&'a str),
    /// Written anew from the cut, or a lock.
    Ours,
    Leave(String),
}

pub(in crate::snapshot) fn side_file<'a>(
    dir: &Dir,
    profile: Profile,
    prefix: &str,
    entry: &'a Entry,
) -> Result<Side<'a>> {
    let Some(name) = entry.name.to_str() else {
        let what = format!("{:?} in {} is not UTF-8, which a manifest cannot name", entry.name, dir.path().display());
        return Err(ValidationError::refused(what).into());
    };
    let ours = [log::CHECKPOINT, log::WRITER_LOCK, log::SEGMENTS_LOCK, store::IN_LOG];
    if profile == Profile::Native && (ours.contains(&name) || name.ends_with(".tmp")) {
        return Ok(Side::Ours);
    }
    if prefix.is_empty() && store::RESERVED.contains(&name) {
        return Ok(Side::Leave(store::RESERVED_WHY.into()));
    }
    if let Some(why) = datadir::left_out_in_partition(name) {
        return Ok(Side::Leave(why.to_string()));
    }
    Ok(match entry.kind {
        FileKind::File => Side::Take(name),
        FileKind::Dir => Side::Leave("a directory".into()),
        FileKind::Other if log::parse_segment_name(name).is_some() => {
            let what = "it is no regular file, so that its records would be missing in the snapshot";
            let hint = "put the file itself here, or a bind mount of its directory";
            return Err(
                IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(dir.path_of(name), what) }.into()
            );
        }
        FileKind::Other => Side::Leave("not a regular file".into()),
    })
}
