//! Requests that go to several servers: cut by key, or sent to all.

pub mod by_slot;

use redstart_common::resp::{Args, RespWrite, error};

use super::ClientId;
use super::choose::anywhere;
use super::dispatch::reject;
use super::request::Request;
use super::{forward, reads};
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::gather::{GatherId, Merge, header};
use crate::route::distribution::ShardIndex;
use crate::topology::PoolId;
use crate::worker::Core;

/// No part yet.
const NONE: u16 = u16::MAX;

/// Vectors reused from one split to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each key, its part.
    order: Vec<u16>,
    /// For each shard, its part.
    part_of: Vec<u16>,
    /// For each part, its shard, how many keys it has, and its connection (`None` when it cannot be reached).
    parts: Vec<Part>,
    /// The same for pools whose keys lie in slots.
    by_slot: by_slot::Scratch,
    /// Keys of the requests of a batch, beyond one for each.
    pub(super) more: u32,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    shard: ShardIndex,
    keys: usize,
    backend: Option<usize>,
}

impl Scratch {
    fn clear(&mut self, shards: usize) {
        self.order.clear();
        self.parts.clear();
        self.part_of.resize(shards, NONE);
    }

    fn add(&mut self, shard: ShardIndex) {
        let part = &mut self.part_of[usize::from(shard)];
        if *part == NONE {
            *part = self.parts.len() as u16;
            self.parts.push(Part { shard, keys: 0, backend: None });
        }
        self.parts[usize::from(*part)].keys += 1;
        self.order.push(*part);
    }

    fn finish(&mut self) {
        for part in &self.parts {
            self.part_of[usize::from(part.shard)] = NONE;
        }
        if self.order.capacity() > 64 * 1024 {
            self.order = Vec::new();
        }
    }
}

/// Sends each key (with the arguments that belong to it) to its server, one request per server.
pub fn by_key(core: &mut Core, id: ClientId, request: Request<'_>, merge: Merge, step: usize) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if core.pools[client.pool].has_slots() {
        return by_slot::send(core, id, request, merge, step);
    }
    let Request { args, now_us, row, .. } = request;
    if !(args.len() - 1).is_multiple_of(step) {
        return reject(core, id, now_us, |out| out.error(error::wrong_arity(row.name)));
    }
    let mut scratch = std::mem::take(&mut core.split);
    let found = assign(core, id, args, step, &mut scratch);
    match (found, scratch.parts.as_slice()) {
        (None, _) => forward::refused(core, id, now_us, &Refusal::nobody()),
        (Some(()), [only]) => {
            let shard = Some(only.shard);
            forward::request(core, id, shard, &request);
        }
        _ => send_parts(core, id, request, merge, step, &mut scratch),
    }
    scratch.more = scratch.more.saturating_add(scratch.order.len().saturating_sub(1) as u32);
    scratch.finish();
    core.split = scratch;
}

/// Finds the shard of every key. `None` when none is alive.
fn assign(
    core: &mut Core,
    id: ClientId,
    args: Args<'_>,
    step: usize,
    scratch: &mut Scratch,
) -> Option<()> {
    let client = core.down.clients.get_mut(id)?;
    let pool = &mut core.pools[client.pool];
    scratch.clear(pool.shard_count());
    for span in args.spans().get(1..)?.iter().step_by(step) {
        let key = args.buffer().get(span.start as usize..span.end as usize)?;
        scratch.add(pool.shard_of(key)?);
    }
    Some(())
}

fn send_parts(
    core: &mut Core,
    id: ClientId,
    request: Request<'_>,
    merge: Merge,
    step: usize,
    scratch: &mut Scratch,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Request { args, now_us, .. } = request;
    let pool = &mut core.pools[client.pool];
    pool.stats.fragments += scratch.parts.len() as u64;
    let sequence = client.begin(now_us);
    let order: &[u16] = if merge == Merge::Values { &scratch.order } else { &[] };
    let gather = core.down.gathers.begin(merge, id, sequence, scratch.parts.len(), order);
    let name = args.at(0);
    let pool_index = client.pool;
    for (number, part) in scratch.parts.iter_mut().enumerate() {
        let kind = Kind::of(request.row);
        let backend = reads::choose_for(core, id, pool_index, part.shard, kind, now_us);
        match backend.and_then(|backend| core.up.check(backend, now_us).map(|()| backend)) {
            Ok(backend) => {
                part.backend = Some(backend);
                let target = Target::Part { gather, part: number as u32 };
                let slot = Slot::new(target, kind, now_us);
                core.up.send(backend, slot, |output| {
                    let out = output.tail();
                    header(out, b'*', (1 + part.keys * step) as u64);
                    header(out, b'$', name.len() as u64);
                    out.extend_from_slice(name);
                    out.extend_from_slice(b"\r\n");
                });
            }
            Err(refusal) => {
                core.pools[pool_index].stats.forward_errors += 1;
                fail_part(core, gather, number as u32, refusal.text(), now_us);
            }
        }
    }
    write_keys(core, request, step, scratch);
    for part in &scratch.parts {
        if let Some(backend) = part.backend {
            core.up.send_if_large(backend);
        }
    }
}

/// Writes every key, with its arguments, in one pass: each server's request grows in its own output. Keys in a row
/// that have the same server are one piece.
fn write_keys(core: &mut Core, request: Request<'_>, step: usize, scratch: &Scratch) {
    let spans = request.args.spans();
    let is_raw = !request.is_inline();
    let mut from = 1;
    for run in scratch.order.chunk_by(|one, next| one == next) {
        let first = from;
        from += run.len() * step;
        let Some(backend) = scratch.parts[usize::from(run[0])].backend else { continue };
        let out = core.up.extend(backend);
        if is_raw {
            // What lies between the argument before and the end of the last one is just what is needed.
            let start = spans[first - 1].end as usize + 2;
            let end = spans[from - 1].end as usize + 2;
            out.extend_from_slice(&request.raw[start..end]);
        } else {
            for place in first..from {
                let arg = request.args.at(place);
                header(out, b'$', arg.len() as u64);
                out.extend_from_slice(arg);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

fn fail_part(core: &mut Core, gather: GatherId, part: u32, text: &[u8], now_us: u64) {
    let mut reply = Vec::with_capacity(text.len() + 3);
    reply.error(text);
    core.down.answer(Target::Part { gather, part }, &reply, now_us);
}

/// Sends a request as it is to every live server.
pub fn to_every_server(core: &mut Core, id: ClientId, request: Request<'_>, merge: Merge) {
    to_every_server_or(core, id, request, merge, &[]);
}

/// As [`to_every_server`], where the merge is [`Merge::And`] and elements are known already to be 1: those that are 1 in
/// `known`, unless that is empty.
pub fn to_every_server_or(
    core: &mut Core,
    id: ClientId,
    request: Request<'_>,
    merge: Merge,
    known: &[u16],
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let now_us = request.now_us;
    let pool_index = client.pool;
    let pool = &mut core.pools[pool_index];
    let topology = std::sync::Arc::clone(&pool.topology);
    if topology.live.is_empty() {
        return forward::refused(core, id, now_us, &Refusal::nobody());
    }
    if topology.live.len() == 1 && !known.contains(&1) {
        let shard = anywhere(core, id);
        return forward::request(core, id, shard, &request);
    }
    let merge = match merge {
        Merge::Any(_) => Merge::Any((pool.chance() >> 32) as u32),
        other => other,
    };
    pool.stats.fragments += topology.live.len() as u64;
    let sequence = client.begin(now_us);
    let lane = client.lane;
    let gather = core.down.gathers.begin(merge, id, sequence, topology.live.len(), known);
    for (part, shard) in topology.live.iter().enumerate() {
        let backend = core.pools[pool_index].backend(*shard, lane);
        send_part(core, backend, gather, part as u32, pool_index, request);
    }
}

fn send_part(
    core: &mut Core,
    backend: usize,
    gather: GatherId,
    part: u32,
    pool: PoolId,
    request: Request<'_>,
) {
    match core.up.check(backend, request.now_us) {
        Ok(()) => {
            let target = Target::Part { gather, part };
            let slot = Slot::new(target, Kind::of(request.row), request.now_us);
            core.up.send(backend, slot, |output| request.write(output));
        }
        Err(refusal) => {
            core.pools[pool].stats.forward_errors += 1;
            fail_part(core, gather, part, refusal.text(), request.now_us);
        }
    }
}
