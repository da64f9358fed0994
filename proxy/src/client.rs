//! A connected client.
//!
//! An idle client owns no buffer: what it sends is read into the worker's buffer, and only an incomplete request
//! is kept. Replies gather in its output and leave at the end of the turn.

pub mod absent;
pub mod apart;
pub mod choose;
pub mod chores;
pub mod clients;
pub mod databases;
pub mod dispatch;
pub mod exec;
pub mod fate;
pub mod fill;
pub mod forward;
pub mod hedge;
pub mod held;
pub mod observe;
pub mod pending;
pub mod private;
pub mod reads;
pub mod redirect;
pub mod request;
pub mod scan;
pub mod script;
pub mod session;
pub mod split;
pub mod subscribe;
pub mod task;
pub mod tracking;
pub mod transaction;
pub mod watch;

use std::task::Waker;

use redstart_common::command::CommandId;
use redstart_common::net::Stream;
use redstart_common::net::crowd::LastAsked;
use redstart_common::resp::RequestScanner;

pub use self::clients::Clients;
use self::exec::Executing;
use self::pending::Pending;
use self::private::Wait;
use self::reads::Wrote;
use self::scan::Scan;
use self::session::Session;
use self::subscribe::Subscriptions;
use self::transaction::Transaction;
use self::watch::Watch;
use crate::output::Output;
use crate::route::lane::{Lanes, Manner};
use crate::tally::Which;
use crate::topology::PoolId;

/// A client of a worker; the generation tells it from others that had the same place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientId {
    /// Its place.
    pub index: u32,
    /// Which holder of that place it is.
    pub generation: u32,
}

/// What a client wants to hear (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Everything.
    #[default]
    On,
    /// Nothing.
    Off,
    /// Not the reply to the next command.
    SkipNext,
}

/// Bytes of replies, written and parked, above which no more requests are read.
const UNREAD_BYTES_PAUSE: usize = 1 << 20;

/// Bytes of requests after which no more are read until all of them are answered. A client that sends faster than its
/// servers read waits itself, instead of filling their queues until requests are refused.
const ASKED_BYTES_PAUSE: usize = 4 << 20;

/// Requests of a client in flight before any reply to it is known: the replies may be large.
const FIRST_WINDOW: u32 = 256;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub id: ClientId,
    /// Its pool.
    pub pool: PoolId,
    /// Its connection.
    pub stream: Stream,
    /// Wakes its task.
    pub waker: Option<Waker>,
    /// What was read and is not parsed yet.
    pub input: Vec<u8>,
    /// How far the request at the front of the input is known.
    pub scanner: RequestScanner,
    /// Requests in flight.
    pub pending: Pending,
    /// Bytes of requests since none was in flight.
    asked_bytes: usize,
    /// Requests that it may have in flight, as far as the size of their replies goes.
    window: u32,
    /// Bytes of large replies that it is to have in flight.
    window_bytes: u32,
    /// How large its large replies are.
    large_bytes: u32,
    /// Bytes of the reply that it was given last, if that was large: it cannot have read it yet.
    at_hand: usize,
    /// Bytes of replies to parts of its requests, of which other parts are not answered yet.
    gathered_bytes: usize,
    /// Replies on their way out.
    pub output: Output,
    /// On the list of clients with output.
    dirty: bool,
    /// Turns at whose end its output was held back.
    holds: u8,
    asked: LastAsked,
    /// The kernel takes no more; the task sends the rest.
    pub blocked: bool,
    /// Stopped parsing until requests in flight are answered or output has left.
    pub paused: bool,
    /// Parses nothing until every request in flight is answered.
    pub barrier: bool,
    /// Parses nothing until a pause is over.
    pub held: bool,
    /// Requests of it were sent again for another reason than that they were redirected: what it has sent behind them, and is
    /// redirected, goes when all before it is answered.
    pub is_resent: bool,
    /// Its next request has been looked at, and is looked at again.
    pub looks_again: bool,
    /// Closes once every reply is sent, for this reason.
    pub closing: Option<Gone>,
    /// Speaks RESP3.
    pub resp3: bool,
    /// The database it has selected.
    pub db: u16,
    /// Which of the connections to each server its requests go on.
    pub lane: u32,
    /// That is one for heavy requests.
    pub is_apart: bool,
    /// What the request that is begun next is known by, if it may turn out to be heavy.
    pub tag: u16,
    lanes: Lanes,
    /// Has given the password, or needs none.
    pub authenticated: bool,
    /// What it wants to hear.
    pub reply_mode: ReplyMode,
    /// When it last sent something, in microseconds of the worker's clock.
    pub active_us: u64,
    /// Its last command.
    pub command: Option<CommandId>,
    /// What it told about itself.
    pub session: Box<Session>,
    /// The transaction it is composing.
    pub transaction: Option<Box<Transaction>>,
    /// The transaction of which its server runs a part and the proxy another.
    pub executing: Option<Box<Executing>>,
    /// When it wrote last, where that counts for its reads.
    pub wrote: Option<Box<Wrote>>,
    /// Its scans that may go on to another server within their calls.
    pub scans: Vec<Scan>,
    /// The keys it watches.
    pub watch: Option<Box<Watch>>,
    /// What it subscribes to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Its request on a connection of its own.
    pub wait: Option<Box<Wait>>,
}

impl Client {
    /// How it asks.
    #[must_use]
    pub fn manner(&self) -> Manner {
        Manner { resp3: self.resp3, db: self.db }
    }

    /// It asks in another manner from now on. What is under way belongs to other connections: nothing may overtake it.
    pub fn set_manner(&mut self, manner: Manner) {
        if manner == self.manner() {
            return;
        }
        self.barrier |= !self.pending.is_empty();
        (self.resp3, self.db) = (manner.resp3, manner.db);
        self.lane = self.lanes.of(manner, self.id.index);
        self.is_apart = false;
    }

    /// A request of it was refused. What was to be in a transaction and is not must not be left out without a word.
    pub fn spoil_transaction(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.fail();
        }
    }

    /// Counts a request in and gives its sequence number.
    #[inline]
    pub fn begin(&mut self, now_us: u64) -> u32 {
        let muted = match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::On;
                true
            }
        };
        let which = Which::of(self.command);
        self.pending.push(now_us as u32, muted, std::mem::take(&mut self.tag), which)
    }

    /// Whether no further request may be parsed now.
    #[inline]
    #[must_use]
    pub fn must_wait(&self, in_flight_max: usize) -> bool {
        self.closing.is_some()
            || (self.barrier && !self.pending.is_empty() && !self.only_joins())
            || self.pending.len() >= in_flight_max.min(self.window as usize)
            || (self.asked_bytes > ASKED_BYTES_PAUSE && !self.pending.is_empty())
            || self.unsent_bytes() > UNREAD_BYTES_PAUSE
            || self.held
    }

    /// Bytes of replies that are kept for it.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.output.len() + self.pending.parked_bytes() + self.gathered_bytes
    }

    /// Begins to parse what it sent. Nothing holds it back any more once all it asked for is answered. Large values of its
    /// pool have `large_bytes`, if there are any: its replies may be as large.
    pub fn begin_batch(&mut self, now_us: u64, large_bytes: u32) {
        self.active_us = now_us;
        if self.pending.is_empty() {
            self.barrier = false;
            self.is_resent = false;
            self.asked_bytes = 0;
            self.large_bytes /= 2;
            if std::mem::take(&mut self.is_apart) {
                self.lane = self.lanes.of(self.manner(), self.id.index);
            }
            if self.output.is_empty() {
                self.at_hand = 0;
            }
        }
        let by_size = match self.large_bytes.max(large_bytes) {
            0 => u32::MAX,
            bytes => (self.window_bytes / bytes).max(1),
        };
        let most = if self.pending.is_unproven() { FIRST_WINDOW } else { u32::MAX };
        self.window = by_size.min(most);
    }

    /// A large reply has come, so far with so many bytes.
    fn note_large(&mut self, bytes: usize) {
        self.at_hand = bytes;
        self.large_bytes = self.large_bytes.max(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Whether it leaves more unread than it may, beside the reply at hand.
    fn is_overdrawn(&self, most: usize) -> bool {
        self.unsent_bytes().saturating_sub(self.at_hand) > most
    }

    /// Whether this request is a transaction whose reply the proxy has a part in.
    #[must_use]
    pub fn executes(&self, sequence: u32) -> bool {
        self.executing.as_ref().is_some_and(|it| it.sequence == sequence)
    }

    /// Whether it waits for something to happen.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.wait.as_ref().is_some_and(|wait| wait.is_blocked())
    }

    /// Whether it subscribes to anything.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.counts() != [0; 3])
    }

    /// Whether all that it waits for is to hear that it has subscribed.
    #[must_use]
    pub fn only_joins(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| {
            subscriptions.is_joining() && subscriptions.joining_count() == self.pending.len()
        })
    }

    /// Whether nothing it sends is looked at until something has happened, which may take any time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
            || self.held
            || self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.is_joining())
    }

    /// Wakes the client's task.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Why a client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It closed the connection, or asked the proxy to.
    Left,
    /// The connection broke, it broke the protocol or a limit, or it was killed.
    Failed,
    /// It left more replies unread than it may.
    Unread,
}
