//! One side of a comparison: the files of a snapshot, or those of the source at one moment.

use std::collections::BTreeMap;

use blake3::Hash;

use super::At;
use super::diff::{LogState, vanished};
use super::present::{self, PresentLog};
use crate::error::{IntegrityError, Result};
use crate::fs::{Dir, FileKind, Guard, Identity, Open, Stat};
use crate::kafka::Profile;
use crate::log::{
    self, CHECKPOINT, Cut, CutQuality, CutReader, Listing, SegmentFile, list_live, list_log, parse_segment_name,
};
use crate::observe::Observer;
use crate::snapshot::create::side;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::verify::hash::hash_to;
use crate::store::{FileManifest, Loaded, LogManifest, RESERVED, Scope, SourceKind};

#[derive(Debug)]
pub(in crate::snapshot) struct Side {
    pub(in crate::snapshot) name: String,
    pub(in crate::snapshot) logs: Vec<SideLog>,
    /// Beside the logs of a data directory.
    pub(in crate::snapshot) files: BTreeMap<String, Content>,
    _guard: Option<Guard>,
}

#[derive(Debug)]
pub(in crate::snapshot) struct SideLog {
    pub(in crate::snapshot) dir: String,
    pub(in crate::snapshot) topic: Option<(String, i32)>,
    place: Dir,
    cut: Cut,
    /// The `.log` files.
    pub(in crate::snapshot) segments: BTreeMap<i64, Content>,
    /// All others.
    pub(in crate::snapshot) files: BTreeMap<String, Content>,
}

/// A file.
#[derive(Debug)]
pub(in crate::snapshot) struct Content {
    dir: Dir,
    name: String,
    /// As far as it is compared.
    pub(in crate::snapshot) size: u64,
    known: Known,
}

#[derive(Debug)]
enum Known {
    /// A snapshot's: its digest, and the source's file whose bytes it has, if it is certain that an equal identity means
    /// equal bytes.
    Digest(Hash, Option<Identity>),
    /// The source's.
    Identity(Identity),
}

impl SideLog {
    pub(in crate::snapshot) fn state(&self) -> LogState {
        LogState {
            log_start_offset: self.cut.log_start_offset,
            high_watermark: self.cut.high_watermark,
            log_end_offset: self.cut.log_end_offset,
            num_segments: self.segments.len() as u64,
            bytes: self.segments.values().map(|file| file.size).sum(),
        }
    }

    /// For people.
    pub(in crate::snapshot) fn name(&self) -> String {
        match &self.topic {
            Some((topic, partition)) => format!("{topic}-{partition}"),
            None => self.dir.clone(),
        }
    }

    pub(in crate::snapshot) fn log_start(&self) -> i64 {
        self.cut.log_start_offset
    }

    pub(in crate::snapshot) fn reader(&self) -> CutReader {
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        CutReader::new(self.place.clone(), &bases, &self.cut)
    }
}

impl Content {
    /// Whether it is certain without reading that the bytes are the same.
    pub(in crate::snapshot) fn is_same_file(&self, other: &Content) -> Result<bool> {
        let (snapshot, source, now) = match (&self.known, &other.known) {
            (Known::Digest(a, _), Known::Digest(b, _)) => return Ok(a == b),
            (Known::Identity(a), Known::Identity(b)) => return Ok(a == b),
            (Known::Digest(_, source), Known::Identity(now)) => (self, source, now),
            (Known::Identity(now), Known::Digest(_, source)) => (other, source, now),
        };
        if source.as_ref() == Some(now) {
            return Ok(true);
        }
        let held = snapshot.dir.stat(&snapshot.name)?;
        Ok((held.dev, held.ino) == (now.dev, now.ino))
    }

    /// The digest of the first bytes.
    pub(in crate::snapshot) fn digest_of(&self, bytes: u64, buf: &mut [u8], observer: &Observer) -> Result<Hash> {
        if let Known::Digest(digest, _) = self.known
            && bytes == self.size
        {
            return Ok(digest);
        }
        let file = self.dir.open_file(&self.name, Open::Read)?;
        let (digest, read) = hash_to(&file, bytes, buf, observer)?;
        match &self.known {
            _ if read == bytes => Ok(digest),
            Known::Identity(_) => Err(vanished(file.path().to_owned())),
            Known::Digest(..) => {
                let what = format!("it has {read} bytes, its manifest says {}", self.size);
                Err(IntegrityError::new(file.path(), what).into())
            }
        }
    }

    fn of_snapshot(dir: &Dir, file: &FileManifest, digest: Hash) -> (String, Content) {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path).to_owned();
        let source = file.source.filter(|_| file.trusted && !file.trimmed);
        (name.clone(), Content { dir: dir.clone(), name, size: file.size, known: Known::Digest(digest, source) })
    }

    fn of_source(dir: &Dir, name: &str, stat: &Stat) -> Content {
        let known = Known::Identity(Identity::from(stat));
        Content { dir: dir.clone(), name: name.to_owned(), size: stat.size, known }
    }
}

pub(in crate::snapshot) fn look_at(manager: &SnapshotManager, at: At<'_>, part: Option<&Scope>) -> Result<Side> {
    let of_one = matches!(part, Some(Scope::Partition { .. }));
    match at {
        At::Snapshot(id) => {
            let (loaded, guard) = manager.open_part(id, part)?;
            let logs = loaded.manifest.logs.iter().map(|log| of_snapshot(&loaded, log)).collect::<Result<_>>()?;
            let mut files = BTreeMap::new();
            if loaded.manifest.source.kind == SourceKind::Data && !of_one {
                files.extend(loaded.files_in("").map(|(file, digest)| Content::of_snapshot(&loaded.dir, file, digest)));
            }
            Ok(Side { name: loaded.id.to_string(), logs, files, _guard: Some(guard) })
        }
        At::Live => {
            let present = present::look(manager.fs(), manager.source(), part)?;
            let mut files = BTreeMap::new();
            let beside = present.root_files.iter().filter(|name| !of_one && !RESERVED.contains(&name.as_str()));
            for name in beside {
                if let Some(stat) = present.dir.try_stat(name)? {
                    files.insert(name.clone(), Content::of_source(&present.dir, name, &stat));
                }
            }
            let observer = &manager.config().observer;
            let logs = present.logs.iter().map(|log| of_source(log, observer)).collect::<Result<_>>()?;
            Ok(Side { name: "live".into(), logs, files, _guard: None })
        }
    }
}

fn of_snapshot(loaded: &Loaded, log: &LogManifest) -> Result<SideLog> {
    let place = loaded.dir_of(log)?;
    let all = loaded.files_in(&log.dir).map(|(file, digest)| Content::of_snapshot(&place, file, digest));
    let (mut segments, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (name, content) in all {
        match parse_segment_name(&name) {
            Some((base, SegmentFile::Log)) => drop(segments.insert(base, content)),
            // It says what the cut says.
            _ if name == CHECKPOINT => {}
            _ => drop(files.insert(name, content)),
        }
    }
    let topic = log.topic.clone().zip(log.partition);
    Ok(SideLog { dir: log.dir.clone(), topic, place, cut: log.cut.clone(), segments, files })
}

fn of_source(log: &PresentLog, observer: &Observer) -> Result<SideLog> {
    let place = log.open()?;
    let mut listing = list_live(&place, None)?;
    if log.profile == Profile::Kafka {
        // A producer snapshot at the log's end, as a clean stop leaves it.
        listing.unattached = list_log(&place)?.unattached;
    }
    let (mut segments, mut files) = (BTreeMap::new(), BTreeMap::new());
    for base in listing.segments.iter().map(log::SegmentEntry::base) {
        let name = SegmentFile::Log.name(base);
        segments.insert(base, Content::of_source(&place, &name, &place.stat(&name)?));
    }
    let cut = cut(log, &place, &mut segments, observer)?;
    for name in other_files(log, &place, &listing)? {
        // Gone by now, it is not there.
        if let Some(stat) = place.try_stat(&name)?.filter(|stat| stat.kind == FileKind::File) {
            files.insert(name.clone(), Content::of_source(&place, &name, &stat));
        }
    }
    Ok(SideLog { dir: log.name.clone(), topic: log.topic.clone(), place, cut, segments, files })
}

/// Where the log ends; the last segment is compared up to there.
fn cut(log: &PresentLog, place: &Dir, segments: &mut BTreeMap<i64, Content>, observer: &Observer) -> Result<Cut> {
    let first = segments.keys().next().copied();
    let start = log.marks.log_start.max(first).unwrap_or(0);
    let (mut active_base, mut active_bytes, mut end) = (0, 0, start);
    if let Some((base, content)) = segments.iter_mut().next_back() {
        let file = place.open_file(&content.name, Open::Read)?;
        let scanned = log::scan(&file, 0, content.size, *base, |_| observer.check())?;
        content.size = scanned.valid_bytes;
        (active_base, active_bytes, end) = (*base, scanned.valid_bytes, scanned.next_offset);
    }
    let high_watermark = log.marks.high_watermark.map_or(end, |mark| mark.clamp(start.min(end), end));
    let (log_start_offset, log_end_offset) = (start, end);
    let quality = CutQuality::Crash;
    Ok(Cut { log_start_offset, high_watermark, log_end_offset, leader_epoch: None, active_base, active_bytes, quality })
}

/// What a snapshot would take besides the segments' `.log` files.
fn other_files(log: &PresentLog, place: &Dir, listing: &Listing) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for segment in &listing.segments {
        names.extend(segment.files().filter(|f| *f != SegmentFile::Log).map(|f| f.name(segment.base())));
    }
    names.extend(listing.unattached.iter().map(|(base, file)| file.name(*base)));
    for entry in &listing.side_files {
        if let side::Side::Take(name) = side::side_file(place, log.profile, &log.name, entry)?
            && (log.profile == Profile::Kafka || name != CHECKPOINT)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
