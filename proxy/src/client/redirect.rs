//! Sends on what a node of a cluster has answered by a redirect: to the node it names, or, after a while, to whoever has the
//! slot then.
//!
//! ```text
//!   MOVED, ASK       at once, behind what was sent to that node before: who follows comes behind it
//!   the same, to a node nobody knows yet, or again and again     waits, and the map is asked for
//!   TRYAGAIN         waits a little
//!   CLUSTERDOWN      waits, as for a server that is away
//! ```
//!
//! A client whose request waits is not listened to until it is answered, so that nothing of it comes first. What it had sent behind
//! that by then is not to come first either: it waits as well if it is turned away, and goes when all before it is answered or goes
//! with it.

use std::collections::HashMap;

use redstart_common::command::{self, CommandId, Mode, keys};
use redstart_common::resp::{Limits, RequestScanner, RespWrite};

use super::{Client, ClientId};
use crate::backend::pipeline::{Slot, Target};
use crate::backend::redirect::{ASKING, Redirect};
use crate::downstream::Downstream;
use crate::route::distribution::ShardIndex;
use crate::route::plan::command_named;
use crate::settings::ServerAddress;
use crate::topology::{PoolId, Role};
use crate::worker::Core;

/// How often a request follows redirects at once. Nodes that each name the other are about to agree.
const HOPS_MAX: u8 = 4;
/// Between two attempts at what waits, in microseconds.
const PAUSE_US: u64 = 5_000;
/// The same while all that waits does so for the cluster to be up.
const PAUSE_DOWN_US: u64 = 40_000;
/// What waits for nodes to agree, or for keys that are on their way, waits for so long at least, in milliseconds.
const AGREE_MS_MIN: u64 = 1_000;

/// A request that was answered by a redirect.
#[derive(Debug)]
pub struct Turned {
    /// Who is owed the reply.
    pub slot: Slot,
    /// The request; `None` when it is not kept any more.
    pub bytes: Option<Vec<u8>>,
    /// The redirect.
    pub redirect: Redirect,
    /// The reply that says so, for the client when all is in vain.
    pub reply: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    /// Whose it is, the request's number in its queue, and whether this is all of the request.
    owner: (ClientId, u32, bool),
    pool: PoolId,
    lane: u32,
    slot: Slot,
    request: Vec<u8>,
    redirect: Redirect,
    reply: Vec<u8>,
}

/// Requests of a worker that wait to be tried again.
#[derive(Debug, Default)]
pub struct Parking {
    waiting: Vec<Waiting>,
    bytes: usize,
    due_us: u64,
}

impl Parking {
    /// Whether nothing waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a request of the same client waits.
    fn has_any_of(&self, down: &Downstream, target: Target) -> bool {
        let owner = (!self.waiting.is_empty()).then(|| down.owner_of(target)).flatten();
        owner.is_some_and(|(id, ..)| self.waiting.iter().any(|other| other.owner.0 == id))
    }
}

/// Sends on what a connection on this lane has turned away. The node is at `by`.
#[cold]
pub fn follow(
    core: &mut Core,
    pool: PoolId,
    lane: u32,
    by: Option<&ServerAddress>,
    turned: Vec<Turned>,
) {
    for Turned { slot, bytes, redirect, reply } in turned {
        let Some(mut request) = bytes else {
            let text = b"-TRYAGAIN the slot of this key has moved, and more was under way than is kept to be sent again\r\n";
            let now_us = core.clock.now_us();
            core.down.answer(slot.target, text, now_us);
            continue;
        };
        // It was asked of a node that does not import the slot any more, or not yet.
        let mut slot = slot;
        if request.starts_with(ASKING) {
            request.drain(..ASKING.len());
            slot.lead = slot.lead.saturating_sub(1);
        }
        slot.bytes = request.len() as u32;
        slot.attempts = slot.attempts.saturating_add(1);
        let told = match &redirect {
            Redirect::Moved(slot, told) => {
                let address = told.address(by);
                if let Some(address) = &address {
                    core.pools[pool].shared.note_moved(*slot, address.clone());
                }
                address
            }
            Redirect::Ask(told) => {
                note_parting(core, pool, by);
                told.address(by)
            }
            Redirect::TryAgain | Redirect::Down => None,
        };
        if matches!(redirect, Redirect::Down) {
            core.pools[pool].shared.strange.notify_one();
        }
        let shard = told.and_then(|address| primary_at(core, pool, &address));
        let shard = shard.filter(|_| !core.parking.has_any_of(&core.down, slot.target));
        let shard = shard.filter(|_| !is_behind_resent(&mut core.down, slot.target));
        let is_asked = matches!(redirect, Redirect::Ask(_));
        match shard {
            Some(shard) if slot.attempts <= HOPS_MAX => {
                let backend = core.pools[pool].backend(shard, lane);
                send(core, pool, backend, slot, &request, is_asked);
            }
            _ => {
                core.pools[pool].shared.strange.notify_one();
                // Nobody hears it, and what is put together for a client that is gone is let go of.
                let Some(owner) = core.down.owner_of(slot.target) else {
                    let now_us = core.clock.now_us();
                    core.down.answer(slot.target, &reply, now_us);
                    continue;
                };
                park(core, Waiting { owner, pool, lane, slot, request, redirect, reply });
            }
        }
    }
}

/// Whether a request stands behind others of its client that were sent again, and are not answered.
fn is_behind_resent(down: &mut Downstream, target: Target) -> bool {
    let Some((id, sequence, _)) = down.owner_of(target) else { return false };
    let client = down.clients.get_mut(id).filter(|client| client.is_resent);
    client.is_some_and(|client| client.pending.first_awaited(|_| false) != Some(sequence))
}

/// A node has said that a slot of its own is on its way elsewhere. Where its replicas may be read, that is to be known.
fn note_parting(core: &mut Core, pool: PoolId, by: Option<&ServerAddress>) {
    let it = &core.pools[pool];
    let shard = by.filter(|_| it.reads.is_some()).and_then(|by| primary_at(core, pool, by));
    if shard.is_some_and(|shard| !it.topology.shards[usize::from(shard)].is_parting) {
        it.shared.strange.notify_one();
    }
}

/// The shard whose primary is at this address.
pub fn primary_at(core: &Core, pool: PoolId, address: &ServerAddress) -> Option<ShardIndex> {
    let members = &core.pools[pool].topology.members;
    let is_there =
        |role: Role, at: Option<&ServerAddress>| role == Role::Primary && at == Some(address);
    let found = members.iter().find(|it| is_there(it.role, it.endpoint.address.as_ref()))?;
    Some(found.shard)
}

/// Queues a request that has waited elsewhere, behind ASKING where that is wanted, in one piece.
fn send(core: &mut Core, pool: PoolId, backend: usize, slot: Slot, request: &[u8], is_asked: bool) {
    let now_us = core.clock.now_us();
    match core.up.check(backend, now_us) {
        Ok(()) => {
            let scripts = &core.pools[pool].shared.scripts;
            if is_asked {
                core.up.tell_script(backend, now_us, request, scripts);
                let slot = Slot { lead: slot.lead.saturating_add(1), ..slot };
                core.up.send_pieces_again(backend, slot, &[ASKING, request]);
            } else {
                core.up.send_again(backend, slot, request, scripts);
            }
        }
        Err(refusal) => {
            core.pools[pool].stats.forward_errors += 1;
            let mut text = Vec::new();
            text.error(refusal.text());
            core.down.answer(slot.target, &text, now_us);
        }
    }
}

/// Lets a request wait to be tried again.
fn park(core: &mut Core, waiting: Waiting) {
    let now_us = core.clock.now_us();
    let bytes = waiting.request.len();
    if core.parking.bytes + bytes > core.up.queue_bytes_max {
        return core.down.answer(waiting.slot.target, &waiting.reply, now_us);
    }
    let Some(client) = core.down.clients.get_mut(waiting.owner.0) else {
        return core.down.answer(waiting.slot.target, &waiting.reply, now_us);
    };
    client.barrier = true;
    let parking = &mut core.parking;
    let pause_us = if waiting.redirect == Redirect::Down { PAUSE_DOWN_US } else { PAUSE_US };
    let due_us = now_us + pause_us;
    parking.due_us = if parking.waiting.is_empty() { due_us } else { parking.due_us.min(due_us) };
    parking.bytes += bytes;
    parking.waiting.push(waiting);
}

/// Tries what waits again, if it is time: of each client in the order in which it asked, as far as nothing before it is under way
/// elsewhere, which might be turned away as well and come behind it then.
pub fn retry(core: &mut Core) {
    let now_us = core.clock.now_us();
    if core.parking.waiting.is_empty() || now_us < core.parking.due_us {
        return;
    }
    core.parking.bytes = 0;
    let mut all = std::mem::take(&mut core.parking.waiting);
    let clients = &mut core.down.clients;
    all.sort_by_key(|it| {
        let (id, sequence, _) = it.owner;
        let place = clients.get_mut(id).map_or(0, |client| client.pending.place_of(sequence));
        (id.index, id.generation, place)
    });
    let last = last_that_may_go(core, &all);
    for waiting in all {
        let settings = &core.pools[waiting.pool].shared.settings;
        let (slot, redirect) = (waiting.slot, &waiting.redirect);
        let waited_ms = now_us.saturating_sub(slot.at_us) / 1000;
        let hold_ms = match redirect {
            Redirect::Down => settings.failover_hold_ms,
            _ => settings.failover_hold_ms.max(AGREE_MS_MIN),
        };
        let (id, sequence, _) = waiting.owner;
        let place = |client: &mut Client, sequence| client.pending.place_of(sequence);
        let is_behind = core
            .down
            .clients
            .get_mut(id)
            .zip(last.get(&id))
            .is_some_and(|(client, last)| place(client, sequence) > place(client, *last));
        if is_behind {
            // It is not the nodes that it waits for.
            park(core, Waiting { slot: Slot { at_us: now_us, ..slot }, ..waiting });
        } else if settings.timeout_ms.is_some_and(|timeout_ms| waited_ms >= timeout_ms) {
            core.down.answer(slot.target, b"-ERR Connection timed out\r\n", now_us);
        } else if waited_ms >= hold_ms {
            let reply = in_vain(&waiting.redirect, waiting.reply, waited_ms);
            core.down.answer(slot.target, &reply, now_us);
        } else {
            // It follows redirects anew.
            let slot = Slot { attempts: 0, ..slot };
            by_map(core, waiting.pool, waiting.lane, slot, &waiting.request);
        }
    }
}

/// For each client whose requests wait, up to which of its requests they may go: the first that is neither answered nor waits as a
/// whole. Where there is none, all may.
fn last_that_may_go(core: &mut Core, waiting: &[Waiting]) -> HashMap<ClientId, u32> {
    let mut last = HashMap::new();
    for of_one in waiting.chunk_by(|one, other| one.owner.0 == other.owner.0) {
        let id = of_one[0].owner.0;
        let Some(client) = core.down.clients.get_mut(id) else { continue };
        let waits = |sequence| of_one.iter().any(|it| it.owner.1 == sequence && it.owner.2);
        last.extend(client.pending.first_awaited(waits).map(|first| (id, first)));
    }
    last
}

/// What a client is told whose request has waited too long. A redirect means nothing to it.
fn in_vain(redirect: &Redirect, reply: Vec<u8>, waited_ms: u64) -> Vec<u8> {
    match redirect {
        Redirect::TryAgain | Redirect::Down => reply,
        Redirect::Moved(..) | Redirect::Ask(_) => {
            let text = String::from_utf8_lossy(&reply);
            let text = text.trim_start_matches('-').trim_end();
            let mut out = Vec::new();
            out.error(format!(
                "CLUSTERDOWN the nodes have not agreed for {waited_ms} ms on where this key is: {text}"
            ));
            out
        }
    }
}

/// Sends a request to whoever has its keys by the present map.
pub fn by_map(core: &mut Core, pool: PoolId, lane: u32, slot: Slot, request: &[u8]) {
    let shard = match first_key(request) {
        Some(key) => core.pools[pool].shard_of(key),
        None => core.pools[pool].topology.live.first().copied(),
    };
    let backend = match shard {
        Some(shard) => core.pools[pool].backend(shard, lane),
        None => core.pools[pool].limbo[lane as usize] as usize,
    };
    send(core, pool, backend, slot, request, false);
}

/// The first key of a request, or of the requests of a transaction.
fn first_key(mut bytes: &[u8]) -> Option<&[u8]> {
    let limits = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    while !bytes.is_empty() {
        let mut scanner = RequestScanner::default();
        let len = scanner.scan(bytes, &limits).ok().flatten()?;
        let args = scanner.args(&bytes[..len]);
        let command = command_named(args.get(0)?)?;
        let sub = args.get(1).filter(|_| command.spec().is_container());
        let sub = sub.and_then(|name| command::lookup_sub(Mode::Proxy, command, name));
        let row = sub.map_or(command.spec(), CommandId::spec);
        if let Some(span) = keys::first(row, args).and_then(|at| args.spans().get(at)) {
            return bytes.get(span.start as usize..span.end as usize);
        }
        bytes = &bytes[len..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_that_of_the_first_request_with_one() {
        let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        assert_eq!(first_key(get), Some(&b"k"[..]));
        let block = [&b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n"[..], get].concat();
        assert_eq!(first_key(&block), Some(&b"k"[..]));
        let usage = b"*3\r\n$6\r\nMEMORY\r\n$5\r\nUSAGE\r\n$3\r\nkey\r\n";
        assert_eq!(first_key(usage), Some(&b"key"[..]));
        assert_eq!(first_key(b"*1\r\n$4\r\nPING\r\n"), None);
        assert_eq!(first_key(b"nonsense"), None);
    }
}
