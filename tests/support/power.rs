//! Real power cuts. ext4 and XFS are shut down without a flush of their journal (`xfs_io -x -c shutdown`, which is the
//! ioctl with flag 2 on both); of btrfs, which has no such ioctl, the image is cloned at one moment while the
//! filesystem goes on, and the clone is what comes back.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::mounts::{Kind, Mount, run, skip, system};

/// A filesystem whose power can be cut.
#[derive(Debug)]
pub struct PowerRig {
    mount: Mount,
    /// Holds the image of a btrfs. Dropped after it.
    outer: Option<Mount>,
    clones: u32,
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
        let outer = match kind {
            Kind::Btrfs => Some(Mount::sized(Kind::Xfs, 1536)?),
            Kind::Ext4 | Kind::Xfs => None,
        };
        let mount = match &outer {
            Some(outer) => Mount::within(kind, 512, outer)?,
            None => Mount::new(kind)?,
        };
        Some(PowerRig { mount, outer, clones: 0 })
    }

    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    pub fn kind(&self) -> Kind {
        self.mount.kind()
    }

    /// Cuts the power, at once. What was acknowledged before the call must survive. On XFS that holds for what is
    /// acknowledged after it too, since every sync must fail from then on. Not so on ext4, where an fdatasync that is under
    /// way while the filesystem is shut down may still return success (seen once in several hundred cuts; of a real power
    /// cut nobody would be told), and not on btrfs, where the running filesystem is from then on a dead branch.
    pub fn cut(&mut self) -> Cut {
        if self.outer.is_none() {
            run(system("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path())).expect("the power can be cut");
            return Cut(None);
        }
        self.clones += 1;
        let image = self.mount.image();
        let clone = image.with_file_name(format!("clone-{}", self.clones));
        reflink_copy::reflink(image, &clone).expect("the image can be cloned");
        Cut(Some(clone))
    }

    /// Comes back with what the disk had. Whatever used the filesystem must be dead or about to die.
    pub fn restart(&mut self, cut: Cut) {
        self.mount.remount(cut.0);
    }
}
