//! Names and bytes: what the operations are made of.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use nix::libc;

use super::crash::Effect;
use super::node::{Content, NodeId};
use super::{State, errno};
use crate::fs::FileKind;

impl State {
    pub(super) fn find(&self, dir: NodeId, name: &OsStr) -> io::Result<Option<NodeId>> {
        const LONGEST_NAME: usize = 255;
        let names = self.dir(dir)?;
        if name.len() > LONGEST_NAME { Err(errno(libc::ENAMETOOLONG)) } else { Ok(names.get(name).copied()) }
    }

    pub(super) fn look_up(&self, dir: NodeId, name: &OsStr) -> io::Result<NodeId> {
        self.find(dir, name)?.ok_or_else(|| errno(libc::ENOENT))
    }

    /// What a new name would be in the way of. In a directory that was removed nothing can be made.
    pub(super) fn find_for_new(&self, dir: NodeId, name: &OsStr) -> io::Result<Option<NodeId>> {
        let found = self.find(dir, name)?;
        let removed = dir != self.root && self.node(dir)?.nlink == 0;
        if removed { Err(errno(libc::ENOENT)) } else { Ok(found) }
    }

    /// Whether a directory is another one or lies somewhere in it.
    pub(super) fn is_within(&self, dir: NodeId, outer: NodeId) -> bool {
        let mut at = Some(dir);
        while let Some(id) = at {
            if id == outer {
                return true;
            }
            at = self.nodes.get(&id).and_then(|n| n.parent);
        }
        false
    }

    pub(super) fn room_for(&self, bytes: u64) -> io::Result<()> {
        let fits = self.used.saturating_add(bytes) <= self.abilities.capacity && self.used < self.abilities.capacity;
        if fits { Ok(()) } else { Err(errno(libc::ENOSPC)) }
    }

    /// Gives a node a name that is free.
    pub(super) fn put_name(&mut self, dir: NodeId, name: OsString, node: NodeId) {
        let now = self.now;
        if let Ok(names) = self.dir_mut(dir) {
            names.insert(name.clone(), node);
            self.pending.push(Effect::Name { dir, name, to: Some(node) });
        }
        if let Ok(node) = self.node_mut(node) {
            node.nlink += 1;
            node.ctime = now;
            node.parent = Some(dir);
        }
    }

    pub(super) fn take_name(&mut self, dir: NodeId, name: &OsStr) -> io::Result<()> {
        let node = self.look_up(dir, name)?;
        self.dir_mut(dir)?.remove(name);
        self.pending.push(Effect::Name { dir, name: name.to_owned(), to: None });
        self.unname(node);
        Ok(())
    }

    pub(super) fn unname(&mut self, node: NodeId) {
        let now = self.now;
        if let Ok(node) = self.node_mut(node) {
            node.nlink = node.nlink.saturating_sub(1);
            node.ctime = now;
        }
        self.drop_if_unused(node);
    }

    pub(super) fn replace_bytes(&mut self, node: NodeId, bytes: Arc<Vec<u8>>) -> io::Result<()> {
        let now = self.now;
        let before = self.file(node)?.len() as u64;
        self.used = self.used.saturating_sub(before).saturating_add(bytes.len() as u64);
        let node_ref = self.node_mut(node)?;
        node_ref.content = Content::File(bytes);
        (node_ref.attributes.mtime, node_ref.ctime) = (now, now);
        self.dirty(node);
        Ok(())
    }

    /// In place where no clone shares the bytes.
    pub(super) fn change_bytes(
        &mut self,
        node: NodeId,
        more: u64,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let now = self.now;
        self.used = self.used.saturating_add(more);
        let node_ref = self.node_mut(node)?;
        (node_ref.attributes.mtime, node_ref.ctime) = (now, now);
        match &mut node_ref.content {
            Content::File(bytes) => change(Arc::make_mut(bytes)),
            Content::Dir(_) => return Err(errno(libc::EISDIR)),
        }
        self.dirty(node);
        Ok(())
    }

    /// Whether a plain rename may put `node` where `over` is: a file over a file, a directory over an empty one.
    pub(super) fn may_replace(&self, node: NodeId, over: NodeId) -> io::Result<()> {
        match (self.node(node)?.kind(), &self.node(over)?.content) {
            (FileKind::Dir, Content::Dir(names)) if names.is_empty() => Ok(()),
            (FileKind::Dir, Content::Dir(_)) => Err(errno(libc::ENOTEMPTY)),
            (FileKind::Dir, Content::File(_)) => Err(errno(libc::ENOTDIR)),
            (_, Content::Dir(_)) => Err(errno(libc::EISDIR)),
            _ => Ok(()),
        }
    }
}
