//! A filesystem in memory, for tests: inodes, links, locks, unsynced data, failing operations, a power cut.
//!
//! What a sync has not covered may be lost when the power is cut ([`MemFs::crash_states`]). The model is weaker than
//! what ext4, XFS and btrfs keep, so that a protocol which holds here relies on nothing but its own syncs:
//!
//! - Each change of a directory (a new, linked or removed name) is an effect of its own, and so is a rename, which is
//!   atomic. Any subset of the effects that no sync has covered may have reached the disk, in any combination; an effect
//!   that makes no sense without an earlier one that was lost is lost with it.
//! - The bytes and attributes of an inode are one effect. They may come back whole, as they were at the last sync, cut
//!   short, or as zeros.
//! - A sync of a file covers its bytes and attributes, not its name. A sync of a directory covers its names, not the
//!   bytes behind them. A rename between directories is covered by a sync of either.
//! - After a failed sync the unsynced bytes are lost for good, and the next sync says that all is well. With
//!   [`Abilities::loses_names`] the names of a directory are, too: what is done to them afterwards reaches the disk as far as
//!   it makes sense without what was lost.
//!
//! It never stands in for a real disk: what holds on real ones is tested on real ones.

mod crash;
mod node;
mod ops;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;

use super::{Clock, LockMode, VolumeKind};
use crash::{Effect, Image};
use node::{Node, NodeId};

/// Kinds of operations that can be made to fail, and that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Every operation that changes something, syncs included.
    Any,
    /// Making a directory.
    MakeDir,
    /// Making a file.
    Create,
    /// Opening what exists.
    Open,
    /// Listing a directory.
    List,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Cutting or extending.
    SetLen,
    /// Hard-linking.
    Link,
    /// Reflinking.
    Clone,
    /// Renaming.
    Rename,
    /// Removing a file or a directory.
    Remove,
    /// Syncing a file or a directory.
    Sync,
    /// Setting attributes.
    SetAttributes,
    /// Trying to get a lock.
    Lock,
}

/// What the filesystem can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Whether blocks can be shared; otherwise `EOPNOTSUPP`.
    pub reflink: bool,
    /// How many names an inode may have; beyond it `EMLINK`.
    pub max_links: u64,
    /// Bytes that fit; when they are used up `ENOSPC`.
    pub capacity: u64,
    /// Whether a rename needs space too, as on btrfs.
    pub rename_needs_space: bool,
    /// Whether a sync of a directory that fails loses its new names for good, as one of a file does its bytes.
    pub loses_names: bool,
    /// What it says it is.
    pub kind: VolumeKind,
}

impl Default for Abilities {
    fn default() -> Self {
        Abilities {
            reflink: true,
            max_links: 65_000,
            capacity: 1 << 40,
            rename_needs_space: false,
            loses_names: false,
            kind: VolumeKind::Other,
        }
    }
}

/// The filesystem. Clones are the same one.
#[derive(Clone)]
pub struct MemFs {
    state: Arc<Mutex<State>>,
}

/// An open inode.
#[derive(Debug)]
pub struct MemHandle {
    fs: MemFs,
    node: NodeId,
    id: u64,
}

struct State {
    nodes: BTreeMap<NodeId, Node>,
    /// All that ever were directories, removed ones included.
    directories: BTreeSet<NodeId>,
    root: NodeId,
    next_node: u64,
    next_handle: u64,
    free_inos: BTreeSet<u64>,
    next_ino: u64,
    /// Nanoseconds since 1970; every change takes a moment.
    now: i64,
    locks: HashMap<NodeId, Vec<(u64, LockMode)>>,
    /// The process, and the handle where it is one of ours.
    record_locks: HashMap<NodeId, (u32, Option<u64>)>,
    abilities: Abilities,
    used: u64,
    /// What a power cut leaves for certain.
    durable: Image,
    /// What it may leave, oldest first.
    pending: Vec<Effect>,
    counts: BTreeMap<Op, u64>,
    faults: Vec<(Op, u64, i32)>,
    cut_after: Option<u64>,
    meanwhile: Vec<(Op, u64, Meanwhile)>,
    before_look: Option<(u64, Meanwhile)>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// 2023-11-14
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;
const TICK_NS: i64 = 1_000;

impl MemFs {
    /// An empty filesystem: a root directory.
    pub fn new() -> Self {
        Self::with(Abilities::default())
    }

    /// An empty filesystem with these abilities.
    pub fn with(abilities: Abilities) -> Self {
        MemFs { state: Arc::new(Mutex::new(State::new(abilities))) }
    }

    /// Changes what it can do from now on.
    pub fn set_abilities(&self, abilities: Abilities) {
        self.lock().abilities = abilities;
    }

    /// Its clock; file times come from it too.
    pub fn clock(&self) -> Clock {
        let fs = self.clone();
        Clock::new(move || fs.lock().now / 1_000_000)
    }

    /// Moves the clock, in either direction.
    pub fn advance(&self, milliseconds: i64) {
        self.lock().now += milliseconds * 1_000_000;
    }

    /// Makes the `nth` operation of a kind from now on (1 is the next) fail with an `errno`.
    pub fn fail(&self, op: Op, nth: u64, errno: i32) {
        let mut state = self.lock();
        let so_far = state.counts.get(&op).copied().unwrap_or(0);
        state.faults.push((op, so_far + nth, errno));
    }

    /// Takes back all failures that have not come yet, and gives the power back.
    pub fn heal(&self) {
        self.lock().faults.clear();
        self.power_on();
    }

    /// How many operations of a kind there have been.
    pub fn count(&self, op: Op) -> u64 {
        self.lock().counts.get(&op).copied().unwrap_or(0)
    }

    /// Cuts the power after `changes` more changing operations: from then on everything fails with `EIO`.
    pub fn cut_power_after(&self, changes: u64) {
        let mut state = self.lock();
        let so_far = state.counts.get(&Op::Any).copied().unwrap_or(0);
        state.cut_after = Some(so_far + changes);
    }

    /// Gives the power back. What was pending still is, as if only the process had died.
    pub fn power_on(&self) {
        self.lock().cut_after = None;
    }

    /// Does something right before the `nth` lock from now on (1 is the next) is tried, as another process may.
    pub fn before_lock(&self, nth: u64, meanwhile: impl FnOnce() + Send + 'static) {
        self.interfere_with(Op::Lock, nth, Box::new(meanwhile));
    }

    /// Does something right before the `nth` rename from now on (1 is the next), as another process may.
    pub fn before_rename(&self, nth: u64, meanwhile: impl FnOnce() + Send + 'static) {
        self.interfere_with(Op::Rename, nth, Box::new(meanwhile));
    }

    /// Does something while the `nth` listing from now on (1 is the next) is read. Whether that sees a name made
    /// meanwhile is open (POSIX `readdir`): here it sees the younger half of them.
    pub fn during_list(&self, nth: u64, meanwhile: impl FnOnce() + Send + 'static) {
        self.interfere_with(Op::List, nth, Box::new(meanwhile));
    }

    /// Does something before the `nth` look from now on (1 is the next), as another process may: a look is an opening, a
    /// stat, a listing, a read, a link or a clone.
    pub fn before_look(&self, nth: u64, meanwhile: impl FnOnce() + Send + 'static) {
        self.lock().before_look = Some((nth, Box::new(meanwhile)));
    }

    /// How many looks away [`before_look`](Self::before_look) still is; 0 when it has come.
    pub fn looks_left(&self) -> u64 {
        self.lock().before_look.as_ref().map_or(0, |(left, _)| *left)
    }

    fn let_others(&self) {
        let mut state = self.lock();
        let Some((left, _)) = state.before_look.as_mut() else { return };
        *left = left.saturating_sub(1);
        if *left == 0
            && let Some((_, meanwhile)) = state.before_look.take()
        {
            drop(state);
            meanwhile();
        }
    }

    fn interfere_with(&self, op: Op, nth: u64, meanwhile: Meanwhile) {
        let mut state = self.lock();
        let so_far = state.counts.get(&op).copied().unwrap_or(0);
        state.meanwhile.push((op, so_far + nth, meanwhile));
    }

    /// Gives what is to happen at the next operation of this kind.
    fn due(&self, op: Op) -> Option<Meanwhile> {
        let mut state = self.lock();
        let next = state.counts.get(&op).copied().unwrap_or(0) + 1;
        let at = state.meanwhile.iter().position(|(of, nth, _)| *of == op && *nth == next)?;
        Some(state.meanwhile.swap_remove(at).2)
    }

    /// Makes a file look locked by another process with a POSIX record lock.
    pub fn set_record_lock(&self, path: impl AsRef<Path>, pid: Option<u32>) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.resolve(path.as_ref())?;
        match pid {
            Some(pid) => state.record_locks.insert(node, (pid, None)),
            None => state.record_locks.remove(&node),
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemFs {
    fn default() -> Self {
        MemFs::new()
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemFs").field("inodes", &state.nodes.len()).field("pending", &state.pending.len()).finish()
    }
}

impl State {
    fn new(abilities: Abilities) -> State {
        let root = NodeId(1);
        State {
            nodes: BTreeMap::from([(root, Node::dir(1, 0o755, EPOCH_NS))]),
            directories: BTreeSet::from([root]),
            root,
            next_node: 2,
            next_handle: 1,
            free_inos: BTreeSet::new(),
            next_ino: 2,
            now: EPOCH_NS,
            locks: HashMap::new(),
            record_locks: HashMap::new(),
            abilities,
            used: 0,
            durable: Image::empty(root),
            pending: Vec::new(),
            counts: BTreeMap::new(),
            faults: Vec::new(),
            cut_after: None,
            meanwhile: Vec::new(),
            before_look: None,
        }
    }

    /// Counts an operation; `Err` where it is to fail or the power is off.
    fn begin(&mut self, op: Op, changes: bool) -> io::Result<()> {
        if self.is_cut() {
            return Err(errno(libc::EIO));
        }
        if changes {
            self.now += TICK_NS;
            self.count(Op::Any)?;
        }
        self.count(op)
    }

    fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|after| self.counts.get(&Op::Any).copied().unwrap_or(0) >= after)
    }

    fn count(&mut self, op: Op) -> io::Result<()> {
        let count = self.counts.entry(op).or_default();
        *count += 1;
        let count = *count;
        match self.faults.iter().find(|(o, n, _)| (*o, *n) == (op, count)) {
            Some((_, _, code)) => Err(errno(*code)),
            None => Ok(()),
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = self.root;
        for part in path.components() {
            match part {
                std::path::Component::Normal(name) => {
                    at = *self.dir(at)?.get(name).ok_or_else(|| errno(libc::ENOENT))?;
                }
                std::path::Component::RootDir | std::path::Component::CurDir => {}
                _ => return Err(errno(libc::EINVAL)),
            }
        }
        Ok(at)
    }
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
