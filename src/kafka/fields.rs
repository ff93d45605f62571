//! Big-endian fields, one after the other.

/// Takes fields off the front of bytes; `None` where they end.
pub(super) struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Fields { left: bytes }
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// What has not been taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.left
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, left) = self.left.split_first_chunk::<N>()?;
        self.left = left;
        Some(*field)
    }
}
