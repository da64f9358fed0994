//! Opening connections to servers, and asking a server whether it is well.
//!
//! This runs when a connection is made, never per request, so it reads plainly: send, await, look.

use std::io;
use std::time::Duration;

use redis_protocol::resp3;
use redstart_common::net::Stream;
use redstart_common::resp::encode::Proto;
use redstart_common::resp::owned::Frame;

use super::control_link::{
    ControlLink, error_of, first_of, integer_of, is_simple, refused, text_of,
};
use crate::route::lane::Manner;
use crate::settings::{PoolSettings, ServerAddress};
use crate::topology::Endpoint;

/// How long a connection may take when the pool sets no timeout, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// How long a private connection may be silent before the system asks whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long opening a connection to a server of this pool may take.
#[must_use]
pub fn connect_timeout(pool: &PoolSettings) -> Duration {
    Duration::from_millis(pool.timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS))
}

/// Connects to a server and tells it what the pool requires: password, protocol version and database as `manner` says; and
/// with `reads` that it is a replica to be read from.
///
/// # Errors
/// When it cannot be reached or refuses. Where it has no such database, the error's kind is `Unsupported`.
pub async fn open(
    pool: &PoolSettings,
    server: &Endpoint,
    manner: Manner,
    reads: bool,
) -> io::Result<Stream> {
    let opening = async { open_link(pool, server, manner, reads).await?.into_stream() };
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Connects to a server and says who the pool is there.
///
/// # Errors
/// When it cannot be reached or refuses.
pub async fn connect(pool: &PoolSettings, address: &ServerAddress) -> io::Result<ControlLink> {
    let mut link = ControlLink::connect(address, pool.server_tls.as_ref()).await?;
    link.authenticate(pool.server_user.as_deref(), pool.password_of_servers()).await?;
    Ok(link)
}

async fn authenticated(pool: &PoolSettings, server: &Endpoint) -> io::Result<ControlLink> {
    match &server.address {
        Some(address) => {
            let (user, password) = pool.credentials(&server.name);
            let mut link = ControlLink::connect(address, pool.server_tls.as_ref()).await?;
            link.authenticate(user, password).await?;
            Ok(link)
        }
        None => Err(io::Error::other("its address is not known yet")),
    }
}

async fn speak_resp3(link: &mut ControlLink) -> io::Result<()> {
    link.set_proto(Proto::Resp3);
    let reply = link.ask(&[b"HELLO", b"3"]).await?;
    match reply {
        Frame::Resp3(resp3::types::OwnedFrame::Map { .. }) => Ok(()),
        _ => Err(refused(&reply)),
    }
}

/// Connects to a server for questions that it answers even while a script keeps it busy.
///
/// # Errors
/// When it cannot be reached or refuses.
pub async fn open_beside(
    pool: &PoolSettings,
    server: &Endpoint,
    proto: Proto,
) -> io::Result<ControlLink> {
    let opening = async {
        let mut link = authenticated(pool, server).await?;
        if proto == Proto::Resp3 {
            speak_resp3(&mut link).await?;
        }
        Ok(link)
    };
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// As [`open`], for a connection on which the server tells of every key that changes from now on. Gives what it has told
/// already.
///
/// # Errors
/// As [`open`], or when the server does not do that.
pub async fn open_for_keys(
    pool: &PoolSettings,
    server: &Endpoint,
) -> io::Result<(Stream, Vec<u8>)> {
    let opening = async {
        let mut link = open_link(pool, server, Manner { resp3: true, db: 0 }, false).await?;
        link.expect_ok(&[b"CLIENT", b"TRACKING", b"ON", b"BCAST"]).await?;
        Ok(link.into_listener())
    };
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// As [`open`], for a connection of a client's own: says too what the server calls it, 0 if it does not tell.
///
/// # Errors
/// As [`open`].
pub async fn open_private(
    pool: &PoolSettings,
    server: &Endpoint,
    manner: Manner,
) -> io::Result<(Stream, u64)> {
    let opening = async {
        let mut link = open_link(pool, server, manner, false).await?;
        let number = link.ask(&[b"CLIENT", b"ID"]).await?;
        let number = integer_of(&number).and_then(|number| u64::try_from(number).ok());
        let stream = link.into_stream()?;
        // A server that is gone without a word is noticed while a client waits for it.
        let _ = stream.set_keepalive(KEEPALIVE);
        Ok((stream, number.unwrap_or(0)))
    };
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Connects to a server as for requests, for questions about them.
///
/// # Errors
/// As [`open`].
pub async fn open_for_questions(pool: &PoolSettings, server: &Endpoint) -> io::Result<ControlLink> {
    let opening = open_link(pool, server, Manner::default(), false);
    match tokio::time::timeout(connect_timeout(pool), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn open_link(
    pool: &PoolSettings,
    server: &Endpoint,
    manner: Manner,
    reads: bool,
) -> io::Result<ControlLink> {
    let mut link = authenticated(pool, server).await?;
    if manner.resp3 {
        speak_resp3(&mut link).await?;
    }
    if pool.redis_db > 0 {
        let db = pool.redis_db.to_string();
        link.expect_ok(&[b"SELECT", db.as_bytes()]).await?;
    } else if manner.db > 0 {
        select(&mut link, manner.db).await?;
    }
    if pool.sentinel.is_some() && !reads {
        expect_primary(&mut link).await?;
    }
    if pool.cluster.is_some() && reads {
        link.expect_ok(&[b"READONLY"]).await?;
    }
    if pool.failover_hold_ms > 0 || reads {
        expect_ready(&mut link).await?;
    }
    Ok(link)
}

/// A database of the pool's, which a server may lack.
async fn select(link: &mut ControlLink, db: u16) -> io::Result<()> {
    let number = db.to_string();
    let reply = link.ask(&[b"SELECT", number.as_bytes()]).await?;
    match error_of(&reply) {
        _ if is_simple(&reply, b"OK") => Ok(()),
        Some(text) if text.contains("out of range") => {
            let text = format!("the server has no database {db}, which the pool has (databases)");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
        _ => Err(refused(&reply)),
    }
}

/// Whoever is to take writes says itself that it is a primary.
async fn expect_primary(link: &mut ControlLink) -> io::Result<()> {
    let role = link.ask(&[b"ROLE"]).await?;
    match first_of(&role) {
        Some(role) if role == b"master" => Ok(()),
        Some(role) => {
            let role = String::from_utf8_lossy(&role).into_owned();
            Err(io::Error::other(format!("the server is no primary but a {role}")))
        }
        // A user who may not ask has to trust the sentinels.
        None if error_of(&role).is_some_and(|text| text.starts_with("NOPERM")) => Ok(()),
        None => Err(refused(&role)),
    }
}

/// Where requests can wait, they do until the server has loaded its data.
async fn expect_ready(link: &mut ControlLink) -> io::Result<()> {
    let pong = link.ask(&[b"PING"]).await?;
    match error_of(&pong) {
        Some(text) if !text.starts_with("NOPERM") => Err(refused(&pong)),
        _ => Ok(()),
    }
}

/// Whether a server is fit to take part: it answers PING and has loaded its data.
pub async fn is_well(pool: &PoolSettings, server: &Endpoint) -> bool {
    let asking = async {
        let mut link = open_link(pool, server, Manner::default(), false).await.ok()?;
        let pong = link.ask(&[b"PING"]).await.ok()?;
        let info = link.ask(&[b"INFO", b"persistence"]).await.ok()?;
        let info = text_of(&info)?;
        let is_loaded =
            info.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"loading:0"));
        Some(is_simple(&pong, b"PONG") && is_loaded)
    };
    let limit = connect_timeout(pool).min(Duration::from_secs(5));
    tokio::time::timeout(limit, asking).await.ok().flatten().unwrap_or(false)
}
