//! Opening connections to servers, and asking a server whether it is well.
//!
//! This runs when a connection is made, never per request, so it reads plainly: send, await, look.

use std::io;
use std::time::Duration;

use redstart_common::net::Stream;
use redstart_common::resp::encode;
use redstart_common::resp::{ReplyLimits, ReplyScanner};
use tokio::io::ReadBuf;

use crate::settings::{PoolSettings, ServerAddress, ServerSettings};

/// How long a connection may take when the pool sets no timeout, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Most bytes of a reply to a question of ours: INFO is the longest.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// How long opening a connection to a server of this pool may take.
#[must_use]
pub fn connect_timeout(pool: &PoolSettings) -> Duration {
    Duration::from_millis(pool.timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS))
}

/// Connects to a server and tells it what the pool requires: password, database, protocol version.
///
/// # Errors
/// When it cannot be reached or refuses.
pub async fn open(pool: &PoolSettings, server: &ServerSettings, resp3: bool) -> io::Result<Stream> {
    let opening = async {
        let mut stream = match &server.address {
            ServerAddress::Unix(path) => Stream::connect_unix(path).await?,
            ServerAddress::Tcp { host, port } => connect_tcp(host, *port).await?,
        };
        if let Some(password) = &pool.redis_auth {
            expect_ok(&mut stream, &[b"AUTH", password.as_bytes()]).await?;
        }
        if resp3 {
            let reply = ask(&mut stream, &[b"HELLO", b"3"]).await?;
            if reply.first() != Some(&b'%') {
                return Err(refused(&reply));
            }
        }
        if pool.redis_db > 0 {
            let db = pool.redis_db.to_string();
            expect_ok(&mut stream, &[b"SELECT", db.as_bytes()]).await?;
        }
        Ok(stream)
    };
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<Stream> {
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

/// Whether a server is fit to take part: it answers PING and has loaded its data.
pub async fn is_well(pool: &PoolSettings, server: &ServerSettings) -> bool {
    let asking = async {
        let mut stream = open(pool, server, false).await.ok()?;
        let pong = ask(&mut stream, &[b"PING"]).await.ok()?;
        let info = ask(&mut stream, &[b"INFO", b"persistence"]).await.ok()?;
        let is_loaded =
            info.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"loading:0"));
        Some(pong == b"+PONG\r\n" && is_loaded)
    };
    let limit = connect_timeout(pool).min(Duration::from_secs(5));
    tokio::time::timeout(limit, asking).await.ok().flatten().unwrap_or(false)
}

fn refused(reply: &[u8]) -> io::Error {
    let text = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    let text = String::from_utf8_lossy(text.strip_prefix(b"-").unwrap_or(text));
    io::Error::other(format!("the server refused the connection: {text}"))
}

async fn expect_ok(stream: &mut Stream, args: &[&[u8]]) -> io::Result<()> {
    let reply = ask(stream, args).await?;
    if reply == b"+OK\r\n" { Ok(()) } else { Err(refused(&reply)) }
}

/// Sends one request and waits for its reply.
async fn ask(stream: &mut Stream, args: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    encode::request(&mut request, args.iter().copied());
    let mut sent = 0;
    while sent < request.len() {
        sent += std::future::poll_fn(|cx| stream.poll_write(cx, &request[sent..])).await?;
    }
    let mut reply = Vec::new();
    let mut scanner = ReplyScanner::default();
    let mut piece = vec![0; 4096];
    loop {
        let count = std::future::poll_fn(|cx| {
            let mut space = ReadBuf::new(&mut piece);
            stream.poll_read(cx, &mut space).map_ok(|()| space.filled().len())
        })
        .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&piece[..count]);
        match scanner.scan(&reply, &ReplyLimits::default()) {
            Ok(Some(len)) => {
                reply.truncate(len);
                return Ok(reply);
            }
            Ok(None) if reply.len() <= REPLY_BYTES_MAX => {}
            _ => return Err(io::Error::other("the server does not speak Redis's protocol")),
        }
    }
}
