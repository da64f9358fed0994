//! A stream that one task reads, and that others write to while it waits: links of replication, of sentinels, and of slots on their way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::Stream;

/// The stream, once it is there.
#[derive(Debug, Default)]
pub struct Link {
    stream: RefCell<Option<Stream>>,
    /// It has not taken all that was written, or holds some back.
    is_stuck: Cell<bool>,
    /// Wakes the task that reads.
    waker: RefCell<Option<Waker>>,
}

/// What a link's task has waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// So many bytes have come; 0 says that it has ended.
    Came(usize),
    /// There is room for what was left to be sent.
    Room,
}

impl Link {
    /// Begins with a stream.
    pub fn open(&self, stream: Stream) {
        self.stream.replace(Some(stream));
        self.is_stuck.set(false);
    }

    /// Ends it. What waits for it hears that it is not connected.
    pub fn close(&self) {
        self.stream.take();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether there is a stream.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.borrow().is_some()
    }

    /// Whether something was left to be sent, and the task waits for room: see [`Event::Room`].
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// Writes what is taken without waiting, and answers how many bytes that is. If it is less than all, the link's task is told once
    /// there is room. A broken link shows at reading.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else { return 0 };
        let mut sent = 0;
        let mut is_stuck = false;
        while sent < bytes.len() {
            match stream.try_write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    is_stuck = error.kind() == io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        is_stuck |= stream.is_behind();
        if is_stuck
            && !self.is_stuck.get()
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
        self.is_stuck.set(is_stuck);
        sent
    }

    /// Waits until something comes, or there is room for what was left. What comes lies at the front of `buffer`, of whose length it
    /// reads no more; links share it, for it is used only until the next of them is polled.
    ///
    /// # Errors
    /// The connection's; `NotConnected` when there is none, or not any more.
    pub async fn event(&self, buffer: &RefCell<Vec<u8>>) -> io::Result<Event> {
        poll_fn(|cx| self.poll_event(cx, &mut ReadBuf::new(&mut buffer.borrow_mut()))).await
    }

    fn poll_event(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Event>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if self.is_stuck.get()
            && let Poll::Ready(room) = stream.poll_room(cx)
        {
            self.is_stuck.set(false);
            return Poll::Ready(room.map(|()| Event::Room));
        }
        let before = buffer.filled().len();
        let read = stream.poll_read(cx, buffer);
        read.map_ok(|()| Event::Came(buffer.filled().len() - before))
    }

    /// What comes, for those who read into buffers of their own. What was left to be sent goes out meanwhile only as far as
    /// the stream holds it.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        Input(self)
    }
}

/// What comes by a link.
#[derive(Debug)]
pub struct Input<'a>(&'a Link);

impl AsyncRead for Input<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.0.poll_event(cx, buffer) {
                // What was refused goes with what is sent next.
                Poll::Ready(Ok(Event::Room)) => {}
                Poll::Ready(Ok(Event::Came(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
