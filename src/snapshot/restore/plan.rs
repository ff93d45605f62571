//! What a restore puts where, and where every file goes as it is.

use std::borrow::Cow;
use std::ops::Range;

use super::cut;
use super::options::RestoreOptions;
use super::span::Bounds;
use crate::error::{Result, ValidationError};
use crate::kafka::{Profile, boot};
use crate::log::{SegmentFile, parse_segment_name};
use crate::snapshot::outcome::LogCut;
use crate::snapshot::verify::examine::Dirs;
use crate::store::{FileManifest, Loaded, LogManifest, Scope, SourceKind};

/// What is to be done.
pub(in crate::snapshot) struct Plan<'a> {
    pub(in crate::snapshot) files: Vec<Planned<'a>>,
    /// The logs as they are restored.
    pub(in crate::snapshot) logs: Vec<LogManifest>,
    /// What was cut of them, where that was asked for.
    pub(in crate::snapshot) cuts: Vec<LogCut>,
}

/// One file of the target.
pub(in crate::snapshot) struct Planned<'a> {
    pub(in crate::snapshot) file: &'a FileManifest,
    /// Relative to the target.
    pub(in crate::snapshot) to: Cow<'a, str>,
    pub(in crate::snapshot) content: Content,
}

pub(in crate::snapshot) enum Content {
    /// All of the snapshot's file.
    Whole,
    /// Some of its bytes.
    Range(Range<u64>),
    /// Other bytes instead.
    Bytes(Vec<u8>),
}

/// Larger than any index or checkpoint.
pub(in crate::snapshot) const MAX_SMALL: u64 = 1 << 31;

/// What is wanted of a snapshot.
pub(in crate::snapshot) fn part_of(loaded: Loaded, options: &RestoreOptions) -> Result<Loaded> {
    narrowed(loaded, options.part.as_ref())
}

/// A part of a snapshot, or all of it.
pub(in crate::snapshot) fn narrowed(loaded: Loaded, part: Option<&Scope>) -> Result<Loaded> {
    let Some(part) = part else { return Ok(loaded) };
    let (id, path) = (loaded.id, loaded.dir.path().to_owned());
    loaded.part(part).ok_or_else(|| {
        ValidationError::Refused {
            what: format!("{id} holds nothing of {part}"),
            path: Some(path),
            hint: Some("`cowlog show` lists its logs".into()),
        }
        .into()
    })
}

/// Whether it becomes a log, not a directory of logs.
pub(in crate::snapshot) fn is_one_log(loaded: &Loaded) -> bool {
    loaded.manifest.source.kind == SourceKind::Log
}

/// All of the snapshot, or what of its logs lies between the bounds.
pub(in crate::snapshot) fn plan<'a>(loaded: &'a Loaded, dirs: &Dirs<'_>, bounds: Bounds) -> Result<Plan<'a>> {
    if bounds.are_none() {
        return Ok(Plan { files: whole(loaded), logs: loaded.manifest.logs.clone(), cuts: Vec::new() });
    }
    cut::cut(loaded, dirs, bounds)
}

/// Every file of the snapshot. A snapshot of one log restores to a log directory, whatever directory of the
/// snapshot it lies in.
pub(in crate::snapshot) fn whole(loaded: &Loaded) -> Vec<Planned<'_>> {
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
pub(in crate::snapshot) fn hidden_start(loaded: &Loaded, planned: &[Planned<'_>]) -> Option<String> {
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
pub(in crate::snapshot) fn stripped(loaded: &Loaded) -> &str {
    match (loaded.manifest.source.kind, loaded.manifest.logs.as_slice()) {
        (SourceKind::Log, [one]) => &one.dir,
        _ => "",
    }
}

pub(in crate::snapshot) fn target_path<'a>(file: &'a FileManifest, strip: &str) -> &'a str {
    file.path
        .strip_prefix(strip)
        .and_then(|p| if strip.is_empty() { Some(p) } else { p.strip_prefix('/') })
        .unwrap_or(&file.path)
}
