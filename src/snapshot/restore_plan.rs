//! What a restore puts where: every file as it is, or the log cut at an offset.

use std::borrow::Cow;

use crate::error::{Result, ValidationError};
use crate::fs::{Dir, Open};
use crate::kafka::{Profile, boot, checkpoints::LeaderEpochs, cut_txn_index};
use crate::log::{self, CHECKPOINT, Checkpoint, INDEX_INTERVAL, IndexBuilder, SegmentFile, parse_segment_name};
use crate::store::{FileManifest, Loaded, SourceKind};

/// One file of the target.
pub(super) struct Planned<'a> {
    pub(super) file: &'a FileManifest,
    /// Relative to the target.
    pub(super) to: Cow<'a, str>,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// All of the snapshot's file.
    Whole,
    /// Its first bytes.
    First(u64),
    /// Other bytes instead.
    Bytes(Vec<u8>),
}

/// Larger than any index or checkpoint.
const MAX_SMALL: u64 = 1 << 31;

/// Every file of the snapshot. A snapshot of one log restores to a log directory, whatever directory of the
/// snapshot it lies in.
pub(super) fn whole(loaded: &Loaded) -> Vec<Planned<'_>> {
    let strip = stripped(loaded);
    let files = loaded.manifest.files.iter();
    let content = |file: &FileManifest| log_starts(loaded, file).map_or(Content::Whole, Content::Bytes);
    files.map(|file| Planned { file, to: target_path(file, strip).into(), content: content(file) }).collect()
}

/// A broker's log starts, where one lies beyond the end of its log: the broker would delete that log. Bytes that do
/// not have their digest are left to whoever copies the file, and says so.
fn log_starts(loaded: &Loaded, file: &FileManifest) -> Option<Vec<u8>> {
    if file.path != boot::LOG_START_FILE {
        return None;
    }
    let bytes = loaded.dir.read(&file.path, MAX_SMALL).ok()?;
    if loaded.digests.get(&file.path) != Some(blake3::hash(&bytes)) {
        return None;
    }
    boot::cap_log_starts(&bytes, |topic, partition| {
        let mut logs = loaded.manifest.logs.iter();
        let log = logs.find(|l| l.topic.as_deref() == Some(topic) && l.partition == Some(partition))?;
        Some(log.cut.log_end_offset)
    })
}

/// What a partition that is restored alone cannot say of itself: that records at its beginning were deleted. A broker
/// keeps the log start beside its partitions.
pub(super) fn hidden_start(loaded: &Loaded, planned: &[Planned<'_>]) -> Option<String> {
    let source = &loaded.manifest.source;
    let [one] = loaded.manifest.logs.as_slice() else { return None };
    let (Some(topic), Some(partition)) = (&one.topic, one.partition) else { return None };
    let start = one.cut.log_start_offset;
    let base_of = |planned: &Planned<'_>| match parse_segment_name(&planned.to) {
        Some((base, SegmentFile::Log)) => Some(base),
        _ => None,
    };
    let first = planned.iter().filter_map(base_of).min()?;
    (source.kind == SourceKind::Log && source.profile == Profile::Kafka && first < start).then(|| {
        format!(
            "the log starts at offset {start}, but its first segment at {first}: a broker serves the records between \
             them again unless `{topic} {partition} {start}` stands in the {} of its data directory",
            boot::LOG_START_FILE
        )
    })
}

/// The directory of the snapshot that becomes the target itself.
pub(super) fn stripped(loaded: &Loaded) -> &str {
    match (loaded.manifest.source.kind, loaded.manifest.logs.as_slice()) {
        (SourceKind::Log, [one]) => &one.dir,
        _ => "",
    }
}

fn target_path<'a>(file: &'a FileManifest, strip: &str) -> &'a str {
    file.path
        .strip_prefix(strip)
        .and_then(|p| if strip.is_empty() { Some(p) } else { p.strip_prefix('/') })
        .unwrap_or(&file.path)
}

/// The log up to the last batch that ends below `until`; also where it then ends.
///
/// Batches stay as they are, the cut falls between two of them. Indexes of the segment that is cut are rebuilt. Where
/// nothing at or above the log start remains, it is an empty log that goes on there: what lies below was deleted.
pub(super) fn until<'a>(loaded: &'a Loaded, dir: &Dir, until: i64) -> Result<(Vec<Planned<'a>>, i64)> {
    let [one] = loaded.manifest.logs.as_slice() else {
        return Err(ValidationError::refused("only a snapshot of one log can be cut at an offset").into());
    };
    let cut = &one.cut;
    if until < cut.log_start_offset {
        let what = format!("the log starts at offset {}, it cannot be cut at {until}", cut.log_start_offset);
        return Err(ValidationError::refused(what).into());
    }
    if until >= cut.log_end_offset {
        return Ok((whole(loaded), cut.log_end_offset));
    }
    // An empty log keeps its first segment, so that it goes on at the right offset.
    let Some(first) = one.segments.first().copied() else { return Ok((whole(loaded), cut.log_end_offset)) };
    let mut last = one.segments.iter().rfind(|base| **base < until).copied().unwrap_or(first);
    let source = dir.open_file(SegmentFile::Log.name(last), Open::Read)?;
    let mut indexes = IndexBuilder::new(last, INDEX_INTERVAL);
    let mut bytes = 0;
    let mut end = last;
    log::scan_until(&source, 0, u64::MAX, last, |batch| {
        if batch.header.last_offset() >= until {
            return Ok(std::ops::ControlFlow::Break(()));
        }
        indexes.add(batch.position, &batch.header);
        bytes = batch.end();
        end = batch.header.next_offset();
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    // The name of the last segment. In a compacted log the last batch kept may end well below the segment after it.
    let mut named = last;
    if end <= cut.log_start_offset {
        (last, named, bytes, end) = (first, cut.log_start_offset, 0, cut.log_start_offset);
        indexes = IndexBuilder::new(named, INDEX_INTERVAL);
    }
    let indexes = indexes.finish();
    let strip = stripped(loaded);
    let mut planned = Vec::new();
    for file in &loaded.manifest.files {
        let to = target_path(file, strip);
        let small = || dir.read(to, MAX_SMALL);
        let content = match parse_segment_name(to) {
            Some((base, SegmentFile::ProducerState)) if base > end => continue,
            Some((_, SegmentFile::ProducerState)) => Content::Whole,
            Some((base, _)) if base > last => continue,
            Some((base, kind)) if base == last => match kind {
                SegmentFile::Log => Content::First(bytes),
                SegmentFile::Index => Content::Bytes(indexes.offset.clone()),
                SegmentFile::TimeIndex => Content::Bytes(indexes.time.clone()),
                SegmentFile::TxnIndex if bytes == 0 => continue,
                SegmentFile::TxnIndex => Content::Bytes(cut_txn_index(&small()?, end).to_vec()),
                SegmentFile::ProducerState => Content::Whole,
            },
            Some(_) => Content::Whole,
            None if to == "leader-epoch-checkpoint" => match LeaderEpochs::parse(&small()?) {
                Ok(epochs) => Content::Bytes(epochs.cut(end.max(1)).to_bytes()),
                Err(_) => Content::Whole,
            },
            None if to == CHECKPOINT => match Checkpoint::parse(&small()?) {
                Ok(checkpoint) => {
                    let high_watermark = checkpoint.high_watermark.map(|hw| hw.min(end));
                    let log_start_offset = checkpoint.log_start_offset.min(end);
                    Content::Bytes(Checkpoint { log_start_offset, high_watermark, durable: None }.to_bytes())
                }
                Err(_) => Content::Whole,
            },
            None => Content::Whole,
        };
        let to = match parse_segment_name(to) {
            Some((base, kind)) if base == last && kind != SegmentFile::ProducerState => kind.name(named).into(),
            _ => to.into(),
        };
        planned.push(Planned { file, to, content });
    }
    Ok((planned, end))
}
