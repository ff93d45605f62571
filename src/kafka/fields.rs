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

    pub(super) fn i8(&mut self) -> Option<i8> {
        self.take().map(i8::from_be_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take()
    }

    /// Text behind its length in 16 bits (`clients: ByteBufferAccessor`, `STRING`).
    pub(super) fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).ok()?;
        self.text(length)
    }

    /// Text behind its length and one, as a varint (`COMPACT_STRING`). 0 stands for none.
    pub(super) fn compact_string(&mut self) -> Option<Option<String>> {
        match self.uvarint()?.checked_sub(1) {
            None => Some(None),
            Some(length) => self.text(usize::try_from(length).ok()?).map(Some),
        }
    }

    /// How many elements an array has; 0 where there is none (`ARRAY`, `COMPACT_ARRAY`).
    pub(super) fn count(&mut self, compact: bool) -> Option<u32> {
        if compact { Some(self.uvarint()?.saturating_sub(1)) } else { Some(u32::try_from(self.i32()?).unwrap_or(0)) }
    }

    /// Passes over the tagged fields at the end of a structure (`clients: RawTaggedField`).
    pub(super) fn tagged(&mut self) -> Option<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let length = usize::try_from(self.uvarint()?).ok()?;
            (_, self.left) = self.left.split_at_checked(length)?;
        }
        Some(())
    }

    /// Seven bits a byte, lowest first, 32 at most (`clients: ByteUtils.readUnsignedVarint`).
    pub(super) fn uvarint(&mut self) -> Option<u32> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).ok();
            }
        }
        None
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (text, left) = self.left.split_at_checked(length)?;
        self.left = left;
        String::from_utf8(text.to_vec()).ok()
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
