//! Connections within one process and without the kernel: what simulations of programs that speak over sockets run on.
//!
//! They behave as TCP does where a program can tell: a writer finds no room when nobody reads, what was written before an end
//! is still read, and an end with something unread, or a [`reset`](MemoryStream::reset), takes away what was on its way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
struct Lane {
    bytes: VecDeque<u8>,
    room: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    is_written_out: bool,
    is_unheard: bool,
    is_reset: bool,
}

impl Lane {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Reads what is there; `None` when nothing is.
    fn read(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        if self.is_reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.bytes.is_empty() {
            return self.is_written_out.then_some(Ok(()));
        }
        let (first, second) = self.bytes.as_slices();
        let mut count = 0;
        for part in [first, second] {
            let part = &part[..part.len().min(buf.remaining())];
            buf.put_slice(part);
            count += part.len();
        }
        self.bytes.drain(..count);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Some(Ok(()))
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.bytes.clear();
        self.wake();
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
}

fn locked(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends of a connection that holds `room` bytes in each direction.
#[must_use]
pub fn pair(room: usize) -> (MemoryStream, MemoryStream) {
    let lane = || Arc::new(Mutex::new(Lane { room, ..Lane::default() }));
    let (one, other) = (lane(), lane());
    let near = MemoryStream { incoming: Arc::clone(&one), outgoing: Arc::clone(&other) };
    (near, MemoryStream { incoming: other, outgoing: one })
}

impl MemoryStream {
    /// Reads what is there, or registers the task to be woken when something is.
    pub fn poll_read(&self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut lane = locked(&self.incoming);
        match lane.read(buf) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                lane.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is; otherwise the connection's error.
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut space = ReadBuf::new(room);
        let mut lane = locked(&self.incoming);
        match lane.read(&mut space) {
            Some(Ok(())) => Ok(space.filled().len()),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits until something can be written, or never more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = locked(&self.outgoing);
        if lane.bytes.len() < lane.room || lane.is_reset || lane.is_unheard || lane.is_written_out {
            return Poll::Ready(Ok(()));
        }
        lane.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; otherwise the connection's error.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut lane = locked(&self.outgoing);
        if lane.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if lane.is_unheard || lane.is_written_out {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(lane.room - lane.bytes.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        lane.bytes.extend(&bytes[..count]);
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Ok(count)
    }

    /// Writes what there is room for, or registers the task to be woken when there is some.
    pub fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                locked(&self.outgoing).writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    /// Ends both directions at once, and what was on its way is lost.
    pub fn reset(&self) {
        locked(&self.incoming).reset();
        locked(&self.outgoing).reset();
    }

    /// Ends the connection; what was written is still read.
    pub fn shut_down(&self) {
        let mut incoming = locked(&self.incoming);
        let is_read = incoming.bytes.is_empty();
        incoming.is_unheard = true;
        incoming.wake();
        drop(incoming);
        let mut outgoing = locked(&self.outgoing);
        outgoing.is_written_out = true;
        if is_read {
            outgoing.wake();
        } else {
            // What was not read makes TCP answer with a reset.
            outgoing.reset();
        }
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// What is at the other end of an address: a connection, an error, or nobody that answers.
type Dialer = dyn Fn(SocketAddr) -> io::Result<Option<MemoryStream>>;

thread_local! {
    static DIALER: RefCell<Option<Rc<Dialer>>> = const { RefCell::new(None) };
}

/// From now on this thread's connections over TCP are opened by `dialer`; where it gives none, the attempt never ends.
pub fn set_dialer(dialer: impl Fn(SocketAddr) -> io::Result<Option<MemoryStream>> + 'static) {
    DIALER.set(Some(Rc::new(dialer)));
}

/// Asks this thread's dialer, if there is one.
pub(super) fn dial(address: SocketAddr) -> Option<io::Result<Option<MemoryStream>>> {
    let dialer = DIALER.with_borrow(Option::clone)?;
    Some(dialer(address))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn read(stream: &MemoryStream) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 4];
        let mut room = ReadBuf::new(&mut bytes);
        poll_fn(|cx| stream.poll_read(cx, &mut room)).await?;
        Ok(room.filled().to_vec())
    }

    #[tokio::test]
    async fn what_was_written_is_read_in_order_and_then_the_end() {
        let (near, far) = pair(6);
        assert_eq!(near.try_write(b"abcdefgh").expect("room"), 6);
        assert_eq!(near.try_write(b"gh").expect_err("full").kind(), io::ErrorKind::WouldBlock);
        assert_eq!(read(&far).await.expect("read"), b"abcd");
        assert_eq!(near.try_write(b"gh").expect("room"), 2);
        drop(near);
        assert_eq!(read(&far).await.expect("read"), b"efgh");
        assert_eq!(read(&far).await.expect("the end"), b"");
        assert_eq!(far.try_write(b"x").expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn an_end_with_something_unread_is_a_reset() {
        let (near, far) = pair(6);
        near.try_write(b"ab").expect("room");
        far.try_write(b"cd").expect("room");
        drop(near);
        let lost = read(&far).await.expect_err("reset");
        assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset);
    }
}
