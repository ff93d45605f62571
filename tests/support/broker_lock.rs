//! The lock that a broker holds while it runs.

use std::fs::File;
use std::path::Path;

/// Takes it as a JVM's `FileChannel.lock` does, making the file where it is missing. It is held until the file is dropped, or
/// any other descriptor of it in this process is closed.
pub fn hold(data: &Path) -> File {
    take(data, |lock| nix::fcntl::FcntlArg::F_SETLK(lock))
}

/// The same, seen by this process too.
pub fn hold_apart(data: &Path) -> File {
    take(data, |lock| nix::fcntl::FcntlArg::F_OFD_SETLK(lock))
}

fn take(data: &Path, how: fn(&nix::libc::flock) -> nix::fcntl::FcntlArg<'_>) -> File {
    let path = data.join(".lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as nix::libc::c_short,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, how(&lock)).unwrap();
    file
}
