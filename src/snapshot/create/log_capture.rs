//! Capturing one log: sealed segments and side files are shared, the active segment is copied and cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::active::copy_active;
use super::ahead::Links;
use super::budget::Plan;
use super::capture::{Capture, Context, Staged, Wanted};
use super::marks::End;
use super::previous::PreviousLog;
use super::side::{Side, side_file};
use crate::error::Result;
use crate::fs::{Attributes, Dir, Identity, Method, Stat, write_new_unsynced};
use crate::kafka::live::EpochChanges;
use crate::kafka::{Profile, cut_txn_index, datadir};
use crate::log::{
    self, Checkpoint, Cut, CutQuality, IndexBytes, Listing, SealedSegment, SegmentEntry, SegmentFile, Stop,
};
use crate::snapshot::source::SourceLog;
use crate::store::{FileManifest, FileRole, LeftOut, LogManifest};

/// One log on its way into a snapshot.
pub(in crate::snapshot) struct LogCapture<'a> {
    log: &'a SourceLog,
    capture: Capture<'a>,
    segments: Vec<i64>,
    previous: Option<&'a PreviousLog<'a>>,
    active: Option<Active>,
    epochs: EpochChanges,
    left_out: Vec<LeftOut>,
}

/// The active segment's files as they were listed.
struct Active {
    base: i64,
    log: (String, Stat),
    index: Option<(String, Stat)>,
    time_index: Option<(String, Stat)>,
}

/// A log that is in the staging directory, durable but for the names.
pub(in crate::snapshot) struct CapturedLog {
    pub(in crate::snapshot) manifest: LogManifest,
    pub(in crate::snapshot) staged: Vec<Staged>,
    pub(in crate::snapshot) staging: Dir,
    /// Of the log's directory.
    pub(in crate::snapshot) attributes: Attributes,
    /// Of the active segment, where it was read.
    pub(in crate::snapshot) epochs: EpochChanges,
    pub(in crate::snapshot) left_out: Vec<LeftOut>,
}

impl<'a> LogCapture<'a> {
    /// Decides what is wanted of the log, and asks for links of what the previous snapshot has of it.
    pub(in crate::snapshot) fn begin(
        log: &'a SourceLog,
        listing: &Listing,
        staging: Dir,
        previous: Option<&'a PreviousLog<'a>>,
        context: &Context<'_>,
    ) -> Result<Self> {
        let mut capture = Capture::new(&log.dir, staging, &log.prefix, previous);
        let cut_base = log.cut.as_ref().map(|c| c.active_base);
        // A segment above the named cut was rolled after it: nothing of it belongs to the snapshot.
        let taken = |base: i64| cut_base.is_none_or(|cut| base <= cut);
        let segments: Vec<i64> = listing.segments.iter().map(|s| s.base()).filter(|base| taken(*base)).collect();
        let active_entry = listing.segments.iter().rfind(|s| taken(s.base()));
        let active_base = active_entry.map(|s| s.base());
        let mut wanted = Vec::new();
        for segment in listing.sealed().filter(|s| active_base.is_some_and(|active| s.base() < active)) {
            for file in segment.entry().files() {
                let sealed = is_core(file).then_some(segment);
                let may_link = sealed.is_some_and(|s| may_link(log, file, &s));
                let name = file.name(segment.base());
                wanted.push(Wanted { name, role: FileRole::from(file), sealed, may_link });
            }
        }
        let mut side = |name: String, role| wanted.push(Wanted { name, role, sealed: None, may_link: false });
        if let Some(active) = active_entry {
            // An entry of the transaction index must have its marker in the log: read from under a writer, it comes later.
            let later = |file| log.live && file == SegmentFile::TxnIndex;
            let files = active.files().filter(|f| !is_core(*f) && !later(*f));
            files.for_each(|f| side(f.name(active.base()), FileRole::from(f)));
        }
        for (base, file) in listing.unattached.iter().filter(|(base, _)| taken(*base)) {
            side(file.name(*base), FileRole::from(*file));
        }
        let mut left_out = Vec::new();
        for entry in &listing.side_files {
            match side_file(&log.dir, log.profile, &log.prefix, entry)? {
                Side::Take(name) => side(name.to_owned(), FileRole::of_side_file(name)),
                Side::Ours => {}
                Side::Leave(why) => left_out.push(LeftOut { path: capture.path(&entry.name.to_string_lossy()), why }),
            }
        }
        let no_metadata = || !listing.side_files.iter().any(|e| e.name == datadir::PARTITION_METADATA);
        if log.profile == Profile::Kafka && log.topic.is_some() && no_metadata() {
            let (path, file) = (log.dir.path().display(), datadir::PARTITION_METADATA);
            context.observer.warn(&format!("{path} has no {file}: a broker would set it aside as stray"));
        }
        let active = active_entry.map(|entry| Active::look(&log.dir, entry)).transpose()?;
        capture.expect(wanted, context);
        Ok(LogCapture { log, capture, segments, previous, active, epochs: EpochChanges::default(), left_out })
    }

    /// The links to the previous snapshot that were asked for.
    pub(in crate::snapshot) fn links(&self) -> Option<Arc<Links>> {
        self.capture.links()
    }

    /// Keeps of the files that the previous snapshot has too those that are unchanged.
    pub(in crate::snapshot) fn inherit(&mut self, context: &Context<'_>) -> Result<()> {
        self.capture.inherit(context)?;
        let log = self.log;
        let first = self.segments.first().copied();
        log.marks.hold_segments(first, self.capture.new_segments(), (&log.dir, log.profile), context)
    }

    pub(in crate::snapshot) fn pending(&self) -> usize {
        self.capture.pending()
    }

    pub(in crate::snapshot) fn was_written_back(&mut self, device: u64) {
        self.capture.was_written_back(device);
    }

    /// What would have to be copied.
    pub(in crate::snapshot) fn plan(&self, context: &Context<'_>) -> Result<Plan> {
        let active = match &self.active {
            Some(active) if self.unchanged(active).is_none() => active.log.1.size,
            _ => 0,
        };
        Ok(self.capture.plan(context)? + Plan { total: active, copied: active, sealed: 0 })
    }

    /// Shares what is new: the segments, the active one last, so that nothing older than its end is missing; then the files
    /// beside them, which must not be older than the records: a vote or an epoch that was forgotten could be given twice.
    pub(in crate::snapshot) fn finish(mut self, context: &Context<'_>) -> Result<CapturedLog> {
        self.capture.share_segments(context)?;
        let log = self.log;
        let marks = log.marks;
        let first = self.segments.first().copied();
        let mut cut = match self.active.take() {
            Some(active) => self.take_active(&active, context)?,
            None => {
                let end = marks.log_start.unwrap_or(0).max(0);
                let found = End { last: None, offset: end, stop: &Stop::End };
                marks.hold(&found, &log.dir, log.profile, context)?;
                Cut {
                    log_start_offset: end,
                    high_watermark: end,
                    log_end_offset: end,
                    leader_epoch: None,
                    active_base: end,
                    active_bytes: 0,
                    quality: CutQuality::Crash,
                }
            }
        };
        if log.live {
            self.take_txn_index(&cut, context)?;
        }
        self.capture.share_rest(context)?;
        let end = cut.log_end_offset;
        match &log.cut {
            Some(named) => cut = named.clone(),
            None => {
                if let Some(start) = marks.log_start.filter(|start| *start > end) {
                    context.observer.warn(&format!(
                        "{} ends at offset {end}, but is to start at {start}: a broker would delete all of it",
                        log.dir.path().display()
                    ));
                }
                cut.quality = CutQuality::Crash;
                cut.log_start_offset = marks.log_start.or(first).unwrap_or(0).max(first.unwrap_or(0)).min(end);
                // A mark that is older than the data, or missing, says nothing against what is whole on disk.
                cut.high_watermark = marks.high_watermark.unwrap_or(end).clamp(cut.log_start_offset, end);
            }
        }
        if log.profile == Profile::Native {
            let mark = Checkpoint {
                log_start_offset: cut.log_start_offset,
                // One that follows the log goes on following it.
                high_watermark: marks.high_watermark.map(|_| cut.high_watermark),
                durable: None,
            };
            self.derived(log::CHECKPOINT, FileRole::Checkpoint, &mark.to_bytes(), None, context)?;
        }
        let (topic, partition) = match &log.topic {
            Some((topic, partition)) => (Some(topic.clone()), Some(*partition)),
            None => (None, None),
        };
        let manifest = LogManifest { dir: log.prefix.clone(), topic, partition, cut, segments: self.segments };
        let Capture { staged, staging, .. } = self.capture;
        let (attributes, epochs) = (log.dir.attributes()?, self.epochs);
        Ok(CapturedLog { manifest, staged, staging, attributes, epochs, left_out: self.left_out })
    }

    /// A running broker's index of aborted transactions of the active segment, up to the cut. It is written right behind the
    /// marker that ends one; the second look finds an entry that was late.
    fn take_txn_index(&mut self, cut: &Cut, context: &Context<'_>) -> Result<()> {
        let name = SegmentFile::TxnIndex.name(cut.active_base);
        let Some(bytes) = self.log.dir.try_read(&name, MAX_INDEX)? else { return Ok(()) };
        let stat = self.log.dir.stat(&name)?;
        let kept = cut_txn_index(&bytes, 0..cut.log_end_offset);
        let source = DerivedFrom { stat, verbatim: kept.len() == bytes.len() && stat.size == bytes.len() as u64 };
        self.derived(&name, FileRole::TxnIndex, kept, Some(source), context)
    }

    /// The cut of the previous snapshot, if nothing of the active segment moved since and the writer named no other.
    fn unchanged(&self, active: &Active) -> Option<&'a Cut> {
        let previous = self.previous?;
        let cut = previous.cut().filter(|c| c.active_base == active.base)?;
        if self.log.cut.as_ref().is_some_and(|named| named.active_bytes != cut.active_bytes) {
            return None;
        }
        let same = |file: &Option<(String, Stat)>, extension: SegmentFile| match file {
            Some((name, stat)) => previous.unchanged(name, stat).is_some(),
            // Missing now: fine if it was missing then, when the snapshot's own was rebuilt.
            None => previous.file(&extension.name(active.base)).is_some_and(|f| f.manifest.source.is_none()),
        };
        let log_same = previous.unchanged(&active.log.0, &active.log.1).is_some();
        (log_same && same(&active.index, SegmentFile::Index) && same(&active.time_index, SegmentFile::TimeIndex))
            .then_some(cut)
    }

    fn take_active(&mut self, active: &Active, context: &Context<'_>) -> Result<Cut> {
        if let Some(cut) = self.unchanged(active)
            && self.inherit_active(active, context)?
        {
            return Ok(cut.clone());
        }
        let (name, stat) = &active.log;
        let log = self.log;
        let mode = stat.mode & 0o777;
        let source_bytes = |file: &Option<(String, Stat)>| match file {
            Some((name, _)) => log.dir.try_read(name, MAX_INDEX),
            None => Ok(None),
        };
        let (old_index, old_time_index) = (source_bytes(&active.index)?, source_bytes(&active.time_index)?);
        let own = IndexBytes {
            offset: old_index.clone().unwrap_or_default(),
            time: old_time_index.clone().unwrap_or_default(),
        };
        let from = (&log.dir, name.as_str(), active.base);
        let copy = copy_active(from, log.cut.as_ref(), &own, &self.capture.staging, mode, context.observer)?;
        self.epochs = copy.epochs;
        let end = End { last: Some((active.base, copy.bytes)), offset: copy.end_offset, stop: &copy.stop };
        log.marks.hold(&end, &log.dir, log.profile, context)?;
        let attributes = log.dir.open_file(name, crate::fs::Open::Read)?.attributes()?;
        let source = Identity::from(stat);
        self.capture.staged.push(Staged {
            manifest: FileManifest {
                path: self.capture.path(name),
                kind: FileRole::Log,
                size: copy.bytes,
                method: Method::Copy,
                exposed: false,
                trimmed: copy.bytes != stat.size,
                uid: stat.uid,
                gid: stat.gid,
                mode: stat.mode,
                mtime: stat.mtime,
                xattrs: attributes.xattrs.clone(),
                read_at: context.now,
                trusted: source.trusted(context.now),
                // The identity was taken before the copy: whatever was written later makes it differ.
                source: Some(source),
            },
            digest: Some(copy.digest),
            fresh: true,
        });
        let IndexBytes { offset: index, time: time_index } = copy.indexes;
        for (file, bytes, old, from) in [
            (SegmentFile::Index, index, old_index, &active.index),
            (SegmentFile::TimeIndex, time_index, old_time_index, &active.time_index),
        ] {
            let source =
                from.as_ref().map(|(_, stat)| DerivedFrom { stat: *stat, verbatim: old.as_ref() == Some(&bytes) });
            self.derived(&file.name(active.base), FileRole::from(file), &bytes, source, context)?;
        }
        Ok(Cut {
            log_start_offset: 0,
            high_watermark: 0,
            log_end_offset: copy.end_offset,
            leader_epoch: copy.last.map(|h| h.leader_epoch).filter(|epoch| *epoch >= 0),
            active_base: active.base,
            active_bytes: copy.bytes,
            quality: CutQuality::Crash,
        })
    }

    fn inherit_active(&mut self, active: &Active, context: &Context<'_>) -> Result<bool> {
        let Some(previous) = self.previous else { return Ok(false) };
        for (file, extension) in [
            (Some(&active.log), SegmentFile::Log),
            (active.index.as_ref(), SegmentFile::Index),
            (active.time_index.as_ref(), SegmentFile::TimeIndex),
        ] {
            let name = extension.name(active.base);
            let Some(found) = previous.file(&name) else { return self.undo_active(active) };
            if !self.capture.inherit_one(&found, &name, file.map(|(_, stat)| (stat, context.now)))? {
                return self.undo_active(active);
            }
        }
        Ok(true)
    }

    fn undo_active(&mut self, active: &Active) -> Result<bool> {
        for extension in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
            let name = extension.name(active.base);
            let path = self.capture.path(&name);
            let before = self.capture.staged.len();
            self.capture.staged.retain(|s| s.manifest.path != path);
            if self.capture.staged.len() != before {
                self.capture.staging.unlink(&name)?;
            }
        }
        Ok(false)
    }

    /// A small file whose bytes we decide. An equal one of the previous snapshot is inherited.
    fn derived(
        &mut self,
        name: &str,
        role: FileRole,
        bytes: &[u8],
        source: Option<DerivedFrom>,
        context: &Context<'_>,
    ) -> Result<()> {
        let digest = blake3::hash(bytes);
        let attributes = match source {
            Some(_) => self.log.dir.open_file(name, crate::fs::Open::Read)?.attributes()?,
            None => {
                let of_log = self.log.dir.attributes()?;
                Attributes { mode: of_log.mode & 0o666, xattrs: BTreeMap::new(), ..of_log }
            }
        };
        let manifest = FileManifest {
            path: self.capture.path(name),
            kind: role,
            size: bytes.len() as u64,
            method: Method::Copy,
            exposed: false,
            trimmed: !source.is_some_and(|s| s.verbatim),
            uid: attributes.uid,
            gid: attributes.gid,
            mode: attributes.mode,
            mtime: attributes.mtime,
            xattrs: attributes.xattrs,
            read_at: context.now,
            source: source.map(|s| Identity::from(&s.stat)),
            trusted: source.is_some_and(|s| Identity::from(&s.stat).trusted(context.now)),
        };
        let equal = self.previous.and_then(|p| p.file(name)).filter(|found| found.digest == digest);
        if let Some(found) = equal
            && self.capture.inherit_one(&found, name, None)?
        {
            if let Some(last) = self.capture.staged.last_mut() {
                let read_at = last.manifest.read_at;
                last.manifest = FileManifest { method: Method::Inherit, read_at, ..manifest };
            }
            return Ok(());
        }
        write_new_unsynced(&self.capture.staging, name, bytes, manifest.mode & 0o777)?;
        self.capture.staged.push(Staged { manifest, digest: Some(digest), fresh: true });
        Ok(())
    }
}

/// Larger than any index: a broker's `segment.index.bytes` is an `i32`.
const MAX_INDEX: u64 = 1 << 31;

/// Where the bytes of a derived file come from.
#[derive(Clone, Copy)]
struct DerivedFrom {
    stat: Stat,
    /// Whether they are the source's own, byte for byte.
    verbatim: bool,
}

impl Active {
    fn look(dir: &Dir, entry: &SegmentEntry) -> Result<Active> {
        let look = |file: SegmentFile| -> Result<Option<(String, Stat)>> {
            let name = file.name(entry.base());
            Ok(dir.try_stat(&name)?.map(|stat| (name, stat)))
        };
        let name = SegmentFile::Log.name(entry.base());
        let stat = dir.stat(&name)?;
        Ok(Active {
            base: entry.base(),
            log: (name, stat),
            index: look(SegmentFile::Index)?,
            time_index: look(SegmentFile::TimeIndex)?,
        })
    }
}

/// The three files that every segment has.
fn is_core(file: SegmentFile) -> bool {
    matches!(file, SegmentFile::Log | SegmentFile::Index | SegmentFile::TimeIndex)
}

fn may_link(log: &SourceLog, file: SegmentFile, sealed: &SealedSegment) -> bool {
    match log.profile {
        Profile::Native => true,
        Profile::Kafka => {
            datadir::may_hard_link(file, sealed.end(), log.marks.high_watermark, log.marks.recovery_point)
        }
    }
}
