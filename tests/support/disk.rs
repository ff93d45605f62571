//! A disk that knows what was flushed: one file of a FUSE filesystem in memory, for a loop device to stand on. When its
//! power is cut, of what was written since the last flush a random part comes back, a beginning, or torn pieces; before
//! that it can be made to fail some of its writes and flushes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use tempfile::TempDir;

use super::Random;

const NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(1);
/// What a disk writes whole or not at all.
const ATOM: usize = 4096;

/// What comes back of the writes that were not flushed.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Nothing.
    All,
    /// Some, whichever they are: the disk does not keep their order.
    Random,
    /// The first ones.
    End,
    /// Of each some pieces.
    Torn,
}

impl Loss {
    pub fn any(random: &mut Random) -> Loss {
        [Loss::All, Loss::Random, Loss::Random, Loss::End, Loss::Torn, Loss::Torn][random.below(6) as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// One of so many writes and flushes fails.
    Failing(u64),
    Off,
}

struct State {
    now: Vec<u8>,
    flushed: Vec<u8>,
    /// Written since the last flush: where, and what.
    pending: Vec<(usize, Vec<u8>)>,
    power: Power,
    /// So many writes more, and the power goes by itself.
    last: Option<(u64, Loss)>,
    random: Random,
    lost: u64,
}

impl State {
    fn fails(&mut self) -> bool {
        match self.power {
            Power::On => false,
            Power::Failing(one_of) => self.random.below(one_of) == 0,
            Power::Off => true,
        }
    }

    fn cut(&mut self, loss: Loss) {
        if self.power != Power::Off {
            self.power = Power::Off;
            self.lose(loss);
        }
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        self.now[at..at + data.len()].copy_from_slice(data);
        self.pending.push((at, data.to_vec()));
        match &mut self.last {
            Some((0, loss)) => {
                let loss = *loss;
                self.cut(loss);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
    }

    fn flush(&mut self) {
        for (at, bytes) in self.pending.drain(..) {
            self.flushed[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// What is written now comes back, as far as `loss` has it.
    fn lose(&mut self, loss: Loss) {
        let pending = std::mem::take(&mut self.pending);
        for (at, bytes) in &pending {
            let range = *at..at + bytes.len();
            self.now[range.clone()].copy_from_slice(&self.flushed[range]);
        }
        let first = self.random.below(pending.len() as u64 + 1) as usize;
        for (i, (at, bytes)) in pending.iter().enumerate() {
            let kept = match loss {
                Loss::All => Some(false),
                Loss::Random => Some(self.random.below(2) == 0),
                Loss::End => Some(i < first),
                Loss::Torn => None,
            };
            for (piece, bytes) in bytes.chunks(ATOM).enumerate() {
                let at = at + piece * ATOM;
                if kept.unwrap_or_else(|| self.random.below(2) == 0) {
                    self.now[at..at + bytes.len()].copy_from_slice(bytes);
                } else {
                    self.lost += 1;
                }
            }
        }
        for (at, bytes) in &pending {
            let range = *at..at + bytes.len();
            self.flushed[range.clone()].copy_from_slice(&self.now[range]);
        }
    }
}

/// Unmounted when dropped.
pub struct Disk {
    state: Arc<Mutex<State>>,
    point: TempDir,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An error where FUSE cannot be had.
    pub fn new(mib: usize, seed: u64) -> std::io::Result<Disk> {
        let point = tempfile::Builder::new().prefix("cowlog-disk-").tempdir()?;
        let state = Arc::new(Mutex::new(State {
            now: vec![0; mib << 20],
            flushed: vec![0; mib << 20],
            pending: Vec::new(),
            power: Power::On,
            last: None,
            random: Random::seeded(seed),
            lost: 0,
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("cowlog-disk".into())];
        let session = fuser::spawn_mount(OneFile(state.clone()), point.path(), &config)?;
        Ok(Disk { state, point, session: Some(session) })
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.point.path().join(NAME)
    }

    /// From now on one of so many writes and flushes fails.
    pub fn fail_one_of(&self, one_of: u64) {
        locked(&self.state).power = Power::Failing(one_of);
    }

    /// At once, if it has not gone by itself; everything fails from then on.
    pub fn cut(&self, loss: Loss) {
        locked(&self.state).cut(loss);
    }

    /// After so many writes: then there is always something that was not flushed.
    pub fn cut_after(&self, writes: u64, loss: Loss) {
        locked(&self.state).last = Some((writes, loss));
    }

    pub fn is_off(&self) -> bool {
        locked(&self.state).power == Power::Off
    }

    /// Whatever used the disk must have let go of it.
    pub fn on(&self) {
        let mut state = locked(&self.state);
        (state.power, state.last) = (Power::On, None);
    }

    /// Everything that was written so far is kept.
    pub fn flush(&self) {
        locked(&self.state).flush();
    }

    /// Pieces of writes that did not come back, over all cuts.
    pub fn lost(&self) -> u64 {
        locked(&self.state).lost
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct OneFile(Arc<Mutex<State>>);

impl OneFile {
    fn attributes(&self, node: INodeNo) -> FileAttr {
        let (kind, perm, size) = match node {
            FILE => (FileType::RegularFile, 0o600, locked(&self.0).now.len() as u64),
            _ => (FileType::Directory, 0o700, 0),
        };
        FileAttr {
            ino: node,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == Path::new(NAME) {
            true => reply.entry(&TTL, &self.attributes(FILE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(node));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Nothing is cached in between: what the loop device writes comes here at once.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = locked(&self.0);
        let from = (offset as usize).min(state.now.len());
        let to = (from + size as usize).min(state.now.len());
        reply.data(&state.now[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = locked(&self.0);
        let at = offset as usize;
        if at + data.len() > state.now.len() {
            return reply.error(Errno::ENOSPC);
        }
        if state.fails() {
            return reply.error(Errno::EIO);
        }
        state.write(at, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = locked(&self.0);
        if state.fails() {
            return reply.error(Errno::EIO);
        }
        state.flush();
        reply.ok();
    }
}
