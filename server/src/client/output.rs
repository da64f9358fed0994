//! Bytes that wait to be sent to a client: a chain of blocks, of which the last is written to.
//!
//! ```text
//!   ┌───────────┐ ┌───────────┐ ┌─────────────────┐ ┌────────────┐
//!   │ ▒▒▒▒ own  │ │ own       │ │ shared          │ │ tail       │
//!   └───────────┘ └───────────┘ └─────────────────┘ └────────────┘
//!       ╰ sent          ╰ released: what lies before it may leave
//! ```
//!
//! Most replies are short: then there is the tail alone, borrowed from the thread's pool and sent with one write. What
//! waits longer is closed off block by block, so that a slow reader's output is never copied to make room for more, and is
//! given back as it is sent. Long strings get a block of their own size, or share the bytes of a stored value.
//!
//! Nothing leaves before it is released, which is done at the end of a turn, behind the log; some of it only when the log has
//! come further, and then what follows waits behind it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use redstart_common::memory::size_class;
use redstart_common::net::buffer;

/// The size of a block that is one of many, in bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// A block that is as full as this is closed off rather than made larger.
const FULL_BYTES: usize = 32 << 10;
/// What is as long as this gets a block of its own where it would make the tail too large.
const LONG_BYTES: usize = 16 << 10;

/// Blocks that are handed to the kernel at once, at most.
pub const PIECES_MAX: usize = 64;

/// A block that is not written to any more.
enum Block {
    /// Of the output itself.
    Own(Vec<u8>),
    /// Shared with a stored value.
    Shared(Bytes),
}

impl Block {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn allocated(&self) -> usize {
        match self {
            Self::Own(bytes) => size_class(bytes.capacity()),
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

/// Bytes that wait to be sent.
#[derive(Default)]
pub struct Output {
    /// Closed blocks, the first to be sent first. None is empty.
    closed: VecDeque<Block>,
    /// Bytes in the closed blocks.
    closed_bytes: usize,
    /// Memory of the closed blocks.
    closed_allocated: usize,
    /// What is written to.
    tail: Vec<u8>,
    /// Bytes at the front that the kernel has taken already, all of them in the first block.
    sent: usize,
    /// Bytes from the front, those sent included, that may leave.
    released: usize,
    /// What is behind them and waits for the log: so many bytes for a mark, the marks rising.
    held: VecDeque<(usize, u64)>,
}

impl Output {
    /// Bytes that wait.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> usize {
        self.end() - self.sent
    }

    /// Bytes from the front, those sent included: the place where the next byte is written.
    #[inline]
    #[must_use]
    pub fn end(&self) -> usize {
        self.closed_bytes + self.tail.len()
    }

    /// Bytes of memory that the blocks take, those shared with values included.
    #[must_use]
    pub fn allocated(&self) -> usize {
        let tail = self.tail.capacity();
        self.closed_allocated + if tail > 0 { size_class(tail) } else { 0 }
    }

    /// Closed blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.closed.len()
    }

    /// Bytes in the block that is written to.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.tail.len()
    }

    /// What was written from `end` on, if that lies in the block that is written to.
    #[must_use]
    pub fn tail_from(&self, end: usize) -> Option<&[u8]> {
        self.tail.get(end.checked_sub(self.closed_bytes)?..)
    }

    /// What is written to, with room for `bytes` more: no more of it is copied than lies in one block.
    #[inline]
    pub fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.tail.capacity() - self.tail.len() < bytes {
            self.make_room(bytes);
        }
        &mut self.tail
    }

    #[cold]
    fn make_room(&mut self, bytes: usize) {
        let long = bytes >= LONG_BYTES && self.tail.len() + bytes > BLOCK_BYTES;
        if long || self.tail.len() >= FULL_BYTES {
            self.close_tail();
        }
        if self.tail.capacity() == 0 {
            self.tail = match self.closed.back() {
                _ if long => Vec::with_capacity(bytes),
                // One of many like it, most likely.
                Some(Block::Own(last)) if last.capacity() == BLOCK_BYTES => {
                    Vec::with_capacity(BLOCK_BYTES)
                }
                _ => buffer::take(),
            };
        }
        let free = self.tail.capacity() - self.tail.len();
        if free < bytes {
            // Doubled up to the size of a block, but no further.
            let wanted = (self.tail.capacity() * 2).min(BLOCK_BYTES).max(self.tail.len() + bytes);
            self.tail.reserve_exact(wanted - self.tail.len());
        }
    }

    /// Closes the tail off, if anything is in it. Little in a large buffer is copied, or what waits for a client that does not
    /// read would take many times its size.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            if tail.len() <= tail.capacity() / 2 {
                let exact = tail.as_slice().to_vec();
                buffer::give(std::mem::replace(&mut tail, exact));
            }
            self.push(Block::Own(tail));
        } else if self.tail.capacity() > 0 {
            buffer::give(std::mem::take(&mut self.tail));
        }
    }

    fn push(&mut self, block: Block) {
        self.closed_bytes += block.len();
        self.closed_allocated += block.allocated();
        self.closed.push_back(block);
    }

    fn take_last(&mut self) -> Option<Block> {
        let block = self.closed.pop_back()?;
        self.closed_bytes -= block.len();
        self.closed_allocated -= block.allocated();
        Some(block)
    }

    /// Appends bytes without copying them.
    pub fn lend(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.close_tail();
            self.push(Block::Shared(bytes));
        }
    }

    /// Takes back what was written from `end` on; nothing of it was released.
    #[inline]
    pub fn truncate(&mut self, end: usize) {
        if let Some(length) = end.checked_sub(self.closed_bytes) {
            self.tail.truncate(length);
        } else {
            self.truncate_closed(end);
        }
        self.released = self.released.min(end);
    }

    #[cold]
    fn truncate_closed(&mut self, end: usize) {
        buffer::give(std::mem::take(&mut self.tail));
        while self.closed_bytes > end {
            let Some(block) = self.take_last() else { return };
            let kept = end.saturating_sub(self.closed_bytes);
            match block {
                _ if kept == 0 => {}
                Block::Own(mut bytes) => {
                    bytes.truncate(kept);
                    self.tail = bytes;
                    return;
                }
                Block::Shared(bytes) => {
                    self.push(Block::Shared(bytes.slice(..kept)));
                    return;
                }
            }
        }
    }

    /// Puts a few bytes before what was written from `at` on.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) {
        if at >= self.closed_bytes {
            self.room(bytes.len()).extend_from_slice(bytes);
            // Room for more may have closed the tail off.
            if let Some(offset) = at.checked_sub(self.closed_bytes) {
                self.tail[offset..].rotate_right(bytes.len());
                return;
            }
            let length = self.tail.len() - bytes.len();
            self.tail.truncate(length);
        }
        self.insert_block(at, bytes);
    }

    #[cold]
    fn insert_block(&mut self, at: usize, bytes: &[u8]) {
        let mut place = self.closed.len();
        let mut start = self.closed_bytes;
        while start > at {
            place -= 1;
            start -= self.closed[place].len();
        }
        let before = self.closed.get_mut(place).filter(|_| start < at);
        let rest = match before {
            None => None,
            Some(Block::Own(own)) => {
                let rest = Block::Own(own[at - start..].to_vec());
                own.truncate(at - start);
                Some(rest)
            }
            Some(Block::Shared(shared)) => Some(Block::Shared(shared.split_off(at - start))),
        };
        let place = if rest.is_some() { place + 1 } else { place };
        let rest = rest.into_iter().filter(|rest| rest.len() > 0);
        for (added, block) in std::iter::once(Block::Own(bytes.to_vec())).chain(rest).enumerate() {
            self.closed.insert(place + added, block);
        }
        self.closed_bytes += bytes.len();
        self.closed_allocated = self.closed.iter().map(Block::allocated).sum();
    }

    /// Lets all that is there leave.
    #[inline]
    pub fn release(&mut self) {
        self.released = self.end();
        if !self.held.is_empty() {
            self.held = VecDeque::new();
        }
    }

    /// What is new waits for the `mark` of the log, and for what is before it; all that waits for no more than `reached`
    /// leaves. Answers whether something waits still.
    pub fn release_behind(&mut self, mark: u64, reached: u64) -> bool {
        let waiting: usize = self.held.iter().map(|(bytes, _)| bytes).sum();
        let new = self.end() - self.released - waiting;
        match self.held.back_mut() {
            Some((bytes, last)) if *last >= mark => *bytes += new,
            _ if new > 0 => self.held.push_back((new, mark)),
            _ => {}
        }
        while let Some(&(bytes, mark)) = self.held.front()
            && mark <= reached
        {
            self.held.pop_front();
            self.released += bytes;
        }
        !self.held.is_empty()
    }

    /// Whether something waits for the log.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether anything may leave now.
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.released > self.sent
    }

    /// What may leave, if it lies in one piece: then it needs no list of pieces.
    #[inline]
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        self.closed.is_empty().then(|| &self.tail[self.sent..self.released.max(self.sent)])
    }

    /// Lists what may leave, as far as `pieces` has places. Answers how many there are.
    pub fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let mut start = 0;
        let mut count = 0;
        let blocks = self.closed.iter().map(Block::bytes).chain(std::iter::once(&self.tail[..]));
        for (bytes, place) in blocks.zip(pieces) {
            let from = self.sent.saturating_sub(start).min(bytes.len());
            let to = self.released.saturating_sub(start).min(bytes.len());
            start += bytes.len();
            if from >= to {
                break;
            }
            *place = IoSlice::new(&bytes[from..to]);
            count += 1;
        }
        count
    }

    /// A copy of all that waits, released or not: for those who read a reply without a connection.
    #[must_use]
    pub fn waiting(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.end());
        self.closed.iter().for_each(|block| all.extend_from_slice(block.bytes()));
        all.extend_from_slice(&self.tail);
        all.drain(..self.sent);
        all
    }

    /// Notes that the kernel took `count` bytes more. Answers whether nothing is left.
    #[inline]
    pub fn took(&mut self, count: usize) -> bool {
        self.sent += count;
        if !self.closed.is_empty() {
            self.drop_sent();
        }
        if self.closed.is_empty() && self.sent == self.tail.len() {
            self.clear();
            return true;
        }
        false
    }

    #[cold]
    fn drop_sent(&mut self) {
        while let Some(first) = self.closed.front().map(Block::len)
            && first <= self.sent
        {
            let Some(block) = self.closed.pop_front() else { return };
            self.sent -= first;
            self.released -= first;
            self.closed_bytes -= first;
            self.closed_allocated -= block.allocated();
            if let Block::Own(bytes) = block {
                buffer::give(bytes);
            }
        }
        if self.closed.is_empty() {
            self.closed = VecDeque::new();
        }
    }

    /// Forgets everything; memory goes back to the thread's pool.
    pub fn clear(&mut self) {
        if !self.closed.is_empty() {
            for block in std::mem::take(&mut self.closed) {
                if let Block::Own(bytes) = block {
                    buffer::give(bytes);
                }
            }
            (self.closed_bytes, self.closed_allocated) = (0, 0);
        }
        (self.sent, self.released) = (0, 0);
        self.held.clear();
        buffer::give(std::mem::take(&mut self.tail));
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
