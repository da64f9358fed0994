//! From a host name to a connection.

use std::io;

use redstart_common::net::Stream;

/// Connects to the first address of a host that takes the connection.
///
/// # Errors
/// When there is none; a name that does not resolve is a host that is down.
pub async fn connect_tcp(host: &str, port: u16) -> io::Result<Stream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return Stream::connect_tcp((address, port).into()).await;
    }
    let mut last = io::Error::other(nix::errno::Errno::EHOSTDOWN.desc());
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|_| io::Error::other(nix::errno::Errno::EHOSTDOWN.desc()))?;
    for address in found {
        match Stream::connect_tcp(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
