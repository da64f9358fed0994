//! What a replica says to its primary until it is answered how they go on: PING, AUTH, REPLCONF, PSYNC.
//!
//! Line by line; [`Handshake::line`] takes the primary's and says what comes next.

use std::collections::VecDeque;

use bytes::Bytes;
use redstart_common::resp::encode::request;

use super::door::Turn;
use super::ids::ReplicationId;
use super::offset::Offset;
use super::options::Options;

/// A line of the primary's that is longer than this is damaged.
pub const LINE_BYTES_MAX: usize = 1024;
/// The version that is announced, so that a newer primary sends what this server can read.
const ANNOUNCED_VERSION: &str = crate::REDIS_VERSION;

/// What was asked of the primary, in this order, and will be answered by a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Auth,
    Port,
    Ip,
    Capa,
    Version,
}

impl Asked {
    fn option(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Port => "listening-port",
            Self::Ip => "ip-address",
            Self::Capa => "capa",
            Self::Version => "version",
        }
    }
}

/// Which answer is awaited.
#[derive(Debug)]
enum Step {
    Pong,
    Setup(VecDeque<Asked>),
    Psync,
}

/// The conversation so far.
#[derive(Debug)]
pub struct Handshake {
    step: Step,
}

/// A full sync that the primary announced: the history that its snapshot belongs to. Nothing if it could not say so; then
/// no partial resync can follow.
pub type Announced = Option<(ReplicationId, Offset)>;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another line.
    Wait,
    /// These requests are sent.
    Send(Bytes),
    /// All is said but PSYNC, which is to be sent; [`Handshake::sent_psync`] is called then.
    AskPsync,
    /// The stream goes on, perhaps under another name.
    Continue(Option<ReplicationId>),
    /// A snapshot comes.
    Full(Announced),
    /// The primary does not know PSYNC: a snapshot may come after SYNC.
    NotSupported,
    /// It cannot at the moment.
    TryLater,
    /// It cannot be talked to.
    Failed,
}

impl Handshake {
    /// Begins; the first request is returned.
    #[must_use]
    pub fn begin() -> (Self, Bytes) {
        (Self { step: Step::Pong }, command(&[b"PING"]))
    }

    /// PSYNC has been sent.
    pub fn sent_psync(&mut self) {
        self.step = Step::Psync;
    }

    /// Whether PSYNC has been sent and is not answered yet.
    #[must_use]
    pub fn awaits_psync(&self) -> bool {
        matches!(self.step, Step::Psync)
    }

    /// Takes a line, without its end.
    pub fn line(&mut self, line: &[u8], options: &Options, turn: &mut Turn) -> Next {
        match &mut self.step {
            Step::Pong => {
                if !is_pong(line) {
                    turn.warn(format!("Error reply to PING from master: '{}'", text(line)));
                    return Next::Failed;
                }
                turn.notice("Master replied to PING, replication can continue...");
                let (asked, bytes) = greeting(options);
                self.step = Step::Setup(asked);
                Next::Send(bytes)
            }
            Step::Setup(asked) => {
                let answered = asked.pop_front();
                let refused = line.first() == Some(&b'-');
                match answered {
                    Some(Asked::Auth) if refused => {
                        turn.warn(format!("Unable to AUTH to MASTER: {}", text(line)));
                        return Next::Failed;
                    }
                    // No Redis knows this one, so it is nothing to speak of.
                    Some(Asked::Version) if refused => {
                        turn.verbose(not_understood(Asked::Version, line))
                    }
                    Some(option) if refused => turn.notice(not_understood(option, line)),
                    _ => {}
                }
                if asked.is_empty() { Next::AskPsync } else { Next::Wait }
            }
            Step::Psync => psync_answer(line, turn),
        }
    }
}

fn not_understood(option: Asked, line: &[u8]) -> String {
    format!(
        "(Non critical) Master does not understand REPLCONF {}: {}",
        option.option(),
        text(line)
    )
}

/// Old servers refused a PING before AUTH in other words.
fn is_pong(line: &[u8]) -> bool {
    const REFUSED: [&[u8]; 3] = [b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
    line.first() == Some(&b'+') || REFUSED.iter().any(|refused| line.starts_with(refused))
}

/// All that is said about this server, in one piece, and what is answered to it.
fn greeting(options: &Options) -> (VecDeque<Asked>, Bytes) {
    let mut asked = VecDeque::new();
    let mut out = Vec::new();
    let mut ask = |what: Asked, args: &[&[u8]]| {
        request(&mut out, args.iter().copied());
        asked.push_back(what);
    };
    if let Some(password) = &options.primary_password {
        match &options.primary_user {
            Some(user) => ask(Asked::Auth, &[b"AUTH", user, password]),
            None => ask(Asked::Auth, &[b"AUTH", password]),
        }
    }
    let port = options.announced_port.to_string();
    ask(Asked::Port, &[b"REPLCONF", b"listening-port", port.as_bytes()]);
    if let Some(ip) = &options.announced_ip {
        ask(Asked::Ip, &[b"REPLCONF", b"ip-address", ip.as_bytes()]);
    }
    ask(Asked::Capa, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
    ask(Asked::Version, &[b"REPLCONF", b"version", ANNOUNCED_VERSION.as_bytes()]);
    (asked, out.into())
}

fn psync_answer(line: &[u8], turn: &mut Turn) -> Next {
    if line.is_empty() {
        return Next::Wait; // the primary keeps the link alive while it prepares
    }
    if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
        return Next::Full(announced(rest, turn));
    }
    if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
        turn.notice("Successful partial resynchronization with master.");
        return Next::Continue(ReplicationId::parse(rest.strip_prefix(b" ").unwrap_or_default()));
    }
    if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
        turn.notice(format!(
            "Master is currently unable to PSYNC but should be in the future: {}",
            text(line)
        ));
        return Next::TryLater;
    }
    if line.starts_with(b"-ERR") {
        turn.notice(format!(
            "Master does not support PSYNC or is in error state (reply: {})",
            text(line)
        ));
    } else {
        turn.warn(format!("Unexpected reply to PSYNC from master: {}", text(line)));
    }
    Next::NotSupported
}

fn announced(rest: &[u8], turn: &mut Turn) -> Announced {
    let mut words = rest.strip_prefix(b" ").unwrap_or_default().splitn(2, |byte| *byte == b' ');
    let id = words.next().and_then(ReplicationId::parse);
    let offset = words.next().and_then(redstart_common::number::parse_i64).and_then(Offset::after);
    let (Some(id), Some(offset)) = (id, offset) else {
        turn.warn("Master replied with wrong +FULLRESYNC syntax.");
        return None;
    };
    turn.notice(format!("Full resync from master: {id}:{offset}"));
    Some((id, offset))
}

/// A request as it is sent.
pub(super) fn command(args: &[&[u8]]) -> Bytes {
    let mut out = Vec::new();
    request(&mut out, args.iter().copied());
    out.into()
}

/// Bytes of another server in a line of the log.
pub(super) fn text(line: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(line)
}

/// Cuts lines out of what comes in pieces. Both `\r\n` and `\n` end one.
#[derive(Debug, Default)]
pub struct Lines {
    part: Vec<u8>,
}

impl Lines {
    /// Takes bytes up to the end of a line. `Ok(None)` if the line does not end yet, an error if it is too long to be one.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Vec<u8>>, LineTooLong> {
        let end = memchr::memchr(b'\n', bytes);
        let taken = bytes.split_to(end.map_or(bytes.len(), |end| end + 1));
        if self.part.len() + taken.len() > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        self.part.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.part);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }
}

/// More than [`LINE_BYTES_MAX`] bytes without an end.
#[derive(Debug, PartialEq, Eq)]
pub struct LineTooLong;
