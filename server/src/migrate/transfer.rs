//! The way to another server: connects, sends RESTOREs, reads their answers. Blocks, so it runs on a thread of its
//! own, or in the engine's where a command may not wait.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redstart_common::clock;
use redstart_common::net::blocking::Blocking;
use redstart_common::net::tls::{Material, Peer};
use redstart_common::resp::RespWrite;

/// Bytes sent within one timeout, as in Redis.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest line of a reply that is read.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Where keys go: a host and a port as the client named them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// A name or an address.
    pub host: Vec<u8>,
    /// Decimal digits; what follows them is ignored, as in Redis.
    pub port: Vec<u8>,
}

/// A key to send.
pub struct Item {
    /// The key.
    pub key: Box<[u8]>,
    /// Its value, as DUMP gives it.
    pub payload: Vec<u8>,
    /// When it expires, in milliseconds since 1970.
    pub deadline_ms: Option<i64>,
}

/// A connection to a target that can be used again.
pub struct Link {
    stream: Blocking,
    input: Vec<u8>,
    /// The database that is selected there, if that is known.
    selected: Option<i64>,
}

/// What is to be sent.
pub struct Job {
    /// The target is a node of a cluster, to which the keys' slot is on its way.
    pub asking: bool,
    /// Where to.
    pub target: Target,
    /// What TLS needs, where the target speaks it.
    pub tls: Option<Arc<Material>>,
    /// The database there.
    pub db: i64,
    /// How long a connection, a chunk sent or a reply may take.
    pub timeout: Duration,
    /// A user, if one is named, and a password.
    pub auth: Option<(Option<Vec<u8>>, Vec<u8>)>,
    /// Whether keys that are there are replaced.
    pub replace: bool,
    /// The keys.
    pub items: Vec<Item>,
    /// A connection from an earlier job.
    pub link: Option<Link>,
}

/// What came of a job.
pub struct Outcome {
    /// For each item, whether the target has said that it holds it.
    pub arrived: Vec<bool>,
    /// What the client is told when not all went well, without the leading `-`.
    pub error: Option<Vec<u8>>,
    /// The connection, when it can be used again.
    pub link: Option<Link>,
}

impl Outcome {
    /// Of a job that could not even begin.
    #[must_use]
    pub fn failed() -> Self {
        Self { arrived: Vec::new(), error: Some(Failure::Connect.text().into()), link: None }
    }
}

/// Where a job failed.
enum Failure {
    /// There was nowhere to connect to, or no answer in time.
    Connect,
    /// Writing failed; a target that refused the connection counts as well.
    Write(io::Error),
    Read(io::Error),
}

impl Failure {
    fn text(&self) -> &'static str {
        match self {
            Self::Connect => "IOERR error or timeout connecting to the client",
            Self::Write(_) => "IOERR error or timeout writing to target instance",
            Self::Read(_) => "IOERR error or timeout reading to target instance",
        }
    }

    /// Whether a fresh connection may do better: a kept one may have been closed by the target long ago.
    fn may_retry(&self) -> bool {
        match self {
            Self::Connect => false,
            // A socket whose time is over says the one or the other, by the system.
            Self::Write(error) | Self::Read(error) => {
                !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
            }
        }
    }
}

impl Link {
    fn connect(job: &Job) -> io::Result<Self> {
        let Job { target, timeout, tls, .. } = job;
        let until = Instant::now() + *timeout;
        let host = std::str::from_utf8(&target.host).map_err(io::Error::other)?;
        let digits = target.port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let port = std::str::from_utf8(&target.port[..digits]).map_err(io::Error::other)?;
        let port: u16 = port.parse().map_err(io::Error::other)?;
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, *timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let stream = match tls {
                        None => Blocking::plain(stream),
                        Some(material) => {
                            let layer = material.connected(Peer::Trusted);
                            Blocking::under(stream, layer.map_err(io::Error::other)?, until)?
                        }
                    };
                    return Ok(Self { stream, input: Vec::new(), selected: None });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let until = Instant::now() + timeout;
            let mut rest = chunk;
            while !rest.is_empty() {
                match self.stream.write(rest, until)? {
                    0 => return Err(ErrorKind::WriteZero.into()),
                    sent => rest = &rest[sent..],
                }
            }
        }
        Ok(())
    }

    /// Reads one line of reply, without its end.
    fn line(&mut self, timeout: Duration) -> io::Result<Vec<u8>> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.input.len() > LINE_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece, until)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&piece[..count]),
            }
        }
    }
}

fn request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.array_len(words.len());
    words.iter().for_each(|word| out.bulk(word));
}

/// Sends everything and reads the answers. What arrived is noted in `outcome` as it is learned.
fn attempt(job: &Job, link: &mut Link, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut out = Vec::new();
    if let Some((user, password)) = &job.auth {
        match user {
            Some(user) => request(&mut out, &[b"AUTH", user, password]),
            None => request(&mut out, &[b"AUTH", password]),
        }
    }
    let selects = link.selected != Some(job.db);
    if selects {
        request(&mut out, &[b"SELECT", job.db.to_string().as_bytes()]);
    }
    let now = clock::unix_ms();
    let mut sent = Vec::new();
    for (index, item) in job.items.iter().enumerate() {
        let ttl = match item.deadline_ms.map(|deadline| deadline - now) {
            // Its time is over by now: it will go here, and is not needed there.
            Some(ttl) if ttl < 0 => continue,
            Some(ttl) => ttl.max(1),
            None => 0,
        };
        sent.push(index);
        let ttl = ttl.to_string();
        let restore: &[u8] = if job.asking { b"RESTORE-ASKING" } else { b"RESTORE" };
        let words: [&[u8]; 5] = [restore, &item.key, ttl.as_bytes(), &item.payload, b"REPLACE"];
        request(&mut out, if job.replace { &words } else { &words[..4] });
    }
    link.send(&out, job.timeout).map_err(Failure::Write)?;
    let mut before = |wanted: bool| match wanted {
        true => link.line(job.timeout).map(Some).map_err(Failure::Read),
        false => Ok(None),
    };
    let heads = [before(job.auth.is_some())?, before(selects)?];
    let refused = heads.into_iter().flatten().find(|line| line.starts_with(b"-"));
    for index in sent {
        let line = link.line(job.timeout).map_err(Failure::Read)?;
        match refused.as_ref().or(line.starts_with(b"-").then_some(&line)) {
            None => outcome.arrived[index] = true,
            Some(said) if outcome.error.is_none() => {
                let mut text = b"ERR Target instance replied with error: ".to_vec();
                text.extend_from_slice(&said[1..]);
                outcome.error = Some(text);
            }
            Some(_) => {}
        }
    }
    link.selected = outcome.error.is_none().then_some(job.db);
    Ok(())
}

/// Does a job; takes as long as the other side takes.
#[must_use]
pub fn carry(mut job: Job) -> Outcome {
    let mut outcome = Outcome { arrived: vec![false; job.items.len()], error: None, link: None };
    let mut may_retry = true;
    loop {
        let link = match job.link.take() {
            Some(link) => Ok(link),
            None => Link::connect(&job),
        };
        let failure = match link {
            // Redis waits until it may write, and learns from writing that nobody wanted the connection.
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::HostUnreachable => Failure::Write(error),
                _ => Failure::Connect,
            },
            Ok(mut link) => match attempt(&job, &mut link, &mut outcome) {
                Ok(()) => {
                    outcome.link = Some(link);
                    return outcome;
                }
                Err(failure) => failure,
            },
        };
        // Once the target has answered for a key, sending again could not be told from sending twice.
        let untouched = outcome.error.is_none() && !outcome.arrived.contains(&true);
        if untouched && may_retry && failure.may_retry() {
            may_retry = false;
            continue;
        }
        if outcome.error.is_none() {
            outcome.error = Some(failure.text().into());
        }
        return outcome;
    }
}
