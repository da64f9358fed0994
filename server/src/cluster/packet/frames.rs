//! Packets out of a stream of bytes.

use super::{HEADER_BYTES, SIGNATURE};

/// Bytes that a packet may have: one with a message of 512 MB and its channel fits. A longer one is taken for garbage, so that
/// a stranger cannot have this server keep what it likes.
pub const PACKET_BYTES_MAX: usize = (512 << 20) + (1 << 20);

/// What came is no packet of the bus: the link is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotABus;

/// What came of a stream and is not a whole packet yet.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the next packet begins.
    start: usize,
}

impl Frames {
    /// Takes in bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// The next whole packet, if there is one.
    ///
    /// # Errors
    /// What comes next is none.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, NotABus> {
        let rest = &self.bytes[self.start..];
        let Some((head, _)) = rest.split_first_chunk::<8>() else {
            if rest.is_empty() {
                // A node of a large cluster has thousands of links, which are rarely used.
                *self = Self::default();
            }
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] != *SIGNATURE || !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
            return Err(NotABus);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.start;
        self.start += length;
        Ok(Some(&self.bytes[start..start + length]))
    }
}
