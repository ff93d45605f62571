//! Real power cuts. ext4 and XFS are shut down without a flush of their journal (`xfs_io -x -c shutdown`, which is the
//! ioctl with flag 2 on both); of btrfs, which has no such ioctl, the image is cloned at one moment while the
//! filesystem goes on, and the clone is what comes back. Or else any of them stands on a [`Disk`], which loses what it
//! was not told to flush, in no order.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::disk::{Disk, Loss};
use super::mounts::{Kind, Mount, run, skip, system};

const MIB: u64 = 512;

/// A filesystem whose power can be cut.
pub struct PowerRig {
    mount: Mount,
    /// Dropped after the mount.
    below: Below,
}

enum Below {
    /// The filesystem can be shut down.
    Shutdown,
    /// Its image can be cloned.
    Clones {
        _outer: Mount,
        made: u32,
    },
    Disk(Disk),
}

/// A filesystem that lost its power; nothing that is still running on it matters any more.
#[derive(Debug)]
#[must_use = "the power is off"]
pub struct Cut(Option<PathBuf>);

impl PowerRig {
    /// `None` where it cannot be had, after saying why.
    pub fn new(kind: Kind) -> Option<PowerRig> {
        if let Err(e) = system("xfs_io").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            skip(&format!("power cannot be cut without xfs_io: {e}"));
            return None;
        }
        if kind != Kind::Btrfs {
            return Some(PowerRig { mount: Mount::sized(kind, MIB)?, below: Below::Shutdown });
        }
        let outer = Mount::sized(Kind::Xfs, 3 * MIB)?;
        let mount = Mount::within(kind, MIB, &outer)?;
        Some(PowerRig { mount, below: Below::Clones { _outer: outer, made: 0 } })
    }

    /// On a disk that reorders and tears. `None` where it cannot be had, after saying why.
    pub fn on_disk(kind: Kind, seed: u64) -> Option<PowerRig> {
        let disk = match Disk::new(MIB as usize, seed) {
            Ok(disk) => disk,
            Err(e) => {
                skip(&format!("there is no FUSE: {e}"));
                return None;
            }
        };
        let mount = Mount::on(kind, disk.path())?;
        disk.flush();
        Some(PowerRig { mount, below: Below::Disk(disk) })
    }

    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    pub fn kind(&self) -> Kind {
        self.mount.kind()
    }

    /// The disk, where there is one of its own.
    pub fn disk(&self) -> Option<&Disk> {
        match &self.below {
            Below::Disk(disk) => Some(disk),
            _ => None,
        }
    }

    /// Whether what is acknowledged after the cut has begun counts as well, since every sync fails from then on. Not so where
    /// ext4 is shut down: an fdatasync that is under way then may still return success (seen once in several hundred cuts;
    /// of a real power cut nobody would be told). Not so with clones: the running filesystem is from then on a dead
    /// branch.
    pub fn tells_the_truth_to_the_end(&self) -> bool {
        match self.below {
            Below::Shutdown => self.kind() == Kind::Xfs,
            Below::Clones { .. } => false,
            Below::Disk(_) => true,
        }
    }

    /// Cuts the power, at once. What was acknowledged before the call must survive.
    pub fn cut(&mut self) -> Cut {
        match &mut self.below {
            Below::Shutdown => {
                run(system("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.mount.path()))
                    .expect("the power can be cut");
                Cut(None)
            }
            Below::Clones { made, .. } => {
                *made += 1;
                let image = self.mount.image();
                let clone = image.with_file_name(format!("clone-{made}"));
                reflink_copy::reflink(image, &clone).expect("the image can be cloned");
                Cut(Some(clone))
            }
            Below::Disk(disk) => {
                disk.cut(Loss::All);
                Cut(None)
            }
        }
    }

    /// Comes back with what the disk had. Whatever used the filesystem must be dead or about to die.
    pub fn restart(&mut self, cut: Cut) {
        self.mount.detach();
        if let Some(disk) = self.disk() {
            disk.on();
        }
        self.mount.attach(cut.0);
    }
}
