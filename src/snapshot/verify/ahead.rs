//! What the digests alone tell of a snapshot: which names do not belong to it, and, while its manifest is still being parsed, whether its first
//! small files are what they should be.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::examine::{Dirs, is_missing};
use super::hash::Hashed;
use crate::error::Result;
use crate::fs::{Buffer, Dir, FileKind};
use crate::observe::Observer;
use crate::store::{DIGESTS, DigestList, MANIFEST, STATE};

/// What is larger is not read before the manifest says how long it is.
const SMALL: usize = 64 << 10;

const PAGE: u64 = 4096;

/// What is known of a snapshot's directories and files without its manifest.
#[derive(Debug)]
pub(in crate::snapshot) struct Ahead {
    /// What one read of each of the first files gave, in the order of the digests; `None` where it does not tell all of a file.
    pub(super) read: Vec<Result<Option<Hashed>>>,
    /// Of each file, whether one read can tell all of it.
    plain: Vec<bool>,
    /// The directories that were listed.
    listed: HashSet<String>,
    /// Names in them that have no digest; some may be directories that the manifest names.
    others: Vec<String>,
}

impl Ahead {
    /// Lists the directories, and then reads small files until the manifest has been parsed.
    pub(super) fn look(root: &Dir, digests: &DigestList, parsed: &AtomicBool, observer: &Observer) -> Result<Ahead> {
        let files: Vec<&str> = digests.iter().map(|(path, _)| path).filter(|path| *path != MANIFEST).collect();
        let mut dirs = HashMap::from([("", root.clone())]);
        let below = files.iter().map(|path| split(path).0).filter(|dir| !dir.is_empty());
        for dir in below.collect::<BTreeSet<_>>() {
            match root.open_dir(dir) {
                Ok(opened) => {
                    dirs.insert(dir, opened);
                }
                // Each of its files will be missed.
                Err(e) if is_missing(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let (mut plain, others) = list(&dirs, &files, observer)?;
        if !root.volume()?.kind.reads_whole_pages() {
            plain.fill(false);
        }
        let mut read = Vec::new();
        let mut buf = Buffer::new(SMALL);
        for (path, plain) in files.iter().zip(&plain) {
            if parsed.load(Ordering::Relaxed) {
                break;
            }
            observer.check()?;
            let (dir, name) = split(path);
            read.push(match dirs.get(dir).filter(|_| *plain) {
                Some(dir) => read_at_once(dir, name, &mut buf),
                None => Ok(None),
            });
        }
        let listed = dirs.keys().map(|dir| (*dir).to_owned()).collect();
        Ok(Ahead { read, plain, listed, others })
    }

    /// Whether one read can tell all of a file of this size, by its place among the files: where its directory calls it a regular file, and
    /// its filesystem ends no read in the middle of a page but at the end of the file.
    pub(super) fn is_plain(&self, at: usize, size: u64) -> bool {
        !size.is_multiple_of(PAGE) && self.plain.get(at) == Some(&true)
    }

    /// Names in the directories of a snapshot that do not belong to it, sorted.
    pub(super) fn extra(self, dirs: &Dirs<'_>) -> Result<Vec<String>> {
        let mut extra = self.others;
        extra.retain(|path| !dirs.contains_key(path.as_str()));
        // A directory that holds no file of the snapshot.
        for (path, dir) in dirs.iter().filter(|(path, _)| !self.listed.contains(**path)) {
            extra.extend(dir.list()?.iter().map(|entry| format!("{path}/{}", entry.name.display())));
        }
        extra.sort_unstable();
        Ok(extra)
    }
}

/// Of each file whether its directory calls it a regular one, and the names that have no digest.
fn list(dirs: &Dirs<'_>, files: &[&str], observer: &Observer) -> Result<(Vec<bool>, Vec<String>)> {
    let known: HashMap<&str, usize> = files.iter().enumerate().map(|(at, path)| (*path, at)).collect();
    let (mut regular, mut others) = (vec![false; files.len()], Vec::new());
    for (prefix, dir) in dirs {
        for entry in dir.list()? {
            observer.check()?;
            let Some(name) = entry.name.to_str() else {
                others.push(entry.name.to_string_lossy().into_owned());
                continue;
            };
            let path = if prefix.is_empty() { Cow::from(name) } else { format!("{prefix}/{name}").into() };
            match known.get(&*path).and_then(|at| regular.get_mut(*at)) {
                Some(regular) => *regular = entry.kind == FileKind::File,
                None if prefix.is_empty() && [MANIFEST, DIGESTS, STATE].contains(&name) => {}
                None => others.push(path.into_owned()),
            }
        }
    }
    Ok((regular, others))
}

/// The digest and the size of a [plain](Ahead::is_plain) file, where it fits into the buffer and leaves room: a read that ends there in the
/// middle of a page, or before the first byte, has come to its end. `None` where it does not tell.
pub(super) fn read_at_once(dir: &Dir, name: &str, buf: &mut [u8]) -> Result<Option<Hashed>> {
    let got = dir.read_once(name, buf)?;
    let size = got as u64;
    let is_all = got == 0 || got < buf.len() && !size.is_multiple_of(PAGE);
    Ok(is_all.then(|| (blake3::hash(buf.get(..got).unwrap_or_default()), size)))
}

/// Directory and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::MemFs;
    use crate::fs::mem::{Abilities, Op};
    use crate::fs::{Open, VolumeKind};

    #[test]
    fn one_read_tells_only_what_it_can_tell() {
        let fs = MemFs::with(Abilities { kind: VolumeKind::Xfs, ..Abilities::default() });
        let root = Dir::open_on(Arc::new(fs.clone()), "/").unwrap();
        let put = |dir: &Dir, name: &str, bytes: &[u8]| {
            dir.open_file(name, Open::CreateNew(0o600)).unwrap().write_all_at(bytes, 0).unwrap();
        };
        let page = vec![7; 4096];
        let (below, large) = (vec![7; SMALL - 1], vec![7; SMALL + 1]);
        let sub = root.make_dir("orders-0", 0o700).unwrap();
        root.make_dir("directory", 0o700).unwrap();
        put(&root, "right", b"right");
        put(&root, "empty", b"");
        put(&root, "flipped", b"fkipped");
        put(&root, "longer", b"longer!");
        put(&root, "shorter", b"short");
        // What follows could have been unreadable.
        put(&root, "page", &page);
        put(&root, "below", &below);
        put(&root, "large", &large);
        put(&root, "extra", b"");
        put(&root, STATE, b"");
        put(&sub, "right", b"in it");
        let should: [(&str, &[u8], Option<u64>); 11] = [
            ("below", &below, Some(SMALL as u64 - 1)),
            ("directory", b"", None),
            ("empty", b"", Some(0)),
            ("flipped", b"flipped", None),
            ("gone", b"", None),
            ("large", &large, None),
            ("longer", b"longer", None),
            ("orders-0/right", b"in it", Some(5)),
            ("page", &page, None),
            ("right", b"right", Some(5)),
            ("shorter", b"shorter", None),
        ];
        let list = DigestList::new(should.iter().map(|(path, b, _)| ((*path).into(), blake3::hash(b))).collect());
        let observer = Observer::default();
        let ahead = Ahead::look(&root, &list, &AtomicBool::new(false), &observer).unwrap();
        assert_eq!(ahead.read.len(), should.len());
        for ((path, bytes, right), read) in should.iter().zip(&ahead.read) {
            let found = read.as_ref().ok().copied().flatten().filter(|(digest, _)| *digest == blake3::hash(bytes));
            assert_eq!(found.map(|(_, size)| size), *right, "{path}");
        }
        let at = |path: &str| should.iter().position(|(p, _, _)| *p == path).unwrap();
        assert!(ahead.is_plain(at("flipped"), 7));
        assert!(!ahead.is_plain(at("page"), PAGE) && !ahead.is_plain(at("directory"), 7) && !ahead.is_plain(99, 7));
        assert_eq!(ahead.extra(&HashMap::from([("", root.clone()), ("orders-0", sub)])).unwrap(), ["extra"]);
        // A second read may go well: that the first did not is told all the same.
        fs.fail(Op::Read, 1, 5);
        let failed = Ahead::look(&root, &list, &AtomicBool::new(false), &observer).unwrap();
        assert_eq!(failed.read.iter().filter(|read| read.is_err()).count(), 1);
        assert!(failed.read[at("below")].is_err());
        // Where a read may end anywhere, it tells nothing.
        fs.set_abilities(Abilities { kind: VolumeKind::Other, ..Abilities::default() });
        let other = Ahead::look(&root, &list, &AtomicBool::new(false), &observer).unwrap();
        assert!(other.read.iter().all(|read| matches!(read, Ok(None))) && !other.is_plain(at("flipped"), 7));
        // Nothing is read once the manifest has been parsed, and a directory of which nothing has a digest is listed all the same.
        let listed = Ahead::look(&root, &list, &AtomicBool::new(true), &observer).unwrap();
        assert!(listed.read.is_empty());
        let bare = root.make_dir("orders-1", 0o700).unwrap();
        put(&bare, "stray", b"");
        assert_eq!(
            listed.extra(&HashMap::from([("orders-1", bare)])).unwrap(),
            ["extra", "orders-0", "orders-1/stray"]
        );
    }
}
