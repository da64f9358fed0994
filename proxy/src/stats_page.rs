//! twemproxy's statistics: one JSON object to whoever connects, then the connection is closed.
//!
//! Shape and names are twemproxy's, because collectors parse them: process-wide figures, then an object per pool
//! with its own figures and an object per server.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::control::Directory;
use crate::stats::ServerStats;
use crate::topology::Role;

/// The figures and their explanations, as `--describe-stats` prints them.
pub const POOL_FIGURES: &[(&str, &str)] = &[
    ("client_eof", "# eof on client connections"),
    ("client_err", "# errors on client connections"),
    ("client_connections", "# active client connections"),
    ("server_ejects", "# times backend server was ejected"),
    ("forward_error", "# times we encountered a forwarding error"),
    ("fragments", "# fragments created from a multi-vector request"),
];

/// The same for servers.
pub const SERVER_FIGURES: &[(&str, &str)] = &[
    ("server_eof", "# eof on server connections"),
    ("server_err", "# errors on server connections"),
    ("server_timedout", "# timeouts on server connections"),
    ("server_connections", "# active server connections"),
    ("server_ejected_at", "timestamp when server was ejected in usec since epoch"),
    ("requests", "# requests"),
    ("request_bytes", "total request bytes"),
    ("responses", "# responses"),
    ("response_bytes", "total response bytes"),
    ("in_queue", "# requests in incoming queue"),
    ("in_queue_bytes", "current request bytes in incoming queue"),
    ("out_queue", "# requests in outgoing queue"),
    ("out_queue_bytes", "current request bytes in outgoing queue"),
];

/// The version of twemproxy whose shape this is.
const VERSION: &str = "0.5.0";

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The page as of now.
#[must_use]
pub fn page(directory: &Directory) -> String {
    let totals = directory.totals();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let accepted: u64 = totals.iter().map(|pool| pool.clients_total).sum();
    let clients: u64 = totals.iter().map(|pool| pool.clients).sum();
    // What was opened, though it may be closed by now: it never falls.
    let opened: u64 = totals.iter().map(|pool| pool.server_connections_total).sum();
    let servers: u64 =
        totals.iter().flat_map(|pool| pool.servers.values()).map(|server| server.connections).sum();
    let mut out = format!(
        "{{\"service\":\"nutcracker\", \"source\":{}, \"version\":\"{VERSION}\", \"uptime\":{}, \
         \"timestamp\":{timestamp}, \"total_connections\":{}, \"curr_connections\":{}",
        quoted(host.trim_end()),
        directory.clock.seconds(),
        accepted + opened,
        clients + servers,
    );
    for (shared, total) in directory.pools.iter().zip(&totals) {
        let topology = shared.topology.load();
        let figures = [
            total.client_eof,
            total.client_errors,
            total.clients,
            topology.members.iter().map(|member| member.ejections).sum(),
            total.forward_errors,
            total.fragments,
        ];
        // Writing to a string does not fail.
        let _ = write!(out, ", {}: {{", quoted(&shared.settings.name));
        object(&mut out, POOL_FIGURES, &figures);
        // A pool of fixed servers has the very shape that collectors know.
        let is_watched = shared.settings.is_discovered();
        let is_cluster = shared.settings.cluster.is_some();
        if is_watched {
            let failovers: u64 = topology.shards.iter().map(|shard| shard.failovers).sum();
            let _ = write!(out, ", \"failovers\":{failovers}");
        }
        let nothing = ServerStats::default();
        for member in &topology.members {
            let stats = total.servers.get(&member.endpoint.id).unwrap_or(&nothing);
            let figures = [
                stats.eof,
                stats.errors,
                stats.timed_out,
                stats.connections,
                member.ejected_at_us,
                stats.requests,
                stats.request_bytes,
                stats.responses,
                stats.response_bytes,
                stats.in_queue,
                stats.in_queue_bytes,
                stats.out_queue,
                stats.out_queue_bytes,
            ];
            let _ = write!(out, ", {}: {{", quoted(&member.endpoint.name));
            object(&mut out, SERVER_FIGURES, &figures);
            if is_watched {
                let _ = write!(
                    out,
                    ", \"role\":{}, \"group\":{}, \"state\":{}, \"held\":{}, \"resent\":{}",
                    quoted(member.role.name()),
                    quoted(&topology.shards[usize::from(member.shard)].name),
                    quoted(member.state.name()),
                    stats.held,
                    stats.resent,
                );
            }
            if is_cluster {
                let slots = match member.role {
                    Role::Primary => topology.shards[usize::from(member.shard)].slots,
                    Role::Replica => 0,
                };
                let _ = write!(out, ", \"slots\":{slots}");
                for (kind, count) in stats.redirects.named() {
                    let _ = write!(out, ", \"{kind}\":{count}");
                }
            }
            out.push('}');
        }
        out.push('}');
    }
    out.push_str("}\n");
    out
}

fn object(out: &mut String, names: &[(&str, &str)], figures: &[u64]) {
    for (place, ((name, _), figure)) in names.iter().zip(figures).enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(out, "{comma}\"{name}\":{figure}");
    }
}

/// How long a reader that is going to ask as a browser does may take to begin.
const ASKING: Duration = Duration::from_millis(10);
/// Most bytes of such a question.
const QUESTION_BYTES_MAX: usize = 16 * 1024;

/// Hands the page to a reader: as it is, as nutcracker does, or as an answer to one who speaks HTTP.
fn answer(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    stream.set_read_timeout(Some(ASKING))?;
    let mut first = [0; 5];
    let asked = stream.peek(&mut first).unwrap_or(0);
    let verbs = [&b"GET "[..], b"HEAD "];
    let Some(verb) = verbs.iter().position(|verb| first[..asked].starts_with(verb)) else {
        return stream.write_all(text.as_bytes());
    };
    // What is left unread would make the end of the connection a reset.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut question = Vec::new();
    let mut piece = [0; 1024];
    while !question.windows(4).any(|end| end == b"\r\n\r\n") && question.len() < QUESTION_BYTES_MAX
    {
        match stream.read(&mut piece)? {
            0 => break,
            count => question.extend_from_slice(&piece[..count]),
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes())?;
    if verb == 0 { stream.write_all(text.as_bytes()) } else { Ok(()) }
}

/// Serves the page on a thread of its own. It is made anew when it is older than `interval`.
///
/// # Errors
/// When the thread cannot be started.
pub fn serve(
    listener: TcpListener,
    directory: Arc<Directory>,
    interval: Duration,
) -> std::io::Result<()> {
    let body = move || {
        let mut made: Option<(Instant, String)> = None;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            if made.as_ref().is_none_or(|(at, _)| at.elapsed() >= interval) {
                made = Some((Instant::now(), page(&directory)));
            }
            let text = made.as_ref().map_or("", |(_, text)| text);
            // A reader that does not read must not hold the others up; what becomes of one is its own affair.
            let _ = answer(&mut stream, text);
        }
    };
    std::thread::Builder::new().name("stats".to_owned()).spawn(body).map(drop)
}
