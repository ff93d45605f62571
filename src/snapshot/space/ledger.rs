//! Who holds which bytes: arithmetic over inodes and extents, without I/O.
//!
//! Bytes on disk are cut into *pieces*, each held by a set of snapshots and perhaps by the source or by somebody unknown. A
//! piece is freed when the last holder goes. An inode has as many holders as names; an extent those of all inodes that
//! use it.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::fs::{Extent, Stat};

/// Bytes, between two bounds that are equal where the filesystem tells enough.
#[cfg_attr(feature = "console", derive(utoipa::ToSchema, serde::Deserialize))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// At least so many.
    pub least: u64,
    /// At most so many.
    pub most: u64,
}

impl Bounds {
    /// Whether both are the same.
    pub fn exact(&self) -> bool {
        self.least == self.most
    }

    fn count(&mut self, bytes: u64, doubtful: bool) {
        self.most = self.most.saturating_add(bytes);
        self.least = self.least.saturating_add(if doubtful { 0 } else { bytes });
    }
}

impl std::ops::Add for Bounds {
    type Output = Bounds;

    fn add(self, more: Bounds) -> Bounds {
        Bounds { least: self.least.saturating_add(more.least), most: self.most.saturating_add(more.most) }
    }
}

/// Of what a set frees and what a part of it frees: what the rest frees behind the part.
impl std::ops::Sub for Bounds {
    type Output = Bounds;

    fn sub(self, less: Bounds) -> Bounds {
        Bounds { least: self.least.saturating_sub(less.least), most: self.most.saturating_sub(less.most) }
    }
}

/// Who names an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) enum Holder {
    /// The snapshot of this number. They are counted in ascending order, the source after all of them.
    Snapshot(u32),
    Source,
}

/// A set of snapshots, by its number in [`Sets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Set(u32);

/// All sets that occur: each is an older one and one snapshot more. Of many files few differ in who holds them.
#[derive(Debug, Clone)]
struct Sets {
    nodes: Vec<(Set, u32)>,
    known: HashMap<(Set, u32), Set>,
}

impl Sets {
    const EMPTY: Set = Set(0);

    fn new() -> Self {
        Sets { nodes: vec![(Sets::EMPTY, 0)], known: HashMap::new() }
    }

    /// `member` is not below any that the set has.
    fn with(&mut self, set: Set, member: u32) -> Set {
        if set != Sets::EMPTY && self.nodes.get(set.0 as usize).is_some_and(|(_, last)| *last == member) {
            return set;
        }
        let next = Set(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        *self.known.entry((set, member)).or_insert_with(|| {
            self.nodes.push((set, member));
            next
        })
    }

    /// Descending.
    fn members(&self, set: Set) -> impl Iterator<Item = u32> {
        let mut at = set;
        std::iter::from_fn(move || {
            let (rest, member) = *self.nodes.get(at.0 as usize).filter(|_| at != Sets::EMPTY)?;
            at = rest;
            Some(member)
        })
    }

    fn union(&mut self, a: Set, b: Set) -> Set {
        if a == b || b == Sets::EMPTY {
            return a;
        }
        if a == Sets::EMPTY {
            return b;
        }
        let mut members: Vec<u32> = self.members(a).chain(self.members(b)).collect();
        members.sort_unstable();
        members.into_iter().fold(Sets::EMPTY, |set, member| self.with(set, member))
    }
}

/// Who holds a piece, and whether its bytes are certain to become free with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    by: Set,
    source: bool,
    /// A name that is neither in the store nor in the source.
    elsewhere: bool,
    doubtful: bool,
}

#[derive(Debug, Clone, Copy)]
struct Inode {
    dev: u64,
    size: u64,
    allocated: u64,
    nlink: u64,
    names: u64,
    by: Set,
    source: bool,
    mapped: Mapped,
}

impl Inode {
    fn held(&self, doubtful: bool) -> Held {
        Held { by: self.by, source: self.source, elsewhere: self.nlink > self.names, doubtful }
    }
}

/// What is known of where an inode's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapped {
    /// The filesystem shares no blocks: an inode's bytes are its own.
    Own,
    /// Other inodes may use the same blocks, and nobody tells.
    Unknown,
    /// Its extents were counted.
    Extents,
}

/// An inode in a [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::snapshot) struct InodeId(u32);

#[derive(Debug, Clone, Copy)]
struct Placed {
    dev: u64,
    from: u64,
    to: u64,
    inode: u32,
    shared: bool,
    encoded: bool,
}

/// What was seen, before it is added up.
#[derive(Debug)]
pub(in crate::snapshot) struct Ledger {
    sets: Sets,
    inodes: Vec<Inode>,
    known: HashMap<(u64, u64), InodeId>,
    placed: Vec<Placed>,
    pieces: BTreeMap<Held, u64>,
    /// Whether an on-disk extent is freed only as a whole, as on btrfs.
    whole_extents: bool,
}

impl Ledger {
    pub(in crate::snapshot) fn new(whole_extents: bool) -> Self {
        Ledger {
            sets: Sets::new(),
            inodes: Vec::new(),
            known: HashMap::new(),
            placed: Vec::new(),
            pieces: BTreeMap::new(),
            whole_extents,
        }
    }

    /// Counts a name of an inode. Also whether the inode was not known: then its extents are wanted.
    pub(in crate::snapshot) fn name(&mut self, holder: Holder, stat: &Stat) -> (InodeId, bool) {
        let next = InodeId(u32::try_from(self.inodes.len()).unwrap_or(u32::MAX));
        let id = *self.known.entry((stat.dev, stat.ino)).or_insert(next);
        let new = id == next;
        if new {
            self.inodes.push(Inode {
                dev: stat.dev,
                size: stat.size,
                allocated: stat.allocated,
                nlink: stat.nlink,
                names: 0,
                by: Sets::EMPTY,
                source: false,
                mapped: Mapped::Own,
            });
        }
        if let Some(inode) = self.inodes.get_mut(id.0 as usize) {
            inode.names += 1;
            inode.nlink = stat.nlink;
            match holder {
                Holder::Snapshot(member) => inode.by = self.sets.with(inode.by, member),
                Holder::Source => inode.source = true,
            }
        }
        (id, new)
    }

    /// Says where the bytes of an inode lie: `None` where blocks may be shared and nobody tells.
    pub(in crate::snapshot) fn extents(&mut self, id: InodeId, extents: Option<Vec<Extent>>) {
        let Some(inode) = self.inodes.get_mut(id.0 as usize) else { return };
        let Some(extents) = extents else {
            inode.mapped = Mapped::Unknown;
            return;
        };
        inode.mapped = Mapped::Extents;
        inode.allocated = 0;
        for extent in extents {
            match extent.physical {
                Some(from) => self.placed.push(Placed {
                    dev: inode.dev,
                    from,
                    to: from.saturating_add(extent.len),
                    inode: id.0,
                    shared: extent.shared,
                    encoded: extent.encoded,
                }),
                None => inode.allocated = inode.allocated.saturating_add(extent.len.min(inode.size)),
            }
        }
    }

    /// Counts bytes that a snapshot alone has, such as those of its directories.
    pub(in crate::snapshot) fn own(&mut self, member: u32, bytes: u64) {
        let by = self.sets.with(Sets::EMPTY, member);
        let held = Held { by, source: false, elsewhere: false, doubtful: false };
        *self.pieces.entry(held).or_default() += bytes;
    }

    /// The device and the place where an inode's bytes begin: the same for inodes that are one physical copy.
    pub(in crate::snapshot) fn beginnings(&self) -> HashMap<InodeId, (u64, u64)> {
        let mut first = HashMap::new();
        for placed in &self.placed {
            first.entry(InodeId(placed.inode)).or_insert((placed.dev, placed.from));
        }
        first
    }

    /// Adds everything up.
    pub(in crate::snapshot) fn pieces(mut self) -> Pieces {
        let mut exposed: BTreeMap<Set, (u64, u64)> = BTreeMap::new();
        for inode in &self.inodes {
            if inode.allocated > 0 {
                let held = inode.held(inode.mapped == Mapped::Unknown);
                *self.pieces.entry(held).or_default() += inode.allocated;
            }
            if inode.source && inode.by != Sets::EMPTY {
                let (files, bytes) = exposed.entry(inode.by).or_default();
                (*files, *bytes) = (*files + 1, bytes.saturating_add(inode.size));
            }
        }
        self.sweep();
        self.pieces.retain(|held, _| held.by != Sets::EMPTY);
        Pieces { sets: self.sets, pieces: self.pieces, exposed }
    }

    /// Cuts the extents at each other's ends, and finds the holders between two cuts.
    fn sweep(&mut self) {
        let mut placed = std::mem::take(&mut self.placed);
        placed.sort_unstable_by_key(|p| (p.dev, p.from));
        let mut ahead = placed.iter().copied().peekable();
        let mut open: Vec<Placed> = Vec::new();
        let mut at = 0;
        loop {
            if open.is_empty() {
                let Some(next) = ahead.next() else { return };
                at = next.from;
                open.push(next);
            }
            let Some(dev) = open.first().map(|p| p.dev) else { return };
            while let Some(next) = ahead.next_if(|p| p.dev == dev && p.from <= at) {
                open.push(next);
            }
            let end = open.iter().map(|p| p.to).min().unwrap_or(at);
            let cut = ahead.peek().filter(|p| p.dev == dev).map_or(end, |p| p.from.min(end));
            if cut > at {
                let held = self.held_between(&open, at, cut);
                *self.pieces.entry(held).or_default() += cut - at;
            }
            at = cut;
            open.retain(|p| p.to > at);
        }
    }

    fn held_between(&mut self, open: &[Placed], from: u64, to: u64) -> Held {
        let mut all = Held { by: Sets::EMPTY, source: false, elsewhere: false, doubtful: false };
        for placed in open {
            let Some(inode) = self.inodes.get(placed.inode as usize) else { continue };
            let held = inode.held(false);
            all.by = self.sets.union(all.by, held.by);
            all.source |= held.source;
            all.elsewhere |= held.elsewhere;
            let in_part = self.whole_extents && (placed.from < from || placed.to > to);
            // Who else shares it is not told, only that somebody does.
            all.doubtful |= placed.shared || placed.encoded || in_part;
        }
        all
    }
}

/// All bytes that snapshots hold, by who holds them.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Pieces {
    sets: Sets,
    pieces: BTreeMap<Held, u64>,
    /// Inodes that the source names too: how many, and their bytes.
    exposed: BTreeMap<Set, (u64, u64)>,
}

impl Pieces {
    /// What becomes free when all snapshots that are chosen go.
    pub(in crate::snapshot) fn freed(&self, chosen: impl Fn(u32) -> bool) -> Bounds {
        let goes = |held: &Held| !held.source && !held.elsewhere && self.sets.members(held.by).all(&chosen);
        self.sum(goes)
    }

    /// What the snapshots that are chosen use and nobody but the store keeps.
    pub(in crate::snapshot) fn held(&self, chosen: impl Fn(u32) -> bool) -> Bounds {
        let theirs = |held: &Held| !held.source && !held.elsewhere && self.sets.members(held.by).any(&chosen);
        self.sum(theirs)
    }

    /// What lies on disk of the snapshots that are chosen, each byte once.
    pub(in crate::snapshot) fn physical(&self, chosen: impl Fn(u32) -> bool) -> u64 {
        self.sum(|held| self.sets.members(held.by).any(&chosen)).most
    }

    /// Of that, what the source uses too.
    pub(in crate::snapshot) fn with_source(&self, chosen: impl Fn(u32) -> bool) -> u64 {
        self.sum(|held| held.source && self.sets.members(held.by).any(&chosen)).most
    }

    /// Of that, what has a name that is neither in the store nor in the source.
    pub(in crate::snapshot) fn elsewhere(&self, chosen: impl Fn(u32) -> bool) -> u64 {
        self.sum(|held| held.elsewhere && self.sets.members(held.by).any(&chosen)).most
    }

    /// The files whose inode the source names, and their bytes.
    pub(in crate::snapshot) fn exposed(&self, chosen: impl Fn(u32) -> bool) -> (u64, u64) {
        let theirs = self.exposed.iter().filter(|(set, _)| self.sets.members(**set).any(&chosen));
        theirs.fold((0, 0), |(files, bytes), (_, (f, b))| (files + f, bytes.saturating_add(*b)))
    }

    fn sum(&self, which: impl Fn(&Held) -> bool) -> Bounds {
        let mut sum = Bounds::default();
        for (held, bytes) in self.pieces.iter().filter(|(held, _)| which(held)) {
            sum.count(*bytes, held.doubtful);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::FileKind;

    /// Its blocks, who names it, and how many names nobody here knows.
    type Node = (Vec<u64>, BTreeSet<u32>, bool, u64);

    #[derive(Debug, Clone)]
    struct World {
        inodes: Vec<Node>,
        chosen: BTreeSet<u32>,
    }

    fn worlds() -> impl Strategy<Value = World> {
        let inode = (
            proptest::collection::vec(0u64..24, 0..8),
            proptest::collection::btree_set(0u32..5, 0..4),
            any::<bool>(),
            prop_oneof![4 => Just(0u64), 1 => Just(1u64)],
        );
        let chosen = proptest::collection::btree_set(0u32..5, 0..6);
        (proptest::collection::vec(inode, 0..10), chosen).prop_map(|(inodes, chosen)| World { inodes, chosen })
    }

    const BLOCK: u64 = 4096;

    fn stat(ino: u64, nlink: u64, blocks: u64) -> Stat {
        let (size, allocated) = (blocks * BLOCK, blocks * BLOCK);
        Stat { kind: FileKind::File, dev: 1, ino, size, allocated, nlink, mode: 0, uid: 0, gid: 0, mtime: 0, ctime: 0 }
    }

    /// Neighbouring blocks are one extent.
    fn extents(blocks: &BTreeSet<u64>, shared: bool) -> Vec<Extent> {
        let mut found: Vec<Extent> = Vec::new();
        for block in blocks {
            let from = block * BLOCK;
            match found.last_mut() {
                Some(last) if last.physical.map(|at| at + last.len) == Some(from) => last.len += BLOCK,
                _ => found.push(Extent { physical: Some(from), len: BLOCK, shared, encoded: false }),
            }
        }
        found
    }

    impl World {
        fn pieces(&self, shared: bool) -> Pieces {
            let mut ledger = Ledger::new(false);
            let holders = (0..5).map(Holder::Snapshot).chain([Holder::Source]);
            for holder in holders {
                for ((blocks, by, source, unknown), ino) in self.inodes.iter().zip(0..) {
                    let names = match holder {
                        Holder::Snapshot(member) => by.contains(&member),
                        Holder::Source => *source,
                    };
                    if !names {
                        continue;
                    }
                    let blocks: BTreeSet<u64> = blocks.iter().copied().collect();
                    let nlink = by.len() as u64 + u64::from(*source) + unknown;
                    let (id, new) = ledger.name(holder, &stat(ino, nlink, blocks.len() as u64));
                    if new {
                        ledger.extents(id, Some(extents(&blocks, shared)));
                    }
                }
            }
            ledger.pieces()
        }

        /// Blocks of the inodes that have a name left, block by block.
        fn used(&self, gone: &BTreeSet<u32>, only: impl Fn(&Node) -> bool) -> BTreeSet<u64> {
            let left = |inode: &&Node| {
                let (_, by, source, unknown) = inode;
                let named = !by.is_empty() || *source;
                named && only(inode) && (by.difference(gone).next().is_some() || *source || *unknown > 0)
            };
            self.inodes.iter().filter(left).flat_map(|(blocks, ..)| blocks.iter().copied()).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn freed_is_what_a_count_of_blocks_says(world in worlds()) {
            let none = BTreeSet::new();
            let (before, after) = (world.used(&none, |_| true), world.used(&world.chosen, |_| true));
            let gone = before.difference(&after).count() as u64 * BLOCK;
            let chosen = |member: u32| world.chosen.contains(&member);
            let pieces = world.pieces(false);
            prop_assert_eq!(pieces.freed(chosen), Bounds { least: gone, most: gone });
            // Where the filesystem says that somebody may share them, nothing is promised.
            prop_assert_eq!(world.pieces(true).freed(chosen), Bounds { least: 0, most: gone });

            let of_snapshots = world.used(&none, |(_, by, ..)| !by.is_empty());
            prop_assert_eq!(pieces.physical(|_| true), of_snapshots.len() as u64 * BLOCK);
            let others = world.used(&(0..5).collect(), |_| true);
            let held = of_snapshots.difference(&others).count() as u64 * BLOCK;
            prop_assert_eq!(pieces.held(|_| true).most, held);
            let source = world.used(&none, |(_, _, source, _)| *source);
            prop_assert_eq!(pieces.with_source(|_| true), of_snapshots.intersection(&source).count() as u64 * BLOCK);
            let exposed = world.inodes.iter().filter(|(_, by, source, _)| *source && !by.is_empty()).count() as u64;
            prop_assert_eq!(pieces.exposed(|_| true).0, exposed);
        }

        #[test]
        fn more_deletions_never_free_less(world in worlds(), more in 0u32..5) {
            let pieces = world.pieces(false);
            let some = pieces.freed(|m| world.chosen.contains(&m));
            let all = pieces.freed(|m| world.chosen.contains(&m) || m == more);
            prop_assert!(all.most >= some.most + pieces.freed(|m| m == more && !world.chosen.contains(&m)).most);
        }
    }

    #[test]
    fn bytes_without_a_place_and_without_extents() {
        let mut ledger = Ledger::new(false);
        let (inline, _) = ledger.name(Holder::Snapshot(0), &stat(1, 1, 1));
        ledger.extents(inline, Some(vec![Extent { physical: None, len: 2 * BLOCK, shared: false, encoded: false }]));
        let (untold, _) = ledger.name(Holder::Snapshot(0), &stat(2, 1, 3));
        ledger.extents(untold, None);
        // Never asked: its filesystem shares nothing.
        ledger.name(Holder::Snapshot(0), &stat(3, 1, 5));
        ledger.own(0, 7);
        let told = ledger.pieces().freed(|_| true);
        assert_eq!(told, Bounds { least: 6 * BLOCK + 7, most: 9 * BLOCK + 7 });
    }

    #[test]
    fn compressed_bytes_and_a_part_of_an_extent_promise_nothing() {
        let extent = |from: u64, len: u64, encoded| Extent { physical: Some(from), len, shared: false, encoded };
        let mut ledger = Ledger::new(true);
        let (packed, _) = ledger.name(Holder::Snapshot(0), &stat(1, 1, 1));
        ledger.extents(packed, Some(vec![extent(0, BLOCK, true)]));
        let (long, _) = ledger.name(Holder::Snapshot(0), &stat(2, 1, 2));
        ledger.extents(long, Some(vec![extent(8 * BLOCK, 2 * BLOCK, false)]));
        let (part, _) = ledger.name(Holder::Snapshot(1), &stat(3, 1, 1));
        ledger.extents(part, Some(vec![extent(8 * BLOCK, BLOCK, false)]));
        let pieces = ledger.pieces();
        // The second half of the long one goes only with the first, which is the other's too.
        assert_eq!(pieces.freed(|m| m == 0), Bounds { least: 0, most: 2 * BLOCK });
        assert_eq!(pieces.freed(|_| true), Bounds { least: 0, most: 3 * BLOCK });
    }
}
