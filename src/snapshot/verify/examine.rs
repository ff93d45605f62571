//! Reading the files of a snapshot, as far as the level of a verification asks for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use blake3::Hash;

use super::ahead::{Ahead, read_at_once};
use super::blame::{changed, resized};
use super::deep::check_log;
use super::hash::{Hashed, buffer, hash_to};
use crate::error::{Damage, DamageKind, Error, Result};
use crate::fs::{Buffer, Dir, FileKind, Open, Stat};
use crate::log::CHECKPOINT;
use crate::observe::Observer;
use crate::snapshot::create::capture::path_in;
use crate::snapshot::each::try_each;
use crate::snapshot::outcome::{Level, VerifyReport};
use crate::store::{FileManifest, Loaded, LogManifest};

/// Reads what the level asks for and nobody has read ahead. The manifests hold already.
pub(super) fn examine(loaded: &Loaded, mut ahead: Ahead, level: Level, observer: &Observer) -> Result<VerifyReport> {
    let dirs = open_dirs(loaded)?;
    let (mut damage, bytes_checked) = match level {
        Level::Quick => (absent(loaded, &dirs, observer)?, 0),
        _ => examine_files(loaded, &dirs, &mut ahead, observer)?,
    };
    let extra = ahead.extra(&dirs)?;
    if level == Level::Deep {
        let logs = &loaded.manifest.logs;
        let known: HashSet<String> = damage.iter().map(|d| d.path.clone()).collect();
        let check = |(): &mut (), log: &LogManifest| check_log(log, is_native(loaded, log), &dirs, &known, observer);
        let problems = try_each(logs, || (), check)?;
        damage.extend(problems.into_iter().flatten());
    }
    let files_checked = loaded.manifest.files.len() as u64 + 1;
    let ok = damage.is_empty();
    let (id, intact) = (loaded.id.to_string(), BTreeMap::new());
    Ok(VerifyReport { id, level, ok, files_checked, bytes_checked, damage, intact, extra })
}

/// What is wrong with its files as far as that can be seen without reading them.
fn absent(loaded: &Loaded, dirs: &Dirs<'_>, observer: &Observer) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for file in &loaded.manifest.files {
        observer.check()?;
        match presence(dirs, file) {
            Ok(found) => damage.extend(found),
            Err(e) => damage.push(unreadable(&file.path, e)?),
        }
    }
    Ok(damage)
}

/// What is wrong with its files, and how many bytes are right.
fn examine_files(
    loaded: &Loaded,
    dirs: &Dirs<'_>,
    ahead: &mut Ahead,
    observer: &Observer,
) -> Result<(Vec<Damage>, u64)> {
    let (files, bytes) = (&loaded.manifest.files, loaded.manifest.files.iter().map(|file| file.size).sum());
    observer.phase("verify", files.len() as u64, bytes);
    let (mut reads, mut rest) = (Vec::new(), Vec::new());
    let mut read_ahead = std::mem::take(&mut ahead.read).into_iter();
    for (at, (file, digest)) in loaded.files().enumerate() {
        let read = match read_ahead.next() {
            Some(Ok(Some(found))) => judge(dirs, file, digest, found),
            Some(Err(e)) => Err(e),
            Some(Ok(None)) | None => {
                rest.push((file, digest, ahead.is_plain(at, file.size)));
                continue;
            }
        };
        reads.push(or_absent(dirs, file, read)?);
        observer.advance(1, file.size);
    }
    let read = |buf: &mut Buffer, (file, digest, plain): &(&FileManifest, Hash, bool)| {
        observer.check()?;
        or_absent(dirs, file, read_file(dirs, file, *digest, *plain, buf, observer))
    };
    reads.extend(try_each(&rest, buffer, read)?);
    let (mut damage, mut bytes_checked) = (Vec::new(), 0);
    for read in reads {
        match read {
            Read::Right(bytes) => bytes_checked += bytes,
            Read::Wrong(found) => damage.push(*found),
        }
    }
    Ok((damage, bytes_checked))
}

pub(in crate::snapshot) type Dirs<'a> = HashMap<&'a str, Dir>;

/// The directories of a snapshot by name, without those that are gone.
pub(in crate::snapshot) fn open_dirs(loaded: &Loaded) -> Result<Dirs<'_>> {
    let mut dirs = HashMap::new();
    for dir in &loaded.manifest.dirs {
        let opened = if dir.path.is_empty() { Ok(loaded.dir.clone()) } else { loaded.dir.open_dir(&dir.path) };
        match opened {
            Ok(opened) => {
                dirs.insert(dir.path.as_str(), opened);
            }
            // Each of its files will be missed.
            Err(e) if is_missing(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(dirs)
}

/// The open directory of a file and its name there.
pub(in crate::snapshot) fn place<'a>(dirs: &'a Dirs<'_>, path: &'a str) -> Option<(&'a Dir, &'a str)> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    Some((dirs.get(dir)?, name))
}

/// Gone, or something else stands in its place.
pub(super) fn is_missing(e: &Error) -> bool {
    e.is_not_found()
        || matches!(e, Error::Filesystem(e)
            if e.source.kind() == std::io::ErrorKind::NotADirectory)
}

/// What comes of reading all of a file.
enum Read {
    Right(u64),
    Wrong(Box<Damage>),
}

impl Read {
    fn wrong(damage: Damage) -> Read {
        Read::Wrong(Box::new(damage))
    }
}

fn read_file(
    dirs: &Dirs<'_>,
    file: &FileManifest,
    digest: Hash,
    plain: bool,
    buf: &mut [u8],
    observer: &Observer,
) -> Result<Read> {
    let Some((dir, name)) = place(dirs, &file.path) else {
        return Ok(Read::wrong(missing(file, "it is not there")));
    };
    // One byte more than it should have.
    let room = usize::try_from(file.size).ok().filter(|_| plain).and_then(|size| buf.get_mut(..=size));
    if let Some(room) = room
        && let Some(found) = read_at_once(dir, name, room)?
    {
        observer.advance(1, found.1);
        return judge(dirs, file, digest, found);
    }
    let opened = dir.open_file(name, Open::Read)?;
    let stat = opened.stat()?;
    if let Some(found) = differs(file, &stat) {
        return Ok(Read::wrong(found));
    }
    let (found, bytes) = hash_to(&opened, file.size, buf, observer)?;
    Ok(if found == digest { Read::Right(bytes) } else { Read::wrong(changed(file, Some(&stat))) })
}

/// What it means that a file has these bytes.
fn judge(dirs: &Dirs<'_>, file: &FileManifest, digest: Hash, (found, bytes): Hashed) -> Result<Read> {
    if found == digest && bytes == file.size {
        return Ok(Read::Right(bytes));
    }
    Ok(Read::wrong(match stat_of(dirs, file)? {
        None => missing(file, "it is not there"),
        Some(stat) => differs(file, &stat).unwrap_or_else(|| changed(file, Some(&stat))),
    }))
}

/// A file that could not be read may not be there.
fn or_absent(dirs: &Dirs<'_>, file: &FileManifest, read: Result<Read>) -> Result<Read> {
    match read {
        Err(e @ Error::Filesystem(_)) => match presence(dirs, file) {
            Ok(Some(found)) => Ok(Read::wrong(found)),
            _ => unreadable(&file.path, e).map(Read::wrong),
        },
        read => read,
    }
}

fn stat_of(dirs: &Dirs<'_>, file: &FileManifest) -> Result<Option<Stat>> {
    match place(dirs, &file.path) {
        Some((dir, name)) => dir.try_stat(name),
        None => Ok(None),
    }
}

fn presence(dirs: &Dirs<'_>, file: &FileManifest) -> Result<Option<Damage>> {
    Ok(match stat_of(dirs, file)? {
        None => Some(missing(file, "it is not there")),
        Some(stat) => differs(file, &stat),
    })
}

/// What can be seen without reading it.
pub(in crate::snapshot) fn differs(file: &FileManifest, stat: &Stat) -> Option<Damage> {
    if stat.kind != FileKind::File {
        return Some(missing(file, "it is not a regular file"));
    }
    (stat.size != file.size).then(|| resized(file, stat))
}

pub(in crate::snapshot) fn missing(file: &FileManifest, detail: &str) -> Damage {
    Damage { path: file.path.clone(), kind: DamageKind::Missing, detail: detail.into() }
}

/// A file that cannot be read is damaged, unless it is this user who may not.
pub(in crate::snapshot) fn unreadable(path: &str, e: Error) -> Result<Damage> {
    let kind = match &e {
        _ if e.is_denied() => return Err(e),
        Error::Filesystem(_) if is_missing(&e) => DamageKind::Missing,
        Error::Filesystem(_) => DamageKind::Unreadable,
        _ => return Err(e),
    };
    Ok(Damage { path: path.to_owned(), kind, detail: e.to_string() })
}

/// Whether cowlog's own writer wrote the log: only then it has a checkpoint of its own, and no offset is missing.
fn is_native(loaded: &Loaded, log: &LogManifest) -> bool {
    loaded.digests.get(&path_in(&log.dir, CHECKPOINT)).is_some()
}
