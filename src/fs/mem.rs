//! A filesystem in memory (being built).

/// An open inode.
#[derive(Debug)]
pub struct MemHandle;

/// See the module.
#[derive(Debug, Default)]
pub struct MemFs;
