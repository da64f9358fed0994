//! Connections to others, from an address of one's own choice.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::Stream;

/// Connects to a host, from the address `source` where it is not empty and belongs to this machine; from any otherwise, as
/// Redis does. Small packets are sent at once.
///
/// # Errors
/// What looking up the host and connecting to it say.
pub async fn connect(host: &str, port: u16, source: &str) -> io::Result<Stream> {
    let stream = connect_tcp(host, port, source).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// As [`connect`], for those who do without a [`Stream`]. Small packets wait until the socket is told otherwise.
///
/// # Errors
/// What looking up the host and connecting to it say.
pub async fn connect_tcp(host: &str, port: u16, source: &str) -> io::Result<TcpStream> {
    if source.is_empty() {
        return TcpStream::connect((host, port)).await;
    }
    let mut failed = None;
    for target in lookup_host((host, port)).await? {
        let connected = match bound(source, target).await {
            Some(socket) => socket.connect(target).await,
            None => TcpStream::connect(target).await,
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// A socket that is bound to the source, for a target of its family.
async fn bound(source: &str, target: SocketAddr) -> Option<TcpSocket> {
    for own in lookup_host((source, 0)).await.ok()? {
        let socket = match own {
            SocketAddr::V4(_) if target.is_ipv4() => TcpSocket::new_v4(),
            SocketAddr::V6(_) if target.is_ipv6() => TcpSocket::new_v6(),
            _ => continue,
        };
        if let Ok(socket) = socket
            && socket.bind(own).is_ok()
        {
            return Some(socket);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_come_from_where_they_are_to_come_from() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for (source, seen) in [
            ("127.0.0.2", "127.0.0.2"),
            ("", "127.0.0.1"),
            // It is no address of this machine, or of the other family.
            ("192.0.2.1", "127.0.0.1"),
            ("::1", "127.0.0.1"),
        ] {
            let stream = connect("127.0.0.1", port, source).await.expect("a connection");
            let (_, peer) = listener.accept().await.expect("a client");
            assert_eq!(peer.ip().to_string(), seen, "{source}");
            assert_eq!(stream.local_address().expect("an address"), peer);
        }
        drop(listener);
        assert!(connect("127.0.0.1", port, "127.0.0.2").await.is_err());
    }
}
