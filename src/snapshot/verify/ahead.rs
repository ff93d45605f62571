//! What the digests alone tell: which names do not belong to a snapshot, and which of its small files are what they should be. It can be
//! found out while the manifest is still being parsed, which takes as long as reading a tenth of many small files.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use blake3::Hash;

use super::examine::Dirs;
use crate::error::Result;
use crate::fs::{Buffer, Dir, FileKind, Open};
use crate::observe::Observer;
use crate::snapshot::each::try_each;
use crate::store::{DIGESTS, DigestList, MANIFEST, STATE};

/// What is larger is not read here: the manifest first has to say how long it is.
const SMALL: usize = 64 << 10;

const PAGE: usize = 4096;

/// What is known of a snapshot's directories and files without its manifest.
#[derive(Debug)]
pub(in crate::snapshot) struct Ahead {
    /// Of each file, in the order of the digests: its size, where all of its bytes have been read and are the right ones.
    right: Vec<Option<u64>>,
    /// The directories that were listed.
    listed: HashSet<String>,
    /// Names in them that have no digest; some may be directories that the manifest names.
    others: Vec<String>,
}

impl Ahead {
    /// Lists the directories and, where that is wanted, reads the small files.
    pub(super) fn look(root: &Dir, digests: &DigestList, reads: bool, observer: &Observer) -> Result<Ahead> {
        let files: Vec<(&str, Hash)> = digests.iter().filter(|(path, _)| *path != MANIFEST).collect();
        let mut dirs = HashMap::from([("", root.clone())]);
        for dir in files.iter().map(|(path, _)| split(path).0).collect::<BTreeSet<_>>() {
            // What cannot be opened is told of once its files are missed.
            if !dir.is_empty()
                && let Ok(opened) = root.open_dir(dir)
            {
                dirs.insert(dir, opened);
            }
        }
        let (regular, others) = list(&dirs, &files, observer)?;
        let listed = dirs.keys().map(|dir| (*dir).to_owned()).collect();
        let right = if reads { read(&dirs, files.into_iter().zip(regular).collect(), observer)? } else { Vec::new() };
        Ok(Ahead { right, listed, others })
    }

    /// The size of a file of which all bytes are right, by its place among the files.
    pub(super) fn size_of_right(&self, at: usize) -> Option<u64> {
        self.right.get(at).copied().flatten()
    }

    /// Names in the directories of a snapshot that do not belong to it, sorted.
    pub(super) fn extra(self, dirs: &Dirs<'_>) -> Result<Vec<String>> {
        let mut extra = self.others;
        extra.retain(|path| !dirs.contains_key(path.as_str()));
        // Nothing has a digest there.
        for (path, dir) in dirs.iter().filter(|(path, _)| !self.listed.contains(**path)) {
            extra.extend(dir.list()?.iter().map(|entry| format!("{path}/{}", entry.name.display())));
        }
        extra.sort_unstable();
        Ok(extra)
    }
}

/// Of each file whether its directory calls it a regular one, and the names that have no digest.
fn list(dirs: &Dirs<'_>, files: &[(&str, Hash)], observer: &Observer) -> Result<(Vec<bool>, Vec<String>)> {
    let known: HashMap<&str, usize> = files.iter().enumerate().map(|(at, (path, _))| (*path, at)).collect();
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

fn read(dirs: &Dirs<'_>, files: Vec<((&str, Hash), bool)>, observer: &Observer) -> Result<Vec<Option<u64>>> {
    observer.phase("verify", files.len() as u64, 0);
    let read = |buf: &mut Buffer, ((path, digest), regular): &((&str, Hash), bool)| {
        observer.check()?;
        let (dir, name) = split(path);
        let right = dirs.get(dir).filter(|_| *regular).and_then(|dir| read_at_once(dir, name, *digest, buf));
        observer.advance(1, 0);
        Ok(right)
    };
    try_each(&files, || Buffer::new(SMALL), read)
}

/// How many bytes a small file has, if all of them are right. A read that does not get all that it asks for has come to the end of the file if
/// it ends in the middle of a page, or got nothing. Whatever else is found, an error too, needs a closer look.
fn read_at_once(dir: &Dir, name: &str, digest: Hash, buf: &mut [u8]) -> Option<u64> {
    let got = dir.open_file(name, Open::Read).ok()?.read_once(buf, 0).ok()?;
    let is_all = got == 0 || got < buf.len() && !got.is_multiple_of(PAGE);
    let right = is_all && blake3::hash(buf.get(..got)?) == digest;
    right.then_some(got as u64)
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

    #[test]
    fn only_what_one_read_has_shown_to_be_right_is_right() {
        let root = Dir::open_on(Arc::new(MemFs::new()), "/").unwrap();
        let put = |dir: &Dir, name: &str, bytes: &[u8]| {
            dir.open_file(name, Open::CreateNew(0o600)).unwrap().write_all_at(bytes, 0).unwrap();
        };
        let page = vec![7; PAGE];
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
        let ahead = Ahead::look(&root, &list, true, &observer).unwrap();
        for (at, (path, _, right)) in should.iter().enumerate() {
            assert_eq!(ahead.size_of_right(at), *right, "{path}");
        }
        assert_eq!(ahead.extra(&HashMap::from([("", root.clone()), ("orders-0", sub)])).unwrap(), ["extra"]);
        let listed = Ahead::look(&root, &list, false, &observer).unwrap();
        assert!((0..should.len()).all(|at| listed.size_of_right(at).is_none()));
        // A directory of which nothing has a digest is listed all the same.
        let bare = root.make_dir("orders-1", 0o700).unwrap();
        put(&bare, "stray", b"");
        assert_eq!(
            listed.extra(&HashMap::from([("orders-1", bare)])).unwrap(),
            ["extra", "orders-0", "orders-1/stray"]
        );
    }
}
