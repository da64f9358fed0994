//! Cuts a request by the slots of its keys. A node refuses keys of several slots together though all be its own, and a
//! slot may move alone: so each has a request of its own, and what is turned away goes where its slot is.

use redstart_common::resp::{Args, RespWrite, error};

use super::super::ClientId;
use super::super::dispatch::reject;
use super::super::request::Request;
use super::super::{forward, reads};
use super::fail_part;
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::gather::{Merge, header};
use crate::output::Output;
use crate::route::pool::Pool;
use crate::worker::Core;
use redstart_common::slot::SLOT_COUNT;

/// No part yet.
const NONE: u16 = u16::MAX;

/// Vectors reused from one split to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each slot, its part.
    part_of: Vec<u16>,
    /// For each key, its part.
    order: Vec<u16>,
    /// For each part, its slot and how many keys it has.
    parts: Vec<(u16, u32)>,
    /// The numbers of the keys, part by part.
    keys: Vec<u32>,
}

impl Scratch {
    /// Finds the part of every key.
    fn assign(&mut self, pool: &Pool, args: Args<'_>, step: usize) {
        self.order.clear();
        self.parts.clear();
        self.part_of.resize(usize::from(SLOT_COUNT), NONE);
        for at in (1..args.len()).step_by(step) {
            let slot = pool.slot_of(args.at(at)).unwrap_or_default();
            let part = &mut self.part_of[usize::from(slot)];
            if *part == NONE {
                *part = self.parts.len() as u16;
                self.parts.push((slot, 0));
            }
            self.parts[usize::from(*part)].1 += 1;
            self.order.push(*part);
        }
        for (slot, _) in &self.parts {
            self.part_of[usize::from(*slot)] = NONE;
        }
        // Where the keys of each part begin, and then each key to its place.
        let mut at = 0;
        let mut next: smallvec::SmallVec<[u32; 64]> = smallvec::SmallVec::new();
        for (_, count) in &self.parts {
            next.push(at);
            at += count;
        }
        self.keys.clear();
        self.keys.resize(self.order.len(), 0);
        for (key, part) in (0..).zip(&self.order) {
            let place = &mut next[usize::from(*part)];
            self.keys[*place as usize] = key;
            *place += 1;
        }
    }

    fn finish(&mut self) {
        if self.order.capacity() > 64 * 1024 {
            self.order = Vec::new();
            self.keys = Vec::new();
        }
    }
}

/// Sends the keys of each slot (with the arguments that belong to them) to the node that has it.
pub fn send(core: &mut Core, id: ClientId, request: Request<'_>, merge: Merge, step: usize) {
    let Request { args, now_us, row, .. } = request;
    if !(args.len() - 1).is_multiple_of(step) {
        return reject(core, id, now_us, |out| out.error(error::wrong_arity(row.name)));
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool_index = client.pool;
    let mut scratch = std::mem::take(&mut core.split.by_slot);
    scratch.assign(&core.pools[pool_index], args, step);
    match scratch.parts.as_slice() {
        [(slot, _)] => {
            let shard = core.pools[pool_index].topology.distribution.shard(u64::from(*slot));
            forward::request(core, id, shard, &request);
        }
        _ => send_parts(core, id, request, merge, step, &scratch),
    }
    let more = scratch.order.len().saturating_sub(1) as u32;
    core.split.more = core.split.more.saturating_add(more);
    scratch.finish();
    core.split.by_slot = scratch;
}

fn send_parts(
    core: &mut Core,
    id: ClientId,
    request: Request<'_>,
    merge: Merge,
    step: usize,
    scratch: &Scratch,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (now_us, kind) = (request.now_us, Kind::of(request.row));
    let (lane, pool_index) = (client.lane, client.pool);
    core.pools[pool_index].stats.fragments += scratch.parts.len() as u64;
    let sequence = client.begin(now_us);
    let order: &[u16] = if merge == Merge::Values { &scratch.order } else { &[] };
    let gather = core.down.gathers.begin(merge, id, sequence, scratch.parts.len(), order);
    let mut from = 0;
    for (part, (slot, count)) in (0..).zip(&scratch.parts) {
        let keys = &scratch.keys[from..from + *count as usize];
        from += keys.len();
        let pool = &core.pools[pool_index];
        let backend = match pool.topology.distribution.shard(u64::from(*slot)) {
            Some(shard) => reads::choose_for(core, id, pool_index, shard, kind, now_us),
            None => pool.waiting_place(lane).ok_or_else(Refusal::nobody),
        };
        match backend.and_then(|backend| core.up.check(backend, now_us).map(|()| backend)) {
            Ok(backend) => {
                let slot = Slot::new(Target::Part { gather, part }, kind, now_us);
                core.up.send(backend, slot, |output| write_part(output, request, keys, step));
            }
            Err(refusal) => {
                core.pools[pool_index].stats.forward_errors += 1;
                fail_part(core, gather, part, refusal.text(), now_us);
            }
        }
    }
}

fn write_part(output: &mut Output, request: Request<'_>, keys: &[u32], step: usize) {
    let args = request.args;
    let out = output.tail();
    header(out, b'*', (1 + keys.len() * step) as u64);
    write_word(out, args.at(0));
    let spans = args.spans();
    for key in keys {
        let first = 1 + *key as usize * step;
        if request.is_inline() {
            (first..first + step).for_each(|at| write_word(out, args.at(at)));
        } else {
            // What lies between the argument before and the end of the last one is just what is needed.
            let start = spans[first - 1].end as usize + 2;
            let end = spans[first + step - 1].end as usize + 2;
            out.extend_from_slice(&request.raw[start..end]);
        }
    }
}

fn write_word(out: &mut Vec<u8>, word: &[u8]) {
    header(out, b'$', word.len() as u64);
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}
