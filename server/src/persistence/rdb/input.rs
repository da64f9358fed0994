//! Where bytes to be read come from: a slice, or a stream of which only a piece is held.
//!
//! Nothing is allocated by the word of a length: only as much as has arrived, or is known to be there.

use std::io::{ErrorKind, Read};

use crc::{Digest, Table};

use super::error::{Fault, Problem, SHORT_READ};
use super::format::CRC;

/// Bytes that are lent in one piece wherever they come from.
pub(super) const PIECE: usize = 64 * 1024;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;
/// Bytes by which an allocation grows at least while they arrive.
const GROWTH: usize = 1024 * 1024;

/// What values are read from.
pub(crate) trait Input {
    /// The next `count` bytes, which are [`PIECE`] at most.
    fn piece(&mut self, count: usize) -> Result<&[u8], Fault>;

    /// Appends the next `count` bytes to `out`.
    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Fault>;

    /// The next `count` bytes: where they lie, or in `room`.
    fn lend<'a>(&'a mut self, count: usize, room: &'a mut Vec<u8>) -> Result<&'a [u8], Fault>;

    /// No more bytes than these are left.
    fn most_left(&self) -> u64;
}

/// Bytes that are all there.
pub(crate) struct Slice<'a> {
    /// What is left of them.
    pub bytes: &'a [u8],
}

impl<'b> Slice<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(SHORT_READ)?;
        self.bytes = rest;
        Ok(head)
    }
}

impl Input for Slice<'_> {
    #[inline]
    fn piece(&mut self, count: usize) -> Result<&[u8], Fault> {
        self.take(count)
    }

    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes = self.take(count)?;
        out.reserve_exact(count);
        out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn lend<'a>(&'a mut self, count: usize, _: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        self.take(count)
    }

    fn most_left(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Bytes that come from elsewhere, with their checksum.
pub(super) struct Stream<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes before those in the buffer.
    passed: u64,
    /// How far the bytes in the buffer are in the checksum.
    summed: usize,
    digest: Option<Digest<'static, u64, Table<16>>>,
    /// Bytes there are in all, if that is known.
    length: Option<u64>,
    /// Where the string begins that could not be read to its end.
    cut_at: Option<u64>,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(reader: R, checksums: bool, length: Option<u64>) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            passed: 0,
            summed: 0,
            digest: checksums.then(|| CRC.digest()),
            length,
            cut_at: None,
        }
    }

    /// Bytes that were taken. What was cut off counts from where it begins.
    pub(super) fn offset(&self) -> u64 {
        self.cut_at.unwrap_or(self.passed + self.start as u64)
    }

    /// The checksum of all that was taken, if there is to be one.
    pub(super) fn checksum(&mut self) -> Option<u64> {
        self.sum();
        Some(self.digest.as_ref()?.clone().finalize())
    }

    /// What was read but not taken, and the reader.
    pub(super) fn into_parts(self) -> (Vec<u8>, R) {
        (self.buffer[self.start..self.end].to_vec(), self.reader)
    }

    fn sum(&mut self) {
        if let Some(digest) = &mut self.digest {
            digest.update(&self.buffer[self.summed..self.start]);
        }
        self.summed = self.start;
    }

    /// Reads until `count` bytes are in the buffer.
    #[cold]
    fn fill(&mut self, count: usize) -> Result<(), Fault> {
        self.sum();
        self.buffer.copy_within(self.start..self.end, 0);
        self.passed += self.start as u64;
        self.end -= self.start;
        (self.start, self.summed) = (0, 0);
        while self.end < count {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(SHORT_READ),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Io(error).into()),
            }
        }
        Ok(())
    }

    /// Reads `count` bytes past the buffer, which is empty.
    fn append_rest(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let begin = out.len();
        while out.len() < begin + count {
            let left = begin + count - out.len();
            // It is known that they are there, or the allocation at most doubles what has come.
            let step = if self.length.is_some() { left } else { left.min(out.len().max(GROWTH)) };
            out.reserve_exact(step);
            let before = out.len();
            let read = self.reader.by_ref().take(step as u64).read_to_end(out);
            if let Some(digest) = &mut self.digest {
                digest.update(&out[before..]);
            }
            self.passed += (out.len() - before) as u64;
            match read {
                Ok(read) if read == step => {}
                Ok(_) => return Err(SHORT_READ),
                Err(error) => return Err(Problem::Io(error).into()),
            }
        }
        Ok(())
    }
}

impl<R: Read> Input for Stream<R> {
    #[inline]
    fn piece(&mut self, count: usize) -> Result<&[u8], Fault> {
        debug_assert!(count <= PIECE);
        if self.end - self.start < count {
            self.fill(count)?;
        }
        let piece = &self.buffer[self.start..self.start + count];
        self.start += count;
        Ok(piece)
    }

    #[inline]
    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        if count <= PIECE {
            out.extend_from_slice(self.piece(count)?);
            return Ok(());
        }
        if count as u64 > self.most_left() {
            return Err(SHORT_READ);
        }
        let begin = self.offset();
        let here = count.min(self.end - self.start);
        out.reserve_exact(if self.length.is_some() { count } else { here });
        out.extend_from_slice(&self.buffer[self.start..self.start + here]);
        self.start += here;
        if here < count {
            self.sum();
            self.passed += self.start as u64;
            (self.start, self.end, self.summed) = (0, 0, 0);
            let rest = self.append_rest(count - here, out);
            if rest.is_err() {
                self.cut_at = Some(begin);
            }
            return rest;
        }
        Ok(())
    }

    #[inline]
    fn lend<'a>(&'a mut self, count: usize, room: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        if count <= PIECE {
            return self.piece(count);
        }
        room.clear();
        self.append(count, room)?;
        Ok(room)
    }

    fn most_left(&self) -> u64 {
        self.length.map_or(u64::MAX, |length| length.saturating_sub(self.offset()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = out.len().min(3);
            self.0.read(&mut out[..count])
        }
    }

    #[test]
    fn pieces_and_long_reads_come_in_order_with_their_checksum() {
        let bytes: Vec<u8> = (0..600_000_u32).map(|number| (number / 7) as u8).collect();
        for length in [None, Some(bytes.len() as u64)] {
            let mut stream = Stream::new(&bytes[..], true, length);
            let mut room = Vec::new();
            assert_eq!(stream.piece(5).expect("there"), &bytes[..5]);
            assert_eq!(stream.lend(300_000, &mut room).expect("there"), &bytes[5..300_005]);
            assert_eq!(stream.lend(60_000, &mut room).expect("there"), &bytes[300_005..360_005]);
            let mut rest = Vec::new();
            stream.append(239_995, &mut rest).expect("there");
            assert_eq!(rest, &bytes[360_005..]);
            assert_eq!(stream.offset(), 600_000);
            assert_eq!(stream.checksum(), Some(CRC.checksum(&bytes)));
            assert!(stream.piece(1).is_err());
        }
        let mut slow = Stream::new(Slow(&bytes[..100]), true, None);
        assert_eq!(slow.piece(100).expect("there"), &bytes[..100]);
    }

    #[test]
    fn a_length_allocates_nothing_that_is_not_there() {
        for length in [None, Some(100)] {
            let mut stream = Stream::new(&[7; 100][..], true, length);
            let mut out = Vec::new();
            assert!(stream.append(1 << 40, &mut out).is_err());
            assert!(out.capacity() <= 2 * GROWTH, "{}", out.capacity());
        }
    }
}
