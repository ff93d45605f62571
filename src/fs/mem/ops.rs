//! The operations.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::libc;

use super::crash::Effect;
use super::node::NodeId;
use super::{MemFs, MemHandle, Op, State, errno};
use crate::fs::{Attributes, Entry, FileKind, Fs, Handle, LockMode, Open, Rename, Stat, Sync, Volume};

impl MemFs {
    /// What a handle stands for; another filesystem's is refused, as one of the operating system would.
    fn mem<'a>(&self, handle: &'a Handle) -> io::Result<&'a MemHandle> {
        match handle {
            Handle::Mem(handle) if Arc::ptr_eq(&handle.fs.state, &self.state) => Ok(handle),
            Handle::Mem(_) | Handle::Os(_) => Err(errno(libc::EXDEV)),
        }
    }

    fn open_node(&self, state: &mut State, node: NodeId) -> io::Result<Handle> {
        state.node_mut(node)?.open += 1;
        let id = state.next_handle;
        state.next_handle += 1;
        Ok(Handle::Mem(MemHandle { fs: self.clone(), node, id }))
    }
}

impl Drop for MemHandle {
    fn drop(&mut self) {
        let mut state = self.fs.lock();
        if let Some(holders) = state.locks.get_mut(&self.node) {
            holders.retain(|(id, _)| *id != self.id);
        }
        state.record_locks.retain(|_, (_, by)| *by != Some(self.id));
        if let Ok(node) = state.node_mut(self.node) {
            node.open = node.open.saturating_sub(1);
        }
        state.drop_if_unused(self.node);
    }
}

impl Fs for MemFs {
    fn open_dir(&self, at: Option<&Handle>, path: &Path) -> io::Result<Handle> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        let node = match at {
            Some(dir) => state.look_up(self.mem(dir)?.node, path.as_os_str())?,
            None => state.resolve(path)?,
        };
        state.dir(node)?;
        self.open_node(&mut state, node)
    }

    fn open_parent(&self, dir: &Handle) -> io::Result<Handle> {
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        let parent = state.node(self.mem(dir)?.node)?.parent.unwrap_or(state.root);
        self.open_node(&mut state, parent)
    }

    fn make_dir(&self, dir: &Handle, name: &OsStr, mode: u32) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::MakeDir, true)?;
        let dir = self.mem(dir)?.node;
        if state.find_for_new(dir, name)?.is_some() {
            return Err(errno(libc::EEXIST));
        }
        state.room_for(0)?;
        let node = state.add_node(true, mode);
        state.put_name(dir, name.to_owned(), node);
        Ok(())
    }

    fn list(&self, dir: &Handle) -> io::Result<Vec<Entry>> {
        self.let_others();
        let dir = self.mem(dir)?.node;
        let meanwhile = self.due(Op::List);
        let mut names = {
            let mut state = self.lock();
            state.begin(Op::List, false)?;
            state.list(dir)?
        };
        if let Some(meanwhile) = meanwhile {
            meanwhile();
            let mut made = self.lock().list(dir)?;
            made.retain(|entry| !names.iter().any(|old| old.name == entry.name));
            made.sort_unstable_by_key(|entry| entry.ino);
            names.extend(made.split_off(made.len() / 2));
        }
        Ok(names)
    }

    fn stat(&self, dir: &Handle, name: &OsStr) -> io::Result<Stat> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        let mut node = self.mem(dir)?.node;
        for name in Path::new(name) {
            node = state.look_up(node, name)?;
        }
        Ok(state.node(node)?.stat())
    }

    fn fstat(&self, node: &Handle) -> io::Result<Stat> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        Ok(state.node(self.mem(node)?.node)?.stat())
    }

    fn open(&self, dir: &Handle, name: &OsStr, how: Open) -> io::Result<Handle> {
        self.let_others();
        let mut state = self.lock();
        let dir = self.mem(dir)?.node;
        let found = match how {
            Open::Read | Open::Write => state.find(dir, name)?,
            Open::CreateNew(_) | Open::OpenOrCreate(_) => state.find_for_new(dir, name)?,
        };
        let node = match (how, found) {
            (Open::Read | Open::Write | Open::OpenOrCreate(_), Some(node)) => {
                state.begin(Op::Open, false)?;
                if how != Open::Read && state.node(node)?.kind() == FileKind::Dir {
                    return Err(errno(libc::EISDIR));
                }
                node
            }
            (Open::Read | Open::Write, None) => {
                state.begin(Op::Open, false)?;
                return Err(errno(libc::ENOENT));
            }
            (Open::CreateNew(_), Some(_)) => {
                state.begin(Op::Create, true)?;
                return Err(errno(libc::EEXIST));
            }
            (Open::CreateNew(mode) | Open::OpenOrCreate(mode), None) => {
                state.begin(Op::Create, true)?;
                state.room_for(0)?;
                let node = state.add_node(false, mode);
                state.put_name(dir, name.to_owned(), node);
                state.dirty(node);
                node
            }
        };
        self.open_node(&mut state, node)
    }

    fn read_at(&self, file: &Handle, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Read, false)?;
        let bytes = state.file(self.mem(file)?.node)?;
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_at(&self, file: &Handle, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock();
        state.begin(Op::Write, true)?;
        let node = self.mem(file)?.node;
        let at = usize::try_from(offset).map_err(|_| errno(libc::EFBIG))?;
        let end = at.checked_add(buf.len()).ok_or_else(|| errno(libc::EFBIG))?;
        let more = end.saturating_sub(state.file(node)?.len()) as u64;
        if more > 0 {
            state.room_for(more)?;
        }
        state.change_bytes(node, more, |bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(room) = bytes.get_mut(at..end) {
                room.copy_from_slice(buf);
            }
        })?;
        Ok(buf.len())
    }

    fn set_len(&self, file: &Handle, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::SetLen, true)?;
        let node = self.mem(file)?.node;
        let mut bytes = Vec::clone(state.file(node)?);
        bytes.resize(usize::try_from(len).map_err(|_| errno(libc::EFBIG))?, 0);
        state.replace_bytes(node, Arc::new(bytes))
    }

    fn link(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr) -> io::Result<()> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Link, true)?;
        let (from, to) = (self.mem(from)?.node, self.mem(to)?.node);
        let node = state.look_up(from, from_name)?;
        if state.find_for_new(to, to_name)?.is_some() {
            return Err(errno(libc::EEXIST));
        }
        if state.node(node)?.kind() == FileKind::Dir {
            return Err(errno(libc::EPERM));
        }
        if state.node(node)?.nlink >= state.abilities.max_links {
            return Err(errno(libc::EMLINK));
        }
        state.room_for(0)?;
        state.put_name(to, to_name.to_owned(), node);
        Ok(())
    }

    fn clone_file(&self, from: &Handle, to: &Handle) -> io::Result<()> {
        self.let_others();
        let mut state = self.lock();
        state.begin(Op::Clone, true)?;
        if !state.abilities.reflink {
            return Err(errno(libc::EOPNOTSUPP));
        }
        let bytes = state.file(self.mem(from)?.node)?.clone();
        state.room_for(0)?;
        state.replace_bytes(self.mem(to)?.node, bytes)
    }

    fn rename(&self, from: &Handle, from_name: &OsStr, to: &Handle, to_name: &OsStr, how: Rename) -> io::Result<()> {
        if let Some(meanwhile) = self.due(Op::Rename) {
            meanwhile();
        }
        let mut state = self.lock();
        state.begin(Op::Rename, true)?;
        let (from, to) = (self.mem(from)?.node, self.mem(to)?.node);
        let node = state.look_up(from, from_name)?;
        let over = state.find_for_new(to, to_name)?;
        match (how, over) {
            (Rename::NoReplace, Some(_)) => return Err(errno(libc::EEXIST)),
            (Rename::Exchange, None) => return Err(errno(libc::ENOENT)),
            _ if from != to && state.is_within(to, node) => return Err(errno(libc::EINVAL)),
            (_, Some(over)) if from != to && state.is_within(from, over) => {
                return Err(errno(if how == Rename::Exchange { libc::EINVAL } else { libc::ENOTEMPTY }));
            }
            (_, Some(over)) if over == node => return Ok(()),
            _ if state.abilities.rename_needs_space => state.room_for(0)?,
            _ => {}
        }
        if let (Rename::Replace, Some(over)) = (how, over) {
            state.may_replace(node, over)?;
        }
        state.dir_mut(from)?.remove(from_name);
        state.dir_mut(to)?.insert(to_name.to_owned(), node);
        if let (Rename::Exchange, Some(over)) = (how, over) {
            state.dir_mut(from)?.insert(from_name.to_owned(), over);
            state.node_mut(over)?.parent = Some(from);
        }
        state.pending.push(Effect::Moved {
            from: (from, from_name.to_owned()),
            to: (to, to_name.to_owned()),
            node,
            how,
        });
        let now = state.now;
        let moved = state.node_mut(node)?;
        (moved.ctime, moved.parent) = (now, Some(to));
        if let (Rename::Replace, Some(over)) = (how, over) {
            state.unname(over);
        }
        Ok(())
    }

    fn unlink(&self, dir: &Handle, name: &OsStr) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Remove, true)?;
        let dir = self.mem(dir)?.node;
        let node = state.look_up(dir, name)?;
        if state.node(node)?.kind() == FileKind::Dir {
            return Err(errno(libc::EISDIR));
        }
        state.take_name(dir, name)
    }

    fn remove_dir(&self, dir: &Handle, name: &OsStr) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Op::Remove, true)?;
        let dir = self.mem(dir)?.node;
        let node = state.look_up(dir, name)?;
        if !state.dir(node)?.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        state.take_name(dir, name)
    }

    fn sync(&self, node: &Handle, how: Sync) -> io::Result<()> {
        let mut state = self.lock();
        let node = self.mem(node)?.node;
        let before = state.is_cut();
        if let Err(e) = state.begin(Op::Sync, true) {
            if !before {
                state.lose(node);
            }
            return Err(e);
        }
        state.make_durable(node, how);
        Ok(())
    }

    fn attributes(&self, node: &Handle) -> io::Result<Attributes> {
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        Ok(state.node(self.mem(node)?.node)?.attributes.clone())
    }

    fn set_attributes(&self, node: &Handle, to: &Attributes) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.begin(Op::SetAttributes, true)?;
        let now = state.now;
        let id = self.mem(node)?.node;
        let node = state.node_mut(id)?;
        node.ctime = now;
        node.attributes = to.clone();
        if node.kind() == FileKind::File {
            state.dirty(id);
        }
        Ok(Vec::new())
    }

    fn give(&self, node: &Handle, uid: u32, gid: u32) -> io::Result<()> {
        let now = self.attributes(node)?;
        self.set_attributes(node, &Attributes { uid, gid, ..now }).map(drop)
    }

    fn try_lock(&self, node: &Handle, mode: LockMode) -> io::Result<bool> {
        if let Some(meanwhile) = self.due(Op::Lock) {
            meanwhile();
        }
        let mut state = self.lock();
        state.begin(Op::Lock, false)?;
        let handle = self.mem(node)?;
        let holders = state.locks.entry(handle.node).or_default();
        let mut others = holders.iter().filter(|(id, _)| *id != handle.id);
        let free = match mode {
            LockMode::Exclusive => others.next().is_none(),
            LockMode::Shared => others.all(|(_, mode)| *mode == LockMode::Shared),
        };
        // As flock does it: changing the mode gives the old lock up first, and does not get it back.
        holders.retain(|(id, _)| *id != handle.id);
        if free {
            holders.push((handle.id, mode));
        }
        Ok(free)
    }

    fn unlock(&self, node: &Handle) -> io::Result<()> {
        let handle = self.mem(node)?;
        if let Some(holders) = self.lock().locks.get_mut(&handle.node) {
            holders.retain(|(id, _)| *id != handle.id);
        }
        Ok(())
    }

    fn lock_holder(&self, node: &Handle) -> Option<String> {
        let handle = self.mem(node).ok()?;
        let state = self.lock();
        let holders = state.locks.get(&handle.node).filter(|h| !h.is_empty())?;
        Some(format!("{} handles", holders.len()))
    }

    fn record_lock_holder(&self, file: &Handle) -> io::Result<Option<u32>> {
        let file = self.mem(file)?;
        let holder = self.lock().record_locks.get(&file.node).copied();
        Ok(holder.filter(|(_, by)| *by != Some(file.id)).map(|(pid, _)| pid))
    }

    fn try_record_lock(&self, file: &Handle) -> io::Result<bool> {
        let file = self.mem(file)?;
        let (_, by) = *self.lock().record_locks.entry(file.node).or_insert((0, Some(file.id)));
        Ok(by == Some(file.id))
    }

    fn volume(&self, _dir: &Handle) -> io::Result<Volume> {
        let mut state = self.lock();
        state.begin(Op::Open, false)?;
        let capacity = state.abilities.capacity;
        Ok(Volume { available: capacity.saturating_sub(state.used), size: capacity, kind: state.abilities.kind })
    }
}
