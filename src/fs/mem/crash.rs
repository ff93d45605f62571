//! What a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

use super::node::{Content, Names, Node, NodeId};
use super::{MemFs, State};
use crate::fs::{Attributes, Rename, Sync};

/// What is on the disk for certain: per inode its bytes or its names.
#[derive(Debug, Clone)]
pub(super) struct Image {
    root: NodeId,
    files: BTreeMap<NodeId, (Arc<Vec<u8>>, Attributes)>,
    dirs: BTreeMap<NodeId, Names>,
}

/// A change that no sync has covered yet.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// The bytes and attributes of a file, whatever they are by the time of the cut.
    Data(NodeId),
    /// A name of a directory stands for something else, or for nothing.
    Name { dir: NodeId, name: OsString, to: Option<NodeId> },
    /// One or two names moved, atomically.
    Moved { from: (NodeId, OsString), to: (NodeId, OsString), node: NodeId, how: Rename },
}

impl Effect {
    /// Whether a sync of this inode covers it.
    fn is_of(&self, node: NodeId) -> bool {
        match self {
            Effect::Data(id) => *id == node,
            Effect::Name { dir, .. } => *dir == node,
            Effect::Moved { from, to, .. } => from.0 == node || to.0 == node,
        }
    }
}

/// In what shape an effect reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Whole,
    /// Only for data: the first half of what is new. Bytes that are as they were at the last sync are not in doubt.
    Torn,
    /// Only for data: zeros in place of what is new.
    Zeros,
}

impl Image {
    pub(super) fn empty(root: NodeId) -> Image {
        Image { root, files: BTreeMap::new(), dirs: BTreeMap::from([(root, Names::new())]) }
    }

    fn dir(&mut self, dir: NodeId) -> &mut Names {
        self.dirs.entry(dir).or_default()
    }

    fn apply(&mut self, effect: &Effect, fate: Fate, state: &State) {
        match effect {
            Effect::Data(id) => {
                let Some(Node { content: Content::File(bytes), attributes, .. }) = state.nodes.get(id) else { return };
                let synced = self.files.get(id).map_or(0, |(old, _)| common_prefix(old, bytes));
                let cut_to = |len: usize| bytes.get(..len).unwrap_or_default().to_vec();
                let bytes = match fate {
                    Fate::Lost => return,
                    Fate::Whole => bytes.clone(),
                    Fate::Torn => Arc::new(cut_to(synced + (bytes.len() - synced) / 2)),
                    Fate::Zeros => {
                        let mut zeros = cut_to(synced);
                        zeros.resize(bytes.len(), 0);
                        Arc::new(zeros)
                    }
                };
                self.files.insert(*id, (bytes, attributes.clone()));
            }
            _ if fate == Fate::Lost => {}
            Effect::Name { dir, name, to: Some(node) } => {
                self.dir(*dir).insert(name.clone(), *node);
            }
            Effect::Name { dir, name, to: None } => {
                self.dir(*dir).remove(name);
            }
            Effect::Moved { from, to, node, how } => {
                if self.dir(from.0).get(&from.1) != Some(node) {
                    return;
                }
                let other = self.dir(to.0).insert(to.1.clone(), *node);
                self.dir(from.0).remove(&from.1);
                if let (Rename::Exchange, Some(other)) = (how, other) {
                    self.dir(from.0).insert(from.1.clone(), other);
                }
            }
        }
    }

    /// Of all that can be reached from the root, inodes included: equal ones come back as equal filesystems.
    fn digest(&self, directories: &BTreeSet<NodeId>) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let (mut seen, mut next) = (BTreeSet::new(), vec![self.root]);
        while let Some(dir) = next.pop() {
            let names = self.dirs.get(&dir).filter(|_| seen.insert(dir));
            hasher.update(&(names.map_or(0, |names| names.len()) as u64).to_le_bytes());
            for (name, id) in names.into_iter().flatten() {
                hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(&id.0.to_le_bytes());
                match self.files.get(id) {
                    _ if directories.contains(id) => next.push(*id),
                    Some((bytes, attributes)) => {
                        let attributes = blake3::hash(format!("{attributes:?}").as_bytes());
                        hasher.update(blake3::hash(bytes).as_bytes()).update(attributes.as_bytes());
                    }
                    None => {
                        hasher.update(&[0; 2 * blake3::OUT_LEN]);
                    }
                }
            }
        }
        hasher.finalize()
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl State {
    /// Notes that a file has bytes or attributes that are not on the disk.
    pub(super) fn dirty(&mut self, node: NodeId) {
        if !self.pending.iter().any(|e| matches!(e, Effect::Data(id) if *id == node)) {
            self.pending.push(Effect::Data(node));
        }
    }

    pub(super) fn make_durable(&mut self, node: NodeId, how: Sync) {
        let covered = |effect: &Effect| how == Sync::Filesystem || effect.is_of(node);
        let mut image = std::mem::replace(&mut self.durable, Image::empty(self.root));
        for effect in self.pending.iter().filter(|e| covered(e)) {
            image.apply(effect, Fate::Whole, self);
        }
        self.durable = image;
        self.pending.retain(|e| !covered(e));
    }

    /// A sync that failed: what it was to cover never reaches the disk, and nobody will be told again.
    pub(super) fn lose(&mut self, node: NodeId) {
        let names = self.abilities.loses_names;
        self.pending.retain(|e| !(e.is_of(node) && (names || matches!(e, Effect::Data(_)))));
    }
}

impl MemFs {
    /// The filesystems that may come back after a power cut now: all combinations of up to `exhaustive` pending
    /// effects, each lost or whole; beyond that `samples` of them, and always as many with torn and zeroed data,
    /// from a `seed`. All lost and all whole are always among them; of those that are equal, as where a file's bytes arrived but
    /// none of its names, one. Nobody holds a handle or a lock there, and nothing fails.
    pub fn crash_states(&self, exhaustive: usize, samples: usize, seed: u64) -> Vec<MemFs> {
        let state = self.lock();
        let count = state.pending.len();
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut fates: Vec<Vec<Fate>> = Vec::new();
        if count <= exhaustive {
            for bits in 0..1_u32 << count {
                fates.push((0..count).map(|i| if bits >> i & 1 == 1 { Fate::Whole } else { Fate::Lost }).collect());
            }
        } else {
            fates.push(vec![Fate::Lost; count]);
            fates.push(vec![Fate::Whole; count]);
            for _ in 0..samples {
                fates.push((0..count).map(|_| random.fate(2)).collect());
            }
            // Journals keep prefixes.
            for _ in 0..samples {
                let kept = random.below(count + 1);
                fates.push((0..count).map(|i| if i < kept { Fate::Whole } else { Fate::Lost }).collect());
            }
        }
        if state.pending.iter().any(|e| matches!(e, Effect::Data(_))) {
            for _ in 0..samples {
                fates.push((0..count).map(|_| random.fate(4)).collect());
            }
        }
        let mut seen = BTreeSet::new();
        let mut images: Vec<Image> = fates.iter().map(|fates| state.image_after(fates)).collect();
        images.retain(|image| seen.insert(*image.digest(&state.directories).as_bytes()));
        images.iter().map(|image| state.come_back(image)).collect()
    }

    /// A filesystem of its own that begins as this one is now, changes that are not synced included. Nobody holds a
    /// handle or a lock there, and nothing fails. Bytes are shared until either side writes, so that it takes microseconds.
    pub fn fork(&self) -> MemFs {
        let state = self.lock();
        let mut fork = State {
            nodes: state.nodes.clone(),
            directories: state.directories.clone(),
            free_inos: state.free_inos.clone(),
            durable: state.durable.clone(),
            pending: state.pending.clone(),
            ..State::new(state.abilities)
        };
        (fork.root, fork.now, fork.used) = (state.root, state.now, state.used);
        (fork.next_node, fork.next_ino) = (state.next_node, state.next_ino);
        drop(state);
        let ids: Vec<NodeId> = fork.nodes.iter().filter(|(_, node)| node.open > 0).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(node) = fork.nodes.get_mut(&id) {
                node.open = 0;
            }
            fork.drop_if_unused(id);
        }
        MemFs { state: Arc::new(Mutex::new(fork)) }
    }
}

impl State {
    fn image_after(&self, fates: &[Fate]) -> Image {
        let mut image = self.durable.clone();
        for (effect, fate) in self.pending.iter().zip(fates) {
            image.apply(effect, *fate, self);
        }
        image
    }

    fn come_back(&self, image: &Image) -> MemFs {
        let fs = MemFs::with(self.abilities);
        {
            let mut new = fs.lock();
            (new.now, new.next_ino) = (self.now, self.next_ino);
            let mut ids = BTreeMap::from([(image.root, new.root)]);
            let mut seen = BTreeSet::new();
            new.fill(image, image.root, self, &mut ids, &mut seen);
            let root = new.root;
            new.make_durable(root, Sync::Filesystem);
        }
        fs
    }

    /// Copies a directory of an image and all below it.
    fn fill(
        &mut self,
        image: &Image,
        dir: NodeId,
        old: &State,
        ids: &mut BTreeMap<NodeId, NodeId>,
        seen: &mut BTreeSet<NodeId>,
    ) {
        // A directory under two names cannot come of atomic renames; a filesystem check would drop the second.
        if !seen.insert(dir) {
            return;
        }
        let Some(here) = ids.get(&dir).copied() else { return };
        for (name, id) in image.dirs.get(&dir).into_iter().flatten() {
            let is_dir = old.directories.contains(id);
            if is_dir && seen.contains(id) {
                continue;
            }
            let new = *ids.entry(*id).or_insert_with(|| self.add_node(is_dir, 0o755));
            // The inode is the one that it was; of one that was gone already nobody remembers the number.
            if let (Some(was), Ok(node)) = (old.nodes.get(id), self.node_mut(new)) {
                node.ino = was.ino;
            }
            if let (Ok(node), Some((bytes, attributes))) = (self.node_mut(new), image.files.get(id)) {
                // Not filled under another name already.
                if node.nlink == 0 {
                    node.content = Content::File(bytes.clone());
                    node.attributes = attributes.clone();
                    self.dirty(new);
                }
            }
            self.put_name(here, name.clone(), new);
            if is_dir {
                self.fill(image, *id, old, ids, seen);
            }
        }
    }
}

/// Small, seeded, good enough to choose subsets (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// One of the first `kinds` fates.
    fn fate(&mut self, kinds: usize) -> Fate {
        match self.below(kinds) {
            0 => Fate::Lost,
            1 => Fate::Whole,
            2 => Fate::Torn,
            _ => Fate::Zeros,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::fs::{Fs, Open};

    /// The bytes of each name, by the name.
    fn found(fs: &MemFs) -> Vec<(String, String)> {
        let root = fs.open_dir(None, "/".as_ref()).unwrap();
        let read = |name: &OsStr| {
            let mut bytes = vec![0; 10];
            let file = fs.open(&root, name, Open::Read).unwrap();
            let len = fs.read_at(&file, &mut bytes, 0).unwrap();
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        };
        let entry = |entry: crate::fs::Entry| (entry.name.to_string_lossy().into_owned(), read(&entry.name));
        fs.list(&root).unwrap().into_iter().map(entry).collect()
    }

    #[test]
    fn each_state_of_the_disk_comes_once() {
        let fs = MemFs::new();
        let root = fs.open_dir(None, "/".as_ref()).unwrap();
        let file = fs.open(&root, "a".as_ref(), Open::CreateNew(0o644)).unwrap();
        fs.write_at(&file, b"bytes", 0).unwrap();
        fs.link(&root, "a".as_ref(), &root, "b".as_ref()).unwrap();
        let states: Vec<_> = fs.crash_states(10, 0, 0).iter().map(found).collect();
        let pair = |name: &str, bytes: &str| (name.to_owned(), bytes.to_owned());
        // Three effects: two names and the bytes, which are nowhere without a name.
        let mut wanted = vec![vec![]];
        for bytes in ["", "bytes"] {
            wanted.push(vec![pair("a", bytes)]);
            wanted.push(vec![pair("b", bytes)]);
            wanted.push(vec![pair("a", bytes), pair("b", bytes)]);
        }
        assert_eq!(states.len(), wanted.len(), "{states:?}");
        assert!(wanted.iter().all(|state| states.contains(state)), "{states:?}");
    }
}
