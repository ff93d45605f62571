//! What the machine and this process are like, as far as it decides what can be shared.

use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) path: PathBuf,
    /// What the kernel calls its type.
    pub(crate) kind: String,
    pub(crate) read_only: bool,
}

/// Lets this process have as many descriptors as it may: each partition of a data directory takes up to three, and each
/// connection of a server one. A limit that cannot be raised stays as it is.
pub fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// How many descriptors this process may have.
pub(crate) fn most_descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// A variable of the environment that is text.
#[cfg(feature = "clouds")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What this machine is called, if that is text.
pub fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Whose rights this process has.
pub(crate) fn user() -> u32 {
    geteuid().as_raw()
}

/// Whether this process may give files to other users: `CAP_CHOWN` (`capability.h`: bit 0 of the effective set).
pub(crate) fn may_give_away() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).map_or(user() == 0, |set| set & 1 == 1)
}

/// Whether the kernel lets users link only files that are theirs, or that they may read and write
/// (`sysctl fs.protected_hardlinks`). `None` where it does not tell.
pub(crate) fn protects_hard_links() -> Option<bool> {
    let value = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").ok()?;
    Some(value.trim() != "0")
}

/// What is mounted, in the order in which it was.
pub(crate) fn mounts() -> Vec<Mount> {
    parse_mounts(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// `proc_pid_mounts(5)`: device, place, type, options; white space and backslashes are given in octal.
fn parse_mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let path = unescape(words.next()?);
        let kind = words.next()?.to_owned();
        let read_only = words.next()?.split(',').any(|option| option == "ro");
        Some(Mount { path: Path::new(&path).to_owned(), kind, read_only })
    };
    text.lines().filter_map(mount).collect()
}

fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| byte == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let text = "/dev/vda / ext4 rw,relatime 0 0\n/dev/loop0 /mnt/a\\040b\\134c xfs ro,nosuid 0 0\nodd\n";
        let mount = |path: &str, kind: &str, read_only| Mount { path: path.into(), kind: kind.into(), read_only };
        assert_eq!(parse_mounts(text), [mount("/", "ext4", false), mount("/mnt/a b\\c", "xfs", true)]);
        assert!(mounts().iter().any(|m| m.path == Path::new("/")), "of this machine");
    }
}
