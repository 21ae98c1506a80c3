//! Gzip without compression (RFC 1952 with stored blocks, RFC 1951 3.2.4), so that each piece of a stream can be decoded as
//! soon as it arrives.

use bytes::Bytes;

/// No flags, no time, unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The longest stored block.
const MAX_BLOCK_BYTES: usize = 0xffff;
/// The reversed polynomial of CRC-32.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Encodes a body piece by piece.
#[derive(Debug)]
pub(super) struct Gzip {
    begun: bool,
    checksum: u32,
    length: u32,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            begun: false,
            checksum: u32::MAX,
            length: 0,
        }
    }

    pub(super) fn encode(&mut self, piece: &[u8]) -> Bytes {
        let mut out = self.head();
        for block in piece.chunks(MAX_BLOCK_BYTES) {
            push_block(&mut out, block, false);
        }
        for byte in piece {
            self.checksum ^= u32::from(*byte);
            for _ in 0..8 {
                let mask = if self.checksum & 1 == 1 { POLYNOMIAL } else { 0 };
                self.checksum = (self.checksum >> 1) ^ mask;
            }
        }
        // The format's length is modulo 2^32.
        self.length = self.length.wrapping_add(piece.len() as u32);
        Bytes::from(out)
    }

    /// The last block, checksum and length.
    pub(super) fn finish(mut self) -> Bytes {
        let mut out = self.head();
        push_block(&mut out, &[], true);
        out.extend_from_slice(&(!self.checksum).to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        Bytes::from(out)
    }

    fn head(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.begun, true) {
            Vec::new()
        } else {
            HEAD.to_vec()
        }
    }
}

fn push_block(out: &mut Vec<u8>, block: &[u8], is_last: bool) {
    let length = block.len() as u16;
    out.push(u8::from(is_last));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(block);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut gzip = Gzip::new();
        let body = [gzip.encode(b"12345"), gzip.encode(b"6789"), gzip.finish()].concat();
        let mut expected = HEAD.to_vec();
        expected.extend_from_slice(b"\x00\x05\x00\xfa\xff12345\x00\x04\x00\xfb\xff6789\x01\x00\x00\xff\xff");
        // The check value of CRC-32: that of "123456789" is cbf43926.
        expected.extend_from_slice(&0xcbf4_3926_u32.to_le_bytes());
        expected.extend_from_slice(&9_u32.to_le_bytes());
        assert_eq!(body, expected);
    }

    #[test]
    fn a_long_piece_takes_several_blocks() {
        let piece = vec![b'x'; MAX_BLOCK_BYTES + 1];
        let body = Gzip::new().encode(&piece);
        assert_eq!(body.len(), HEAD.len() + 2 * 5 + piece.len());
    }
}
