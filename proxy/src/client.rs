//! A connected client, and the clients of a worker.
//!
//! An idle client owns no buffer: what it sends is read into the worker's buffer, and only an incomplete request
//! is kept. Replies gather in its output and leave at the end of the turn.

pub mod absent;
pub mod choose;
pub mod chores;
pub mod databases;
pub mod dispatch;
pub mod fate;
pub mod forward;
pub mod held;
pub mod observe;
pub mod pending;
pub mod private;
pub mod reads;
pub mod redirect;
pub mod request;
pub mod script;
pub mod session;
pub mod split;
pub mod subscribe;
pub mod task;
pub mod transaction;
pub mod watch;

use std::task::Waker;

use redstart_common::command::CommandId;
use redstart_common::metric::Histogram;
use redstart_common::net::crowd::{Crowd, LastAsked};
use redstart_common::net::{Stream, buffer};
use redstart_common::resp::RequestScanner;
use slab::Slab;

use self::pending::Pending;
use self::private::{Legacy, Wait};
use self::reads::Wrote;
use self::session::Session;
use self::subscribe::Subscriptions;
use self::transaction::Transaction;
use self::watch::Watch;
use crate::gather::Merged;
use crate::output::{DIRECT_BYTES, EAGER_BYTES, LARGE_BYTES, Output, Sent};
use crate::route::lane::{Lanes, Manner};
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

/// Turns for which output may be held back: one in nine clients with 16 requests in flight over two servers still lacked
/// replies after the first, and had cost a second write.
const HOLDS_MAX: u8 = 2;

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
    /// When it wrote last, where that counts for its reads.
    pub wrote: Option<Box<Wrote>>,
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
        self.barrier |= manner != self.manner() && !self.pending.is_empty();
        (self.resp3, self.db) = (manner.resp3, manner.db);
        self.lane = self.lanes.of(manner, self.id.index);
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
        self.pending.push(now_us as u32, muted)
    }

    /// Whether no further request may be parsed now.
    #[inline]
    #[must_use]
    pub fn must_wait(&self, in_flight_max: usize) -> bool {
        self.closing.is_some()
            || (self.barrier && !self.pending.is_empty())
            || self.pending.len() >= in_flight_max
            || (self.asked_bytes > ASKED_BYTES_PAUSE && !self.pending.is_empty())
            || self.unsent_bytes() > UNREAD_BYTES_PAUSE
            || self.held
    }

    /// Bytes of replies that are kept for it.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.output.len() + self.pending.parked_bytes() + self.gathered_bytes
    }

    /// Begins to parse what it sent. Nothing holds it back any more once all it asked for is answered.
    pub fn begin_batch(&mut self, now_us: u64) {
        self.active_us = now_us;
        if self.pending.is_empty() {
            self.barrier = false;
            self.asked_bytes = 0;
        }
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
}

/// The clients of a worker.
#[derive(Debug, Default)]
pub struct Clients {
    slab: Slab<Client>,
    generation: u32,
    dirty: Vec<ClientId>,
    held: Vec<ClientId>,
    doomed: Vec<(ClientId, Gone)>,
    /// Those that ask at present.
    pub crowd: Crowd,
    /// Time from reading a request to its reply being on its way, by pool.
    pub latency: Vec<Histogram>,
    /// Reply bytes a client may leave unread.
    pub output_bytes_max: usize,
    /// What clients that are gone have left behind.
    pub legacies: Vec<Legacy>,
    /// Clients that left, and clients that failed, by pool.
    pub gone: Vec<(u64, u64)>,
}

impl Clients {
    /// No clients, for a worker of `pools` pools.
    #[must_use]
    pub fn new(pools: usize, output_bytes_max: usize) -> Self {
        Self {
            latency: vec![Histogram::default(); pools],
            gone: vec![(0, 0); pools],
            output_bytes_max,
            ..Self::default()
        }
    }

    /// Adds a client.
    pub fn insert(
        &mut self,
        pool: PoolId,
        lanes: Lanes,
        stream: Stream,
        authenticated: bool,
        session: Session,
        now_us: u64,
    ) -> ClientId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slab.vacant_entry();
        let id = ClientId { index: entry.key() as u32, generation: self.generation };
        entry.insert(Client {
            id,
            pool,
            stream,
            waker: None,
            input: Vec::new(),
            scanner: RequestScanner::default(),
            pending: Pending::default(),
            asked_bytes: 0,
            gathered_bytes: 0,
            output: Output::default(),
            dirty: false,
            holds: 0,
            asked: LastAsked::default(),
            blocked: false,
            paused: false,
            barrier: false,
            held: false,
            looks_again: false,
            closing: None,
            resp3: false,
            db: 0,
            lane: lanes.of(Manner::default(), id.index),
            lanes,
            authenticated,
            reply_mode: ReplyMode::On,
            active_us: now_us,
            command: None,
            session: Box::new(session),
            transaction: None,
            wrote: None,
            watch: None,
            subscriptions: None,
            wait: None,
        });
        id
    }

    /// A client, if it is still there.
    #[inline]
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
    }

    /// Whether a client is still there.
    #[must_use]
    pub fn is_there(&self, id: ClientId) -> bool {
        self.slab.get(id.index as usize).is_some_and(|client| client.id == id)
    }

    /// All clients.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slab.iter().map(|(_, client)| client)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// A client has asked for so many things at once, in so many bytes.
    #[inline]
    pub fn note_asked(&mut self, id: ClientId, now_us: u64, things: u32, bytes: usize) {
        if let Some(client) = self.slab.get_mut(id.index as usize) {
            client.asked_bytes = client.asked_bytes.saturating_add(bytes);
            self.crowd.note(&client.asked, now_us, things);
        }
    }

    /// Hands a client the reply to one of its requests.
    #[inline]
    pub fn answer(&mut self, id: ClientId, sequence: u32, reply: &[u8], now_us: u64) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        if reply.len() >= DIRECT_BYTES && client.pending.is_first(sequence) {
            if self.begin_stream(id) {
                self.stream(id, reply);
            }
            return self.end_stream(id, now_us);
        }
        let latency = &mut self.latency[client.pool.place()];
        client.pending.answer(sequence, reply, &mut client.output, now_us as u32, latency);
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    /// As [`Clients::answer`], with a reply in its own buffer.
    pub fn answer_owned(&mut self, id: ClientId, sequence: u32, reply: Vec<u8>, now_us: u64) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            buffer::give(reply);
            return;
        };
        let latency = &mut self.latency[client.pool.place()];
        client.pending.answer_owned(sequence, reply, &mut client.output, now_us as u32, latency);
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    /// Counts the reply to a part of a client's request, which is kept until the others are there. Says whether it is
    /// wanted: the client may have gone, or have more waiting than it may.
    pub fn gather(&mut self, id: ClientId, bytes: usize) -> bool {
        let most = self.output_bytes_max;
        let Some(client) = self.get_mut(id) else { return false };
        client.gathered_bytes += bytes;
        let fits = client.unsent_bytes() <= most;
        if !fits {
            self.doomed.push((id, Gone::Failed));
        }
        fits
    }

    /// A client's oldest request is as if it was asked now: how long it waited for something to happen says nothing of servers.
    pub fn restart_clock(&mut self, id: ClientId, now_us: u64) {
        if let Some(client) = self.get_mut(id) {
            client.pending.restart_clock(now_us as u32);
        }
    }

    /// As [`Clients::answer_owned`], with a reply that was put together from `bytes` of parts.
    pub fn answer_gathered(&mut self, merged: Merged, now_us: u64) {
        if let Some(client) = self.get_mut(merged.client) {
            client.gathered_bytes = client.gathered_bytes.saturating_sub(merged.parts_bytes);
        }
        self.answer_owned(merged.client, merged.sequence, merged.reply, now_us);
    }

    /// Answers a request that is being dispatched, from here.
    pub fn reply(&mut self, id: ClientId, now_us: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        if client.pending.is_empty() && client.reply_mode == ReplyMode::On {
            write(client.output.tail());
            self.latency[client.pool.place()].record(0);
        } else {
            let mut reply = buffer::take();
            write(&mut reply);
            let sequence = client.begin(now_us);
            let latency = &mut self.latency[client.pool.place()];
            client.pending.answer(sequence, &reply, &mut client.output, now_us as u32, latency);
            buffer::give(reply);
        }
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    #[inline]
    fn after_answer(
        client: &mut Client,
        dirty: &mut Vec<ClientId>,
        doomed: &mut Vec<(ClientId, Gone)>,
        output_bytes_max: usize,
    ) {
        if !client.dirty {
            client.dirty = true;
            dirty.push(client.id);
        }
        if client.output.len() >= EAGER_BYTES && !client.blocked {
            match client.output.send(&client.stream) {
                Ok(Sent::All) => {}
                Ok(Sent::Some) => {
                    client.blocked = true;
                    client.wake();
                }
                Err(_) => doomed.push((client.id, Gone::Failed)),
            }
        }
        if client.unsent_bytes() > output_bytes_max {
            doomed.push((client.id, Gone::Failed));
        }
    }

    /// Whether the reply to `sequence` may go out piece by piece: it is its turn.
    #[must_use]
    pub fn may_stream(&self, id: ClientId, sequence: u32) -> bool {
        self.slab
            .get(id.index as usize)
            .is_some_and(|client| client.id == id && client.pending.is_first(sequence))
    }

    /// Begins a reply that goes out piece by piece; says whether the client wants to hear it.
    pub fn begin_stream(&mut self, id: ClientId) -> bool {
        self.get_mut(id).is_some_and(|client| client.pending.begin_stream())
    }

    /// Passes a piece of a reply on. A large one goes to the kernel without being copied.
    pub fn stream(&mut self, id: ClientId, piece: &[u8]) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        if piece.len() < DIRECT_BYTES || client.blocked {
            client.output.push(piece);
        } else {
            match client.output.send_with(&client.stream, piece) {
                Ok(Sent::All) => {}
                Ok(Sent::Some) => {
                    client.blocked = true;
                    client.wake();
                }
                Err(_) => self.doomed.push((id, Gone::Failed)),
            }
        }
        if !client.output.is_empty() {
            Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
        }
    }

    /// The piece before was the last.
    pub fn end_stream(&mut self, id: ClientId, now_us: u64) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        let latency = &mut self.latency[client.pool.place()];
        client.pending.end_stream(&mut client.output, now_us as u32, latency);
        if let Some(subscriptions) = &mut client.subscriptions {
            client.output.push_owned(std::mem::take(&mut subscriptions.parked));
        }
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    /// Hands a client something that it did not ask for just now. Says whether it may have more than `most` bytes unread; one
    /// that has is dropped.
    pub fn push(&mut self, id: ClientId, bytes: &[u8], most: usize) -> bool {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return true;
        };
        let Some(subscriptions) = &mut client.subscriptions else { return true };
        if subscriptions.is_dropped {
            return true;
        }
        let mut parked = 0;
        if client.pending.is_streaming() {
            subscriptions.parked.extend_from_slice(bytes);
            parked = subscriptions.parked.len();
        } else {
            client.output.push(bytes);
        }
        let unread = client.output.len() + parked;
        subscriptions.is_dropped = unread > most;
        if subscriptions.is_dropped {
            redstart_common::log!(
                Warning,
                "client {} leaves {unread} bytes of what it subscribes to unread, and is dropped",
                client.session.address
            );
            self.doomed.push((id, Gone::Failed));
            return false;
        }
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
        true
    }

    /// A client whose reply broke off in the middle can only be dropped.
    pub fn break_stream(&mut self, id: ClientId) {
        self.doomed.push((id, Gone::Failed));
    }

    /// Puts a client on the list of those with something to do at the end of the turn.
    pub fn mark(&mut self, id: ClientId) {
        if let Some(client) = self.slab.get_mut(id.index as usize)
            && client.id == id
            && !client.dirty
        {
            client.dirty = true;
            self.dirty.push(id);
        }
    }

    /// No client of a pool is listened to until all it has asked for is answered.
    pub fn hold_until_answered(&mut self, pool: PoolId) {
        for (_, client) in &mut self.slab {
            client.barrier |= client.pool == pool && !client.pending.is_empty();
        }
    }

    /// Clients on that list.
    #[must_use]
    pub fn marked(&self) -> usize {
        self.dirty.len()
    }

    /// Drops a client. Its requests in flight finish without it.
    pub fn remove(&mut self, id: ClientId, why: Gone) -> Option<Client> {
        self.get_mut(id)?;
        let mut client = self.slab.remove(id.index as usize);
        buffer::give(std::mem::take(&mut client.input));
        client.wake();
        if client.wait.is_some() || client.watch.is_some() || client.subscriptions.is_some() {
            self.legacies.push(Legacy {
                id,
                pool: client.pool,
                wait: client.wait.take(),
                watch: client.watch.take(),
                subscriptions: client.subscriptions.take(),
            });
        }
        let (left, failed) = &mut self.gone[client.pool.place()];
        *(if why == Gone::Left { left } else { failed }) += 1;
        Some(client)
    }

    /// Whether output of clients was held back.
    #[must_use]
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends what clients wait for, and lets go of those that are done. `removed` is told the pool of each.
    ///
    /// With `may_hold`, a client that is still owed replies gets none of them this time, but for much or old output:
    /// the replies of another server are probably on their way, and all leave in one write.
    pub fn flush(&mut self, in_flight_max: usize, may_hold: bool, mut removed: impl FnMut(PoolId)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.append(&mut self.held);
        for id in dirty.drain(..) {
            let Some(client) =
                self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
            else {
                continue;
            };
            if may_hold
                && client.holds < HOLDS_MAX
                && !client.blocked
                && !client.pending.is_empty()
                && client.output.len() < LARGE_BYTES
            {
                client.holds += 1;
                self.held.push(id);
                continue;
            }
            client.holds = 0;
            client.dirty = false;
            if !client.blocked && !client.output.is_empty() {
                match client.output.send(&client.stream) {
                    Ok(Sent::All) => {}
                    Ok(Sent::Some) => {
                        client.blocked = true;
                        client.wake();
                    }
                    Err(_) => {
                        self.doomed.push((id, Gone::Failed));
                        continue;
                    }
                }
            }
            if let Some(why) = client.closing
                && client.pending.is_empty()
                && client.output.is_empty()
            {
                self.doomed.push((id, why));
            } else if client.paused && !client.must_wait(in_flight_max) {
                client.wake();
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        for (id, why) in std::mem::take(&mut self.doomed) {
            if let Some(client) = self.remove(id, why) {
                removed(client.pool);
            }
        }
    }

    /// Gives back memory that idle clients do not need.
    pub fn trim(&mut self) {
        for (_, client) in &mut self.slab {
            client.pending.trim();
            client.scanner.release();
        }
        if self.dirty.capacity() > 1024 {
            self.dirty.shrink_to(64);
        }
    }
}
