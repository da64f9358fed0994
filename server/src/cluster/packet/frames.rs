//! Packets out of a stream of bytes.

use std::ops::ControlFlow;

use super::{HEADER_BYTES, SIGNATURE};

/// Bytes that a packet may have: one with a message of 512 MB and its channel fits. A longer one is taken for garbage, so that
/// a stranger cannot have this server keep what it likes.
pub const PACKET_BYTES_MAX: usize = (512 << 20) + (1 << 20);

/// What came is no packet of the bus: the link is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotABus;

/// What came of a stream and is not a whole packet yet. A node of a large cluster has thousands of links, which are rarely used: most
/// hold nothing.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in bytes that came, and hands each packet that is whole now to `take`, until that breaks off: what is behind is lost then.
    ///
    /// # Errors
    /// What comes next is no packet.
    pub fn push<B>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, NotABus> {
        let is_begun = !self.bytes.is_empty();
        if is_begun {
            self.bytes.extend_from_slice(bytes);
        }
        let mut rest = if is_begun { &self.bytes } else { bytes };
        while let Some(packet) = next_packet(&mut rest)? {
            if let ControlFlow::Break(why) = take(packet) {
                self.bytes = Vec::new();
                return Ok(ControlFlow::Break(why));
            }
        }
        let left = rest.len();
        if left == 0 {
            self.bytes = Vec::new();
        } else if is_begun {
            self.bytes.drain(..self.bytes.len() - left);
        } else {
            self.bytes = rest.to_vec();
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Cuts the next whole packet off the front of some bytes, if there is one.
fn next_packet<'b>(bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, NotABus> {
    let Some(head) = bytes.first_chunk::<8>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if head[..4] != *SIGNATURE || !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
        return Err(NotABus);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let packet;
    (packet, *bytes) = bytes.split_at(length);
    Ok(Some(packet))
}
