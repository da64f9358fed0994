//! A sentinel's sockets, names and scripts: what [`crate::sentinel`] decides is done here, and what happens is told to it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::command::id_of;
use redstart_common::net::link::Event as Arrived;
use redstart_common::net::{Link, turn};
use redstart_common::resp::{ReplyLimits, ReplyScanner, encode};
use redstart_common::{clock, log};
use tokio::sync::Notify;

use crate::client::Flags;
use crate::engine::asks::Ask;
use crate::sentinel::{Action, ConnId, Event, Outside, Reply, Sentinel, Wanted};
use crate::server::Server;
use crate::settings::file::ConfigError;
use crate::settings::{SentinelLine, Settings};

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes of a reply: INFO is the longest.
const REPLY_BYTES_MAX: usize = 4 << 20;
/// How deep replies are nested.
const DEPTH_MAX: usize = 4;
/// Names that are looked up at the same time.
const LOOKUPS_MAX: usize = 64;
/// The timer runs so often a second, and up to twice as often: sentinels must not be in step.
const TICKS_PER_SECOND: u64 = 10;
/// What the child of a script ends with that could not be run.
const NOT_RUN: i32 = 2;

/// What the shell of a sentinel has open.
#[derive(Default)]
pub struct Shell {
    conns: RefCell<HashMap<ConnId, Rc<Conn>>>,
    /// What one connection reads at a time.
    buffer: RefCell<Vec<u8>>,
    resolving: RefCell<HashSet<String>>,
    scripts: RefCell<Vec<(u64, Child)>>,
}

/// A connection.
#[derive(Default)]
struct Conn {
    stream: Link,
    unsent: RefCell<Vec<u8>>,
    is_closed: Cell<bool>,
    /// There is more to send, or it is to be closed.
    changed: Notify,
}

/// Does what a sentinel wants of the outside.
pub fn carry_out(server: &Rc<Server>, action: Action) {
    let shell = &server.sentinel;
    match action {
        Action::Connect(id, ip, port) => {
            let conn = Rc::new(Conn::default());
            shell.conns.borrow_mut().insert(id, Rc::clone(&conn));
            tokio::task::spawn_local(serve(Rc::clone(server), id, conn, ip, port));
        }
        Action::Close(id) => {
            if let Some(conn) = shell.conns.borrow_mut().remove(&id) {
                conn.is_closed.set(true);
                conn.changed.notify_one();
            }
        }
        Action::Send(id, words) => {
            if let Some(conn) = shell.conns.borrow().get(&id) {
                let mut unsent = conn.unsent.borrow_mut();
                encode::request(&mut unsent, words.iter().map(String::as_bytes));
                conn.changed.notify_one();
            }
        }
        Action::Resolve(name) => {
            // Who asks for more is served when it asks again.
            let has_room = shell.resolving.borrow().len() < LOOKUPS_MAX;
            if has_room && shell.resolving.borrow_mut().insert(name.clone()) {
                let server = Rc::clone(server);
                tokio::task::spawn_local(async move {
                    let address = resolve(name.clone()).await;
                    server.sentinel.resolving.borrow_mut().remove(&name);
                    tell(&server, Event::Resolved(name, address));
                });
            }
        }
        Action::Run(job, words) => run(server, job, &words),
        Action::Kill(job) => {
            let mut scripts = shell.scripts.borrow_mut();
            if let Some((_, child)) = scripts.iter_mut().find(|(id, _)| *id == job)
                && let Err(error) = child.kill()
            {
                log!(Warning, "A script cannot be killed: {error}");
            }
        }
        // These are done where they were decided.
        Action::Say(..) | Action::Log(..) | Action::LogDelay(_) | Action::Save | Action::Crash => {}
    }
}

/// Tells a sentinel what happened, and does what follows.
fn tell(server: &Rc<Server>, event: Event) {
    {
        let mut engine = server.engine.borrow_mut();
        engine.refresh();
        let now = engine.keyspace.shared.now_ms.get();
        engine.core.with_sentinel(now, None, |sentinel| sentinel.hear(event));
    }
    server.carry_out_asks();
    turn::end_if_full();
}

/// The first address of a name. The resolver waits, and has a thread for that.
async fn resolve(name: String) -> Option<String> {
    let found = tokio::task::spawn_blocking(move || first_address(&name));
    found.await.ok().flatten()
}

/// The first address of a name; this waits for the resolver.
#[must_use]
pub fn first_address(name: &str) -> Option<String> {
    let mut found = (name, 0).to_socket_addrs().ok()?;
    found.next().map(|address| address.ip().to_string())
}

/// Looks the name of a primary up that a client wants to be watched, has it watched, and answers the client.
pub async fn monitor(server: Rc<Server>, client: u64, wanted: Wanted) {
    let Wanted { name, host, port, quorum } = wanted;
    let address = resolve(host.clone()).await;
    tell(&server, Event::Resolved(host.clone(), address));
    {
        let mut engine = server.engine.borrow_mut();
        engine.refresh();
        let now = engine.keyspace.shared.now_ms.get();
        let core = &mut engine.core;
        let outcome = core.with_sentinel(now, None, |it| it.monitor(&name, &host, port, quorum));
        let reply = match outcome {
            Some((Ok(()), true)) => Ok(()),
            Some((Err(words), _)) => Err(format!("ERR {words}")),
            _ => Err("ERR Failed to save config file. Check server logs.".to_owned()),
        };
        core.stats.ran(const { id_of("sentinel|monitor") }, 0, reply.is_err());
        if let Err(text) = &reply {
            core.stats.count_error(text);
        }
        if let Some(client) = core.clients.by_id(client) {
            client.flags.clear(Flags::BLOCKED);
            if !client.flags.any(Flags::REPLY_OFF) {
                match reply {
                    Ok(()) => client.reply.ok(),
                    Err(text) => client.reply.error(text),
                }
            }
            client.mark();
            if let Some(connection) = &client.connection {
                connection.wake();
            }
        }
    }
    server.carry_out_asks();
}

/// The regular work of a sentinel.
pub async fn cron(server: Rc<Server>) {
    loop {
        {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            let now = engine.keyspace.shared.now_ms.get();
            engine.core.with_sentinel(now, None, Sentinel::tick);
        }
        server.carry_out_asks();
        look_at_scripts(&server);
        let rate = TICKS_PER_SECOND + rand::rng().random_range(0..TICKS_PER_SECOND);
        tokio::time::sleep(Duration::from_millis(1000 / rate)).await;
    }
}

// === scripts ===

fn run(server: &Rc<Server>, job: u64, words: &[String]) {
    let Some((path, args)) = words.split_first() else { return };
    let event = match Command::new(path).args(args).spawn() {
        Ok(child) => {
            let pid = child.id();
            server.sentinel.scripts.borrow_mut().push((job, child));
            Event::ScriptStarted(job, pid)
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
            Event::ScriptNotStarted(job)
        }
        // There is a process, but nothing that it could run.
        Err(_) => Event::ScriptEnded(job, NOT_RUN, 0),
    };
    // What carries this out is called again for what follows.
    let mut engine = server.engine.borrow_mut();
    let now = engine.keyspace.shared.now_ms.get();
    engine.core.with_sentinel(now, None, |sentinel| sentinel.hear(event));
}

/// Takes notice of scripts that have ended.
fn look_at_scripts(server: &Rc<Server>) {
    let mut ended = Vec::new();
    server.sentinel.scripts.borrow_mut().retain_mut(|(job, child)| match child.try_wait() {
        Ok(None) => true,
        Ok(Some(status)) => {
            let (code, signal) = (status.code().unwrap_or(0), status.signal().unwrap_or(0));
            ended.push(Event::ScriptEnded(*job, code, signal));
            false
        }
        Err(error) => {
            log!(Warning, "A script cannot be waited for: {error}");
            ended.push(Event::ScriptEnded(*job, NOT_RUN, 0));
            false
        }
    });
    ended.into_iter().for_each(|event| tell(server, event));
}

// === connections ===

/// Makes a connection and carries it until it ends.
async fn serve(server: Rc<Server>, id: ConnId, conn: Rc<Conn>, ip: String, port: u16) {
    let outcome = connect_and_talk(&server, id, &conn, &ip, port).await;
    if conn.is_closed.get() {
        return;
    }
    server.sentinel.conns.borrow_mut().remove(&id);
    if let Err(error) = outcome {
        log!(Debug, "The connection to {ip}:{port} has ended: {error}");
    }
    tell(&server, Event::Closed(id));
}

async fn connect_and_talk(
    server: &Rc<Server>,
    id: ConnId,
    conn: &Conn,
    ip: &str,
    port: u16,
) -> io::Result<()> {
    let stream = {
        let connecting = server.reach(ip, port, |tls| tls.replication);
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => break connected?,
                () = conn.changed.notified() => {
                    if conn.is_closed.get() {
                        return Ok(());
                    }
                }
            }
        }
    };
    let local = stream.local_address().ok_or(io::ErrorKind::NotConnected)?.ip().to_string();
    conn.stream.open(stream);
    tell(server, Event::Connected(id, local));
    let mut input = Vec::new();
    let mut scanner = ReplyScanner::new();
    loop {
        if conn.is_closed.get() {
            return Ok(());
        }
        if !conn.stream.is_stuck() {
            let mut unsent = conn.unsent.borrow_mut();
            let sent = conn.stream.send(&unsent);
            unsent.drain(..sent);
        }
        let buffer = &server.sentinel.buffer;
        buffer.borrow_mut().resize(READ_BYTES, 0);
        let arrived = tokio::select! {
            arrived = conn.stream.event(buffer) => arrived?,
            () = conn.changed.notified() => continue,
        };
        match arrived {
            Arrived::Room => {}
            Arrived::Came(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Arrived::Came(count) => {
                input.extend_from_slice(&buffer.borrow()[..count]);
                take_replies(server, id, conn, &mut input, &mut scanner)?;
            }
        }
    }
}

fn take_replies(
    server: &Rc<Server>,
    id: ConnId,
    conn: &Conn,
    input: &mut Vec<u8>,
    scanner: &mut ReplyScanner,
) -> io::Result<()> {
    let nonsense = || io::Error::other("what came is no reply");
    let mut taken = 0;
    let mut replies = Vec::new();
    while let Some(length) =
        scanner.scan(&input[taken..], &ReplyLimits::default()).map_err(|_| nonsense())?
    {
        let reply = decode(&input[taken..taken + length], DEPTH_MAX);
        replies.push(reply.ok_or_else(nonsense)?.0);
        taken += length;
        *scanner = ReplyScanner::new();
    }
    input.drain(..taken);
    if input.len() > REPLY_BYTES_MAX {
        return Err(nonsense());
    }
    for reply in replies {
        if !conn.is_closed.get() {
            tell(server, Event::Replied(id, reply));
        }
    }
    Ok(())
}

/// The reply at the start of bytes that hold a whole one, and its length.
fn decode(bytes: &[u8], depth: usize) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(bytes.get(1..end)?);
    let lossy = || String::from_utf8_lossy(&bytes[1..end]).into_owned();
    let mut at = end + 2;
    let reply = match bytes.first()? {
        b'+' => Reply::Simple(lossy()),
        b'-' => Reply::Error(lossy()),
        b':' => Reply::Integer(line.ok()?.parse().ok()?),
        b'$' => match usize::try_from(line.ok()?.parse::<i64>().ok()?) {
            Err(_) => Reply::Bulk(None),
            Ok(length) => {
                let text = String::from_utf8_lossy(bytes.get(at..at + length)?).into_owned();
                at += length + 2;
                Reply::Bulk(Some(text))
            }
        },
        b'*' if depth > 0 => {
            let count = usize::try_from(line.ok()?.parse::<i64>().ok()?).unwrap_or(0);
            let mut parts = Vec::new();
            for _ in 0..count {
                let (part, length) = decode(bytes.get(at..)?, depth - 1)?;
                parts.push(part);
                at += length;
            }
            Reply::Array(parts)
        }
        _ => return None,
    };
    Some((reply, at))
}

/// The system, asked while nothing is served yet.
struct System;

impl Outside for System {
    fn resolve(&mut self, name: &str) -> Option<String> {
        first_address(name)
    }

    fn is_executable(&mut self, path: &str) -> bool {
        crate::process::files::is_executable(path)
    }
}

/// The sentinel that a configuration describes.
///
/// # Errors
/// The first line that is wrong.
pub fn configured(settings: &Settings) -> Result<Sentinel, ConfigError> {
    let mut sentinel = Sentinel::new(clock::unix_ms(), SmallRng::from_os_rng());
    let by_tls = settings.tls.replication && settings.tls.port != 0;
    sentinel.port = if by_tls { settings.tls.port } else { settings.port };
    let password = &settings.requirepass;
    sentinel.own_password = (!password.is_empty()).then(|| password.clone());
    let lines: Vec<&SentinelLine> = settings.sentinel.iter().flatten().collect();
    for line in Sentinel::in_order(lines, |line| line.words.first().map_or("", String::as_str)) {
        sentinel.configure(&line.words, &mut System).map_err(|reason| ConfigError {
            line: Some((line.number, line.text.clone())),
            reason,
        })?;
    }
    // That a name could not be resolved is logged, and tried again, once it begins.
    Ok(sentinel)
}

/// What is asked of the shell on behalf of a sentinel.
pub fn ask(server: &Rc<Server>, ask: Ask) {
    match ask {
        Ask::Sentinel(action) => carry_out(server, action),
        Ask::Monitor { client, wanted } => {
            tokio::task::spawn_local(monitor(Rc::clone(server), client, wanted));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_values() {
        let text = |text: &str| Reply::Bulk(Some(text.to_owned()));
        for (bytes, wanted) in [
            (&b"+PONG\r\n"[..], Reply::Simple("PONG".to_owned())),
            (b"-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$-1\r\n", Reply::Bulk(None)),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (
                b"*3\r\n:1\r\n$1\r\n*\r\n*0\r\n",
                Reply::Array(vec![Reply::Integer(1), text("*"), Reply::Array(Vec::new())]),
            ),
        ] {
            assert_eq!(decode(bytes, DEPTH_MAX), Some((wanted, bytes.len())), "{bytes:?}");
        }
        for wrong in [&b"$9\r\nab\r\n"[..], b"*2\r\n:1\r\n", b"%0\r\n", b":x\r\n", b"", b"+"] {
            assert_eq!(decode(wrong, DEPTH_MAX), None, "{wrong:?}");
        }
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert_eq!(decode(&deep, DEPTH_MAX), None);
    }
}
