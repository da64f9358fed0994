//! The last bytes of the replication stream, held once for all who read them.
//!
//! A chain of blocks, addressed by [`Offset`]. Replicas hold no copy, only how far they have read; a block goes when the
//! backlog is larger than it should be and nobody still reads it. So a replica that lags makes the backlog longer, which is
//! also what others may continue from, and many replicas cost no more than one. Its older part may lie in files; see
//! [`spill`](super::spill).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::offset::Offset;
use super::spill::Spilled;

/// The smallest backlog that can be asked for, in bytes, as in Redis.
pub const BACKLOG_BYTES_MIN: u64 = 16 << 10;
/// A block is a sixteenth of the backlog, so that what is held beyond the size asked for is small, within these bounds.
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = (16 << 10)..=(1 << 20);
/// Blocks freed by one call: a replica that goes away may leave gigabytes behind, and freeing them takes time.
const TRIM_BLOCKS_PER_CALL: usize = 64;
/// Bytes that a block costs beside its content and its place in the chain.
const BLOCK_OVERHEAD: u64 = 32;

#[derive(Debug)]
struct Block {
    start: Offset,
    bytes: Bytes,
}

impl Block {
    fn end(&self) -> Offset {
        self.start.plus(self.bytes.len())
    }
}

/// The last bytes of the stream.
#[derive(Debug)]
pub struct Backlog {
    /// What lies in files, before all that follows.
    pub(super) spilled: Spilled,
    /// Blocks that are full, oldest first, without gaps.
    full: VecDeque<Block>,
    /// Where the block that is being filled begins.
    tail_start: Offset,
    tail: BytesMut,
    /// Bytes to keep, whoever reads.
    size: u64,
    /// Capacity of all full blocks.
    full_bytes: u64,
}

impl Backlog {
    /// A backlog of about `size` bytes that begins, empty, at `at`.
    #[must_use]
    pub fn new(size: u64, at: Offset) -> Self {
        Self {
            spilled: Spilled::default(),
            full: VecDeque::new(),
            tail_start: at,
            tail: BytesMut::new(),
            size: size.max(BACKLOG_BYTES_MIN),
            full_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream; says whether a block was filled, which is when a caller should
    /// [`trim`](Self::trim) and look at who lags.
    pub fn append(&mut self, mut bytes: &[u8]) -> bool {
        let room = self.tail.capacity() - self.tail.len();
        if bytes.len() <= room {
            self.tail.extend_from_slice(bytes);
            return false;
        }
        let block = self.block_bytes() as usize;
        while !bytes.is_empty() {
            if self.tail.len() == self.tail.capacity() {
                self.seal();
                self.tail = BytesMut::with_capacity(block);
            }
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
        }
        true
    }

    fn block_bytes(&self) -> u64 {
        (self.size / 16).clamp(*BLOCK_BYTES.start(), *BLOCK_BYTES.end())
    }

    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.tail).freeze();
        let start = self.tail_start;
        self.tail_start = start.plus(bytes.len());
        self.full_bytes += bytes.len() as u64;
        self.full.push_back(Block { start, bytes });
    }

    /// Lets the oldest blocks and files go that are beyond the size and that nobody reads: `read_from` is the first place that
    /// a replica still reads, if any does. At most 64 a call; says whether there are more.
    pub fn trim(&mut self, read_from: Option<Offset>) -> bool {
        for _ in 0..TRIM_BLOCKS_PER_CALL {
            let file = self.spilled.oldest();
            let block = self.full.front().map(|block| (block.bytes.len() as u64, block.end()));
            let Some((length, end)) = file.or(block) else { return false };
            // Never less than was asked for, so that nobody is refused what the setting promises.
            let too_long = self.held() - length >= self.size;
            if !too_long || read_from.is_some_and(|from| from < end) {
                return false;
            }
            if file.is_some() {
                self.spilled.drop_oldest();
            } else {
                // Nobody needs what is being written any more; a disk that hangs must not keep the rest here.
                self.spilled.give_up_writing();
                self.drop_blocks(1);
            }
        }
        true
    }

    /// Lets the first blocks in memory go.
    pub(super) fn drop_blocks(&mut self, count: usize) {
        for block in self.full.drain(..count.min(self.full.len())) {
            self.full_bytes -= block.bytes.len() as u64;
        }
    }

    /// The first full blocks in memory.
    pub(super) fn first_blocks(&self, count: usize) -> Vec<Bytes> {
        self.full.iter().take(count).map(|block| block.bytes.clone()).collect()
    }

    /// The lengths of the full blocks in memory, oldest first.
    pub(super) fn block_lengths(&self) -> impl Iterator<Item = u64> {
        self.full.iter().map(|block| block.bytes.len() as u64)
    }

    /// Another size from now on; the caller trims.
    pub fn resize(&mut self, size: u64) {
        self.size = size.max(BACKLOG_BYTES_MIN);
    }

    /// The first place that can be read from.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.spilled.start().unwrap_or_else(|| self.memory_start())
    }

    /// The first place that lies in memory, whatever was read back.
    #[must_use]
    pub fn memory_start(&self) -> Offset {
        self.full.front().map_or(self.tail_start, |block| block.start)
    }

    /// The place after the last byte.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.tail_start.plus(self.tail.len())
    }

    /// Bytes that are held: `repl_backlog_histlen`.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.in_files() + self.held_in_memory()
    }

    /// Bytes that lie in files: `repl_spilled_bytes`.
    #[must_use]
    pub fn in_files(&self) -> u64 {
        self.spilled.bytes()
    }

    /// Bytes that lie in memory, whatever was read back.
    pub(super) fn held_in_memory(&self) -> u64 {
        self.full_bytes + self.tail.len() as u64
    }

    /// Bytes that should be held: `repl_backlog_size`.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Memory taken: `mem_total_replication_buffers`.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let places = (self.full.capacity() * size_of::<Block>()) as u64;
        let blocks = self.full.len() as u64 + 1;
        let read_back = self.spilled.chunk_bytes();
        self.full_bytes + read_back + self.tail.capacity() as u64 + places + blocks * BLOCK_OVERHEAD
    }

    /// Memory taken by what is held for the setting's sake: `mem_replication_backlog`. What is beyond it is held for replicas.
    #[must_use]
    pub fn memory_of_setting(&self) -> u64 {
        let blocks = self.size / self.block_bytes() + 1;
        self.memory().min(self.size + blocks * (BLOCK_OVERHEAD + size_of::<Block>() as u64))
    }

    /// Whether the bytes from `from` on are held; the end itself is such a place.
    #[must_use]
    pub fn holds(&self, from: Offset) -> bool {
        self.start() <= from && from <= self.end()
    }

    /// The bytes from `from` to the end, in order, none of them empty; up to what has to be read back first. Nothing at all if
    /// they are not held.
    pub fn slices(&self, from: Offset) -> impl Iterator<Item = &[u8]> {
        let mut at = from;
        std::iter::from_fn(move || {
            let slice = self.slice_at(at)?;
            at = at.plus(slice.len());
            Some(slice)
        })
    }

    fn slice_at(&self, at: Offset) -> Option<&[u8]> {
        if at < self.memory_start() {
            return self.spilled.slice_at(at).filter(|_| self.holds(at));
        }
        let (start, bytes) = if at < self.tail_start {
            let place = self.full.partition_point(|block| block.end() <= at);
            let block = self.full.get(place)?;
            (block.start, &block.bytes[..])
        } else {
            (self.tail_start, &self.tail[..])
        };
        bytes.get(at.since(start) as usize..).filter(|slice| !slice.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(backlog: &Backlog, from: Offset) -> Vec<u8> {
        backlog.slices(from).flatten().copied().collect()
    }

    #[test]
    fn the_end_can_be_read_from_and_what_lies_beyond_cannot() {
        let mut backlog = Backlog::new(1 << 20, Offset::after(10).unwrap());
        assert!(backlog.holds(Offset::after(10).unwrap()));
        assert!(!backlog.holds(Offset::after(9).unwrap()));
        backlog.append(b"abc");
        let end = Offset::after(13).unwrap();
        assert_eq!(backlog.end(), end);
        assert!(backlog.holds(end) && !backlog.holds(end.plus(1)));
        assert_eq!(read(&backlog, end), b"");
        assert_eq!(read(&backlog, Offset::after(11).unwrap()), b"bc");
        assert_eq!(read(&backlog, end.plus(1)), b"");
    }

    #[test]
    fn blocks_that_somebody_reads_stay() {
        let mut backlog = Backlog::new(BACKLOG_BYTES_MIN, Offset::ZERO);
        let chunk = vec![7; 16 << 10];
        for _ in 0..10 {
            backlog.append(&chunk);
            backlog.trim(Some(Offset::after(20 << 10).unwrap()));
        }
        assert_eq!(backlog.start(), Offset::after(16 << 10).unwrap());
        assert!(!backlog.trim(None));
        assert_eq!(backlog.held(), 16 << 10);
    }

    #[test]
    fn freeing_much_is_done_in_parts() {
        let mut backlog = Backlog::new(BACKLOG_BYTES_MIN, Offset::ZERO);
        backlog.append(&vec![1; 200 * (16 << 10)]);
        assert!(backlog.trim(None));
        assert_eq!(backlog.held(), (200 - 64) * (16 << 10));
        assert!(backlog.trim(None) && backlog.trim(None) && !backlog.trim(None));
    }

    #[test]
    fn a_smaller_size_holds_less_at_the_next_trim() {
        let mut backlog = Backlog::new(1 << 20, Offset::ZERO);
        backlog.append(&vec![1; 1 << 20]);
        backlog.trim(None);
        assert_eq!(backlog.held(), 1 << 20);
        backlog.resize(1);
        assert_eq!(backlog.size(), BACKLOG_BYTES_MIN);
        while backlog.trim(None) {}
        assert_eq!(backlog.held(), 64 << 10);
    }

    proptest! {
        #[test]
        fn it_holds_the_end_of_what_was_appended(
            size in 1_u64..200_000,
            start in 0_i64..1000,
            parts in proptest::collection::vec((0_usize..60_000, proptest::option::of(0_u64..300_000)), 1..20),
        ) {
            let start = Offset::after(start).unwrap();
            let mut backlog = Backlog::new(size, start);
            let mut all: Vec<u8> = Vec::new();
            for (length, lag) in parts {
                let part: Vec<u8> = (0..length).map(|i| (all.len() + i) as u8).collect();
                backlog.append(&part);
                all.extend(&part);
                let reader = lag.map(|lag| {
                    let behind = lag.min(backlog.held()) as i64;
                    Offset::after(backlog.end().bytes() - behind).unwrap()
                });
                while backlog.trim(reader) {}
                prop_assert_eq!(backlog.end(), start.plus(all.len()));
                prop_assert!(backlog.held() >= backlog.size().min(all.len() as u64));
                prop_assert!(reader.is_none_or(|from| backlog.holds(from)));
                let from = backlog.start();
                prop_assert_eq!(read(&backlog, from), &all[from.since(start) as usize..]);
                let middle = from.plus((backlog.held() / 2) as usize);
                prop_assert_eq!(read(&backlog, middle), &all[middle.since(start) as usize..]);
            }
        }
    }
}
