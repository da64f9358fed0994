//! Clients with caches of their own: what they read is noted, and they are told of keys that change.
//!
//! An invalidation must come behind the reply that it concerns. A key is noted before the request that reads it is sent; when
//! it changes while that request is not answered, its client is told at once, for what it holds already, and again behind the
//! reply. Reads go to primaries, whose changes are heard.

mod command;

use std::sync::Arc;

use redstart_common::client_tracking::Choice;
use redstart_common::command::keys;
use redstart_common::command::spec::Flags;
use redstart_common::log;
use redstart_common::resp::RespWrite;
use redstart_common::resp::encode::Proto;

pub use self::command::answer;
use super::request::Request;
use super::{Client, ClientId};
use crate::control::Message;
use crate::route::distribution::Wants;
use crate::route::plan::{Local, Plan, Script};
use crate::topology::{Endpoint, PoolId, ServerId};
use crate::tracking::{Said, read};
use crate::worker::Core;

/// Where clients of RESP2 hear of changed keys.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Between two questions whether a server is there, in microseconds.
const PING_US: u64 = 2_000_000;
/// Silence after which it is taken to be gone, in microseconds.
const SILENCE_US: u64 = 6_000_000;
/// How long servers are heard though nobody tracks any more, in microseconds.
const IDLE_US: u64 = 30_000_000;
/// Keys that a client is to be told of later; with more, it is told that all have changed.
const LATER_MAX: usize = 1000;

/// Another client that hears for one that tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hearer {
    /// Its number.
    pub number: u64,
    /// Its worker.
    pub worker: usize,
    /// Who it is there.
    pub id: ClientId,
}

/// How a client tracks.
#[derive(Debug, Default)]
pub struct Mode {
    redirect: Option<Hearer>,
    /// In the broadcasting mode: which keys it is told of.
    prefixes: Option<Vec<Box<[u8]>>>,
    choice: Choice,
    /// CLIENT CACHING came just before.
    caching: bool,
    /// It does not want to hear of its own writes; it does, for nobody knows whose they were.
    no_loop: bool,
    /// Whoever hears for it is gone.
    is_broken: bool,
    /// Keys that the transaction at hand reads.
    queued: Vec<Box<[u8]>>,
    /// Keys (or all) that it is to be told of when this request is answered.
    later: Vec<(u32, Option<Box<[u8]>>)>,
}

impl Mode {
    fn is_told_of(&self, key: &[u8]) -> bool {
        self.prefixes.iter().flatten().any(|prefix| key.starts_with(prefix))
    }

    fn tracks_next(&self) -> bool {
        match self.choice {
            _ if self.prefixes.is_some() => true,
            Choice::All => true,
            Choice::OptIn => self.caching,
            Choice::OptOut => !self.caching,
        }
    }

    fn tell_later(&mut self, sequence: u32, key: Option<Box<[u8]>>) {
        if key.is_none() || self.later.len() >= LATER_MAX {
            // What it was to be told of sooner is part of it.
            self.later.clear();
            self.later.push((sequence, None));
        } else if !self.later.iter().any(|(at, other)| (*at, other) == (sequence, &key)) {
            self.later.push((sequence, key));
        }
    }
}

impl Client {
    fn mode(&mut self) -> Option<&mut Mode> {
        self.subscriptions.as_mut()?.tracking.as_deref_mut()
    }

    /// Whether it is told of keys that change.
    #[must_use]
    pub fn tracks(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.tracking.is_some())
    }

    /// What `CLIENT LIST` shows: flags, and whom it redirects to.
    #[must_use]
    pub fn tracking_shown(&self) -> (String, i64) {
        let mode = self.subscriptions.as_ref().and_then(|it| it.tracking.as_ref());
        let Some(mode) = mode else { return (String::new(), -1) };
        let mut flags = "t".to_owned();
        flags.extend(mode.is_broken.then_some('R'));
        flags.extend(mode.prefixes.is_some().then_some('B'));
        (flags, mode.redirect.map_or(0, |hearer| hearer.number as i64))
    }
}

/// What a client is told.
#[derive(Clone, Copy)]
enum Body<'a> {
    Keys(&'a [&'a [u8]]),
    Everything,
}

/// A request of a client that tracks is about to be dispatched.
pub fn before(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (pool, sequence) = (client.pool, client.pending.next_sequence());
    let is_queued = client.transaction.is_some();
    let Some(mode) = client.mode() else { return };
    let mut read: Vec<Box<[u8]>> = Vec::new();
    if is_queued && plan == Plan::Local(Local::Exec) {
        read.clone_from(&mode.queued);
    } else if mode.tracks_next() {
        let row = request.row;
        let reads = row.flags.contains(Flags::READONLY)
            || matches!(plan, Plan::Script(Script::Eval | Script::EvalSha))
            || row.name == "fcall";
        if reads {
            let places = keys::positions(row, request.args);
            read.extend(places.filter_map(|at| request.args.get(at)).map(Box::from));
        }
        if is_queued {
            mode.queued.extend(read);
            return;
        }
    }
    for key in read {
        note(core, id, pool, sequence, key);
    }
}

/// A request of a client that tracks was dispatched.
pub fn after(core: &mut Core, id: ClientId, name: &str) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let is_queueing = client.transaction.is_some();
    if let Some(mode) = client.mode().filter(|_| !is_queueing) {
        mode.queued.clear();
        mode.caching &= name.starts_with("client|");
    }
}

/// Whether the changes of a key are heard where it lies now.
fn is_heard(core: &mut Core, pool: PoolId, key: &[u8]) -> bool {
    let it = &mut core.pools[pool];
    if it.topology.distribution.wants() == Wants::Chance {
        return core.tracking(pool).hears_all();
    }
    let Some(shard) = it.shard_of(key) else { return false };
    let server = it.topology.primary(&it.topology.shards[usize::from(shard)]).endpoint.id;
    core.tracking(pool).hears(server)
}

/// A client reads a key in the request of this number.
fn note(core: &mut Core, id: ClientId, pool: PoolId, sequence: u32, key: Box<[u8]>) {
    let is_heard = is_heard(core, pool, &key);
    let Some(mode) = core.down.clients.get_mut(id).and_then(Client::mode) else { return };
    if !is_heard {
        tell_later(core, id, pool, sequence, Some(key));
    } else if mode.prefixes.is_none()
        && let Some((key, readers)) = core.tracking(pool).table.note(&key, id, sequence)
    {
        for (reader, at) in readers {
            changed(core, reader, pool, at, &[&key]);
        }
    }
}

fn tell_later(core: &mut Core, id: ClientId, pool: PoolId, sequence: u32, key: Option<Box<[u8]>>) {
    let Some(mode) = core.down.clients.get_mut(id).and_then(Client::mode) else { return };
    let is_listed = !mode.later.is_empty();
    mode.tell_later(sequence, key);
    if !is_listed {
        core.untold.push((pool, id));
    }
}

/// Keys have changed that a client has read, last in the request of this number: it is told, and again behind the reply if
/// that is still to come.
fn changed(core: &mut Core, id: ClientId, pool: PoolId, sequence: u32, keys: &[&[u8]]) {
    tell(core, id, Body::Keys(keys));
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if client.pending.awaits(sequence) {
        for key in keys {
            tell_later(core, id, pool, sequence, Some((*key).into()));
        }
    }
}

/// All that clients of a pool have read may have changed.
fn everything(core: &mut Core, pool: PoolId) {
    core.tracking(pool).table.clear();
    for id in core.tracking(pool).clients.clone() {
        tell(core, id, Body::Everything);
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        if !client.pending.is_empty() {
            let last = client.pending.next_sequence().wrapping_sub(1);
            tell_later(core, id, pool, last, None);
        }
    }
}

/// The end of a turn: tells clients what was to be told behind replies that have come.
pub fn tell_untold(core: &mut Core) {
    for (pool, id) in std::mem::take(&mut core.untold) {
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        let pending = &client.pending;
        let mode = client.subscriptions.as_mut().and_then(|it| it.tracking.as_deref_mut());
        let Some(mode) = mode else { continue };
        let (wait, due): (Vec<_>, Vec<_>) = std::mem::take(&mut mode.later)
            .into_iter()
            .partition(|(sequence, _)| pending.awaits(*sequence));
        mode.later = wait;
        if !mode.later.is_empty() {
            core.untold.push((pool, id));
        }
        let keys: Vec<&[u8]> = due.iter().filter_map(|(_, key)| key.as_deref()).collect();
        if keys.len() < due.len() {
            tell(core, id, Body::Everything);
        } else if !keys.is_empty() {
            tell(core, id, Body::Keys(&keys));
        }
    }
}

/// Tells whoever is to hear it for a client that tracks.
fn tell(core: &mut Core, id: ClientId, body: Body<'_>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    let Some(redirect) = client.mode().map(|mode| mode.redirect) else { return };
    let mut text = Vec::new();
    match body {
        Body::Keys(keys) => {
            text.array_len(keys.len());
            keys.iter().for_each(|key| text.bulk(key));
        }
        // In the words of who tracks, even if another hears them.
        Body::Everything => text.null(proto),
    }
    match redirect {
        None if proto == Proto::Resp3 => drop(hand_over(core, id, &text)),
        // Who speaks RESP2 can be told nothing of what it did not ask for.
        None => {}
        Some(hearer) if hearer.worker == core.number => {
            let is_there = hand_over(core, hearer.id, &text);
            if !is_there {
                hearer_gone(core, id);
            }
        }
        Some(hearer) => {
            let teller = (core.number, id);
            let message = Message::Invalidated(hearer.id, text.into(), teller);
            // The workers live as long as the process.
            let _ = core.directory.workers[hearer.worker].send(message);
        }
    }
}

/// Hands changed keys to a client of this worker. Says whether it is there.
pub fn hand_over(core: &mut Core, id: ClientId, keys: &[u8]) -> bool {
    let most = core.directory.global.subscriber_output_bytes_max;
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let pool = client.pool;
    let mut text = Vec::with_capacity(keys.len() + 48);
    if client.resp3 {
        text.push_len(2, Proto::Resp3);
        text.bulk(b"invalidate");
    } else if client.is_listening() {
        text.array_len(3);
        text.bulk(b"message");
        text.bulk(CHANNEL);
    } else {
        return true;
    }
    text.extend_from_slice(keys);
    client.subscriptions.get_or_insert_default();
    let fits = core.down.clients.push(id, &text, most);
    core.pools[pool].stats.subscribers_dropped += u64::from(!fits);
    true
}

/// Whoever heard for a client is gone.
pub fn hearer_gone(core: &mut Core, id: ClientId) {
    let most = core.directory.global.subscriber_output_bytes_max;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let resp3 = client.resp3;
    let Some(mode) = client.mode() else { return };
    let Some(hearer) = mode.redirect else { return };
    mode.is_broken = true;
    if resp3 {
        let mut text = Vec::new();
        text.push_len(2, Proto::Resp3);
        text.bulk(b"tracking-redir-broken");
        text.integer(hearer.number as i64);
        core.down.clients.push(id, &text, most);
    }
}

/// Takes in what a server says of its keys. Says whether it made sense.
pub fn hear(core: &mut Core, pool: PoolId, server: &Endpoint, frame: &[u8]) -> bool {
    let now_us = core.clock.now_us();
    if let Some(link) = core.tracking(pool).link_mut(server.id) {
        link.post.heard_us = now_us;
    }
    match read(frame) {
        None => return false,
        Some(Said::Alive) => {}
        Some(Said::AllChanged) => everything(core, pool),
        Some(Said::Changed(keys)) => {
            for key in &keys {
                let readers = core.tracking(pool).table.take(key).unwrap_or_default();
                for (id, sequence) in readers {
                    changed(core, id, pool, sequence, &[key]);
                }
            }
            broadcast(core, pool, &keys);
        }
    }
    true
}

/// Tells those of the broadcasting mode.
fn broadcast(core: &mut Core, pool: PoolId, keys: &[&[u8]]) {
    for at in 0..core.tracking(pool).clients.len() {
        let id = core.tracking(pool).clients[at];
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        let last = client.pending.next_sequence().wrapping_sub(1);
        let Some(mode) = client.mode() else { continue };
        let own: Vec<&[u8]> = keys.iter().copied().filter(|key| mode.is_told_of(key)).collect();
        if !own.is_empty() {
            changed(core, id, pool, last, &own);
        }
    }
}

/// A client that tracks is gone, or tracks no more.
pub fn left(core: &mut Core, id: ClientId, pool: PoolId) {
    let tracking = core.tracking(pool);
    tracking.clients.retain(|other| *other != id);
    if tracking.clients.is_empty() {
        tracking.table.clear();
    }
}

/// The servers whose keys are to be heard: all primaries, while anybody tracks.
fn listen(core: &mut Core, pool: PoolId) {
    let topology = Arc::clone(&core.pools[pool].topology);
    let primary = |shard: &u16| topology.primary(&topology.shards[usize::from(*shard)]);
    let servers: Vec<ServerId> =
        topology.live.iter().map(|shard| primary(shard).endpoint.id).collect();
    if core.tracking(pool).hear_from(&servers) {
        everything(core, pool);
    }
}

/// A pool has another picture.
pub fn reconciled(core: &mut Core, pool: PoolId) {
    if core.tracking(pool).is_used() {
        listen(core, pool);
    }
}

/// A server tells of every change from now on.
pub fn opened(core: &mut Core, pool: PoolId, server: &Endpoint) {
    let now_us = core.clock.now_us();
    let Some(link) = core.tracking(pool).link_mut(server.id) else { return };
    link.post.opened(now_us);
    link.is_active = true;
    if std::mem::take(&mut link.is_told) {
        let name = &core.pools[pool].shared.settings.name;
        log!(Notice, "pool '{name}': server '{}' tells of changed keys again", server.name);
    }
    // Reads may have followed their slots there that nobody expected to.
    if core.pools[pool].has_slots() {
        everything(core, pool);
    }
}

/// A server could not be asked to tell, or is not heard any more: what was read from it may change unseen.
pub fn lost(core: &mut Core, pool: PoolId, server: &Endpoint, why: &str) {
    let Some(link) = core.tracking(pool).link_mut(server.id) else { return };
    let was_active = std::mem::take(&mut link.is_active);
    if !std::mem::replace(&mut link.is_told, true) {
        let name = &core.pools[pool].shared.settings.name;
        log!(
            Warning,
            "pool '{name}': server '{}' does not tell of changed keys, so that nothing of it can be cached: {why}",
            server.name
        );
    }
    if was_active {
        everything(core, pool);
    }
    core.pools[pool].shared.strange.notify_one();
}

/// What is done by the clock.
pub fn tick(core: &mut Core) {
    let now_us = core.clock.now_us();
    for pool in core.pools.ids() {
        if core.tracking(pool).is_idle(now_us, IDLE_US) {
            core.tracking(pool).hear_from(&[]);
        }
        let mut silent = Vec::new();
        for (server, link) in core.tracking(pool).links_mut() {
            if link.is_active && link.post.look(now_us, PING_US, SILENCE_US) {
                silent.push(server);
            }
        }
        for server in silent {
            let member = core.pools[pool].topology.member(server);
            let Some(endpoint) = member.map(|member| Arc::clone(&member.endpoint)) else {
                continue;
            };
            lost(core, pool, &endpoint, "Connection timed out");
            core.tracking(pool).reopen(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_tracked_as_was_chosen() {
        let mode = |choice, caching| Mode { choice, caching, ..Mode::default() };
        for (choice, caching, wanted) in [
            (Choice::All, false, true),
            (Choice::OptIn, false, false),
            (Choice::OptIn, true, true),
            (Choice::OptOut, false, true),
            (Choice::OptOut, true, false),
        ] {
            assert_eq!(mode(choice, caching).tracks_next(), wanted, "{choice:?} {caching}");
        }
        let mode =
            Mode { prefixes: Some(vec![(*b"a:").into(), (*b"b").into()]), ..Mode::default() };
        assert!(mode.tracks_next() && mode.is_told_of(b"a:1") && mode.is_told_of(b"b"));
        assert!(!mode.is_told_of(b"a") && !mode.is_told_of(b"c"));
    }

    #[test]
    fn too_many_keys_are_all_keys() {
        let mut mode = Mode::default();
        for round in 0..2 {
            for number in 0..LATER_MAX as u32 {
                mode.tell_later(number, Some(number.to_le_bytes().into()));
            }
            assert_eq!(mode.later.len(), LATER_MAX, "the same are kept once ({round})");
        }
        mode.tell_later(5000, Some((*b"one more").into()));
        assert_eq!(mode.later, [(5000, None)]);
    }
}
