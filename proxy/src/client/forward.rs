//! Sends requests whose shard is known, and sends again what could not be sent where it was meant to go. What goes where
//! is decided by others.

use redstart_common::command::{self, CommandId, Mode};
use redstart_common::resp::{Limits, RequestScanner, RespWrite};

use super::ClientId;
use super::choose::{Place, place};
use super::request::{Request, write_args};
use super::{reads, redirect};
use crate::backend::again::Waiting;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::backend::{Refusal, Upstream};
use crate::output::Output;
use crate::route::distribution::ShardIndex;
use crate::route::plan::{Plan, Script, command_named};
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// Said of a request whose shard is gone before it was sent, where no other can take it.
const SHARD_LEFT: &[u8] = b"-ERR the server of this key has left the pool\r\n";

/// Queues a request as it is for a shard, or answers at once that its server cannot be reached.
#[inline]
pub fn request(core: &mut Core, id: ClientId, shard: Option<ShardIndex>, request: &Request<'_>) {
    let now_us = request.now_us;
    let kind = Kind::of(request.row);
    if request.is_inline() {
        written(core, id, shard, kind, now_us, |output| write_args(request.args, output.tail()));
    } else {
        by(core, id, shard, kind, now_us, |up, backend, target| {
            let slot = Slot::new(target, kind, now_us);
            up.send_bytes(backend, slot, request.raw);
        });
    }
}

/// Queues for a shard what `write` appends, or answers at once that its server cannot be reached.
#[inline]
pub fn written(
    core: &mut Core,
    id: ClientId,
    shard: Option<ShardIndex>,
    kind: Kind,
    now_us: u64,
    write: impl FnOnce(&mut Output),
) {
    by(core, id, shard, kind, now_us, |up, backend, target| {
        up.send(backend, Slot::new(target, kind, now_us), write);
    });
}

/// Counts a request in and has `send` queue it for the connection of a shard, or answers at once that its server cannot be
/// reached.
#[inline]
pub fn by(
    core: &mut Core,
    id: ClientId,
    shard: Option<ShardIndex>,
    kind: Kind,
    now_us: u64,
    send: impl FnOnce(&mut Upstream, usize, Target),
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = &mut core.pools[client.pool];
    let backend = match shard {
        Some(shard) if pool.reads.is_none() => Ok(pool.backend(shard, client.lane)),
        Some(shard) => reads::choose(pool, &mut core.up, client, shard, kind, now_us),
        None => pool.waiting_place(client.lane).ok_or_else(Refusal::nobody),
    };
    let sent = match backend {
        Ok(backend) => match core.up.check(backend, now_us) {
            Ok(()) => {
                let sequence = client.begin(now_us);
                send(&mut core.up, backend, Target::Client { id, sequence });
                Ok(())
            }
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = sent {
        refused(core, id, now_us, &refusal);
    }
}

/// Tells a client that its request cannot be sent.
#[cold]
pub fn refused(core: &mut Core, id: ClientId, now_us: u64, refusal: &Refusal) {
    if let Some(client) = core.down.clients.get_mut(id) {
        core.pools[client.pool].stats.forward_errors += 1;
        client.spoil_transaction();
    }
    core.down.clients.reject(id);
    core.down.clients.reply(id, now_us, |out| out.error(refusal.text()));
}

/// Sends requests that waited for a connection of a shard: on the same lane to whoever serves that shard now, or, where
/// the shard is gone (`None` is one that had gone before), each to the shard that has its keys now.
pub fn again(core: &mut Core, pool: PoolId, shard: Option<ShardId>, lane: u32, waiting: &Waiting) {
    let has_slots = core.pools[pool].has_slots();
    let place = shard.and_then(|shard| core.pools[pool].topology.place_of(shard));
    let mut at = 0;
    for slot in &waiting.slots {
        let request = &waiting.bytes[at..at + slot.bytes as usize];
        at += slot.bytes as usize;
        if has_slots
            && let Some((id, ..)) = core.down.owner_of(slot.target)
            && let Some(client) = core.down.clients.get_mut(id)
        {
            client.is_resent = true;
        }
        // Slots may have gone to several others.
        if has_slots && place.is_none() {
            redirect::by_map(core, pool, lane, *slot, request);
            continue;
        }
        let backend = match place {
            Some(place) => Some(core.pools[pool].backend(place, lane)),
            None => elsewhere(core, pool, lane, slot.target, request),
        };
        let now_us = core.clock.now_us();
        match backend.map(|backend| (backend, core.up.check(backend, now_us))) {
            Some((backend, Ok(()))) => {
                core.up.send_again(backend, *slot, request, &core.pools[pool].shared.scripts);
            }
            Some((_, Err(refusal))) => {
                core.pools[pool].stats.forward_errors += 1;
                let mut text = Vec::new();
                text.error(refusal.text());
                core.down.answer(slot.target, &text, now_us);
            }
            None => {
                core.pools[pool].stats.forward_errors += 1;
                core.down.answer(slot.target, SHARD_LEFT, now_us);
            }
        }
    }
}

/// The connection for a client's request whose shard is gone: that of the shard which has all its keys now.
fn elsewhere(
    core: &mut Core,
    pool: PoolId,
    lane: u32,
    target: Target,
    raw: &[u8],
) -> Option<usize> {
    // A part of a split request has a shape that fits its shard only; one of a transaction is worth nothing alone.
    let target = core.down.hedges.target(target);
    let (Target::Client { .. } | Target::Script { .. } | Target::Fill { .. }) = target else {
        return None;
    };
    let mut scanner = RequestScanner::default();
    let limits = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    let complete = scanner.scan(raw, &limits).ok().flatten()?;
    if complete != raw.len() {
        return None;
    }
    let args = scanner.args(raw);
    let command = command_named(args.get(0)?)?;
    let sub = args.get(1).and_then(|name| command::lookup_sub(Mode::Proxy, command, name));
    let row = sub.map_or(command.spec(), CommandId::spec);
    if !matches!(
        core.pools[pool].plans[row.id.index()],
        Plan::Key(_)
            | Plan::Fill(_)
            | Plan::Keys
            | Plan::ToDatabase
            | Plan::Script(Script::Eval | Script::EvalSha)
    ) {
        return None;
    }
    let request = Request { args, raw, row, now_us: 0 };
    let Place::Shard(Some(shard)) = place(core, pool, request) else { return None };
    Some(core.pools[pool].backend(shard, lane))
}
