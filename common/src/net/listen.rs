//! Listening sockets: TCP with backlog and `SO_REUSEPORT`, and Unix paths with a mode.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::Stream;

/// Where a listener stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A path in the file system and, when given, its permission bits.
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// Permission bits such as `0o700`; `None` leaves what the umask gives.
        mode: Option<u32>,
    },
}

/// How to listen.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Length of the queue of connections not yet accepted.
    pub backlog: u32,
    /// Whether several sockets may share the port, each with a share of the connections.
    pub reuse_port: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 511, reuse_port: false }
    }
}

/// A listening socket that is bound but not yet tied to an event loop; it may cross threads.
#[derive(Debug)]
pub enum Bound {
    /// Over TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket of the current thread's event loop.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Binds and listens.
///
/// A socket left behind at a Unix path is replaced, and so is an empty file, as `mktemp` makes it to keep the name; any other
/// file there is an error, for what it holds would be lost.
///
/// # Errors
/// What socket(2), bind(2) or listen(2) say.
pub fn bind(address: &Address, options: Options) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            let socket =
                Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if options.reuse_port {
                socket.set_reuse_port(true)?;
            }
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&(*address).into())?;
            socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
            Ok(Bound::Tcp(socket.into()))
        }
        Address::Unix { path, mode } => {
            let is_empty = |found: &fs::Metadata| found.is_file() && found.len() == 0;
            if fs::symlink_metadata(path)
                .is_ok_and(|found| found.file_type().is_socket() || is_empty(&found))
            {
                fs::remove_file(path)?;
            }
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.bind(&socket2::SockAddr::unix(path)?)?;
            if let Some(mode) = mode {
                fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
            }
            socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
            Ok(Bound::Unix(socket.into()))
        }
    }
}

impl Bound {
    /// The address the kernel gave, for TCP.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Gives what goes out over a TCP socket, and over the connections that it accepts, a mark by which the system routes and
    /// filters (`SO_MARK`); a Unix socket needs none.
    ///
    /// # Errors
    /// What setsockopt(2) says: it needs the right to administrate the network.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).set_mark(mark),
            Self::Unix(_) => Ok(()),
        }
    }

    /// A second handle on the same socket, so that several event loops can accept from it.
    ///
    /// # Errors
    /// What dup(2) says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// Ties the socket to the event loop of the current thread.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn into_listener(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
        })
    }
}

impl Listener {
    /// Waits for the next connection. TCP streams come with Nagle's algorithm off.
    ///
    /// # Errors
    /// What accept(2) says.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_or_an_empty_file_gives_way_and_a_file_that_holds_something_does_not() {
        let folder = std::env::temp_dir().join(format!("redstart-listen-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("s");
        let address = Address::Unix { path: path.clone(), mode: Some(0o600) };
        fs::write(&path, "").expect("written");
        // The first takes an empty file's place, the second that of the socket which the first leaves behind.
        drop(bind(&address, Options::default()).expect("an empty file gives way"));
        drop(bind(&address, Options::default()).expect("a socket gives way"));
        fs::remove_file(&path).expect("there");
        fs::write(&path, "kept").expect("written");
        let refused = bind(&address, Options::default()).expect_err("a file stays");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).expect("read"), b"kept");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
