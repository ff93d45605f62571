//! The machine and this process.

use super::Checkup;
use crate::fs::{self, Dir};
use crate::snapshot::SnapshotConfig;
use crate::units::bytes;

/// 2024-01-01: before that there was no cowlog.
const NO_EARLIER: i64 = 1_704_067_200_000;

/// Looks at this process, and at the filesystems on which a source may lie.
pub fn machine(config: &SnapshotConfig) -> Checkup {
    let mut found = Checkup::default();
    this_process(&mut found, config);
    for mount in fs::mounts() {
        let shares = match mount.kind.as_str() {
            "btrfs" => "reflinks and hard links",
            "xfs" => "reflinks, if it was made with them, and hard links",
            "ext4" | "ext3" | "f2fs" => "hard links",
            "zfs" | "bcachefs" => "reflinks, where they are switched on, and hard links",
            "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "9p" => "a network: locks may not reach other machines",
            // What no log lies on.
            _ => continue,
        };
        let what = format!("{}: {}: {shares}", mount.path.display(), mount.kind);
        if mount.read_only {
            found.note("mount", format!("{what}; read-only"), None);
            continue;
        }
        match Dir::open(&mount.path).and_then(|dir| dir.volume()) {
            Ok(volume) => {
                found.good("mount", format!("{what}; {} free of {}", bytes(volume.available), bytes(volume.size)))
            }
            Err(e) => found.note("mount", format!("{what}; {e}"), None),
        }
    }
    found.note("next", "what works on a disk is found out by trying", Some("cowlog doctor DIR"));
    found
}

pub(super) fn this_process(found: &mut Checkup, config: &SnapshotConfig) {
    let now = config.clock.now();
    match now < NO_EARLIER {
        true => {
            let what = format!("the clock says {}", crate::store::rfc3339(now));
            found.problem("clock", what, "set it: the age of snapshots goes by it");
        }
        false => found.good("clock", crate::store::rfc3339(now)),
    }
    match fs::may_give_away() {
        true => found.good("rights", format!("user {}: restores give files their owners", fs::user())),
        false => {
            let what = format!("user {}: what is restored belongs to this user, whoever owned it", fs::user());
            found.note("rights", what, Some("restore as root, or with CAP_CHOWN, where owners matter"));
        }
    }
    if fs::user() != 0 && fs::protects_hard_links() == Some(true) {
        let what =
            "fs.protected_hardlinks is on: only files that are this user's, or that it may write, can be hard-linked";
        found.note("hard links", what, Some("run as the user of the log's writer"));
    }
}
