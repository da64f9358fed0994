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
/// A piece of at least this many bytes goes to the kernel from where it lies, at once, rather than being copied into
/// the queue for the end of the turn.
pub const DIRECT_BYTES: usize = 32 * 1024;
/// Slices of one write.
const SLICES_MAX: usize = 64;

/// Whether everything went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing is left.
    All,
    /// The kernel takes no more now: bytes wait here, or in the stream.
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
    pub fn send(&mut self, stream: &mut Stream) -> io::Result<Sent> {
        while !self.is_empty() {
            let sent = if self.sealed.is_empty() {
                stream.try_write(&self.tail[self.gone..])
            } else {
                self.with_slices(&[], |slices| stream.try_write_vectored(slices))
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
        Ok(if stream.is_behind() { Sent::Some } else { Sent::All })
    }

    /// Sends what waits and `piece` behind it in one write, and keeps a copy of what the kernel does not take.
    ///
    /// # Errors
    /// When the connection is broken; the piece is kept then too, so that the count of what waits is right.
    pub fn send_with(&mut self, stream: &mut Stream, piece: &[u8]) -> io::Result<Sent> {
        let sent = if self.is_empty() {
            stream.try_write(piece)
        } else if self.sealed.len() + 2 <= SLICES_MAX {
            self.with_slices(piece, |slices| stream.try_write_vectored(slices))
        } else {
            Ok(0)
        };
        let waiting = self.len();
        let sent = match sent {
            Ok(count) => Ok(count),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            },
        };
        let count = *sent.as_ref().unwrap_or(&0);
        self.advance(count.min(waiting));
        let rest = &piece[count.saturating_sub(waiting)..];
        if !rest.is_empty() {
            self.push(rest);
        }
        sent?;
        // Whatever is left is tried again, which tells whether the kernel is full.
        self.send(stream)
    }

    /// Sends everything, waking the task when the kernel takes more.
    pub fn poll_send(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let sent = if self.sealed.is_empty() {
                ready!(stream.poll_write(cx, &self.tail[self.gone..]))
            } else {
                ready!(self.with_slices(&[], |slices| stream.poll_write_vectored(cx, slices)))
            };
            match sent {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.advance(count),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.release();
        stream.poll_flush(cx)
    }

    /// Lends what waits, and `more` behind it, in the form of a vectored write.
    fn with_slices<R>(&self, more: &[u8], write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut skip = self.gone;
        let waiting = self.sealed.iter().chain(std::iter::once(&self.tail)).map(Vec::as_slice);
        for bytes in waiting.chain(std::iter::once(more)).take(SLICES_MAX) {
            slices[count] = IoSlice::new(&bytes[skip..]);
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

    /// Hands on what waits, but for the first `skip` bytes.
    pub fn each_piece(&self, skip: usize, mut each: impl FnMut(&[u8])) {
        let mut skip = skip + self.gone;
        for piece in self.sealed.iter().chain([&self.tail]) {
            let rest = &piece[skip.min(piece.len())..];
            skip = skip.saturating_sub(piece.len());
            if !rest.is_empty() {
                each(rest);
            }
        }
    }

    /// The first bytes that wait and lie together.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        let first = self.sealed.front().unwrap_or(&self.tail);
        &first[self.gone..]
    }

    /// Drops the first bytes that wait.
    pub fn skip(&mut self, bytes: usize) {
        self.advance(bytes.min(self.len()));
    }

    /// Moves everything that waits to the end of `into`.
    pub fn drain_into(&mut self, into: &mut Vec<u8>) {
        let mut gone = self.gone;
        for piece in self.sealed.iter().chain([&self.tail]) {
            into.extend_from_slice(&piece[gone.min(piece.len())..]);
            gone = gone.saturating_sub(piece.len());
        }
        self.clear();
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

/// Most bytes that are set aside for what a peer says it will send.
const RESERVE_MAX: usize = 256 * 1024;

/// Keeps what was read and is not used up in `input`. `wanted` bytes are known to follow: there is room for them from
/// the start, within reason, so that the buffer does not grow by being copied.
pub fn keep(input: &mut Vec<u8>, rest: &[u8], wanted: usize) {
    if rest.is_empty() {
        if input.capacity() > 0 {
            buffer::give(std::mem::take(input));
        }
        return;
    }
    let needed = rest.len() + wanted.min(RESERVE_MAX);
    if input.capacity() == 0 && needed <= buffer::POOLED_BYTES {
        *input = buffer::take();
    }
    input.clear();
    input.reserve_exact(needed);
    input.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_kept_has_room_for_what_is_said_to_follow_within_reason() {
        let mut input = Vec::new();
        keep(&mut input, b"$65536\r\nab", 65_536);
        assert!(input.capacity() >= 65_536 + input.len());
        keep(&mut input, b"", 0);
        assert_eq!(input.capacity(), 0);
        keep(&mut input, b"$536870912\r\n", 536_870_914);
        assert!(input.capacity() <= 2 * RESERVE_MAX);
    }

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
        /// Pieces sent at once come out in order with those that wait, however little the kernel takes.
        #[test]
        fn pieces_sent_at_once_keep_their_order(
            pieces in prop::collection::vec((1usize..200_000, 0u8..3, 0usize..300_000), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair");
                ours.writable().await.expect("it is open");
                let mut stream = Stream::from(ours);
                let mut output = Output::default();
                let (mut expected, mut seen) = (Vec::new(), Vec::new());
                let mut space = vec![0; 64 * 1024];
                for (number, (size, way, read)) in pieces.into_iter().enumerate() {
                    let piece: Vec<u8> = (0..size).map(|at| (at / 5 + at + number) as u8).collect();
                    expected.extend_from_slice(&piece);
                    match way {
                        0 => output.push(&piece),
                        1 => output.push_owned(piece),
                        _ => {
                            let sent = output.send_with(&mut stream, &piece).expect("it is open");
                            assert_eq!(sent == Sent::All, output.is_empty());
                        }
                    }
                    let wanted = seen.len() + read;
                    tokio::task::yield_now().await;
                    while seen.len() < wanted
                        && let Ok(count) = theirs.try_read(&mut space)
                    {
                        seen.extend_from_slice(&space[..count]);
                    }
                }
                let rest = std::future::poll_fn(|cx| output.poll_send(&mut stream, cx));
                let sending = async { rest.await.expect("it is open") };
                let reading = async {
                    while seen.len() < expected.len() {
                        theirs.readable().await.expect("it is open");
                        if let Ok(count) = theirs.try_read(&mut space) {
                            seen.extend_from_slice(&space[..count]);
                        }
                    }
                };
                tokio::join!(sending, reading);
                assert!(seen == expected, "{} bytes instead of {}", seen.len(), expected.len());
            });
        }

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
