//! The entries of an index, wherever they are, read one by one.

use super::index::IndexEntry;
use super::segment::SegmentFile;
use crate::error::Result;
use crate::fs::{Dir, File};

/// The entries of an index, wherever they are.
#[derive(Debug)]
pub(super) enum Entries<'a> {
    None,
    File { file: File, bytes: u64 },
    Bytes(&'a [u8]),
}

/// An entry and the one before it, in the order that entries have; none before it where it is the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<E> {
    pub before: Option<E>,
    pub entry: E,
}

impl Entries<'_> {
    pub(super) fn of_file(dir: &Dir, base: i64, which: SegmentFile) -> Result<Entries<'static>> {
        Ok(match dir.try_open(which.name(base))? {
            Some(file) => Entries::File { bytes: file.len()?, file },
            None => Entries::None,
        })
    }

    fn bytes(&self) -> u64 {
        match self {
            Entries::None => 0,
            Entries::File { bytes, .. } => *bytes,
            Entries::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn count<E: IndexEntry>(&self) -> u64 {
        self.bytes() / E::SIZE as u64
    }

    /// `None` for what cannot be an entry, a zero tail included.
    fn get<E: IndexEntry>(&self, index: u64) -> Result<Option<E>> {
        const LARGEST: usize = 12;
        let mut buf = [0; LARGEST];
        let at = index * E::SIZE as u64;
        let raw = match self {
            Entries::None => None,
            Entries::File { file, .. } => {
                let read = file.read_at(buf.get_mut(..E::SIZE).unwrap_or_default(), at)?;
                buf.get(..read).filter(|raw| raw.len() == E::SIZE)
            }
            Entries::Bytes(bytes) => usize::try_from(at).ok().and_then(|at| bytes.get(at..at + E::SIZE)),
        };
        Ok(raw.filter(|raw| raw.iter().any(|b| *b != 0)).and_then(E::read).filter(E::possible))
    }

    /// `None` where the two are not in order.
    fn pair<E: IndexEntry>(&self, index: u64) -> Result<Option<Pair<E>>> {
        let Some(entry) = self.get::<E>(index)? else { return Ok(None) };
        let Some(previous) = index.checked_sub(1) else { return Ok(Some(Pair { before: None, entry })) };
        let before = self.get::<E>(previous)?.filter(|before| entry.follows(before));
        Ok(before.map(|before| Pair { before: Some(before), entry }))
    }

    /// The last entry for which `holds`, by bisection: in an index that is right it holds for a beginning of the entries
    /// only. `None` also where that entry is not in order.
    pub(super) fn last_where<E: IndexEntry>(&self, holds: impl Fn(&E) -> bool) -> Result<Option<Pair<E>>> {
        let (mut low, mut high) = (0, self.count::<E>());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get::<E>(middle)?.filter(|e| holds(e)) {
                Some(_) => low = middle + 1,
                None => high = middle,
            }
        }
        low.checked_sub(1).map_or(Ok(None), |last| self.pair(last))
    }

    /// The last entry. `None` where there is none, and where the index does not end with one.
    pub(super) fn last<E: IndexEntry>(&self) -> Result<Option<Pair<E>>> {
        match self.count::<E>().checked_sub(1) {
            Some(last) if self.is_aligned::<E>() => self.pair(last),
            _ => Ok(None),
        }
    }

    /// Whether every entry is one, by the look of the last two.
    pub(super) fn is_whole<E: IndexEntry>(&self) -> Result<bool> {
        Ok(self.is_aligned::<E>() && (self.count::<E>() == 0 || self.last::<E>()?.is_some()))
    }

    fn is_aligned<E: IndexEntry>(&self) -> bool {
        self.bytes().is_multiple_of(E::SIZE as u64)
    }
}
