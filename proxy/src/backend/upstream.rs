//! All connections of a worker to servers: adding and giving up, queueing, sending, ending.

use std::io;
use std::sync::Arc;

use redstart_common::net::{Stream, buffer};
use redstart_common::resp::encode;

use super::again::Waiting;
use super::kept::Kept;
use super::pipeline::{Kind, Pipeline, Slot, Target};
use super::{Backend, Duty, Link, Streaming};
use crate::output::{DIRECT_BYTES, EAGER_BYTES, Output, Sent};
use crate::route::lane::Manner;
use crate::scripts::{self, Scripts};
use crate::topology::{Endpoint, PoolId};

/// Replies that may be owed to one connection.
const PIPELINE_MAX: usize = 1 << 20;

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// No server of the pool is alive.
    #[must_use]
    pub fn nobody() -> Self {
        Self("ERR Connection refused".to_owned())
    }

    /// Its server is down, and keeps its keys.
    #[must_use]
    pub fn is_down() -> Self {
        Self(format!("ERR {}", crate::reconcile::IS_DOWN))
    }

    /// Only replicas may serve it, and there is none.
    #[must_use]
    pub fn no_replica() -> Self {
        Self("ERR no replica of this key can be read from now".to_owned())
    }

    /// All private connections to a server are in use.
    #[must_use]
    pub fn all_private_in_use(most: usize, server: &str) -> Self {
        Self(if most == 0 {
            "ERR this pool has no private connections (private_connections: 0)".to_owned()
        } else {
            format!(
                "ERR all {most} private connections to server '{server}' are in use (private_connections)"
            )
        })
    }

    /// The error text, with its code.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.0.as_bytes()
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

    /// Adds a connection and says at which place. With `keeps`, requests wait for it while it is away, and what was sent
    /// is kept.
    pub fn add(
        &mut self,
        pool: PoolId,
        server: Arc<Endpoint>,
        manner: Manner,
        keeps: bool,
        duty: Duty,
    ) -> u32 {
        match self.free.pop() {
            Some(place) => {
                let it = &mut self.backends[place as usize];
                let epoch = it.epoch.wrapping_add(1);
                *it = Backend::new(pool, server, manner, keeps, duty, epoch);
                place
            }
            None => {
                self.backends.push(Backend::new(pool, server, manner, keeps, duty, 0));
                (self.backends.len() - 1) as u32
            }
        }
    }

    /// Gives a place up. Nobody may wait on it any more.
    pub fn release(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        debug_assert!(it.pipeline.is_empty() && !it.is_free);
        if it.is_free {
            return;
        }
        it.duty = Duty::Leaving;
        it.is_free = true;
        it.epoch = it.epoch.wrapping_add(1);
        it.link = Link::Idle;
        if let Some(waker) = it.waker.take() {
            waker.wake();
        }
        it.output.clear();
        it.turned = None;
        it.kept = Kept::default();
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
            Link::Down { until_us, .. } if now_us < *until_us && it.keeps => it.counters.held += 1,
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
    pub fn send(&mut self, backend: usize, slot: Slot, write: impl FnOnce(&mut Output)) {
        let it = &mut self.backends[backend];
        let before = it.output.len();
        write(&mut it.output);
        let bytes = it.output.len() - before;
        it.pipeline.push(Slot { bytes: bytes as u32, ..slot });
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
    pub fn send_bytes(&mut self, backend: usize, slot: Slot, request: &[u8]) {
        if request.len() < DIRECT_BYTES {
            self.send(backend, slot, |output| output.push(request));
        } else {
            self.send_direct(backend, slot, request);
        }
    }

    fn send_direct(&mut self, backend: usize, slot: Slot, request: &[u8]) {
        let it = &mut self.backends[backend];
        let (may_send, keeps) = (it.may_send(), it.keeps);
        let (Link::Up(stream), true, false) = (&mut it.link, may_send, keeps) else {
            return self.send(backend, slot, |output| output.push(request));
        };
        let sent = it.output.send_with(stream, request);
        it.pipeline.push(Slot { bytes: request.len() as u32, ..slot });
        it.unsent += 1;
        it.counters.requests += 1;
        it.counters.request_bytes += request.len() as u64;
        self.after_send(backend, sent);
    }

    /// As [`Upstream::send`], with a request that has waited elsewhere, or for another connection. Of a script that its server
    /// may lack it is told first.
    pub fn send_again(&mut self, backend: usize, slot: Slot, request: &[u8], scripts: &Scripts) {
        self.tell_script(backend, slot.at_us, request, scripts);
        self.send_pieces_again(backend, slot, &[request]);
    }

    /// Tells the server of the script that a request asks for, if the connection has not carried it. Who sends the request asked for
    /// it when another connection was to carry it.
    pub fn tell_script(&mut self, backend: usize, at_us: u64, request: &[u8], scripts: &Scripts) {
        let Some(digest) = scripts::asked_for(request) else { return };
        let carried = &mut self.backends[backend].carried;
        let Some(body) = scripts.body(&digest).filter(|_| !carried.has(&digest)) else { return };
        carried.note(digest);
        self.send(backend, Slot::new(Target::Nobody, Kind::Read, at_us), |output| {
            let mut request = Vec::with_capacity(body.len() + 64);
            encode::request(&mut request, [&b"SCRIPT"[..], b"LOAD", &body].into_iter());
            output.push(&request);
        });
    }

    /// As [`Upstream::send_again`], with a request in several pieces. Nothing comes between them.
    pub fn send_pieces_again(&mut self, backend: usize, slot: Slot, pieces: &[&[u8]]) {
        for _ in 0..slot.lead {
            self.send(backend, Slot::new(Target::Nobody, slot.kind, slot.at_us), |_| {});
        }
        self.send(backend, slot, |output| pieces.iter().for_each(|piece| output.push(piece)));
    }

    /// Adds a connection that is never opened: what is queued for it waits until it is taken away. Who waits in vain is
    /// told `why`, an error with its code.
    pub fn add_limbo(
        &mut self,
        pool: PoolId,
        server: Arc<Endpoint>,
        manner: Manner,
        why: &str,
    ) -> u32 {
        let place = self.add(pool, server, manner, true, Duty::Limbo);
        let why = why.to_owned();
        self.backends[place as usize].link = Link::Down { until_us: u64::MAX, why };
        place
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
        if it.output.len() < EAGER_BYTES || !it.may_send() {
            return;
        }
        if let Some(sent) = it.write() {
            self.after_send(backend, sent);
        }
    }

    /// Sends what waits on every connection.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for backend in dirty.drain(..) {
            let it = &mut self.backends[backend];
            it.dirty = false;
            if !it.may_send() {
                continue;
            }
            if let Some(sent) = it.write() {
                self.after_send(backend, sent);
            }
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

    /// Asks for a connection that is not there, unless it failed just now.
    pub fn call(&mut self, backend: usize, now_us: u64) {
        let it = &mut self.backends[backend];
        let is_due = match it.link {
            Link::Idle => true,
            Link::Down { until_us, .. } => until_us <= now_us,
            Link::Connecting | Link::Up(_) => false,
        };
        if is_due {
            it.link = Link::Connecting;
            it.tried_us = now_us;
            self.wanted.push(backend);
        }
    }

    /// Takes away what waits on a connection that is to be given up. Who cannot be served any more is handed to `lost`;
    /// the reply that breaks off in the middle is returned.
    pub fn take_waiting(
        &mut self,
        backend: usize,
        now_us: u64,
        lost: impl FnMut(Slot),
    ) -> (Waiting, Option<Streaming>) {
        let it = &mut self.backends[backend];
        let broken = it.break_off();
        (it.salvage(now_us, lost), broken)
    }

    /// Opens connections again for which requests wait.
    pub fn retry_waiting(&mut self, now_us: u64) {
        for (backend, it) in self.backends.iter_mut().enumerate() {
            let is_due = matches!(it.link, Link::Down { until_us, .. } if until_us <= now_us);
            if is_due && it.keeps && !it.pipeline.is_empty() {
                it.link = Link::Connecting;
                it.tried_us = now_us;
                self.wanted.push(backend);
            }
        }
    }

    /// Tells those who have waited since before `deadline_us` for a connection that is not open. Says how many.
    pub fn give_up_waiting(
        &mut self,
        backend: usize,
        deadline_us: u64,
        scripts: &Scripts,
        mut each: impl FnMut(Slot, &str),
    ) -> u64 {
        let it = &mut self.backends[backend];
        let mut told = 0;
        if it.is_up() {
            return told;
        }
        let why = match &it.link {
            Link::Down { why, .. } => why.as_str(),
            _ => it.last_why.as_str(),
        };
        // A transaction goes as a whole: its last slot decides.
        while let Some((lead, slot)) = it.pipeline.first_whole() {
            if slot.at_us > deadline_us {
                break;
            }
            for _ in 0..=lead {
                it.pipeline.pop();
            }
            it.output.skip(slot.bytes as usize);
            it.unsent = it.unsent.saturating_sub(lead as u64 + 1);
            told += 1;
            each(slot, why);
        }
        // Those that are left may ask for scripts that went with the others.
        if told > 0 && !it.carried.is_empty() {
            it.carried.clear();
            let waiting = it.salvage(deadline_us, |_| {});
            self.send_all_again(backend, waiting, scripts);
        }
        told
    }

    fn send_all_again(&mut self, backend: usize, waiting: Waiting, scripts: &Scripts) {
        let mut at = 0;
        for slot in waiting.slots {
            let end = at + slot.bytes as usize;
            self.send_again(backend, slot, &waiting.bytes[at..end], scripts);
            at = end;
        }
    }

    /// A connection is open: sends what waited for it.
    pub fn opened(&mut self, backend: usize, stream: Stream, now_us: u64) {
        let it = &mut self.backends[backend];
        it.link = Link::Up(stream);
        if it.keeps {
            // How long they had to wait counts no more.
            it.pipeline.renew(now_us);
        }
        it.heard_us = now_us;
        it.blocked = false;
        if !it.dirty {
            it.dirty = true;
            self.dirty.push(backend);
        }
    }

    /// Ends a connection. Everyone who waits on it is handed to `each`; the reply that breaks off in the middle is
    /// returned. Where requests may wait, those that may be sent (again) do; of a connection whose shard has left they are
    /// returned, for others to serve.
    ///
    /// An orderly end that nobody notices is no failure: the connection is opened again when it is needed.
    pub fn close(
        &mut self,
        backend: usize,
        why: &str,
        now_us: u64,
        scripts: &Scripts,
        each: impl FnMut(Slot),
    ) -> (Option<Streaming>, Waiting) {
        let it = &mut self.backends[backend];
        let leaves = it.duty == Duty::Leaving;
        let was_idle = it.is_up() && it.pipeline.is_empty() && it.turned.is_none();
        // An error of this connection is none of the next.
        self.broken.retain(|(other, _)| *other != backend);
        let broken = it.break_off();
        // What waits for a connection that could not be made has not been sent: it waits where it is.
        let is_untouched =
            !leaves && !it.is_up() && it.turned.is_none() && it.pipeline.tombstones() == 0;
        let waiting = if it.keeps && is_untouched {
            Waiting::default()
        } else if it.keeps {
            it.salvage(now_us, each)
        } else {
            it.pipeline.fail(each);
            it.output.clear();
            it.unsent = 0;
            Waiting::default()
        };
        it.epoch = it.epoch.wrapping_add(1);
        it.link = if it.is_barred {
            // It stays so: what broke it was noticed before.
            Link::Down { until_us: u64::MAX, why: why.to_owned() }
        } else if was_idle {
            Link::Idle
        } else {
            Link::Down { until_us: it.backoff.failed(now_us), why: why.to_owned() }
        };
        if let Some(waker) = it.waker.take() {
            waker.wake();
        }
        it.suspect = true;
        it.carried.clear();
        it.blocked = false;
        it.last_why = why.to_owned();
        if leaves {
            return (broken, waiting);
        }
        self.send_all_again(backend, waiting, scripts);
        (broken, Waiting::default())
    }

    /// Refuses requests for a connection that is not open, with the reason `why`, until [`Upstream::unbar`].
    pub fn bar(&mut self, backend: usize, why: &str) {
        let it = &mut self.backends[backend];
        debug_assert!(!it.is_up() && it.pipeline.is_empty());
        it.link = Link::Down { until_us: u64::MAX, why: why.to_owned() };
        it.is_barred = true;
        self.wanted.retain(|other| *other != backend);
    }

    /// A connection that was barred may be opened again.
    pub fn unbar(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        if std::mem::take(&mut it.is_barred) {
            it.backoff.succeeded();
            // What an open connection owes it goes on owing.
            if !it.is_up() {
                it.link = Link::Idle;
            }
        }
    }

    /// Whether requests for it are refused because its server is down.
    #[must_use]
    pub fn is_barred(&self, backend: usize) -> bool {
        self.backends[backend].is_barred
    }

    /// A good reply came: the server is well.
    pub fn is_well(&mut self, backend: usize) {
        let it = &mut self.backends[backend];
        it.suspect = false;
        it.backoff.succeeded();
    }
}
