//! Compression of the records of a batch, in the framings that Kafka uses.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use super::header::BatchError;
use crate::error::{Error, ValidationError};

/// How the records of a batch are compressed (`clients: CompressionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Blocks in the framing of snappy-java.
    Snappy,
    /// The LZ4 frame format with independent blocks.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// snappy-java's stream header: magic, version 1, compatible with 1 (`SnappyCodec`).
const SNAPPY_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const SNAPPY_MAGIC: usize = 8;
const SNAPPY_BLOCK: usize = 32 * 1024;

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub(crate) fn from_bits(bits: u8) -> Result<Codec, BatchError> {
        Self::ALL.get(usize::from(bits)).copied().ok_or(BatchError::Codec(bits))
    }

    pub(crate) fn bits(self) -> i16 {
        self as i16
    }

    /// Compresses `plain` onto the end of `out`.
    pub(crate) fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Codec::Snappy => {
                let mut encoder = snap::raw::Encoder::new();
                out.extend_from_slice(SNAPPY_HEADER);
                for block in plain.chunks(SNAPPY_BLOCK) {
                    let block = encoder.compress_vec(block)?;
                    out.extend_from_slice(&(block.len() as u32).to_be_bytes());
                    out.extend_from_slice(&block);
                }
            }
            Codec::Lz4 => {
                // Kafka's reader refuses blocks that depend on each other (`Lz4BlockInputStream`).
                let mut encoder = lz4::EncoderBuilder::new().block_mode(lz4::BlockMode::Independent).build(out)?;
                encoder.write_all(plain)?;
                encoder.finish().1?;
            }
            Codec::Zstd => zstd::stream::copy_encode(plain, out, zstd::DEFAULT_COMPRESSION_LEVEL)?,
        }
        Ok(())
    }

    /// Decompresses at most `limit` bytes; where there would be more, that is the error, whatever the input claims.
    pub(crate) fn decompress(self, packed: &[u8], limit: u64) -> Result<Vec<u8>, BatchError> {
        let broken = |why: String| BatchError::Decompress { codec: self, why };
        match self {
            Codec::None => bounded(packed, limit).map_err(|e| broken(e.to_string())),
            Codec::Gzip => {
                bounded(flate2::bufread::MultiGzDecoder::new(packed), limit).map_err(|e| broken(e.to_string()))
            }
            Codec::Snappy => return self.decompress_snappy(packed, limit),
            Codec::Lz4 => {
                lz4::Decoder::new(packed).and_then(|decoder| bounded(decoder, limit)).map_err(|e| broken(e.to_string()))
            }
            Codec::Zstd => zstd::stream::read::Decoder::with_buffer(packed)
                .and_then(|decoder| bounded(decoder, limit))
                .map_err(|e| broken(e.to_string())),
        }?
        .ok_or(BatchError::TooLarge(limit))
    }

    /// Without the header the whole input is one plain block (`SnappyInputStream.readHeader`).
    fn decompress_snappy(self, packed: &[u8], limit: u64) -> Result<Vec<u8>, BatchError> {
        let broken = |why: &str| BatchError::Decompress { codec: self, why: why.to_owned() };
        let mut plain = Vec::new();
        let mut block = |bytes: &[u8]| {
            let size = snap::raw::decompress_len(bytes).map_err(|e| broken(&e.to_string()))?;
            if (plain.len() as u64).saturating_add(size as u64) > limit {
                return Err(BatchError::TooLarge(limit));
            }
            // A block cannot expand by more than this (64 bytes from 3), so a lying size allocates nothing.
            if size > bytes.len().saturating_mul(64) {
                return Err(broken("a block claims more than it can hold"));
            }
            let bytes = snap::raw::Decoder::new().decompress_vec(bytes).map_err(|e| broken(&e.to_string()))?;
            plain.extend_from_slice(&bytes);
            Ok(())
        };
        let Some(mut rest) = packed
            .strip_prefix(&SNAPPY_HEADER[..SNAPPY_MAGIC])
            .and_then(|after| after.get(SNAPPY_HEADER.len() - SNAPPY_MAGIC..))
        else {
            block(packed)?;
            return Ok(plain);
        };
        while let Some((size, after)) = rest.split_first_chunk::<4>() {
            let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
            let bytes = after.get(..size).ok_or_else(|| broken("a block is cut short"))?;
            block(bytes)?;
            rest = after.get(size..).unwrap_or_default();
        }
        if rest.is_empty() { Ok(plain) } else { Err(broken("a block's size is cut short")) }
    }
}

/// Reads all, `None` where there is more than `limit`.
fn bounded(source: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut plain)?;
    Ok((plain.len() as u64 <= limit).then_some(plain))
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        })
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let found = Codec::ALL.into_iter().find(|c| c.to_string() == s);
        found.ok_or_else(|| ValidationError::refused(format!("no compression codec is called {s:?}")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_got() {
        let texts = [Vec::new(), b"x".to_vec(), (0..200_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect()];
        for codec in Codec::ALL {
            for text in &texts {
                let mut packed = Vec::new();
                codec.compress(text, &mut packed).unwrap();
                assert_eq!(&codec.decompress(&packed, text.len() as u64).unwrap(), text, "{codec}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        for codec in Codec::ALL {
            let mut packed = Vec::new();
            codec.compress(&zeros, &mut packed).unwrap();
            assert_eq!(codec.decompress(&packed, 1 << 20), Err(BatchError::TooLarge(1 << 20)), "{codec}");
        }
    }

    #[test]
    fn a_snappy_block_that_claims_4_gib_is_refused() {
        let mut packed = SNAPPY_HEADER.to_vec();
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        packed.extend_from_slice(&6u32.to_be_bytes());
        packed.extend_from_slice(&lie);
        assert!(Codec::Snappy.decompress(&packed, u64::MAX).is_err());
        assert!(Codec::Snappy.decompress(&lie, u64::MAX).is_err());
    }

    #[test]
    fn plain_snappy_without_the_framing_is_read() {
        let packed = snap::raw::Encoder::new().compress_vec(b"abcabcabc").unwrap();
        assert_eq!(Codec::Snappy.decompress(&packed, 100).unwrap(), b"abcabcabc");
    }

    #[test]
    fn names_parse_back() {
        for codec in Codec::ALL {
            assert_eq!(codec.to_string().parse::<Codec>().unwrap(), codec);
        }
        assert!("brotli".parse::<Codec>().is_err());
    }
}
