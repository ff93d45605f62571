//! Whose new files are, where root works for somebody else.

use std::io;

use super::{Stat, machine};

/// Somebody else to whom this process gives what it makes: where root took a snapshot the owner of the log has to be able
/// to take the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// The owner of this, if it is not the user of this process, which is root and may give files away.
    pub(crate) fn of(this: &Stat) -> Option<Owner> {
        let somebody_else = this.uid != 0 && machine::user() == 0;
        (somebody_else && machine::may_give_away()).then_some(Owner { uid: this.uid, gid: this.gid })
    }
}

/// What a filesystem answers that knows no such owner: then it stays root's.
pub(super) fn cannot(e: &io::Error) -> bool {
    use nix::libc::{EINVAL, ENOSYS, EOPNOTSUPP, EPERM};
    matches!(e.raw_os_error(), Some(EPERM | EINVAL | EOPNOTSUPP | ENOSYS))
}
