//! The clients of a worker: handing them replies, sending, letting them go.

use redstart_common::net::crowd::{Crowd, LastAsked};
use redstart_common::net::{Stream, buffer};
use redstart_common::resp::RequestScanner;
use slab::Slab;

use super::pending::Pending;
use super::private::Legacy;
use super::session::Session;
use super::{Client, ClientId, FIRST_WINDOW, Gone, ReplyMode};
use crate::gather::Merged;
use crate::output::{DIRECT_BYTES, EAGER_BYTES, LARGE_BYTES, Output, Sent};
use crate::route::lane::{Lanes, Manner};
use crate::tally::{Tallies, Which};
use crate::topology::PoolId;

/// Turns for which output may be held back: one in nine clients with 16 requests in flight over two servers still lacked
/// replies after the first, and had cost a second write.
const HOLDS_MAX: u8 = 2;

/// A client whose replies are large is to have this part of what it may leave unread in flight.
const WINDOW_SHARE: usize = 4;

/// How large the values of a pool are taken to be at most, so that all its clients may have some requests in flight.
const LARGE_MAX: u32 = 4 << 20;

/// Seconds after which what is known of large values counts half.
const LARGE_HALVED: u32 = 64;

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
    /// What they were answered, by pool.
    pub tallies: Vec<Tallies>,
    /// Reply bytes a client may leave unread.
    pub output_bytes_max: usize,
    /// What clients that are gone have left behind.
    pub legacies: Vec<Legacy>,
    /// Clients that left, and clients that failed, by pool.
    pub gone: Vec<(u64, u64)>,
    /// Those of the latter that left too much unread.
    pub unread: Vec<u64>,
    /// How large the large values of each pool are, as far as was seen of late.
    large: Vec<u32>,
    trims: u32,
}

impl Clients {
    /// No clients, for a worker of `pools` pools.
    #[must_use]
    pub fn new(pools: usize, output_bytes_max: usize) -> Self {
        Self {
            tallies: vec![Tallies::default(); pools],
            gone: vec![(0, 0); pools],
            unread: vec![0; pools],
            large: vec![0; pools],
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
            window: FIRST_WINDOW,
            window_bytes: u32::try_from(self.output_bytes_max / WINDOW_SHARE).unwrap_or(u32::MAX),
            large_bytes: 0,
            at_hand: 0,
            gathered_bytes: 0,
            output: Output::default(),
            dirty: false,
            holds: 0,
            asked: LastAsked::default(),
            blocked: false,
            paused: false,
            barrier: false,
            held: false,
            is_resent: false,
            looks_again: false,
            closing: None,
            resp3: false,
            db: 0,
            lane: lanes.of(Manner::default(), id.index),
            is_apart: false,
            tag: 0,
            lanes,
            authenticated,
            reply_mode: ReplyMode::On,
            active_us: now_us,
            command: None,
            session: Box::new(session),
            transaction: None,
            executing: None,
            wrote: None,
            scans: Vec::new(),
            watch: None,
            subscriptions: None,
            wait: None,
        });
        id
    }

    /// How large the large values of a pool are; 0 where none was seen of late.
    #[inline]
    #[must_use]
    pub fn large_of(&self, pool: PoolId) -> u32 {
        self.large[pool.place()]
    }

    /// A large value of a pool was written or read.
    pub fn note_large(&mut self, pool: PoolId, bytes: usize) {
        let large = &mut self.large[pool.place()];
        *large = (*large).max(u32::try_from(bytes).unwrap_or(u32::MAX).min(LARGE_MAX));
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
        let tallies = &mut self.tallies[client.pool.place()];
        client.pending.answer(sequence, reply, &mut client.output, now_us as u32, tallies);
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    /// As [`Clients::answer`], with a reply in its own buffer.
    pub fn answer_owned(&mut self, id: ClientId, sequence: u32, reply: Vec<u8>, now_us: u64) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            buffer::give(reply);
            return;
        };
        if reply.len() >= LARGE_BYTES {
            client.note_large(reply.len());
            let large = &mut self.large[client.pool.place()];
            *large = (*large).max(client.large_bytes.min(LARGE_MAX));
        }
        let tallies = &mut self.tallies[client.pool.place()];
        client.pending.answer_owned(sequence, reply, &mut client.output, now_us as u32, tallies);
        Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
    }

    /// Counts the reply to a part of a client's request, which is kept until the others are there; of those there are
    /// `own` bytes already. Says whether it is wanted: the client may have gone, or have more waiting than it may.
    pub fn gather(&mut self, id: ClientId, bytes: usize, own: usize) -> bool {
        let most = self.output_bytes_max;
        let Some(client) = self.get_mut(id) else { return false };
        client.gathered_bytes += bytes;
        let fits = !client.is_overdrawn(most.saturating_add(own + bytes));
        if !fits {
            self.doomed.push((id, Gone::Unread));
        }
        fits
    }

    /// Bytes of replies to parts of a client's request have gone on.
    pub fn gathered(&mut self, id: ClientId, bytes: usize) {
        if let Some(client) = self.get_mut(id) {
            client.gathered_bytes = client.gathered_bytes.saturating_sub(bytes);
        }
    }

    /// Whether a client wants to hear the reply that is being passed on piece by piece.
    #[must_use]
    pub fn hears_stream(&self, id: ClientId) -> bool {
        let client = self.slab.get(id.index as usize).filter(|client| client.id == id);
        client.is_some_and(|client| client.pending.hears_stream())
    }

    /// A client's oldest request is as if it was asked now: how long it waited for something to happen says nothing of servers.
    pub fn restart_clock(&mut self, id: ClientId, now_us: u64) {
        if let Some(client) = self.get_mut(id) {
            client.pending.restart_clock(now_us as u32);
        }
    }

    /// As [`Clients::answer_owned`], with a reply that was put together from `bytes` of parts.
    pub fn answer_gathered(&mut self, merged: Merged, now_us: u64) {
        self.gathered(merged.client, merged.parts_bytes);
        self.answer_owned(merged.client, merged.sequence, merged.reply, now_us);
    }

    /// Answers a request that is being dispatched, from here.
    pub fn reply(&mut self, id: ClientId, now_us: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        client.tag = 0;
        if client.pending.is_empty() && client.reply_mode == ReplyMode::On {
            let out = client.output.tail();
            let start = out.len();
            write(out);
            let which = Which::of(client.command);
            self.tallies[client.pool.place()].answered(which, 0, &out[start..]);
        } else {
            let mut reply = buffer::take();
            write(&mut reply);
            let sequence = client.begin(now_us);
            let tallies = &mut self.tallies[client.pool.place()];
            client.pending.answer(sequence, &reply, &mut client.output, now_us as u32, tallies);
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
            match client.output.send(&mut client.stream) {
                Ok(Sent::All) => {}
                Ok(Sent::Some) => {
                    client.blocked = true;
                    client.wake();
                }
                Err(_) => doomed.push((client.id, Gone::Failed)),
            }
        }
        if client.is_overdrawn(output_bytes_max) {
            doomed.push((client.id, Gone::Unread));
        }
    }

    /// Counts the request at hand of a client as one that is not carried out.
    #[cold]
    pub fn reject(&mut self, id: ClientId) {
        if let Some(client) = self.slab.get(id.index as usize).filter(|client| client.id == id) {
            self.tallies[client.pool.place()].reject(Which::of(client.command));
        }
    }

    /// What a request is known by that may turn out to be heavy; 0 where it is not known.
    #[must_use]
    pub fn tag_of(&self, id: ClientId, sequence: u32) -> u16 {
        let client = self.slab.get(id.index as usize).filter(|client| client.id == id);
        client.map_or(0, |client| client.pending.tag(sequence))
    }

    /// Whether the reply to `sequence` may go out piece by piece: it is its turn.
    #[must_use]
    pub fn may_stream(&self, id: ClientId, sequence: u32) -> bool {
        self.slab.get(id.index as usize).is_some_and(|client| {
            client.id == id && client.pending.is_first(sequence) && !client.executes(sequence)
        })
    }

    /// Begins a reply that goes out piece by piece; says whether the client wants to hear it.
    pub fn begin_stream(&mut self, id: ClientId) -> bool {
        self.get_mut(id).is_some_and(|client| {
            client.at_hand = 0;
            client.pending.begin_stream()
        })
    }

    /// Passes a piece of a reply on. A large one goes to the kernel without being copied.
    pub fn stream(&mut self, id: ClientId, piece: &[u8]) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        client.note_large(client.at_hand + piece.len());
        let large = &mut self.large[client.pool.place()];
        *large = (*large).max(client.large_bytes.min(LARGE_MAX));
        if piece.len() < DIRECT_BYTES || client.blocked {
            client.output.push(piece);
        } else {
            match client.output.send_with(&mut client.stream, piece) {
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
        let tallies = &mut self.tallies[client.pool.place()];
        client.pending.end_stream(&mut client.output, now_us as u32, tallies);
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

    /// Ends a client's connection in the place of the reply to a request, behind the replies before it.
    pub fn end_at(&mut self, id: ClientId, sequence: u32) {
        let Some(client) = self.slab.get_mut(id.index as usize).filter(|client| client.id == id)
        else {
            return;
        };
        if client.pending.awaits(sequence) {
            client.pending.cut(sequence);
            client.closing = Some(Gone::Failed);
            Self::after_answer(client, &mut self.dirty, &mut self.doomed, self.output_bytes_max);
        }
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
        if why == Gone::Unread {
            self.unread[client.pool.place()] += 1;
            redstart_common::log!(
                Warning,
                "client {} leaves {} bytes of replies unread (client_output_limit), and is dropped",
                client.session.address,
                client.unsent_bytes()
            );
        }
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
                if client.closing.is_some() && client.pending.is_empty() {
                    client.stream.hold_for_end();
                }
                match client.output.send(&mut client.stream) {
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
                && !client.stream.is_behind()
            {
                // Closing alone would throw away what was held back, if the client has sent something that is not read.
                client.stream.shut_down();
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
        // What was large a minute ago is taken to be half as large.
        self.trims += 1;
        if self.trims.is_multiple_of(LARGE_HALVED) {
            self.large.iter_mut().for_each(|large| *large /= 2);
        }
        for (_, client) in &mut self.slab {
            client.pending.trim();
            client.scanner.release();
        }
        if self.dirty.capacity() > 1024 {
            self.dirty.shrink_to(64);
        }
    }
}
