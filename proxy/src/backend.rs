//! The connections of a worker to the servers: one (or a few) per server and protocol version, shared by all
//! clients, pipelined, written once a turn.

pub mod again;
pub mod backoff;
pub mod connection;
pub mod control_link;
pub mod health;
pub mod kept;
pub mod pipeline;
pub mod private;
pub mod probe;
pub mod redirect;
pub mod resolve;
pub mod skipper;
mod upstream;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use redstart_common::metric::Histogram;
use redstart_common::net::{Stream, buffer};
use redstart_common::resp::ReplyScanner;

use self::again::Waiting;
use self::backoff::Backoff;
use self::connection::Ending;
use self::kept::Kept;
use self::pipeline::{Pipeline, Slot};
use self::redirect::Redirect;
use self::skipper::Skipper;
pub use self::upstream::{Refusal, Upstream};
use crate::client::ClientId;
use crate::gather::GatherId;
use crate::output::{Output, Sent};
use crate::route::lane::Manner;
use crate::scripts::Carried;
use crate::topology::{Endpoint, PoolId, ShardId};

/// The state of a connection.
#[derive(Debug)]
pub enum Link {
    /// Not wanted yet.
    Idle,
    /// On its way; requests wait for it.
    Connecting,
    /// Open.
    Up(Stream),
    /// Failed. Requests are refused until this time, in microseconds of the worker's clock.
    Down {
        /// When it may be tried again.
        until_us: u64,
        /// Why it failed.
        why: String,
    },
}

/// A reply that is being passed on piece by piece.
#[derive(Debug)]
pub struct Streaming {
    /// How far it has come.
    pub skipper: Skipper,
    /// Who gets it; `None` when the client does not want to hear it.
    pub client: Option<ClientId>,
    /// The part of a split request that it answers, if that is what it does.
    pub part: Option<(GatherId, u32)>,
    /// Bytes that have come.
    pub bytes: u64,
}

/// Whom a connection serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Whichever client's requests fall to it.
    Shared {
        /// The shard whose requests it carries.
        shard: ShardId,
        /// Which of the connections to that server it is; lanes and numbers are alike for all servers.
        lane: u32,
    },
    /// One client at a time, or nobody at present.
    Private {
        /// The shard it was opened for.
        shard: ShardId,
    },
    /// Nobody any more: what was sent is still answered, and then it is closed.
    Leaving,
    /// Requests whose slot is served by nobody at present. It is never opened.
    Limbo,
}

/// One connection.
#[derive(Debug)]
pub struct Backend {
    /// Its pool.
    pub pool: PoolId,
    /// Its server.
    pub server: Arc<Endpoint>,
    /// How it is spoken on.
    pub manner: Manner,
    /// Whom it serves.
    pub duty: Duty,
    /// Which of the connections to a server it is, or was.
    pub lane: u32,
    /// Redirects of a cluster's nodes are followed.
    pub follows: bool,
    /// It leads to a replica, and carries reads only.
    pub reads: bool,
    /// The redirect within the transaction that is being answered.
    led: Option<(Redirect, Vec<u8>)>,
    /// Its state.
    pub link: Link,
    /// Which connection of this place it is, counted up whenever one ends or the place is given to another server.
    pub epoch: u32,
    /// Who waits for replies.
    pub pipeline: Pipeline,
    /// Requests on their way out.
    pub output: Output,
    /// What was sent and is not answered, where that is kept.
    kept: Kept,
    /// Whether it is kept: requests wait for a server that is away, and may be sent again.
    pub keeps: bool,
    /// Bytes in front of the output that are kept already.
    recorded: usize,
    /// The server has turned requests away: it is sent nothing more, and these wait to be sent again.
    turned: Option<Box<Waiting>>,
    /// Requests queued since the last complete write.
    pub unsent: u64,
    /// How much waited before the request queued last was extended.
    extended_from: Option<usize>,
    dirty: bool,
    /// Its place is given up.
    is_free: bool,
    /// The kernel takes no more; the task sends the rest.
    pub blocked: bool,
    /// An incomplete reply.
    pub input: Vec<u8>,
    /// How far that reply is known.
    pub scanner: ReplyScanner,
    /// The reply that is being passed on.
    pub streaming: Option<Streaming>,
    /// Wakes its task.
    pub waker: Option<Waker>,
    /// When the server last sent anything, in microseconds of the worker's clock.
    pub heard_us: u64,
    /// When it had sent something before that.
    quiet_since_us: u64,
    /// It is for heavy requests.
    pub is_heavy: bool,
    /// When it was last begun to be opened.
    tried_us: u64,
    /// Why it failed last.
    last_why: String,
    backoff: Backoff,
    /// Its server is down, and requests for it are refused until that is over.
    is_barred: bool,
    /// What the server calls it, as `CLIENT ID` says; 0 where it was not asked.
    pub remote_id: u64,
    /// The scripts it has carried.
    pub carried: Carried,
    /// No good reply has come since the last failure.
    pub suspect: bool,
    /// Its counters.
    pub counters: Counters,
}

/// What a connection has counted since it was last asked.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the same names as in the statistics")]
pub struct Counters {
    pub eof: u64,
    pub errors: u64,
    pub timed_out: u64,
    pub requests: u64,
    pub request_bytes: u64,
    pub responses: u64,
    pub response_bytes: u64,
    pub error_responses: u64,
    pub latency: Histogram,
    pub held: u64,
    pub resent: u64,
    pub redirects: Redirects,
}

/// How often a node of a cluster has sent a request elsewhere, by kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Redirects {
    /// MOVED.
    pub moved: u64,
    /// ASK.
    pub asked: u64,
    /// TRYAGAIN.
    pub try_again: u64,
    /// CLUSTERDOWN.
    pub down: u64,
}

impl Redirects {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.moved += other.moved;
        self.asked += other.asked;
        self.try_again += other.try_again;
        self.down += other.down;
    }

    fn count(&mut self, redirect: &Redirect) {
        *match redirect {
            Redirect::Moved(..) => &mut self.moved,
            Redirect::Ask(_) => &mut self.asked,
            Redirect::TryAgain => &mut self.try_again,
            Redirect::Down => &mut self.down,
        } += 1;
    }

    /// The kinds by their names, and how often there was each.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("moved", self.moved),
            ("ask", self.asked),
            ("tryagain", self.try_again),
            ("clusterdown", self.down),
        ]
    }
}

impl Counters {
    /// Counts the end of the connection.
    pub fn ended(&mut self, how: Ending) {
        match how {
            Ending::Eof => self.eof += 1,
            Ending::Error => self.errors += 1,
            // Requests that time out are counted, each once.
            Ending::Silence | Ending::Turned | Ending::Refused | Ending::Barred => {}
        }
    }
}

impl Backend {
    fn new(
        pool: PoolId,
        server: Arc<Endpoint>,
        manner: Manner,
        keeps: bool,
        duty: Duty,
        epoch: u32,
    ) -> Self {
        let lane = match duty {
            Duty::Shared { lane, .. } => lane,
            Duty::Private { .. } | Duty::Leaving | Duty::Limbo => 0,
        };
        Self {
            pool,
            server,
            manner,
            duty,
            lane,
            follows: false,
            reads: false,
            led: None,
            link: Link::Idle,
            epoch,
            pipeline: Pipeline::default(),
            output: Output::default(),
            kept: Kept::default(),
            keeps,
            recorded: 0,
            turned: None,
            unsent: 0,
            extended_from: None,
            dirty: false,
            is_free: false,
            blocked: false,
            input: Vec::new(),
            scanner: ReplyScanner::default(),
            streaming: None,
            waker: None,
            heard_us: 0,
            quiet_since_us: 0,
            is_heavy: false,
            tried_us: 0,
            last_why: String::new(),
            backoff: Backoff::default(),
            is_barred: false,
            remote_id: 0,
            carried: Carried::default(),
            suspect: false,
            counters: Counters::default(),
        }
    }

    /// Whether the connection is open.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// Whether it is on its way.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting)
    }

    /// Whether it takes requests now without their having to wait for it.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.is_up() && !self.is_turned()
    }

    /// Whether it failed, or turned requests away, and has not served since. One that was never needed is not away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.may_serve() && (self.suspect || self.is_turned())
    }

    /// Whether it has done what it had left to do.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.duty == Duty::Leaving && self.pipeline.is_empty() && !self.is_turned()
    }

    /// Whether what is queued may go out now.
    #[inline]
    fn may_send(&self) -> bool {
        !self.blocked && self.turned.is_none()
    }

    /// Whether the server is sent nothing more until what it was sent is answered.
    #[must_use]
    pub fn is_turned(&self) -> bool {
        self.turned.is_some()
    }

    /// Sends what is queued, as far as the kernel takes it. `None` when the connection is not open.
    fn write(&mut self) -> Option<io::Result<Sent>> {
        let Link::Up(stream) = &mut self.link else { return None };
        if self.keeps {
            let kept = &mut self.kept;
            self.output.each_piece(self.recorded, |piece| kept.record(piece));
        }
        let sent = self.output.send(stream);
        self.recorded = self.output.len();
        Some(sent)
    }

    /// As [`Backend::write`], from the connection's task, which is woken when the kernel takes more.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Link::Up(stream) = &mut self.link else { return Poll::Pending };
        if self.keeps {
            let kept = &mut self.kept;
            self.output.each_piece(self.recorded, |piece| kept.record(piece));
        }
        let sent = self.output.poll_send(stream, cx);
        self.recorded = self.output.len();
        sent
    }

    /// The bytes of a request that is not answered, behind `before` bytes of others; `None` where they are not kept.
    #[must_use]
    pub fn request_bytes(&self, before: usize, bytes: usize) -> Option<Vec<u8>> {
        let kept = self.kept.len();
        if self.kept.is_lost() {
            return None;
        }
        if before < kept {
            return self.kept.part(before, bytes).map(<[u8]>::to_vec);
        }
        let mut found = Vec::with_capacity(bytes);
        self.output.each_piece(self.recorded + before - kept, |piece| {
            let wanted = (bytes - found.len()).min(piece.len());
            found.extend_from_slice(&piece[..wanted]);
        });
        (found.len() == bytes).then_some(found)
    }

    /// Gives back memory that an idle connection does not need.
    pub fn trim(&mut self) {
        self.pipeline.trim();
        self.kept.trim();
    }

    /// The oldest request is answered.
    #[inline]
    pub fn answered(&mut self, slot: &Slot) {
        if self.keeps {
            self.kept.answered(slot.bytes as usize);
            if self.kept.is_lost() && self.pipeline.is_empty() {
                self.kept.reset();
            }
        }
    }

    /// Lets go of what is known of the reply at hand. One that was being passed on piece by piece is returned: it breaks off.
    fn break_off(&mut self) -> Option<Streaming> {
        buffer::give(std::mem::take(&mut self.input));
        self.scanner = ReplyScanner::default();
        self.led = None;
        let streaming = self.streaming.take()?;
        // Its waiter is told by being dropped.
        if let Some(slot) = self.pipeline.pop() {
            self.answered(&slot);
        }
        Some(streaming)
    }

    /// When what would fail with it had begun: the oldest request that waits for a reply, or the attempt to connect.
    #[must_use]
    pub fn begun_us(&self, now_us: u64) -> u64 {
        if self.is_up() { self.pipeline.oldest_us().unwrap_or(now_us) } else { self.tried_us }
    }
}

/// The operating system's words for an error, as C's `strerror` has them.
#[must_use]
pub fn error_text(error: &io::Error) -> String {
    if let Some(code) = error.raw_os_error() {
        return nix::errno::Errno::from_raw(code).desc().to_owned();
    }
    match error.kind() {
        io::ErrorKind::TimedOut => nix::errno::Errno::ETIMEDOUT.desc().to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => {
            nix::errno::Errno::ECONNRESET.desc().to_owned()
        }
        _ => error.to_string(),
    }
}
