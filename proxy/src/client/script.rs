//! Scripts: EVAL and EVALSHA go where their keys lie, SCRIPT LOAD and FLUSH everywhere, and a server that lacks a script is
//! given it.
//!
//! A connection that has not carried a script carries EVAL in place of EVALSHA, so that nothing is sent twice and the order
//! of a client's requests holds. Where a server has lost a script that its connection has carried (somebody flushed it behind
//! the proxy's back), it answers NOSCRIPT, and the request is sent again as EVAL, unless its client has sent more meanwhile,
//! which would be overtaken: then the client gets the error.

use std::sync::Arc;

use redstart_common::command;
use redstart_common::resp::{Args, Limits, RequestScanner, RespWrite, encode, error};

use super::choose::{Place, place, whichever};
use super::dispatch::reject;
use super::request::{Request, write_args};
use super::{ClientId, forward, split};
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::gather::Merge;
use crate::output::Output;
use crate::route::distribution::ShardIndex;
use crate::route::plan::Script;
use crate::scripts::{Digest, read_digest};
use crate::topology::pool::SharedPool;
use crate::worker::Core;

/// A command about scripts.
pub fn take(core: &mut Core, id: ClientId, request: Request<'_>, what: Script) {
    match what {
        Script::Eval => eval(core, id, request),
        Script::EvalSha => eval_sha(core, id, request),
        Script::Exists => exists(core, id, request),
        Script::Load => load(core, id, request),
        Script::Flush => flush(core, id, request),
    }
}

fn shared(core: &mut Core, id: ClientId) -> Option<Arc<SharedPool>> {
    let client = core.down.clients.get_mut(id)?;
    Some(Arc::clone(&core.pools[client.pool].shared))
}

/// The shard of a script's keys; the error has been told when there is none.
fn shard(core: &mut Core, id: ClientId, request: Request<'_>) -> Option<Option<ShardIndex>> {
    let client = core.down.clients.get_mut(id)?;
    let pool = client.pool;
    match place(core, pool, request) {
        Place::Shard(shard) => Some(shard),
        Place::NoKeys => Some(whichever(core, id, request.row)),
        Place::Several => {
            reject(core, id, request.now_us, |out| out.error(error::CROSS_SLOT));
            None
        }
    }
}

/// Takes note of a body that a client shows.
fn note(core: &mut Core, id: ClientId, body: &[u8]) -> Option<Digest> {
    let shared = shared(core, id)?;
    Some(core.met_scripts.note(&shared.scripts, body))
}

fn eval(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(digest) = note(core, id, request.args.at(1)) else { return };
    let Some(shard) = shard(core, id, request) else { return };
    let kind = Kind::of(request.row);
    forward::by(core, id, shard, kind, request.now_us, |up, backend, target| {
        up.get_mut(backend).carried.note(digest);
        let slot = Slot::new(target, Kind::of(request.row), request.now_us);
        if request.is_inline() {
            up.send(backend, slot, |output| request.write(output));
        } else {
            up.send_bytes(backend, slot, request.raw);
        }
    });
}

fn eval_sha(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(shared) = shared(core, id) else { return };
    let Some(shard) = shard(core, id, request) else { return };
    let now_us = request.now_us;
    let slot = |target| Slot::new(target, Kind::of(request.row), now_us);
    let Some(digest) = read_digest(request.args.at(1)) else {
        return forward::request(core, id, shard, &request);
    };
    let mut asked = None;
    forward::by(core, id, shard, Kind::of(request.row), now_us, |up, backend, target| {
        let it = up.get_mut(backend);
        if it.carried.has(&digest) {
            // Its server may have lost it: then the request is needed once more.
            if let Target::Client { id, sequence } = target {
                asked = Some(sequence);
                let target = Target::Script { id, sequence };
                up.send(backend, slot(target), |output| request.write(output));
            }
        } else if let Some(body) = shared.scripts.body(&digest) {
            it.carried.note(digest);
            up.send(backend, slot(target), |output| write_with_body(request.args, &body, output));
        } else {
            up.send(backend, slot(target), |output| request.write(output));
        }
    });
    if let Some(sequence) = asked {
        let mut bytes = redstart_common::net::buffer::take();
        write_args(request.args, &mut bytes);
        core.down.asked_scripts.insert((id, sequence), bytes);
    }
}

/// Appends EVAL (or EVAL_RO) with a body in place of EVALSHA with its digest.
fn write_with_body(args: Args<'_>, body: &[u8], output: &mut Output) {
    let is_ro = args.at(0).len() > "EVALSHA".len();
    let name: &[u8] = if is_ro { b"EVAL_RO" } else { b"EVAL" };
    let out = output.tail();
    encode::header(out, b'*', args.len());
    for arg in [name, body].into_iter().chain(args.iter().skip(2)) {
        encode::header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// A script within a transaction, whose reply cannot be looked at in time: where its body is known it is sent with it.
/// `None` where the request is as good as it is.
pub fn within_transaction(
    core: &mut Core,
    id: ClientId,
    request: Request<'_>,
    what: Script,
) -> Option<Vec<u8>> {
    match what {
        Script::Eval => {
            note(core, id, request.args.at(1))?;
            return None;
        }
        Script::Load => {
            note(core, id, request.args.at(2))?;
            return None;
        }
        Script::Flush => {
            forget(core, id);
            return None;
        }
        Script::EvalSha => {}
        Script::Exists => return None,
    }
    let body = shared(core, id)?.scripts.body(&read_digest(request.args.at(1))?)?;
    let mut output = Output::default();
    write_with_body(request.args, &body, &mut output);
    let mut bytes = Vec::new();
    output.drain_into(&mut bytes);
    Some(bytes)
}

/// A script whose body is known can be called wherever its keys lie; of others the servers are asked.
fn exists(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(shared) = shared(core, id) else { return };
    let is_known = |word: &[u8]| read_digest(word).is_some_and(|it| shared.scripts.has(&it));
    let known: Vec<u16> = request.args.iter().skip(2).map(|it| u16::from(is_known(it))).collect();
    if known.contains(&0) {
        return split::to_every_server_or(core, id, request, Merge::And, &known);
    }
    core.down.clients.reply(id, request.now_us, |out| {
        out.array_len(known.len());
        known.iter().for_each(|_| out.integer(1));
    });
}

fn load(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(digest) = note(core, id, request.args.at(2)) else { return };
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (pool, lane) = (client.pool, client.lane);
    let topology = Arc::clone(&core.pools[pool].topology);
    split::to_every_server(core, id, request, Merge::First);
    for shard in &topology.live {
        let backend = core.pools[pool].backend(*shard, lane);
        core.up.get_mut(backend).carried.note(digest);
    }
}

fn flush(core: &mut Core, id: ClientId, request: Request<'_>) {
    forget(core, id);
    split::to_every_server(core, id, request, Merge::First);
}

/// Forgets all scripts of a client's pool.
fn forget(core: &mut Core, id: ClientId) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    core.pools[pool].shared.scripts.forget();
    for (_, it) in core.up.iter_mut().filter(|(_, it)| it.pool == pool) {
        it.carried.clear();
    }
}

/// A server has answered that it lacks the script of an EVALSHA. Sends the request again with the body, or hands `reply` on.
pub fn missing(core: &mut Core, id: ClientId, sequence: u32, asked: &[u8], reply: &[u8]) {
    let now_us = core.clock.now_us();
    if !resend(core, id, sequence, asked, now_us) {
        core.down.clients.answer(id, sequence, reply, now_us);
    }
}

fn resend(core: &mut Core, id: ClientId, sequence: u32, asked: &[u8], now_us: u64) -> bool {
    let mut scanner = RequestScanner::default();
    let limits = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    if !matches!(scanner.scan(asked, &limits), Ok(Some(_))) {
        return false;
    }
    let args = scanner.args(asked);
    let Some(row) = args.get(0).and_then(command::lookup).map(command::CommandId::spec) else {
        return false;
    };
    let Some(digest) = args.get(1).and_then(read_digest) else { return false };
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let (pool, lane) = (client.pool, client.lane);
    let is_last = client.pending.is_last(sequence);
    let request = Request { args, raw: asked, row, now_us };
    let shard = match place(core, pool, request) {
        Place::Shard(shard) => shard,
        Place::NoKeys => whichever(core, id, row),
        Place::Several => None,
    };
    let Some(shard) = shard else { return false };
    let backend = core.pools[pool].backend(shard, lane);
    core.up.get_mut(backend).carried.forget(&digest);
    let Some(body) = core.pools[pool].shared.scripts.body(&digest) else { return false };
    if !is_last || core.up.check(backend, now_us).is_err() {
        return false;
    }
    let it = core.up.get_mut(backend);
    it.carried.note(digest);
    it.counters.resent += 1;
    let slot = Slot::new(Target::Client { id, sequence }, Kind::of(row), now_us);
    core.up.send(backend, slot, |output| write_with_body(args, &body, output));
    true
}
