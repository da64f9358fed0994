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
//! A client whose request waits is not listened to until it is answered, so that nothing of it comes first.

use redstart_common::command::{self, CommandId, Mode, keys};
use redstart_common::resp::{Limits, RequestScanner, RespWrite};

use crate::backend::pipeline::{Slot, Target};
use crate::backend::redirect::{ASKING, Redirect};
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
        let is_asked = matches!(redirect, Redirect::Ask(_));
        match shard {
            Some(shard) if slot.attempts <= HOPS_MAX => {
                let backend = core.pools[pool].backend(shard, lane);
                send(core, pool, backend, slot, &request, is_asked);
            }
            _ => {
                core.pools[pool].shared.strange.notify_one();
                park(core, Waiting { pool, lane, slot, request, redirect, reply });
            }
        }
    }
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
    let client = match waiting.slot.target {
        Target::Client { id, .. }
        | Target::Script { id, .. }
        | Target::Fill { id, .. }
        | Target::Private { id, .. } => Some(id),
        Target::Part { gather, .. } => core.down.gathers.client_of(gather),
        Target::Hedged { number, .. } => core.down.client_of_hedge(number),
        Target::Copy { .. } | Target::Nobody => None,
    };
    let Some(client) = client.and_then(|id| core.down.clients.get_mut(id)) else {
        // Nobody hears it, and what is put together for a client that is gone is let go of.
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

/// Tries what waits again, if it is time. All of it goes at once, so that its order stays.
pub fn retry(core: &mut Core) {
    let now_us = core.clock.now_us();
    if core.parking.waiting.is_empty() || now_us < core.parking.due_us {
        return;
    }
    core.parking.bytes = 0;
    for waiting in std::mem::take(&mut core.parking.waiting) {
        let Waiting { pool, lane, slot, request, redirect, reply } = waiting;
        let settings = &core.pools[pool].shared.settings;
        let waited_ms = now_us.saturating_sub(slot.at_us) / 1000;
        let hold_ms = match redirect {
            Redirect::Down => settings.failover_hold_ms,
            _ => settings.failover_hold_ms.max(AGREE_MS_MIN),
        };
        if settings.timeout_ms.is_some_and(|timeout_ms| waited_ms >= timeout_ms) {
            core.down.answer(slot.target, b"-ERR Connection timed out\r\n", now_us);
        } else if waited_ms >= hold_ms {
            core.down.answer(slot.target, &in_vain(&redirect, reply, waited_ms), now_us);
        } else {
            by_map(core, pool, lane, slot, &request);
        }
    }
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
