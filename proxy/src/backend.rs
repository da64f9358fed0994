//! The connections of a worker to the servers: one (or a few) per server and protocol version, shared by all
//! clients, pipelined, written once a turn.

pub mod connection;
pub mod control_link;
pub mod health;
pub mod pipeline;
pub mod probe;
pub mod resolve;
pub mod skipper;

use std::io;
use std::sync::Arc;
use std::task::Waker;

use redstart_common::metric::Histogram;
use redstart_common::net::{Stream, buffer};
use redstart_common::resp::ReplyScanner;

use self::pipeline::{Pipeline, Slot, Target};
use self::skipper::Skipper;
use crate::client::ClientId;
use crate::output::{DIRECT_BYTES, EAGER_BYTES, Output, Sent};
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

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// No server of the pool is alive.
    #[must_use]
    pub fn nobody() -> Self {
        Self("ERR Connection refused".to_owned())
    }

    /// The error text, with its code.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Waits after the first failure of a connection, in microseconds; doubled up to the maximum.
const BACKOFF_FIRST_US: u64 = 20_000;
const BACKOFF_MAX_US: u64 = 1_000_000;
/// Replies that may be owed to one connection.
const PIPELINE_MAX: usize = 1 << 20;

/// A reply that is being passed on piece by piece.
#[derive(Debug)]
pub struct Streaming {
    /// How far it has come.
    pub skipper: Skipper,
    /// Who gets it; `None` when the client does not want to hear it.
    pub client: Option<ClientId>,
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
    /// Nobody any more: what was sent is still answered, and then it is closed.
    Leaving,
}

/// One connection.
#[derive(Debug)]
pub struct Backend {
    /// Its pool.
    pub pool: PoolId,
    /// Its server.
    pub server: Arc<Endpoint>,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    /// Whom it serves.
    pub duty: Duty,
    /// Its state.
    pub link: Link,
    /// Which connection of this place it is, counted up whenever one ends or the place is given to another server.
    pub epoch: u32,
    /// Who waits for replies.
    pub pipeline: Pipeline,
    /// Requests on their way out.
    pub output: Output,
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
    /// When it was last begun to be opened.
    tried_us: u64,
    backoff_us: u64,
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
}

impl Backend {
    fn new(pool: PoolId, server: Arc<Endpoint>, resp3: bool, duty: Duty, epoch: u32) -> Self {
        Self {
            pool,
            server,
            resp3,
            duty,
            link: Link::Idle,
            epoch,
            pipeline: Pipeline::default(),
            output: Output::default(),
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
            tried_us: 0,
            backoff_us: 0,
            suspect: false,
            counters: Counters::default(),
        }
    }

    /// Whether the connection is open.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// Whether it has done what it had left to do.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.duty == Duty::Leaving && self.pipeline.is_empty()
    }

    /// When what would fail with it had begun: the oldest request that waits for a reply, or the attempt to connect.
    #[must_use]
    pub fn begun_us(&self, now_us: u64) -> u64 {
        if self.is_up() { self.pipeline.oldest_us().unwrap_or(now_us) } else { self.tried_us }
    }
}

/// All connections of a worker, each in a place of its own. A place that was given up is given to another connection
/// later; the epoch tells them apart.
#[derive(Debug, Default)]
pub struct Upstream {
    backends: Vec<Backend>,
    /// Places that are given up.
    free: Vec<u32>,
    dirty: Vec<usize>,
    /// Connections that are to be opened.
    wanted: Vec<usize>,
    /// Connections that broke while being written.
    broken: Vec<(usize, io::Error)>,
    /// Request bytes that may wait for one connection.
    pub queue_bytes_max: usize,
}

impl Upstream {
    /// No connections.
    #[must_use]
    pub fn new(queue_bytes_max: usize) -> Self {
        Self { queue_bytes_max, ..Self::default() }
    }

    /// Adds a connection and says at which place.
    pub fn add(&mut self, pool: PoolId, server: Arc<Endpoint>, resp3: bool, duty: Duty) -> u32 {
        match self.free.pop() {
            Some(place) => {
                let it = &mut self.backends[place as usize];
                *it = Backend::new(pool, server, resp3, duty, it.epoch.wrapping_add(1));
                place
            }
            None => {
                self.backends.push(Backend::new(pool, server, resp3, duty, 0));
                (self.backends.len() - 1) as u32
            }
        }
    }

    /// Gives a place up. Nobody may wait on it any more.
    pub fn release(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        debug_assert!(it.pipeline.is_empty());
        it.duty = Duty::Leaving;
        it.is_free = true;
        it.epoch = it.epoch.wrapping_add(1);
        it.link = Link::Idle;
        if let Some(waker) = it.waker.take() {
            waker.wake();
        }
        it.output.clear();
        it.pipeline = Pipeline::default();
        buffer::give(std::mem::take(&mut it.input));
        it.dirty = false;
        self.dirty.retain(|other| *other != backend);
        self.wanted.retain(|other| *other != backend);
        self.broken.retain(|(other, _)| *other != backend);
        self.free.push(backend as u32);
    }

    /// Connections that have a place.
    #[must_use]
    pub fn len(&self) -> usize {
        self.backends.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a place is given up.
    #[must_use]
    pub fn is_free(&self, backend: usize) -> bool {
        self.backends[backend].is_free
    }

    /// Places, given up ones among them.
    #[must_use]
    pub fn places(&self) -> usize {
        self.backends.len()
    }

    /// A connection.
    #[inline]
    pub fn get_mut(&mut self, backend: usize) -> &mut Backend {
        &mut self.backends[backend]
    }

    /// All places; those that were given up are idle and have nothing to tell.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Backend)> {
        self.backends.iter_mut().enumerate()
    }

    /// Whether a request may be queued; asks for the connection if it is not there.
    ///
    /// # Errors
    /// When the server cannot be reached now, or too much waits for it already.
    #[inline]
    pub fn check(&mut self, backend: usize, now_us: u64) -> Result<(), Refusal> {
        let it = &mut self.backends[backend];
        if it.is_up() && it.output.len() < self.queue_bytes_max && it.pipeline.len() < PIPELINE_MAX
        {
            return Ok(());
        }
        self.check_closely(backend, now_us)
    }

    #[cold]
    fn check_closely(&mut self, backend: usize, now_us: u64) -> Result<(), Refusal> {
        let it = &mut self.backends[backend];
        match &it.link {
            Link::Down { until_us, why } if now_us < *until_us => {
                return Err(Refusal(format!("ERR {why}")));
            }
            Link::Idle | Link::Down { .. } => {
                it.link = Link::Connecting;
                it.tried_us = now_us;
                self.wanted.push(backend);
            }
            Link::Connecting | Link::Up(_) => {}
        }
        if it.output.len() >= self.queue_bytes_max || it.pipeline.len() >= PIPELINE_MAX {
            return Err(Refusal(
                "ERR too many requests wait for the server of this key".to_owned(),
            ));
        }
        Ok(())
    }

    /// Queues a request that [`Upstream::check`] let pass.
    #[inline]
    pub fn send(
        &mut self,
        backend: usize,
        target: Target,
        now_us: u64,
        write: impl FnOnce(&mut Output),
    ) {
        let it = &mut self.backends[backend];
        let before = it.output.len();
        write(&mut it.output);
        let bytes = it.output.len() - before;
        it.pipeline.push(Slot { target, bytes: bytes as u32, at_us: now_us });
        it.unsent += 1;
        it.counters.requests += 1;
        it.counters.request_bytes += bytes as u64;
        if !it.dirty {
            it.dirty = true;
            self.dirty.push(backend);
        }
        if it.output.len() >= EAGER_BYTES {
            self.send_if_large(backend);
        }
    }

    /// As [`Upstream::send`], with a request whose bytes lie together: a large one goes to the kernel from there.
    #[inline]
    pub fn send_bytes(&mut self, backend: usize, target: Target, now_us: u64, request: &[u8]) {
        if request.len() < DIRECT_BYTES {
            self.send(backend, target, now_us, |output| output.push(request));
        } else {
            self.send_direct(backend, target, now_us, request);
        }
    }

    fn send_direct(&mut self, backend: usize, target: Target, now_us: u64, request: &[u8]) {
        let it = &mut self.backends[backend];
        let (Link::Up(stream), false) = (&it.link, it.blocked) else {
            return self.send(backend, target, now_us, |output| output.push(request));
        };
        let sent = it.output.send_with(stream, request);
        it.pipeline.push(Slot { target, bytes: request.len() as u32, at_us: now_us });
        it.unsent += 1;
        it.counters.requests += 1;
        it.counters.request_bytes += request.len() as u64;
        self.after_send(backend, sent);
    }

    /// Takes note of how a write ended.
    fn after_send(&mut self, backend: usize, sent: io::Result<Sent>) {
        let it = &mut self.backends[backend];
        match sent {
            Ok(Sent::All) => it.unsent = 0,
            Ok(Sent::Some) => {
                it.blocked = true;
                if let Some(waker) = &it.waker {
                    waker.wake_by_ref();
                }
            }
            // Whoever is queueing goes on undisturbed; the connection is closed at the end of the turn.
            Err(error) => {
                it.blocked = true;
                self.broken.push((backend, error));
            }
        }
    }

    /// The buffer to which more of the request queued last is appended, until [`Upstream::send_if_large`].
    #[inline]
    pub fn extend(&mut self, backend: usize) -> &mut Vec<u8> {
        let it = &mut self.backends[backend];
        if it.extended_from.is_none() {
            it.extended_from = Some(it.output.len());
        }
        it.output.tail()
    }

    /// Sends what waits if it is much, rather than at the end of the turn.
    pub fn send_if_large(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        if let Some(before) = it.extended_from.take() {
            let bytes = it.output.len() - before;
            it.pipeline.extend_last(bytes as u32);
            it.counters.request_bytes += bytes as u64;
        }
        if it.output.len() < EAGER_BYTES || it.blocked {
            return;
        }
        let Link::Up(stream) = &it.link else { return };
        let sent = it.output.send(stream);
        self.after_send(backend, sent);
    }

    /// Sends what waits on every connection.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for backend in dirty.drain(..) {
            let it = &mut self.backends[backend];
            it.dirty = false;
            if it.blocked {
                continue;
            }
            let Link::Up(stream) = &it.link else { continue };
            let sent = it.output.send(stream);
            self.after_send(backend, sent);
        }
        self.dirty = dirty;
    }

    /// The connections that broke while being written, since the last call.
    pub fn take_broken(&mut self) -> Vec<(usize, io::Error)> {
        std::mem::take(&mut self.broken)
    }

    /// The connections to open, since the last call.
    pub fn take_wanted(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether any connection is to be opened or closed.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.wanted.is_empty() || !self.broken.is_empty()
    }

    /// Asks for a connection before anyone needs it.
    pub fn want(&mut self, backend: usize, now_us: u64) {
        let it = &mut self.backends[backend];
        if matches!(it.link, Link::Idle) {
            it.link = Link::Connecting;
            it.tried_us = now_us;
            self.wanted.push(backend);
        }
    }

    /// Takes away what waits for a connection that is not open: who is owed each reply, and the bytes of all requests.
    /// Who was told already that his time is up is left out.
    pub fn take_waiting(&mut self, backend: usize) -> (Vec<Slot>, Vec<u8>) {
        let it = &mut self.backends[backend];
        debug_assert!(!it.is_up());
        let mut bytes = Vec::with_capacity(it.output.len());
        it.output.drain_into(&mut bytes);
        let mut at = 0;
        let mut slots = Vec::with_capacity(it.pipeline.len());
        let mut kept = Vec::with_capacity(bytes.len());
        it.pipeline.take(|slot, is_told| {
            let end = at + slot.bytes as usize;
            if !is_told {
                kept.extend_from_slice(&bytes[at.min(bytes.len())..end.min(bytes.len())]);
                slots.push(slot);
            }
            at = end;
        });
        it.unsent = 0;
        (slots, kept)
    }

    /// A connection is open: sends what waited for it.
    pub fn opened(&mut self, backend: usize, stream: Stream, now_us: u64) {
        let it = &mut self.backends[backend];
        it.link = Link::Up(stream);
        it.heard_us = now_us;
        it.blocked = false;
        if !it.dirty {
            it.dirty = true;
            self.dirty.push(backend);
        }
    }

    /// Ends a connection. Everyone who waits on it is handed to `each`; the client whose reply broke off in the
    /// middle is returned.
    ///
    /// An orderly end that nobody notices is no failure: the connection is opened again when it is needed.
    pub fn close(
        &mut self,
        backend: usize,
        why: &str,
        now_us: u64,
        each: impl FnMut(Slot),
    ) -> Option<ClientId> {
        let it = &mut self.backends[backend];
        let was_idle = it.is_up() && it.pipeline.is_empty();
        it.epoch = it.epoch.wrapping_add(1);
        it.link = if was_idle {
            Link::Idle
        } else {
            it.backoff_us = (it.backoff_us * 2).clamp(BACKOFF_FIRST_US, BACKOFF_MAX_US);
            Link::Down { until_us: now_us + it.backoff_us, why: why.to_owned() }
        };
        if let Some(waker) = it.waker.take() {
            waker.wake();
        }
        it.suspect = true;
        it.output.clear();
        it.unsent = 0;
        it.blocked = false;
        buffer::give(std::mem::take(&mut it.input));
        it.scanner = ReplyScanner::default();
        let broken = it.streaming.take();
        if broken.is_some() {
            // Its waiter is told by being dropped.
            it.pipeline.pop();
        }
        it.pipeline.fail(each);
        broken.and_then(|streaming| streaming.client)
    }

    /// A good reply came: the server is well.
    pub fn is_well(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        it.suspect = false;
        it.backoff_us = 0;
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
