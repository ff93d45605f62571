//! `manifest.b3`: one digest per file, in the format that `b3sum --check` reads.
//!
//! A line is 64 lower-case hex digits, two spaces, the path, a newline. A path with a newline or a backslash is
//! written with `\n` and `\\` for them, and its line begins with a backslash: the escaped form of `b3sum`.
//! Lines are sorted by the path's bytes. Only this canonical form is accepted, so that every changed bit shows.

use blake3::Hash;

use crate::error::{Error, IntegrityError, Result};

/// The digests of a snapshot's files, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestList {
    entries: Vec<(String, Hash)>,
}

const HEX: usize = 64;

impl DigestList {
    /// Of files in any order.
    pub fn new(mut entries: Vec<(String, Hash)>) -> Self {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        DigestList { entries }
    }

    /// Path and digest of every file, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Hash)> + Clone {
        self.entries.iter().map(|(path, digest)| (path.as_str(), *digest))
    }

    /// The same, without what sorts before `path`.
    pub(super) fn iter_from<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a Hash)> + use<'a> {
        let first = self.entries.partition_point(|(p, _)| p.as_str() < path);
        self.entries.iter().skip(first).map(|(path, digest)| (path.as_str(), digest))
    }

    /// Leaves out what does not satisfy a condition on its path.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.entries.retain(|(path, _)| keep(path));
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digest of a file.
    pub fn get(&self, path: &str) -> Option<Hash> {
        let at = self.entries.binary_search_by(|(p, _)| p.as_str().cmp(path)).ok()?;
        self.entries.get(at).map(|(_, digest)| *digest)
    }

    /// The bytes of `manifest.b3`.
    pub fn to_bytes(&self) -> Vec<u8> {
        lines(self.iter())
    }

    /// Reads `manifest.b3`.
    ///
    /// # Errors
    ///
    /// `Integrity`, naming the line, for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = bytes.get(..e.valid_up_to()).unwrap_or_default().iter().filter(|b| **b == b'\n').count() + 1;
            broken(line, "not UTF-8")
        })?;
        let mut entries: Vec<(String, Hash)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let number = entries.len() + 1;
            let (line, after) = rest.split_once('\n').ok_or_else(|| broken(number, "it has no end"))?;
            let (path, digest) = parse_line(line).map_err(|why| broken(number, why))?;
            if entries.last().is_some_and(|(last, _)| *last >= path) {
                return Err(broken(number, "out of order, or a path named twice"));
            }
            entries.push((path, digest));
            rest = after;
        }
        Ok(DigestList { entries })
    }
}

/// The bytes of `manifest.b3` for these files, which are sorted by path.
pub(crate) fn lines<'a>(files: impl Iterator<Item = (&'a str, Hash)> + Clone) -> Vec<u8> {
    let mut out = Vec::with_capacity(files.clone().map(|(path, _)| path.len() + HEX + 3).sum());
    for (path, digest) in files {
        let plain = !path.contains(['\n', '\\']);
        if !plain {
            out.push(b'\\');
        }
        out.extend_from_slice(digest.to_hex().as_bytes());
        out.extend_from_slice(b"  ");
        if plain {
            out.extend_from_slice(path.as_bytes());
        } else {
            out.extend_from_slice(path.replace('\\', "\\\\").replace('\n', "\\n").as_bytes());
        }
        out.push(b'\n');
    }
    out
}

fn parse_line(line: &str) -> Result<(String, Hash), &'static str> {
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (digest, path) = line.split_at_checked(HEX).ok_or("too short")?;
    if !digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err("the digest is not 64 lower-case hex digits");
    }
    let digest = Hash::from_hex(digest).map_err(|_| "the digest is not hex")?;
    let path = path.strip_prefix("  ").ok_or("no two spaces behind the digest")?;
    let path = if escaped { unescape(path)? } else { path.to_owned() };
    if escaped != path.contains(['\n', '\\']) {
        return Err("escaped without need, or not escaped");
    }
    if !is_clean_path(&path) {
        return Err("not a clean relative path");
    }
    Ok((path, digest))
}

fn unescape(path: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('\\') => out.push('\\'),
                _ => return Err("an unknown escape"),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Relative, at most one directory deep, nothing that leads elsewhere.
pub(crate) fn is_clean_path(path: &str) -> bool {
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') || depth > 2 {
            return false;
        }
    }
    true
}

fn broken(line: usize, why: &str) -> Error {
    IntegrityError::new(super::DIGESTS, format!("line {line}: {why}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DigestList {
        DigestList::new(
            ["b", "a", "orders-0/0.log", "new\nline", "back\\slash", "sp ace", "ünï"]
                .iter()
                .map(|p| ((*p).to_owned(), blake3::hash(p.as_bytes())))
                .collect(),
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let list = sample();
        assert_eq!(DigestList::parse(&list.to_bytes()).unwrap(), list);
        assert_eq!(DigestList::parse(b"").unwrap(), DigestList::default());
        assert_eq!(list.get("new\nline"), Some(blake3::hash(b"new\nline")));
        assert_eq!(list.get("c"), None);
    }

    #[test]
    fn a_changed_bit_is_an_error_or_another_list() {
        let list = sample();
        let bytes = list.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = DigestList::parse(&bad) {
                assert_ne!(read, list);
                assert_eq!(read.to_bytes(), bad, "only one form is accepted");
            }
        }
    }

    #[test]
    fn unclean_paths_are_refused() {
        let digest = blake3::hash(b"").to_hex();
        for path in ["/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/", "a/b/c", "a\0b"] {
            assert!(DigestList::parse(format!("{digest}  {path}\n").as_bytes()).is_err(), "{path}");
        }
        for line in [format!("{digest} a\n"), format!("{digest}  a"), format!("{}  a\n", digest.to_uppercase())] {
            assert!(DigestList::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
