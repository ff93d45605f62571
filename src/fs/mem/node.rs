//! Inodes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use nix::libc;

use super::{State, errno};
use crate::fs::{Attributes, Entry, FileKind, Stat};

/// An inode for good; its number may be given to another one later, as ext4 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u64);

pub(super) type Names = BTreeMap<OsString, NodeId>;

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Shared by clones until one of them is written to.
    File(Arc<Vec<u8>>),
    Dir(Names),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) ino: u64,
    pub(super) content: Content,
    pub(super) attributes: Attributes,
    pub(super) ctime: i64,
    pub(super) nlink: u64,
    pub(super) open: u64,
    /// The directory that a directory is in.
    pub(super) parent: Option<NodeId>,
}

impl Node {
    pub(super) fn dir(ino: u64, mode: u32, now: i64) -> Node {
        Node::new(ino, Content::Dir(Names::new()), mode, now)
    }

    pub(super) fn file(ino: u64, mode: u32, now: i64) -> Node {
        Node::new(ino, Content::File(Arc::default()), mode, now)
    }

    fn new(ino: u64, content: Content, mode: u32, now: i64) -> Node {
        let attributes = Attributes { mode: mode & 0o7777, mtime: now, ..Attributes::default() };
        Node { ino, content, attributes, ctime: now, nlink: 0, open: 0, parent: None }
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.content {
            Content::File(_) => FileKind::File,
            Content::Dir(_) => FileKind::Dir,
        }
    }

    pub(super) fn stat(&self) -> Stat {
        let (size, allocated) = match &self.content {
            Content::File(bytes) => (bytes.len() as u64, bytes.len() as u64),
            Content::Dir(names) => (names.len() as u64, 0),
        };
        Stat {
            kind: self.kind(),
            dev: 1,
            ino: self.ino,
            size,
            allocated,
            nlink: self.nlink,
            mode: self.attributes.mode,
            uid: self.attributes.uid,
            gid: self.attributes.gid,
            mtime: self.attributes.mtime,
            ctime: self.ctime,
        }
    }
}

impl State {
    pub(super) fn node(&self, id: NodeId) -> io::Result<&Node> {
        self.nodes.get(&id).ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> io::Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn dir(&self, id: NodeId) -> io::Result<&Names> {
        match &self.node(id)?.content {
            Content::Dir(names) => Ok(names),
            Content::File(_) => Err(errno(libc::ENOTDIR)),
        }
    }

    pub(super) fn list(&self, dir: NodeId) -> io::Result<Vec<Entry>> {
        let entry = |(name, id): (&OsString, &NodeId)| {
            let node = self.node(*id)?;
            Ok(Entry { name: name.clone(), kind: node.kind(), ino: node.ino })
        };
        self.dir(dir)?.iter().map(entry).collect()
    }

    pub(super) fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut Names> {
        let now = self.now;
        let node = self.node_mut(id)?;
        (node.attributes.mtime, node.ctime) = (now, now);
        match &mut node.content {
            Content::Dir(names) => Ok(names),
            Content::File(_) => Err(errno(libc::ENOTDIR)),
        }
    }

    pub(super) fn file(&self, id: NodeId) -> io::Result<&Arc<Vec<u8>>> {
        match &self.node(id)?.content {
            Content::File(bytes) => Ok(bytes),
            Content::Dir(_) => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn add_node(&mut self, dir: bool, mode: u32) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        // The lowest free number at once: an identity must not rely on numbers being fresh.
        let ino = self.free_inos.pop_first().unwrap_or_else(|| {
            self.next_ino += 1;
            self.next_ino - 1
        });
        if dir {
            self.directories.insert(id);
        }
        let make = if dir { Node::dir } else { Node::file };
        self.nodes.insert(id, make(ino, mode, self.now));
        id
    }

    /// Forgets an inode that nobody names or holds any more.
    pub(super) fn drop_if_unused(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_some_and(|n| n.nlink == 0 && n.open == 0 && id != self.root)
            && let Some(node) = self.nodes.remove(&id)
        {
            self.free_inos.insert(node.ino);
            if let Content::File(bytes) = node.content {
                self.used = self.used.saturating_sub(bytes.len() as u64);
            }
        }
    }
}
