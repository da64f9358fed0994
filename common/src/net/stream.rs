//! A connected byte stream as one type: TCP, Unix, within the process, or a layer (TLS) over one of these.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::layered::{self, Handshake, Layer, Layered};
use super::memory::{self, MemoryStream};

/// What is awaited of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// That something can be read, or that it has ended.
    Input,
    /// That it takes something.
    Room,
}

/// A connected stream. Reads are polled (`poll_read`), writes are tried at the end of a turn
/// (`try_write`) and polled only when the kernel's buffer is full, or when the stream [holds bytes back](Self::is_behind).
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Within the process, in a simulation.
    Memory(MemoryStream),
    /// Over another stream, transformed.
    Layered(Box<Layered>),
}

impl Stream {
    /// Connects over TCP and switches Nagle's algorithm off.
    ///
    /// # Errors
    /// What connect(2) says.
    pub async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        if let Some(dialed) = memory::dial(address) {
            return match dialed? {
                Some(stream) => Ok(Self::Memory(stream)),
                None => std::future::pending().await,
            };
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// What connect(2) says.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(UnixStream::connect(path).await?))
    }

    /// Whether the other end is on this machine: over a Unix socket, or the loopback interface.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_unix()
            || self.peer_address().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Reads what is there, or registers the task to be woken when something is.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => stream.poll_read(cx, buf),
            Self::Layered(stream) => {
                // A large buffer is not made ready for more than a read can bring.
                let most = buf.remaining().min(layered::READ_BYTES);
                let read = stream.poll_read(cx, buf.initialize_unfilled_to(most));
                read.map_ok(|count| buf.advance(count))
            }
        }
    }

    /// Writes some bytes, or registers the task to be woken when the kernel takes more.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Memory(stream) => stream.poll_write(cx, bytes),
            Self::Layered(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes some of `slices`, or registers the task to be woken when the kernel takes more.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Memory(stream) => stream.poll_write(cx, first_of(slices)),
            Self::Layered(stream) => stream.poll_write(cx, slices),
        }
    }

    /// Whether bytes that were taken for writing are held back, and have to be [flushed](Self::poll_flush).
    #[inline]
    #[must_use]
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Memory(_) => false,
            Self::Layered(stream) => stream.is_behind(),
        }
    }

    /// Sends what is held back, or registers the task to be woken when the kernel takes more.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Memory(_) => Poll::Ready(Ok(())),
            Self::Layered(stream) => stream.poll_flush(cx),
        }
    }

    /// Waits until it takes something and holds nothing back.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Memory(stream) => stream.poll_room(cx),
            Self::Layered(stream) => stream.poll_flush(cx),
        }
    }

    /// Puts a layer over the stream. Its [handshake](Self::handshake) comes before anything else.
    #[must_use]
    pub fn under(self, layer: Box<dyn Layer>) -> Self {
        Self::Layered(Box::new(Layered::new(self, layer)))
    }

    /// Carries out what both ends have to agree on first, if anything.
    ///
    /// # Errors
    /// When the connection ends, or they do not agree. This waits for the other end: who calls it sets a limit.
    pub async fn handshake(&mut self) -> io::Result<()> {
        while let Handshake::Came(bytes) = poll_fn(|cx| self.poll_handshake(cx)).await? {
            self.work_out(&bytes)?;
        }
        Ok(())
    }

    /// One step of that: waits for what the other end says.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Handshake>> {
        match self {
            Self::Layered(stream) => stream.poll_handshake(cx),
            _ => Poll::Ready(Ok(Handshake::Done)),
        }
    }

    /// As [`poll_handshake`](Self::poll_handshake), past the runtime. It does not wait.
    ///
    /// # Errors
    /// As there; `WouldBlock` when the other end has not said anything.
    pub fn handshake_now(&mut self) -> io::Result<Handshake> {
        match self {
            Self::Layered(stream) => stream.handshake_now(),
            _ => Ok(Handshake::Done),
        }
    }

    /// Works out what has come for the handshake.
    ///
    /// # Errors
    /// When the ends do not agree.
    pub fn work_out(&mut self, came: &[u8]) -> io::Result<()> {
        match self {
            Self::Layered(stream) => stream.work_out(came),
            _ => Ok(()),
        }
    }

    /// Whether there are bytes to be read that the kernel does not announce.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        matches!(self, Self::Layered(stream) if stream.has_unread())
    }

    /// About how many bytes a layer holds that are on their way.
    #[must_use]
    pub fn held(&self) -> usize {
        if let Self::Layered(stream) = self { stream.held() } else { 0 }
    }

    /// Nothing is said any more, not even that it ends: another process goes on with the connection.
    pub fn fall_silent(&mut self) {
        if let Self::Layered(stream) = self {
            stream.fall_silent();
        }
    }

    /// Whether what travels is transformed.
    #[must_use]
    pub fn is_layered(&self) -> bool {
        matches!(self, Self::Layered(_))
    }

    /// What the two ends of a layered stream have agreed on, for people.
    #[must_use]
    pub fn agreed(&self) -> Option<String> {
        if let Self::Layered(stream) = self { Some(stream.agreed()) } else { None }
    }

    /// The stream itself, or what it travels over.
    fn transport(&self) -> &Self {
        if let Self::Layered(stream) = self { stream.transport() } else { self }
    }

    /// Writes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes nothing now (also before the first readiness event of a fresh
    /// stream); otherwise the connection's error.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Memory(stream) => stream.try_write(bytes),
            Self::Layered(stream) => stream.try_write(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes several slices without waiting.
    ///
    /// # Errors
    /// As [`Stream::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(stream) => stream.try_write_vectored(slices),
            Self::Memory(stream) => stream.try_write(first_of(slices)),
            Self::Layered(stream) => stream.try_write(slices),
        }
    }

    /// Reads what is there, past the runtime: for those who cannot return to it now. It does not wait.
    ///
    /// # Errors
    /// What recv(2) says; `WouldBlock` when nothing is there.
    pub fn read_now(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*SockRef::from(&*stream)).read(room),
            Self::Unix(stream) => (&*SockRef::from(&*stream)).read(room),
            Self::Memory(stream) => stream.try_read(room),
            Self::Layered(stream) => stream.read_now(room),
        }
    }

    /// Sends what the kernel takes, past the runtime. It does not wait.
    ///
    /// # Errors
    /// What send(2) says.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).send(bytes),
            Self::Unix(stream) => SockRef::from(&*stream).send(bytes),
            Self::Memory(stream) => stream.try_write(bytes),
            Self::Layered(stream) => stream.write_now(bytes),
        }
    }

    /// Sends what is held back, past the runtime. It does not wait.
    ///
    /// # Errors
    /// As [`write_now`](Self::write_now).
    pub fn flush_now(&mut self) -> io::Result<()> {
        if let Self::Layered(stream) = self { stream.flush_now() } else { Ok(()) }
    }

    /// The kernel's descriptor of it, or of what it travels over; a stream within the process has none.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self.transport() {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Memory(_) | Self::Layered(_) => None,
        }
    }

    /// Waits, past the runtime, until what is awaited is so.
    ///
    /// # Errors
    /// poll(2)'s; `TimedOut` behind `most`, which is rounded up to milliseconds.
    pub fn wait(&self, awaited: Awaited, most: Option<Duration>) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        if awaited == Awaited::Input && self.has_unread() {
            return Ok(());
        }
        // A simulation has nothing that waits past its runtime.
        let Some(fd) = self.descriptor() else { return Err(io::ErrorKind::Unsupported.into()) };
        let flags = if awaited == Awaited::Input { PollFlags::IN } else { PollFlags::OUT };
        let most = most.map(|most| rustix::event::Timespec {
            tv_sec: most.as_secs() as i64,
            tv_nsec: i64::from(most.subsec_nanos()),
        });
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], most.as_ref())? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// What is written from here on leaves together with the end of the connection, when that follows at once: a peer which
    /// has read its last reply then finds the connection ended, and cannot send into it what nobody will answer. The end must be
    /// [`shut_down`](Self::shut_down).
    pub fn hold_for_end(&self) {
        if let Self::Tcp(stream) = self.transport() {
            // Without it the end arrives a little later than the bytes, which is all.
            let _ = SockRef::from(stream).set_tcp_cork(true);
        }
    }

    /// Ends the connection both ways, so that the peer sees it end though a task still holds the stream.
    pub fn shut_down(&mut self) {
        if let Self::Layered(stream) = self {
            stream.say_goodbye();
        }
        // It may have ended already.
        let _ = match self.transport() {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Both),
            Self::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Both),
            Self::Memory(stream) => {
                stream.shut_down();
                Ok(())
            }
            Self::Layered(_) => Ok(()),
        };
    }

    /// The peer as Redis prints it: `ip:port`, `[ip6]:port`, or `path:0` of the listening Unix socket.
    #[must_use]
    pub fn peer_name(&self, unix_path: &str) -> String {
        match self {
            Self::Tcp(stream) => match stream.peer_addr() {
                Ok(address) => address.to_string(),
                Err(_) => "?:0".to_owned(),
            },
            Self::Unix(_) => format!("{unix_path}:0"),
            Self::Memory(_) => "memory:0".to_owned(),
            Self::Layered(stream) => stream.transport().peer_name(unix_path),
        }
    }

    /// This end's address, in the same form as [`Stream::peer_name`].
    #[must_use]
    pub fn local_name(&self, unix_path: &str) -> String {
        match self {
            Self::Tcp(stream) => match stream.local_addr() {
                Ok(address) => address.to_string(),
                Err(_) => "?:0".to_owned(),
            },
            Self::Unix(_) => format!("{unix_path}:0"),
            Self::Memory(_) => "memory:0".to_owned(),
            Self::Layered(stream) => stream.transport().local_name(unix_path),
        }
    }

    /// This end's address, when it is TCP.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self.transport() {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) | Self::Memory(_) | Self::Layered(_) => None,
        }
    }

    /// The peer's address, when it is TCP and still connected.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        match self.transport() {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) | Self::Memory(_) | Self::Layered(_) => None,
        }
    }

    /// Switches TCP keepalive on with `idle` seconds before the first probe, as Redis does: three probes, a
    /// third of `idle` apart.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        let Self::Tcp(stream) = self.transport() else { return Ok(()) };
        let interval = (idle / 3).max(Duration::from_secs(1));
        let keepalive =
            socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    /// Whether small packets are sent at once. Nothing happens to a Unix socket.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self.transport() {
            Self::Tcp(stream) => stream.set_nodelay(nodelay),
            Self::Unix(_) | Self::Memory(_) | Self::Layered(_) => Ok(()),
        }
    }

    /// Whether the stream is a Unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self.transport(), Self::Unix(_))
    }
}

/// The first slice that is not empty: without a system call, one at a time costs no more.
pub(super) fn first_of<'a>(slices: &'a [IoSlice<'_>]) -> &'a [u8] {
    slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Memory(_) => -1,
            Self::Layered(stream) => stream.transport().as_raw_fd(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
