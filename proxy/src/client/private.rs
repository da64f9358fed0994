//! What a client does on a connection that is its own for that long: waiting for something to happen, and watching keys.
//!
//! Such a request begins when all that its client asked before is answered, and nothing the client sends after it is looked
//! at before it is answered itself: the order of a client's requests holds over several connections, and a client waits
//! behind its own BLPOP as it does with one server. What becomes of a request whose connection is lost is for
//! [`fate`](super::fate) to say.

use std::sync::Arc;

use redstart_common::command::CommandSpec;
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, Limits, RequestScanner, RespWrite, encode, error};
use tokio::task::AbortHandle;

use super::choose::{Place, anywhere, place, slot_of_first};
use super::dispatch::{Next, reject};
use super::fate::{Doing, Fate, Loss, Patience, fate, has_not_run, patience, still_waiting};
use super::held::{ask_first, discard, give_back, is_held, open, shard_id, unblock};
use super::request::{Request, write_args};
use super::subscribe::{self, Subscriptions};
use super::{ClientId, absent, forward, redirect, watch};
use crate::backend::Duty;
use crate::backend::connection::Ending;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::backend::private::Held;
use crate::backend::redirect::Redirect;
use crate::settings::OnLostRequest;
use crate::stats::Lost;
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// When something without an end is due, in microseconds of the worker's clock.
const NEVER_US: u64 = u64::MAX / 2;
/// How often a request follows redirects at once. Nodes that each name the other are about to agree.
const HOPS_MAX: u8 = 4;
/// A request that was at its server for so long, in microseconds, begins to count anew when it loses it.
const SETTLED_US: u64 = 1_000_000;
/// Between two attempts to find a server for a request that lost its own, in microseconds.
const RETRY_US: u64 = 20_000;
/// How long a replaced primary may take to let a waiting request go, in microseconds.
const LETTING_GO_US: u64 = 1_000_000;
/// Said of a request that took something from a primary which has been replaced, or may have.
const DEPOSED: &str =
    "the primary was replaced before it answered; whether the request has run is not known";

/// Where a client's request is.
#[derive(Debug)]
pub enum At {
    /// On this connection.
    Server(Held),
    /// Nowhere: it lost its server and looks for another from this time on.
    Nowhere {
        /// In microseconds of the worker's clock.
        from_us: u64,
    },
    /// It is not a connection's but a task's.
    Task(AbortHandle),
}

/// A request on a connection of its client's own, which is not answered yet.
#[derive(Debug)]
pub struct Wait {
    /// The request's number in the client's queue.
    pub sequence: u32,
    /// What it does.
    pub doing: Doing,
    /// Where it is.
    pub at: At,
    row: &'static CommandSpec,
    request: Vec<u8>,
    since_us: u64,
    /// Since when it is without a server, and why.
    lost: Option<(u64, String)>,
    /// Since when its server is none any more for its keys.
    deposed_us: Option<u64>,
    /// Where a node has said that its keys lie.
    told: Option<Told>,
    /// How often it has followed that.
    hops: u8,
    /// When it was sent last.
    sent_us: u64,
}

/// Where the keys of a request lie, as a node of a cluster says.
#[derive(Debug, Clone, Copy)]
struct Told {
    shard: ShardId,
    /// The slot is on its way there: the request goes behind ASKING.
    is_asked: bool,
}

impl Wait {
    /// A request that is sent now. Its bytes are kept if it may be sent again.
    #[must_use]
    pub fn new(
        sequence: u32,
        doing: Doing,
        at: At,
        row: &'static CommandSpec,
        request: Vec<u8>,
        now_us: u64,
    ) -> Self {
        Self {
            sequence,
            doing,
            at,
            row,
            request,
            since_us: now_us,
            lost: None,
            deposed_us: None,
            told: None,
            hops: 0,
            sent_us: now_us,
        }
    }

    /// Whether it waits for something to happen, as those whom CLIENT UNBLOCK can wake.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        matches!(self.doing, Doing::Wait { .. })
    }

    /// Whether its server has no say in its keys any more.
    #[must_use]
    pub fn is_deposed(&self) -> bool {
        self.deposed_us.is_some()
    }
}

/// The request of a client that waits for something to happen.
pub fn wait(core: &mut Core, id: ClientId, request: Request<'_>) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() {
        return Next::Later;
    }
    let (pool, now_us) = (client.pool, request.now_us);
    let shard = match place(core, pool, request) {
        Place::Shard(shard) => shard,
        Place::NoKeys => anywhere(core, id),
        Place::Several => {
            reject(core, id, now_us, |out| out.error(error::CROSS_SLOT));
            return Next::Taken;
        }
    };
    if shard.is_none() {
        return absent::nobody(core, id, now_us);
    }
    let mut bytes = Vec::new();
    write_args(request.args, &mut bytes);
    let doing = Doing::waiting(request.row, request.args);
    let due_us = due_us(request.row, request.args, now_us);
    match open(core, id, shard) {
        Ok(held) => {
            let wait = |sequence| {
                Wait::new(sequence, doing, At::Server(held), request.row, bytes.clone(), now_us)
            };
            begin(core, id, held, now_us, due_us, Kind::of(request.row), &bytes, wait);
        }
        Err(refusal) => forward::refused(core, id, now_us, &refusal),
    }
    Next::Taken
}

/// When a request that waits is to be answered at the latest.
fn due_us(row: &CommandSpec, args: Args<'_>, now_us: u64) -> u64 {
    match patience(row, args) {
        Patience::Endless => NEVER_US,
        Patience::Limited(us) => now_us.saturating_add(us).min(NEVER_US),
        Patience::Unknown => now_us,
    }
}

/// Sends a request on a connection of its client's own.
#[expect(clippy::too_many_arguments, reason = "what a request on its way consists of")]
pub fn begin(
    core: &mut Core,
    id: ClientId,
    held: Held,
    now_us: u64,
    due_us: u64,
    kind: Kind,
    bytes: &[u8],
    wait: impl FnOnce(u32) -> Wait,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return discard(core, held) };
    let sequence = client.begin(now_us);
    client.barrier = true;
    client.wait = Some(Box::new(wait(sequence)));
    let slot = Slot::new(Target::Private { id, sequence }, kind, due_us);
    core.up.send(held.place as usize, slot, |output| output.push(bytes));
}

/// A request on a connection of its client's own is answered.
pub fn settled(core: &mut Core, id: ClientId, sequence: u32, is_error: bool) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Some(wait) = client.wait.take_if(|wait| wait.sequence == sequence) else { return };
    let At::Server(held) = wait.at else { return };
    match wait.doing {
        Doing::Watch { first: true } if is_error => {
            client.watch = None;
            give_back(core, held);
        }
        Doing::Watch { .. } => {
            if let Some(watch) = client.watch.as_mut().filter(|_| is_error) {
                watch.lose();
            }
        }
        Doing::Exec { .. } | Doing::Wait { .. } => give_back(core, held),
    }
}

/// Answers a request that is on no connection (any more).
fn answer(core: &mut Core, id: ClientId, sequence: u32, reply: &[u8]) {
    let now_us = core.clock.now_us();
    if let Some(client) = core.down.clients.get_mut(id) {
        // What the proxy was to do beside its server is not done.
        client.executing = None;
    }
    core.down.clients.restart_clock(id, now_us);
    core.down.clients.answer(id, sequence, reply, now_us);
}

/// The connection of a client's own has ended before the request on it was answered, or its server will not run it.
pub fn lost(core: &mut Core, id: ClientId, sequence: u32, loss: Loss, why: &[u8]) {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    let Some(wait) = client.wait.as_mut().filter(|wait| wait.sequence == sequence) else { return };
    let doing = wait.doing;
    let held = match wait.at {
        At::Server(held) => Some(held),
        At::Nowhere { .. } | At::Task(_) => None,
    };
    if wait.sent_us + SETTLED_US <= now_us {
        (wait.lost, wait.hops) = (None, 0);
    }
    let redirect = crate::backend::redirect::read(why)
        .filter(|_| matches!(loss, Loss::Refused | Loss::Redirected));
    let loss = if redirect.is_some() { Loss::Redirected } else { loss };
    let hops = wait.hops;
    let told = redirect.and_then(|redirect| told(core, pool, held, redirect));
    let told = told.filter(|_| hops < HOPS_MAX);
    let may_wait = core.pools[pool].shared.settings.failover_hold_ms > 0;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Some(wait) = client.wait.as_mut() else { return };
    match fate(doing, loss, may_wait) {
        Fate::Again => {
            let again = wait.lost.is_some();
            let text = String::from_utf8_lossy(why.strip_prefix(b"-").unwrap_or(why));
            wait.lost.get_or_insert_with(|| (now_us, text.trim_end().to_owned()));
            wait.deposed_us = None;
            // Where nobody is named, it is asked first where slots lie.
            let is_early = told.is_none() && (again || loss == Loss::Redirected);
            (wait.told, wait.hops) = (told, wait.hops.saturating_add(1));
            wait.at = At::Nowhere { from_us: if is_early { now_us + RETRY_US } else { now_us } };
            core.homeless.push(id);
        }
        Fate::Void => {
            client.wait = None;
            client.watch.iter_mut().for_each(|it| it.lose());
            answer(core, id, sequence, b"+OK\r\n");
        }
        Fate::Nil => {
            client.wait = None;
            let mut reply = Vec::new();
            reply.null_array(proto);
            answer(core, id, sequence, &reply);
        }
        Fate::Told => {
            client.wait = None;
            let may_have_run = loss == Loss::Sent && !matches!(doing, Doing::Watch { .. });
            let ends = may_have_run
                && doing != Doing::Wait { repeatable: true }
                && core.pools[pool].shared.settings.on_lost_request == OnLostRequest::Close;
            match doing {
                Doing::Watch { first: true } => client.watch = None,
                Doing::Watch { first: false } => client.watch.iter_mut().for_each(|it| it.lose()),
                Doing::Exec { .. } | Doing::Wait { .. } => {}
            }
            if may_have_run {
                let is_replaced = why == DEPOSED.as_bytes();
                let reason = if is_replaced { Lost::Replaced } else { Lost::Connection };
                core.down.lost[pool.place()].count(reason, ends);
            }
            if ends {
                core.down.clients.end_at(id, sequence);
            } else {
                answer(core, id, sequence, &told_of_loss(doing, loss, why));
            }
        }
    }
    if let Some(held) = held {
        discard(core, held);
    }
}

/// What a client is told whose request was lost.
fn told_of_loss(doing: Doing, loss: Loss, why: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    match (loss, doing) {
        (Loss::Refused, _) => reply.extend_from_slice(why),
        (Loss::Redirected, Doing::Exec { .. }) => {
            reply.error("TRYAGAIN the keys of the transaction have moved, and it has not run");
        }
        (Loss::Sent, Doing::Wait { .. }) if why != DEPOSED.as_bytes() => {
            let why = String::from_utf8_lossy(why);
            reply.error(format!(
                "ERR {why}: the server was lost while the command waited, and whether it has run is not known"
            ));
        }
        _ => reply.error(format!("ERR {}", String::from_utf8_lossy(why))),
    }
    reply
}

/// Where a node of a cluster sends a request, if its word is of use. The map is asked for in any case: what is known is old.
fn told(core: &mut Core, pool: PoolId, by: Option<Held>, redirect: Redirect) -> Option<Told> {
    core.pools[pool].shared.strange.notify_one();
    let by = by.filter(|held| is_held(core, *held));
    let by = by.map(|held| Arc::clone(&core.up.get_mut(held.place as usize).server));
    let by = by.as_ref().and_then(|server| server.address.as_ref());
    let (address, is_asked) = match redirect {
        Redirect::Moved(slot, told) => {
            let address = told.address(by)?;
            core.pools[pool].shared.note_moved(slot, address.clone());
            (address, false)
        }
        Redirect::Ask(told) => (told.address(by)?, true),
        Redirect::TryAgain | Redirect::Down => return None,
    };
    let shard = redirect::primary_at(core, pool, &address)?;
    Some(Told { shard: shard_id(core, pool, shard), is_asked })
}

/// A server whose say in the keys has ended has answered a request that waited.
pub fn late(core: &mut Core, id: ClientId, sequence: u32, reply: &[u8]) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Some(wait) = client.wait.as_ref().filter(|wait| wait.sequence == sequence) else { return };
    let is_harmless = wait.doing == Doing::Wait { repeatable: true }
        || matches!(reply.first(), Some(b'-' | b'_'))
        || reply.starts_with(b"*-1")
        || reply.starts_with(b"$-1");
    if reply.starts_with(b"-UNBLOCKED ") || has_not_run(reply) {
        lost(core, id, sequence, Loss::Refused, reply);
    } else if is_harmless {
        answer(core, id, sequence, reply);
        settled(core, id, sequence, reply.starts_with(b"-"));
    } else {
        lost(core, id, sequence, Loss::Sent, DEPOSED.as_bytes());
    }
}

/// Ends a private connection of which the worker has heard that it is lost.
pub fn ended(core: &mut Core, backend: usize, why: &str, how: Ending) {
    let now_us = core.clock.now_us();
    let it = core.up.get_mut(backend);
    it.counters.ended(how);
    let (pool, server, was_up) = (it.pool, it.server.id, it.is_up());
    let since_us = it.begun_us(now_us).min(now_us);
    // What is not sent to its end has not run: a server runs nothing of a transaction before EXEC.
    let loss = if was_up && it.output.is_empty() { Loss::Sent } else { Loss::Unsent };
    let chores = &mut core.down.chores;
    let scripts = &core.pools[pool].shared.scripts;
    let (broken, _) = core.up.close(backend, why, now_us, scripts, |slot| {
        if let Target::Private { id, sequence } = slot.target {
            let why = why.as_bytes().to_vec();
            chores.push(super::chores::Chore::Lost { id, sequence, loss, why });
        }
    });
    if let Some(reply) = broken {
        core.down.break_off(&reply);
    }
    core.release_backend(backend);
    if was_up {
        // That a client's own connection has ended says little of its server; those who are asked first may know more.
        core.pools[pool].shared.strange.notify_one();
    } else if !matches!(how, Ending::Turned | Ending::Refused) {
        core.note_failure(pool, server, since_us);
    }
}

/// Looks for servers for those requests that have lost theirs.
pub fn rehome(core: &mut Core) {
    if core.homeless.is_empty() {
        return;
    }
    let now_us = core.clock.now_us();
    for id in std::mem::take(&mut core.homeless) {
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        let pool = client.pool;
        let hold_ms = core.pools[pool].shared.settings.failover_hold_ms;
        let Some(wait) = &client.wait else { continue };
        let At::Nowhere { from_us } = wait.at else { continue };
        let Some((lost_us, why)) = &wait.lost else { continue };
        if now_us.saturating_sub(*lost_us) > hold_ms * 1000 {
            let text = format!("ERR the server of this key was away for {hold_ms} ms: {why}");
            let sequence = wait.sequence;
            let was_watch = matches!(wait.doing, Doing::Watch { .. });
            client.wait = None;
            if was_watch {
                client.watch = None;
            }
            let mut reply = Vec::new();
            reply.error(text);
            core.pools[pool].stats.forward_errors += 1;
            answer(core, id, sequence, &reply);
        } else if from_us > now_us || !send_again(core, id, now_us) {
            core.homeless.push(id);
        }
    }
}

/// Sends a request again to whoever serves its keys now. Says whether it is on its way.
fn send_again(core: &mut Core, id: ClientId, now_us: u64) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return true };
    let pool = client.pool;
    let Some(mut wait) = client.wait.take() else { return true };
    let (sequence, row, doing) = (wait.sequence, wait.row, wait.doing);
    core.refresh(pool);
    let mut scanner = RequestScanner::default();
    let limits = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    let is_whole = matches!(scanner.scan(&wait.request, &limits), Ok(Some(_)));
    let args = scanner.args(&wait.request);
    let request = Request { args, raw: &wait.request, row, now_us };
    let told = wait.told.take();
    let is_asked = told.is_some_and(|told| told.is_asked);
    let shard = match told.and_then(|told| core.pools[pool].topology.place_of(told.shard)) {
        Some(shard) => Some(shard),
        None => match place(core, pool, request) {
            Place::Shard(shard) => shard,
            Place::NoKeys => anywhere(core, id),
            Place::Several => None,
        },
    };
    let opened = if is_whole { open(core, id, shard).ok() } else { None };
    let epoch = core.pools[pool].topology.epoch;
    let slot = slot_of_first(core, pool, request);
    let Some(client) = core.down.clients.get_mut(id) else { return true };
    let Some(held) = opened else {
        wait.at = At::Nowhere { from_us: now_us + RETRY_US };
        client.wait = Some(wait);
        return false;
    };
    let (mut bytes, mut due_us) = (wait.request.clone(), NEVER_US);
    match doing {
        Doing::Wait { .. } => match patience(row, args) {
            Patience::Limited(us) => {
                let left_us = us.saturating_sub(now_us.saturating_sub(wait.since_us));
                let words = still_waiting(row, args, left_us);
                bytes.clear();
                encode::request(&mut bytes, words.iter().map(Vec::as_slice));
                due_us = now_us + left_us;
            }
            Patience::Endless => {}
            Patience::Unknown => due_us = now_us,
        },
        Doing::Watch { .. } | Doing::Exec { .. } => due_us = now_us,
    }
    wait.at = At::Server(held);
    wait.sent_us = now_us;
    let is_watch = matches!(doing, Doing::Watch { .. });
    if let Some(shard) = shard.filter(|_| is_watch) {
        let shard = core.pools[pool].topology.shards[usize::from(shard)].id;
        let mut watch = watch::Watch::new(held, shard, slot, epoch);
        watch.is_asked = is_asked;
        client.watch = Some(Box::new(watch));
    }
    client.wait = Some(wait);
    if is_asked {
        ask_first(core, held, now_us);
    }
    // WATCH changes nothing, though it is no read.
    let kind = if is_watch { Kind::Read } else { Kind::of(row) };
    let slot = Slot::new(Target::Private { id, sequence }, kind, due_us);
    let it = core.up.get_mut(held.place as usize);
    it.counters.resent += 1;
    core.up.send(held.place as usize, slot, |output| output.push(&bytes));
    true
}

/// A pool has another picture: connections of clients' own to servers that have no say any more are given up, and requests
/// that wait there are asked back.
pub fn reconciled(core: &mut Core, pool: PoolId) {
    let now_us = core.clock.now_us();
    let mut unused = Vec::new();
    for (place, it) in core.up.iter_mut() {
        let is_private = matches!(it.duty, Duty::Private { .. }) && it.pool == pool;
        if is_private && !core.pools[pool].links.contains_key(&it.server.id) {
            unused.push(Held { place: place as u32, epoch: it.epoch });
        }
    }
    if unused.is_empty() {
        return;
    }
    for id in core.down.clients.iter().map(|client| client.id).collect::<Vec<_>>() {
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        if let Some(watch) = client.watch.as_mut().filter(|watch| unused.contains(&watch.held())) {
            watch.lose();
        }
        let Some(wait) = &mut client.wait else { continue };
        let At::Server(held) = wait.at else { continue };
        let Some(at) = unused.iter().position(|other| *other == held) else { continue };
        unused.swap_remove(at);
        if wait.is_blocked() && core.up.get_mut(held.place as usize).is_up() {
            wait.deposed_us = Some(now_us);
            core.deposed_us = Some(now_us);
            unblock(core, held, b"ERROR");
        } else {
            core.close_backend(held.place as usize, DEPOSED, Ending::Turned);
        }
    }
    for held in unused {
        discard(core, held);
    }
}

/// What is done by the clock.
pub fn tick(core: &mut Core) {
    rehome(core);
    let now_us = core.clock.now_us();
    for held in core.privates.stale(now_us) {
        discard(core, held);
    }
    let mut overdue = Vec::new();
    if core.deposed_us.is_some_and(|since_us| since_us + LETTING_GO_US <= now_us) {
        core.deposed_us = None;
        for client in core.down.clients.iter() {
            if let Some(wait) = &client.wait
                && let At::Server(held) = wait.at
                && wait.deposed_us.is_some_and(|since_us| since_us + LETTING_GO_US <= now_us)
            {
                overdue.push(held);
            }
        }
    }
    for held in overdue {
        if is_held(core, held) {
            core.close_backend(held.place as usize, DEPOSED, Ending::Turned);
        }
    }
}

/// CLIENT UNBLOCK: lets a client go that waits. Says whether it waited.
pub fn let_go(core: &mut Core, id: ClientId, is_error: bool) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    let Some(wait) = client.wait.as_ref().filter(|wait| wait.is_blocked()) else { return false };
    let sequence = wait.sequence;
    match &wait.at {
        At::Server(held) => {
            let held = *held;
            if core.up.get_mut(held.place as usize).remote_id == 0 {
                return false;
            }
            unblock(core, held, if is_error { b"ERROR" } else { b"TIMEOUT" });
            return true;
        }
        At::Task(task) => task.abort(),
        At::Nowhere { .. } => {}
    }
    let row = wait.row;
    client.wait = None;
    let mut reply = Vec::new();
    match row.name {
        _ if is_error => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        "wait" => reply.integer(0),
        "waitaof" => reply.extend_from_slice(b"*2\r\n:0\r\n:0\r\n"),
        _ => reply.null_array(proto),
    }
    answer(core, id, sequence, &reply);
    true
}

/// What a client leaves behind that is gone.
#[derive(Debug)]
pub struct Legacy {
    /// Who it was.
    pub id: ClientId,
    /// Its pool.
    pub pool: PoolId,
    /// What it subscribed to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// A request that is not answered.
    pub wait: Option<Box<Wait>>,
    /// What it watched.
    pub watch: Option<Box<watch::Watch>>,
}

/// A client is gone: what it waited for ends at once.
pub fn departed(core: &mut Core, legacy: Legacy) {
    match legacy.wait.map(|wait| wait.at) {
        Some(At::Server(held)) => discard(core, held),
        Some(At::Task(task)) => task.abort(),
        Some(At::Nowhere { .. }) | None => {}
    }
    if let Some(subscriptions) = legacy.subscriptions {
        subscribe::departed(core, legacy.id, legacy.pool, *subscriptions);
    }
    if let Some(watch) = legacy.watch {
        watch::unwatch(core, watch.held());
    }
}
