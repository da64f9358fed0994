//! Bytes on their way out of a connection, sent with as few system calls and copies as can be.
//!
//! Small pieces are appended to a pooled buffer; a large piece that someone owns already is queued as it is.
//! An idle connection holds no buffer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use redstart_common::net::{Stream, buffer};

/// A piece of at least this many bytes is queued rather than copied.
pub const LARGE_BYTES: usize = 16 * 1024;
/// An open buffer of this size is closed and another begun, so that no buffer outgrows the pool.
const SEAL_BYTES: usize = 64 * 1024;
/// Output of this size is sent at once rather than at the end of the turn.
pub const EAGER_BYTES: usize = 64 * 1024;
/// Slices of one write.
const SLICES_MAX: usize = 64;

/// Whether everything went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing is left.
    All,
    /// The kernel takes no more now.
    Some,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Output {
    /// Complete buffers, oldest first.
    sealed: VecDeque<Vec<u8>>,
    sealed_bytes: usize,
    /// The buffer being filled.
    tail: Vec<u8>,
    /// Bytes of the oldest buffer that are gone already.
    gone: usize,
}

impl Output {
    /// Bytes that wait.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.sealed_bytes + self.tail.len() - self.gone
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append to.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = buffer::take();
        } else if self.tail.len() >= SEAL_BYTES {
            self.seal();
            self.tail = buffer::take();
        }
        &mut self.tail
    }

    /// Appends a copy.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
    }

    /// Appends a buffer: as it is when large, by copy otherwise.
    pub fn push_owned(&mut self, bytes: Vec<u8>) {
        if bytes.len() < LARGE_BYTES {
            self.push(&bytes);
            buffer::give(bytes);
        } else {
            self.seal();
            self.sealed_bytes += bytes.len();
            self.sealed.push_back(bytes);
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.sealed_bytes += self.tail.len();
            self.sealed.push_back(std::mem::take(&mut self.tail));
        }
    }

    /// Sends what the kernel takes without waiting.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, stream: &Stream) -> io::Result<Sent> {
        while !self.is_empty() {
            let sent = if self.sealed.is_empty() {
                stream.try_write(&self.tail[self.gone..])
            } else {
                self.with_slices(|slices| stream.try_write_vectored(slices))
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Some),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.release();
        Ok(Sent::All)
    }

    /// Sends everything, waking the task when the kernel takes more.
    pub fn poll_send(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let sent = if self.sealed.is_empty() {
                ready!(stream.poll_write(cx, &self.tail[self.gone..]))
            } else {
                ready!(self.with_slices(|slices| stream.poll_write_vectored(cx, slices)))
            };
            match sent {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.advance(count),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut skip = self.gone;
        for buffer in self.sealed.iter().chain(std::iter::once(&self.tail)).take(SLICES_MAX) {
            slices[count] = IoSlice::new(&buffer[skip..]);
            skip = 0;
            count += 1;
        }
        write(&slices[..count])
    }

    fn advance(&mut self, count: usize) {
        self.gone += count;
        while let Some(front) = self.sealed.front() {
            if self.gone < front.len() {
                return;
            }
            self.gone -= front.len();
            self.sealed_bytes -= front.len();
            if let Some(spent) = self.sealed.pop_front() {
                buffer::give(spent);
            }
        }
        if self.gone == self.tail.len() {
            self.tail.clear();
            self.gone = 0;
        }
    }

    /// Gives the buffers back once nothing waits.
    fn release(&mut self) {
        if self.tail.capacity() > 0 {
            buffer::give(std::mem::take(&mut self.tail));
        }
        if self.sealed.capacity() > 0 {
            self.sealed = VecDeque::new();
        }
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.sealed.drain(..).for_each(buffer::give);
        self.sealed_bytes = 0;
        self.gone = 0;
        self.tail.clear();
        self.release();
    }

    /// Everything that waits, as one piece.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.sealed.iter().flatten().copied().collect();
        all.extend_from_slice(&self.tail);
        all.split_off(self.gone)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_emptied_queue_holds_no_buffer() {
        let mut output = Output::default();
        output.push(b"hello");
        output.push_owned(vec![b'x'; LARGE_BYTES]);
        output.push(b"bye");
        output.advance(output.len());
        output.release();
        assert!(output.is_empty());
        assert_eq!(output.tail.capacity() + output.sealed.capacity(), 0);
    }

    proptest! {
        /// Whatever is pushed in whatever way comes out in order, in pieces of any size.
        #[test]
        fn bytes_keep_their_order(
            pieces in prop::collection::vec((0usize..40_000, any::<bool>(), 0usize..60_000), 1..20),
        ) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            let mut seen = Vec::new();
            let mut next = 0_u8;
            for (size, owned, send) in pieces {
                let piece: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
                expected.extend_from_slice(&piece);
                if owned { output.push_owned(piece) } else { output.push(&piece) }
                let send = send.min(output.len());
                seen.extend_from_slice(&output.contents()[..send]);
                output.advance(send);
                prop_assert_eq!(seen.len() + output.len(), expected.len());
            }
            seen.extend(output.contents());
            prop_assert_eq!(seen, expected);
        }
    }
}
