//! Whether a log that was taken from under its writer is one moment of one history.

use super::capture::{Staged, path_in};
use super::log_capture::CapturedLog;
use crate::error::Result;
use crate::fs::{Identity, Method, Stat};
use crate::kafka::checkpoints::LeaderEpochs;
use crate::kafka::cut_txn_index;
use crate::kafka::datadir::{LEADER_EPOCHS, MAX_CHECKPOINT, PARTITION_METADATA};
use crate::log::{self, SegmentEntry, SegmentFile, parse_segment_name};
use crate::snapshot::source::SourceLog;

/// Why what was taken may be two histories in one.
pub(in crate::snapshot) enum Difference {
    /// The writer did more than to append, to roll, or to remove segments at the front.
    Moved(String),
    /// A batch of the active segment does not have the leader epoch that its offset should have.
    Epochs(String),
}

/// Compares the log as it is now with what was taken of it. Its leader epochs were `token` before it was listed.
pub(in crate::snapshot) fn difference(
    log: &SourceLog,
    token: Option<&[u8]>,
    taken: &CapturedLog,
) -> Result<Option<Difference>> {
    let moved = |why: String| Ok(Some(Difference::Moved(why)));
    let cut = &taken.manifest.cut;
    let mut first = None;
    // What retention has removed meanwhile lies before everything that is left.
    let mut is_at_front = |base: i64| -> Result<bool> {
        let first = match first {
            Some(first) => first,
            None => *first.insert(log::list_log(&log.dir)?.segments.first().map(SegmentEntry::base)),
        };
        Ok(first.is_none_or(|first| base < first))
    };
    for staged in &taken.staged {
        let path = &staged.manifest.path;
        let name = path.rsplit('/').next().unwrap_or(path);
        let now = log.dir.try_stat(name)?;
        let (must_stay, must_be_same) = match parse_segment_name(name) {
            Some((base, SegmentFile::Log)) if base == cut.active_base => {
                let was = staged.manifest.source.map(|was| (was.dev, was.ino));
                match now {
                    Some(now) if was != Some((now.dev, now.ino)) => return moved(format!("{name} was replaced")),
                    Some(now) if now.size < cut.active_bytes => return moved(format!("{name} was truncated")),
                    Some(_) => continue,
                    None if is_at_front(base)? => continue,
                    None => return moved(format!("{name} is gone")),
                }
            }
            // A broker removes these whenever it needs them no longer, and has no need of one that is missing.
            Some((_, SegmentFile::ProducerState)) => (false, true),
            Some((base, _)) if base >= cut.active_base => (false, false),
            Some((base, _)) => (!is_gone_with(now.as_ref(), || is_at_front(base))?, true),
            None if name == LEADER_EPOCHS => (false, false),
            None => (name == PARTITION_METADATA, true),
        };
        match now {
            None if must_stay => return moved(format!("{name} is gone")),
            Some(now) if must_be_same && !is_same(staged, &now) => return moved(format!("{name} was changed")),
            _ => {}
        }
    }
    if log.live {
        let name = SegmentFile::TxnIndex.name(cut.active_base);
        let entries = log.dir.try_read(&name, MAX_CHECKPOINT)?.unwrap_or_default();
        let is = blake3::hash(cut_txn_index(&entries, 0..cut.log_end_offset));
        let path = path_in(&taken.manifest.dir, &name);
        let staged = taken.staged.iter().find(|staged| staged.manifest.path == path);
        let was = staged.map_or(Some(blake3::hash(b"")), |staged| staged.digest);
        if was != Some(is) && !is_at_front(cut.active_base)? {
            return moved(format!("{name} was changed"));
        }
    }
    let epochs = log.token()?;
    if epochs.as_deref() != token {
        return moved("its leader epochs changed".into());
    }
    // One that cannot be read is the business of whoever restores it.
    let epochs = epochs.and_then(|bytes| LeaderEpochs::parse(&bytes).ok()).unwrap_or_default();
    Ok(taken.epochs.fit(&epochs).err().map(Difference::Epochs))
}

fn is_gone_with(now: Option<&Stat>, is_at_front: impl FnOnce() -> Result<bool>) -> Result<bool> {
    if now.is_some() { Ok(false) } else { is_at_front() }
}

/// The identity was taken after the file was shared. Our own links move the ctime of an inode.
fn is_same(staged: &Staged, now: &Stat) -> bool {
    let linked = staged.manifest.exposed || staged.manifest.method == Method::Hardlink;
    let now = Identity::from(now);
    staged.manifest.source.is_some_and(|was| if linked { was.same_but_ctime(&now) } else { was == now })
}
