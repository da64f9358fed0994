//! Subscribing: what clients say about channels, and what is said to them there.
//!
//! A client hears that it has subscribed once the servers have confirmed it, so that nothing published after that is missed.
//! Until then nothing else it sends is looked at but further subscriptions, which are passed on at once: libraries send several
//! without waiting, and what is published meanwhile is to be heard.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use redstart_common::command::CommandSpec;
use redstart_common::log;
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, RespWrite};

use super::dispatch::{Next, refuse};
use super::request::Request;
use super::tracking::{self, Mode};
use super::{Client, ClientId, absent, observe};
use crate::backend::redirect::{self, Redirect};
use crate::pubsub::hub::News;
use crate::pubsub::{Kind, Topic};
use crate::route::distribution::Wants;
use crate::topology::{Endpoint, PoolId, ServerId};
use crate::worker::Core;

/// Between two questions whether a server is there, in microseconds.
const PING_US: u64 = 10_000_000;
/// Silence after which it is taken to be gone, in microseconds.
const SILENCE_US: u64 = 25_000_000;
/// How long a link is kept that has nothing to do, in microseconds.
const IDLE_US: u64 = 30_000_000;
/// Between two questions for a shard channel that its node has said is elsewhere, and that is nowhere else as far as is known, in
/// microseconds.
const ELSEWHERE_US: u64 = 50_000;
/// How long a subscription may take beyond what requests may wait, in microseconds.
const JOINING_US: u64 = 10_000_000;

/// Most bytes of names that a client may subscribe to.
const NAMES_BYTES_MAX: usize = 16 << 20;

/// A subscription under way.
#[derive(Debug)]
struct Joining {
    sequence: u32,
    kind: Kind,
    /// As the client named them.
    names: Vec<Topic>,
    /// Of those, the ones that were not confirmed yet when it was last counted.
    missing: usize,
    since_us: u64,
}

/// What a client subscribes to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: Vec<Topic>,
    patterns: Vec<Topic>,
    shards: Vec<Topic>,
    /// Those under way, in the order in which they were asked for.
    joining: VecDeque<Joining>,
    /// Bytes of the names of all of them.
    bytes: usize,
    /// It keeps a cache of its own, and is told of keys that change.
    pub tracking: Option<Box<Mode>>,
    /// It watches what others ask.
    pub is_monitor: bool,
    /// Messages that came while a reply was being passed on piece by piece.
    pub parked: Vec<u8>,
    /// It reads too slowly and is being dropped.
    pub is_dropped: bool,
}

impl Subscriptions {
    fn of(&mut self, kind: Kind) -> &mut Vec<Topic> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// Channels, patterns and shard channels.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shards.len()]
    }

    /// The number that a confirmation tells.
    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// Whether it listens to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts() == [0; 3]
            && self.joining.is_empty()
            && self.tracking.is_none()
            && !self.is_monitor
    }

    /// Whether it waits for a confirmation.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        !self.joining.is_empty()
    }

    /// For how many it waits.
    #[must_use]
    pub fn joining_count(&self) -> usize {
        self.joining.len()
    }
}

/// What a subscription is counted as, in bytes: its name, and what is kept with it.
fn cost(topic: &Topic) -> usize {
    topic.name.len() + 64
}

fn proto(client: &Client) -> Proto {
    if client.resp3 { Proto::Resp3 } else { Proto::Resp2 }
}

/// Whether a client that listens, and speaks RESP2, may use a command.
#[must_use]
pub fn may_be_used(row: &CommandSpec) -> bool {
    matches!(
        row.name,
        "subscribe"
            | "psubscribe"
            | "ssubscribe"
            | "unsubscribe"
            | "punsubscribe"
            | "sunsubscribe"
            | "ping"
            | "quit"
            | "reset"
    )
}

/// Refuses any other command to it.
pub fn refuse_while_listening(core: &mut Core, id: ClientId, request: Request<'_>) {
    let name = request.row.name;
    refuse(core, id, request.now_us, |out| {
        out.error(format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
        ));
    });
}

/// PING of a client that listens and speaks RESP2.
pub fn pong(core: &mut Core, id: ClientId, args: Args<'_>, now_us: u64) {
    core.down.clients.reply(id, now_us, |out| {
        out.array_len(2);
        out.bulk(b"pong");
        out.bulk(args.get(1).unwrap_or(b""));
    });
}

/// The servers where a topic is at home. `None` when none is alive.
fn homes(core: &mut Core, pool: PoolId, topic: &Topic) -> Option<Vec<ServerId>> {
    let it = &mut core.pools[pool];
    let is_everywhere = topic.is_of_keyspace()
        || (!it.has_slots()
            && (topic.kind == Kind::Pattern
                || it.shared.settings.subscribe_everywhere
                || it.topology.distribution.wants() == Wants::Chance));
    let own = it.shard_of(&topic.name);
    // Its own comes first: where all say the same, that one counts.
    let others = it.topology.live.iter().copied().filter(|shard| Some(*shard) != own);
    let shards: Vec<u16> = match is_everywhere {
        true => own.into_iter().chain(others).collect(),
        false => vec![own?],
    };
    let topology = &it.topology;
    let of_shard =
        |shard: &u16| topology.primary(&topology.shards[usize::from(*shard)]).endpoint.id;
    let servers: Vec<ServerId> = shards.iter().map(of_shard).collect();
    (!servers.is_empty()).then_some(servers)
}

/// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE.
pub fn begin(core: &mut Core, id: ClientId, request: Request<'_>, kind: Kind) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() && !client.only_joins() {
        return Next::Later;
    }
    let (pool, now_us) = (client.pool, request.now_us);
    let names: Vec<Topic> =
        request.args.iter().skip(1).map(|name| Topic::new(kind, name)).collect();
    let mut wanted = Vec::with_capacity(names.len());
    for topic in &names {
        match homes(core, pool, topic) {
            Some(homes) => wanted.push(homes),
            None => return absent::nobody(core, id, now_us),
        }
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let held = client.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.bytes);
    if held + names.iter().map(cost).sum::<usize>() > NAMES_BYTES_MAX {
        refuse(core, id, now_us, |out| {
            out.error(format!("ERR the names of all subscriptions of a client take more than {NAMES_BYTES_MAX} bytes"));
        });
        return Next::Taken;
    }
    let sequence = client.begin(now_us);
    client.barrier = true;
    let subscriptions = client.subscriptions.get_or_insert_default();
    let mut before: HashSet<Topic> = subscriptions.of(kind).iter().cloned().collect();
    for joining in subscriptions.joining.iter().filter(|joining| joining.kind == kind) {
        before.extend(joining.names.iter().cloned());
    }
    let mut asked = HashSet::new();
    let mut missing = 0;
    let hub = &mut core.hubs[pool.place()];
    for (topic, homes) in names.iter().zip(wanted) {
        if !before.contains(topic) && asked.insert(topic.clone()) {
            subscriptions.bytes += cost(topic);
            missing += usize::from(!hub.join(topic, &homes, id));
        }
    }
    let is_first = subscriptions.joining.is_empty();
    let joining = Joining { sequence, kind, names, missing, since_us: now_us };
    subscriptions.joining.push_back(joining);
    match (is_first, missing) {
        (true, 0) => confirm(core, id),
        (true, _) => core.joiners.push(id),
        // Its turn comes behind those before it.
        (false, _) => {}
    }
    Next::Taken
}

/// Tells a client that it has subscribed to what is there of what it asked for, in order.
fn confirm(core: &mut Core, id: ClientId) {
    while confirm_first(core, id) {}
}

/// Confirms the subscription that was asked for first. Answers whether all of it was there.
fn confirm_first(core: &mut Core, id: ClientId) -> bool {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let proto = proto(client);
    let hub = &mut core.hubs[client.pool.place()];
    let Some(subscriptions) = &mut client.subscriptions else { return false };
    let Some(joining) = subscriptions.joining.front_mut() else { return false };
    let kind = joining.kind;
    let has = match kind {
        Kind::Channel => &subscriptions.channels,
        Kind::Pattern => &subscriptions.patterns,
        Kind::Shard => &subscriptions.shards,
    };
    let mut has: HashSet<Topic> = has.iter().cloned().collect();
    // What it has already is as it was, even where it is interrupted at present.
    let is_missing = |topic: &&Topic| !has.contains(*topic) && !hub.is_active(topic);
    joining.missing = joining.names.iter().filter(is_missing).count();
    if joining.missing > 0 {
        return false;
    }
    let Some(joining) = subscriptions.joining.pop_front() else { return false };
    let mut reply = Vec::new();
    for topic in joining.names {
        hub.subscribe(&topic, id);
        if has.insert(topic.clone()) {
            subscriptions.of(kind).push(topic.clone());
        }
        reply.push_len(3, proto);
        reply.bulk(kind.subscribe().as_bytes());
        reply.bulk(&topic.name);
        reply.integer(subscriptions.count(kind) as i64);
    }
    core.down.clients.restart_clock(id, now_us);
    core.down.clients.answer_owned(id, joining.sequence, reply, now_us);
    true
}

/// Tells a client that it cannot subscribe to what it asked for and waits for, and takes all of that back.
fn fail(core: &mut Core, id: ClientId, text: &[u8]) {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let hub = &mut core.hubs[pool.place()];
    let Some(subscriptions) = &mut client.subscriptions else { return };
    let failed = std::mem::take(&mut subscriptions.joining);
    let mut kept = HashSet::new();
    for list in [&subscriptions.channels, &subscriptions.patterns, &subscriptions.shards] {
        kept.extend(list.iter().cloned());
    }
    let asked: HashSet<&Topic> = failed.iter().flat_map(|joining| &joining.names).collect();
    for topic in asked.into_iter().filter(|topic| !kept.contains(*topic)) {
        hub.leave(topic, id);
        subscriptions.bytes = subscriptions.bytes.saturating_sub(cost(topic));
    }
    if subscriptions.is_empty() {
        client.subscriptions = None;
    }
    for joining in failed {
        core.pools[pool].stats.forward_errors += 1;
        core.down.clients.answer(id, joining.sequence, text, now_us);
    }
}

/// UNSUBSCRIBE, PUNSUBSCRIBE, SUNSUBSCRIBE.
pub fn end(core: &mut Core, id: ClientId, request: Request<'_>, kind: Kind) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() {
        return Next::Later;
    }
    let proto = proto(client);
    let hub = &mut core.hubs[client.pool.place()];
    let mut nothing = Subscriptions::default();
    let subscriptions = client.subscriptions.as_deref_mut().unwrap_or(&mut nothing);
    let mut reply = Vec::new();
    let mut confirm = |name: Option<&[u8]>, count: usize| {
        reply.push_len(3, proto);
        reply.bulk(kind.unsubscribe().as_bytes());
        match name {
            Some(name) => reply.bulk(name),
            None => reply.null(proto),
        }
        reply.integer(count as i64);
    };
    if request.args.len() == 1 {
        let all = std::mem::take(subscriptions.of(kind));
        if all.is_empty() {
            confirm(None, subscriptions.count(kind));
        }
        let base = subscriptions.count(kind);
        for (number, topic) in all.iter().enumerate() {
            hub.leave(topic, id);
            subscriptions.bytes = subscriptions.bytes.saturating_sub(cost(topic));
            confirm(Some(&topic.name), base + all.len() - 1 - number);
        }
    } else {
        for name in request.args.iter().skip(1) {
            let topics = subscriptions.of(kind);
            if let Some(at) = topics.iter().position(|topic| *topic.name == *name) {
                let topic = topics.remove(at);
                hub.leave(&topic, id);
                subscriptions.bytes = subscriptions.bytes.saturating_sub(cost(&topic));
            }
            confirm(Some(name), subscriptions.count(kind));
        }
    }
    if subscriptions.is_empty() {
        client.subscriptions = None;
    }
    core.down.clients.reply(id, request.now_us, |out| out.extend_from_slice(&reply));
    Next::Taken
}

/// A client listens to nothing any more, and is not told.
pub fn end_all(core: &mut Core, id: ClientId) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if let Some(subscriptions) = client.subscriptions.take() {
        let pool = client.pool;
        departed(core, id, pool, *subscriptions);
    }
}

/// A client that listened is gone.
pub fn departed(core: &mut Core, id: ClientId, pool: PoolId, subscriptions: Subscriptions) {
    let hub = &mut core.hubs[pool.place()];
    let Subscriptions { channels, patterns, shards, joining, is_monitor, tracking, .. } =
        subscriptions;
    let joining = joining.into_iter().flat_map(|joining| joining.names).collect();
    for topic in [channels, patterns, shards, joining].iter().flatten() {
        hub.leave(topic, id);
    }
    if is_monitor {
        observe::monitor_left(core, id, pool);
    }
    if tracking.is_some() {
        tracking::left(core, id, pool);
    }
}

/// A link is open.
pub fn opened(core: &mut Core, pool: PoolId, server: &Endpoint) {
    let now_us = core.clock.now_us();
    let hub = core.hub(pool);
    hub.opened(server.id, now_us);
    let Some(link) = hub.link_mut(server.id) else { return };
    link.post.opened(now_us);
    if link.was_lost {
        link.was_lost = false;
        let count = link.wanted();
        let name = &core.pools[pool].shared.settings.name;
        log!(
            Notice,
            "pool '{name}': server '{}' is asked again for {count} subscription(s)",
            server.name
        );
    }
}

/// A link could not be opened, or was lost.
pub fn lost(core: &mut Core, pool: PoolId, server: &Endpoint, why: &str) {
    let now_us = core.clock.now_us();
    let hub = core.hub(pool);
    let (count, waiting) = hub.lost(server.id, now_us);
    let settings = &core.pools[pool].shared.settings;
    if let Some(link) = core.hubs[pool.place()].link_mut(server.id)
        && count > waiting.len()
        && !link.was_lost
    {
        link.was_lost = true;
        let name = &settings.name;
        log!(
            Warning,
            "pool '{name}': {count} subscription(s) at server '{}' are interrupted: {why}",
            server.name
        );
    }
    let hold_us = settings.failover_hold_ms * 1000;
    let mut text = Vec::new();
    text.error(format!("ERR {why}"));
    for id in waiting {
        let since_us = joining_since(core, id);
        if since_us.is_some_and(|since_us| since_us + hold_us <= now_us) {
            fail(core, id, &text);
        }
    }
    core.pools[pool].shared.strange.notify_one();
}

fn joining_since(core: &mut Core, id: ClientId) -> Option<u64> {
    let client = core.down.clients.get_mut(id)?;
    Some(client.subscriptions.as_ref()?.joining.front()?.since_us)
}

/// Takes in what a server says. Says whether it made sense.
pub fn hear(core: &mut Core, pool: PoolId, server: &Endpoint, frame: &[u8]) -> bool {
    let now_us = core.clock.now_us();
    let most = core.directory.global.subscriber_output_bytes_max;
    let hub = &mut core.hubs[pool.place()];
    if let Some(link) = hub.link_mut(server.id) {
        link.post.heard_us = now_us;
    }
    let Some(news) = hub.hear(server.id, frame, now_us) else { return false };
    match news {
        News::Nothing => {}
        News::Elsewhere => {
            let shared = &core.pools[pool].shared;
            let address = match redirect::read(frame) {
                Some(Redirect::Moved(slot, told)) => {
                    told.address(server.address.as_ref()).map(|address| (slot, address))
                }
                _ => None,
            };
            match address {
                Some((slot, address)) => shared.note_moved(slot, address),
                None => shared.strange.notify_one(),
            }
        }
        News::Message(clients) => {
            let stats = &mut core.pools[pool].stats;
            stats.messages += clients.len() as u64;
            let mut push: Option<Vec<u8>> = None;
            for id in clients {
                let Some(client) = core.down.clients.get_mut(*id) else { continue };
                let fits = if client.resp3 {
                    // The same but for the mark of a push.
                    let push = push.get_or_insert_with(|| {
                        let mut push = frame.to_vec();
                        push[0] = b'>';
                        push
                    });
                    core.down.clients.push(*id, push, most)
                } else {
                    core.down.clients.push(*id, frame, most)
                };
                stats.subscribers_dropped += u64::from(!fits);
            }
        }
        News::Active(clients) => {
            for id in clients {
                let subscriptions =
                    core.down.clients.get_mut(id).and_then(|client| client.subscriptions.as_mut());
                let Some(subscriptions) = subscriptions else { continue };
                // Of several it is not known which one had it missing: the first is counted again.
                let is_one = subscriptions.joining.len() == 1;
                let Some(joining) = subscriptions.joining.front_mut() else { continue };
                joining.missing = joining.missing.saturating_sub(1);
                if joining.missing == 0 || !is_one {
                    confirm(core, id);
                }
            }
        }
        News::Refused(clients) => {
            if clients.is_empty() {
                let name = &core.pools[pool].shared.settings.name;
                let text = String::from_utf8_lossy(frame);
                log!(
                    Warning,
                    "pool '{name}': server '{}' refuses a subscription: {}",
                    server.name,
                    text.trim_end().trim_start_matches('-')
                );
            }
            for id in clients {
                fail(core, id, frame);
            }
        }
    }
    true
}

/// A pool has another picture: topics go where they are at home now.
pub fn reconciled(core: &mut Core, pool: PoolId) {
    if core.hub(pool).is_idle() {
        return;
    }
    let now_us = core.clock.now_us();
    let mut hub = std::mem::take(core.hub(pool));
    let links = &core.pools[pool].links;
    hub.drop_links(now_us, |server| links.contains_key(&server));
    // Where nobody is alive, a topic stays where it was.
    let active = hub.rehome(now_us, |topic| homes(core, pool, topic));
    *core.hub(pool) = hub;
    for id in active {
        confirm(core, id);
    }
}

/// What is done by the clock.
pub fn tick(core: &mut Core) {
    let now_us = core.clock.now_us();
    let is_to_ask = core.asked_elsewhere_us + ELSEWHERE_US <= now_us;
    if is_to_ask {
        core.asked_elsewhere_us = now_us;
    }
    for pool in core.pools.ids() {
        for id in core.hub(pool).settle(now_us) {
            confirm(core, id);
        }
        if is_to_ask {
            core.hub(pool).ask_those_elsewhere();
        }
        let mut silent = Vec::new();
        let mut idle = Vec::new();
        for (server, link) in core.hub(pool).links_mut() {
            if link.wanted() > 0 {
                link.idle_us = None;
            } else if *link.idle_us.get_or_insert(now_us) + IDLE_US <= now_us {
                idle.push(server);
            }
            if !link.is_up() {
                continue;
            }
            if link.post.look(now_us, PING_US, SILENCE_US) {
                silent.push(server);
            }
        }
        for server in idle {
            core.hub(pool).close(server);
        }
        for server in silent {
            let member = core.pools[pool].topology.member(server);
            let Some(endpoint) = member.map(|member| Arc::clone(&member.endpoint)) else {
                continue;
            };
            lost(core, pool, &endpoint, "Connection timed out");
            core.hub(pool).reopen(server);
        }
    }
    for id in std::mem::take(&mut core.joiners) {
        let Some(since_us) = joining_since(core, id) else { continue };
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        let hold_us = core.pools[client.pool].shared.settings.failover_hold_ms * 1000;
        if since_us + hold_us + JOINING_US <= now_us {
            fail(core, id, b"-ERR Connection timed out\r\n");
        } else {
            core.joiners.push(id);
        }
    }
}
