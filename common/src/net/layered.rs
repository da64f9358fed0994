//! A stream over a stream: what a program writes is transformed before it travels, as TLS does it.
//!
//! A [`Layer`] transforms and does no I/O; [`Layered`] carries its bytes over a plain stream. What such a transport
//! does and a plain one does not is dealt with here, so that those who read and write see an ordinary stream:
//!
//! - Bytes that were taken for writing may be held back. A stream that [holds some](super::Stream::is_behind) has to be
//!   [flushed](super::Stream::poll_flush) by its task, as one whose kernel is full has to be written to.
//! - Reading may need to write (an answer of the layer's own), and writing may need to read first. Whoever polls for one is woken
//!   for the other too.
//! - Bytes may wait that the kernel does not announce: they are read before the kernel is asked.
//! - It begins with a handshake, which the thread that serves the connection carries out, and ends with a word of its own; an end
//!   without it is [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).

use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll};

use super::Stream;

/// Bytes that are read of the transport at once, and given at once.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Plain bytes that nobody has read, beyond which a writer that needs to hear from the other end hears no more.
const UNREAD_MAX: usize = 256 * 1024;

thread_local! {
    /// What is read of a transport, before its layer takes it in. A thread without layered streams has none.
    static RAW: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's buffer for what is read of a transport.
fn with_raw<R>(body: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut raw = RAW.take();
    raw.resize(READ_BYTES, 0);
    let outcome = body(&mut raw);
    RAW.set(raw);
    outcome
}

/// What turns plain bytes into those that travel, and back. It does no I/O and waits for nothing.
pub trait Layer: Debug + Send {
    /// Takes in all of what has come from the other end.
    ///
    /// # Errors
    /// When it makes no sense, or the other end is refused. There may be something to send that says why.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Nothing more comes from the other end.
    fn take_end(&mut self);

    /// Gives plain bytes; 0 for the end of what the other end had to say.
    ///
    /// # Errors
    /// `WouldBlock` when there are none; `UnexpectedEof` when the transport ended before the other end had said so.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Plain bytes that have come and were not read.
    fn unread(&self) -> usize;

    /// About how many bytes it holds, of what has come and of what waits to be sent.
    fn held(&self) -> usize;

    /// Takes plain bytes to be sent, as many as there is room for.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> usize;

    /// Whether there is something to send.
    fn has_to_send(&self) -> bool;

    /// Sends some of that.
    ///
    /// # Errors
    /// Those of `to`.
    fn send(&mut self, to: &mut dyn Write) -> io::Result<usize>;

    /// Whether the two ends have not agreed yet.
    fn is_handshaking(&self) -> bool;

    /// Has the other end told that nothing more comes.
    fn close(&mut self);

    /// What the two ends have agreed on, for people.
    fn agreed(&self) -> String;
}

/// What the next step of a handshake is.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// None.
    Done,
    /// To [work out](Layered::work_out) what has come. It may take a millisecond of the processor's time.
    Came(Vec<u8>),
}

/// How the transport is used.
enum Way<'a, 'b> {
    /// The task is woken when more is possible.
    Poll(&'a mut Context<'b>),
    /// Without waiting: whoever does it wakes the task.
    Try,
    /// Past the runtime, without waiting.
    Past,
}

/// A layer and what it travels over.
#[derive(Debug)]
pub struct Layered {
    stream: Stream,
    layer: Box<dyn Layer>,
    /// The transport has ended.
    is_ended: bool,
    /// It has failed, or was closed: nothing is said any more.
    is_mute: bool,
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

fn polled<T>(outcome: io::Result<T>) -> Poll<io::Result<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        outcome => Poll::Ready(outcome),
    }
}

fn unless_pending<T>(outcome: Poll<io::Result<T>>) -> io::Result<T> {
    match outcome {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(would_block()),
    }
}

/// The transport as something to write to.
struct Outward<'a, 'b, 'c> {
    stream: &'a mut Stream,
    way: &'a mut Way<'b, 'c>,
}

impl Write for Outward<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.way {
            Way::Poll(cx) => unless_pending(self.stream.poll_write(cx, bytes)),
            Way::Try => self.stream.try_write(bytes),
            Way::Past => self.stream.write_now(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.way {
            Way::Poll(cx) => unless_pending(self.stream.poll_write_vectored(cx, slices)),
            Way::Try => self.stream.try_write_vectored(slices),
            Way::Past => self.stream.write_now(super::stream::first_of(slices)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layered {
    /// Puts a layer over a stream. Its handshake has to be carried out before anything else.
    #[must_use]
    pub fn new(stream: Stream, layer: Box<dyn Layer>) -> Self {
        Self { stream, layer, is_ended: false, is_mute: false }
    }

    /// What it travels over.
    #[must_use]
    pub fn transport(&self) -> &Stream {
        &self.stream
    }

    /// Whether the two ends have not agreed yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.layer.is_handshaking()
    }

    /// What the two ends have agreed on, for people.
    #[must_use]
    pub fn agreed(&self) -> String {
        self.layer.agreed()
    }

    /// Whether there are bytes to be read without asking the kernel.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.layer.unread() > 0
    }

    /// About how many bytes it holds that are on their way.
    #[must_use]
    pub fn held(&self) -> usize {
        self.layer.held()
    }

    /// Whether bytes that were taken for writing have not gone to the kernel.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.layer.has_to_send() && !self.is_mute
    }

    /// Ends it without a word: another process goes on with the connection.
    pub fn fall_silent(&mut self) {
        self.is_mute = true;
    }

    /// Tells the other end that nothing more comes, as far as the kernel takes it, and says nothing more.
    pub fn say_goodbye(&mut self) {
        if !self.is_mute && !self.layer.is_handshaking() {
            self.layer.close();
            // Without it the other end takes the connection for broken off, which it may be.
            let _ = self.flush(&mut Way::Past);
        }
        self.is_mute = true;
    }

    // === what a stream does ===

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        polled(self.read(&mut Way::Poll(cx), room))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let unread = self.layer.unread();
        let written = self.write(&mut Way::Poll(cx), slices);
        if self.layer.unread() > unread {
            // The kernel has nothing more to announce, and the task may wait for it.
            cx.waker().wake_by_ref();
        }
        polled(written)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        polled(self.flush(&mut Way::Poll(cx)))
    }

    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(&mut Way::Try, slices)
    }

    pub(super) fn read_now(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.read(&mut Way::Past, room)
    }

    pub(super) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(&mut Way::Past, &[IoSlice::new(bytes)])
    }

    pub(super) fn flush_now(&mut self) -> io::Result<()> {
        self.flush(&mut Way::Past)
    }

    /// Goes on with the handshake, as far as the transport lets it.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Handshake>> {
        polled(self.go_on_with_handshake(&mut Way::Poll(cx)))
    }

    /// As [`poll_handshake`](Self::poll_handshake), past the runtime.
    ///
    /// # Errors
    /// As there; `WouldBlock` when the other end has to say something first.
    pub(super) fn handshake_now(&mut self) -> io::Result<Handshake> {
        self.go_on_with_handshake(&mut Way::Past)
    }

    /// Works out what has come for the handshake.
    ///
    /// # Errors
    /// When the two ends do not agree. The other end is told, as far as the kernel takes it.
    pub fn work_out(&mut self, came: &[u8]) -> io::Result<()> {
        self.take_in(came, &mut Way::Past)
    }

    // === the same by any way ===

    fn take_in(&mut self, bytes: &[u8], way: &mut Way<'_, '_>) -> io::Result<()> {
        self.layer.take_in(bytes).inspect_err(|_| {
            let _ = self.flush(way);
            self.is_mute = true;
        })
    }

    /// Reads of the transport once. What nobody has read yet is never taken for the end of it.
    fn receive(&mut self, way: &mut Way<'_, '_>) -> io::Result<()> {
        with_raw(|raw| match self.receive_raw(way, raw)? {
            0 => {
                self.is_ended = true;
                self.layer.take_end();
                Ok(())
            }
            count => self.take_in(&raw[..count], way),
        })
    }

    fn receive_raw(&mut self, way: &mut Way<'_, '_>, raw: &mut [u8]) -> io::Result<usize> {
        if self.is_ended || self.is_mute {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        loop {
            let count = match way {
                Way::Poll(cx) => {
                    let mut space = tokio::io::ReadBuf::new(raw);
                    let read = unless_pending(self.stream.poll_read(cx, &mut space));
                    read.map(|()| space.filled().len())
                }
                // Whoever writes without waiting does not read.
                Way::Try => return Err(would_block()),
                Way::Past => self.stream.read_now(raw),
            };
            match count {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => return count,
            }
        }
    }

    fn read(&mut self, way: &mut Way<'_, '_>, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.layer.read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if self.is_behind() {
                // The other end may wait for it. A transport that takes nothing any more may still bring something.
                let _ = self.flush(way);
            }
            self.receive(way)?;
        }
    }

    fn write(&mut self, way: &mut Way<'_, '_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_mute {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            let is_flushed = match self.flush(way) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => return Err(error),
            };
            let taken = self.layer.write(slices);
            if taken > 0 {
                return match self.flush(way) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Ok(taken),
                };
            }
            if slices.iter().all(|slice| slice.is_empty()) {
                return Ok(0);
            }
            if !is_flushed || self.layer.unread() > UNREAD_MAX {
                return Err(would_block());
            }
            // It has to hear from the other end before it takes more.
            self.receive(way)?;
        }
    }

    fn flush(&mut self, way: &mut Way<'_, '_>) -> io::Result<()> {
        while self.is_behind() {
            match self.layer.send(&mut Outward { stream: &mut self.stream, way }) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn go_on_with_handshake(&mut self, way: &mut Way<'_, '_>) -> io::Result<Handshake> {
        let flushed = self.flush(way);
        if !self.layer.is_handshaking() {
            // What is held back goes out with the next read or write.
            return Ok(Handshake::Done);
        }
        match flushed {
            // The other end may be as full, and waits for being heard.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => outcome?,
        }
        with_raw(|raw| match self.receive_raw(way, raw)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(Handshake::Came(raw[..count].to_vec())),
        })
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

#[cfg(test)]
pub(super) mod tests;
