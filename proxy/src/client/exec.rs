//! `EXEC`: sends a transaction, and puts what the proxy answers itself into the reply of the server.
//!
//! ```text
//!   the server's reply      *2  +OK  $1 v                    nil, an error: the client's as it is, and nothing of
//!   the proxy's own         between them: CLIENT GETNAME     the proxy's own is carried out
//!   what the client gets    *3  +OK  $1 n  $1 v
//! ```
//!
//! An own command is carried out as if it was asked behind EXEC: its reply waits there for its turn. The reply to EXEC is given
//! once all of them are there, as the head of an array whose elements follow by themselves; so nothing that is pushed to the
//! client comes between, and a command that asks other servers or threads takes the time it needs.

use redstart_common::command::CommandSpec;
use redstart_common::resp::{Limits, RequestScanner, RespWrite, error};

use super::choose::anywhere;
use super::dispatch::{Next, carry_out, refuse};
use super::request::Request;
use super::transaction::{Beside, Transaction};
use super::{ClientId, forward, held, watch};
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, LEAD_UNKNOWN, Slot, Target};
use crate::gather::{self, MISFIT, Merge, header};
use crate::route::distribution::ShardIndex;
use crate::worker::Core;

/// A transaction whose server is running its part.
#[derive(Debug)]
pub struct Executing {
    /// The number of EXEC in the client's queue.
    pub sequence: u32,
    beside: Beside,
}

/// A transaction of which the proxy carries out its part.
#[derive(Debug)]
pub struct Finishing {
    client: ClientId,
    /// The number of EXEC in the client's queue.
    sequence: u32,
    /// The number of the first request that is none of the transaction's.
    end: u32,
    /// The head of the reply, and the elements in front of the first that has a number of its own.
    head: Vec<u8>,
}

/// `EXEC` within a transaction.
pub fn exec(core: &mut Core, id: ClientId, now_us: u64) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if client.watch.is_some() && !client.pending.is_empty() {
        return Next::Later;
    }
    let Some(mut transaction) = client.transaction.take() else { return Next::Taken };
    let pool = client.pool;
    // The servers may have changed while the transaction was composed: its keys must still lie where they lay.
    core.refresh(pool);
    if transaction.has_failed() {
        watch::end(core, id);
        refuse(core, id, now_us, |out| out.error(error::EXEC_ABORT));
        return Next::Taken;
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if let Some(watch) = client.watch.take() {
        watch::exec(core, id, now_us, &watch, *transaction);
    } else if transaction.is_empty() {
        core.down.clients.reply(id, now_us, |out| out.array_len(0));
    } else if transaction.asked() == 0 {
        let sequence = client.begin(now_us);
        carry_out_own(core, id, sequence, transaction.take_beside(), b"");
    } else if transaction.wanders() {
        send_alone(core, id, now_us, *transaction);
    } else {
        send(core, id, now_us, *transaction);
    }
    Next::Taken
}

/// The shard of a transaction; `None` where nobody serves its keys.
fn shard(core: &mut Core, id: ClientId, transaction: &Transaction) -> Option<ShardIndex> {
    let pool = core.down.clients.get_mut(id)?.pool;
    let topology = &core.pools[pool].topology;
    match transaction.home_of_keys() {
        (Some(slot), _) => topology.distribution.shard(u64::from(slot)),
        (None, Some(shard)) => topology.place_of(shard).filter(|shard| topology.is_live(*shard)),
        (None, None) => anywhere(core, id),
    }
}

/// Sends a transaction on the connection that all clients share.
fn send(core: &mut Core, id: ClientId, now_us: u64, mut transaction: Transaction) {
    let shard = shard(core, id, &transaction);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (lane, pool) = (client.lane, client.pool);
    let backend = match shard {
        Some(shard) => Some(core.pools[pool].backend(shard, lane)),
        None => core.pools[pool].waiting_place(lane),
    };
    let Some(backend) = backend else {
        return forward::refused(core, id, now_us, &Refusal::nobody());
    };
    if let Err(refusal) = core.up.check(backend, now_us) {
        return forward::refused(core, id, now_us, &refusal);
    }
    // MULTI and every command in it are answered before EXEC is.
    let kind = transaction.kind();
    let lead = transaction.asked() + 1;
    for _ in 0..lead {
        core.up.send(backend, Slot::new(Target::Nobody, kind, now_us), |_| {});
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let sequence = client.begin(now_us);
    let target = if transaction.is_plain() {
        Target::Client { id, sequence }
    } else {
        begin(core, id, sequence, transaction.take_beside());
        // Its reply is needed as a whole.
        let gather = core.down.gathers.begin(Merge::First, id, sequence, 1, &[]);
        Target::Part { gather, part: 0 }
    };
    let mut slot = Slot::new(target, kind, now_us);
    match u16::try_from(lead) {
        Ok(lead) => slot.lead = lead,
        // Too long a one is sent once.
        Err(_) => (slot.lead, slot.kind) = (LEAD_UNKNOWN, Kind::Write),
    }
    core.up.send(backend, slot, |output| transaction.write(output));
}

/// Sends a transaction that its server is to understand in several manners, on a connection of the client's own.
fn send_alone(core: &mut Core, id: ClientId, now_us: u64, transaction: Transaction) {
    let shard = shard(core, id, &transaction);
    match held::open(core, id, shard) {
        Ok(held) => watch::send(core, id, now_us, held, false, transaction),
        Err(refusal) => forward::refused(core, id, now_us, &refusal),
    }
}

/// A transaction is on its way to its server; what is the proxy's own waits for the reply.
pub fn begin(core: &mut Core, id: ClientId, sequence: u32, beside: Beside) {
    if beside.is_empty() {
        return;
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    // How its next requests are to be understood may follow from this one.
    client.barrier = true;
    client.executing = Some(Box::new(Executing { sequence, beside }));
}

/// The server has answered EXEC.
pub fn answered(core: &mut Core, id: ClientId, sequence: u32, reply: Vec<u8>) {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Some(executing) = client.executing.take_if(|it| it.sequence == sequence) else { return };
    let Some((count, at)) = gather::array(&reply) else {
        return core.down.clients.answer_owned(id, sequence, reply, now_us);
    };
    if count == executing.beside.asked as u64 {
        carry_out_own(core, id, sequence, executing.beside, &reply[at..]);
    } else {
        core.down.clients.answer(id, sequence, MISFIT, now_us);
    }
}

/// Carries out what is the proxy's own, between the elements of the server's reply.
fn carry_out_own(core: &mut Core, id: ClientId, sequence: u32, beside: Beside, elements: &[u8]) {
    let now_us = core.clock.now_us();
    let Beside { own, hidden, asked } = beside;
    let mut head = Vec::with_capacity(elements.len() + 16);
    header(&mut head, b'*', (asked - hidden.len() + own.len()) as u64);
    let Some(places) = places(elements, asked) else {
        return core.down.clients.answer(id, sequence, MISFIT, now_us);
    };
    let command = core.down.clients.get_mut(id).and_then(|client| client.command);
    let (mut own, mut hidden) = (own.into_iter().peekable(), hidden.into_iter().peekable());
    let mut between = Vec::new();
    for (number, from) in places.iter().enumerate() {
        while let Some(command) = own.next_if(|it| it.before == number) {
            give(core, id, now_us, &mut between);
            carry_out_one(core, id, command.row, &command.request, now_us);
        }
        let Some(to) = places.get(number + 1) else { break };
        if hidden.next_if_eq(&number).is_none() {
            let is_behind =
                core.down.clients.get_mut(id).is_some_and(|client| {
                    client.pending.next_sequence() != sequence.wrapping_add(1)
                });
            let out = if is_behind { &mut between } else { &mut head };
            out.extend_from_slice(&elements[*from..*to]);
        }
    }
    give(core, id, now_us, &mut between);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    client.command = command;
    let end = client.pending.next_sequence();
    client.barrier = true;
    core.finishing.push(Finishing { client: id, sequence, end, head });
    finish(core);
}

/// Elements of the server's that stand behind one of the proxy's own. They are no requests, and count for no command.
fn give(core: &mut Core, id: ClientId, now_us: u64, elements: &mut Vec<u8>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if !elements.is_empty() {
        client.command = None;
        core.down.clients.reply(id, now_us, |out| out.append(elements));
    }
}

/// Where each of so many elements begins, and the last ends. `None` where these are not so many.
fn places(elements: &[u8], count: usize) -> Option<Vec<usize>> {
    let mut places = Vec::with_capacity(count + 1);
    let mut at = 0;
    places.push(at);
    for _ in 0..count {
        at += gather::element(&elements[at..])?;
        places.push(at);
    }
    (at == elements.len()).then_some(places)
}

fn carry_out_one(
    core: &mut Core,
    id: ClientId,
    row: &'static CommandSpec,
    raw: &[u8],
    now_us: u64,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    client.command = Some(row.id);
    let plan = core.pools[client.pool].plans[row.id.index()];
    let mut scanner = RequestScanner::default();
    let limits = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    if matches!(scanner.scan(raw, &limits), Ok(Some(_))) {
        let request = Request { args: scanner.args(raw), raw, row, now_us };
        carry_out(core, id, request, plan);
    }
}

/// Gives the replies of those transactions of which all is there.
pub fn finish(core: &mut Core) {
    let now_us = core.clock.now_us();
    let clients = &mut core.down.clients;
    let mut at = 0;
    while let Some(it) = core.finishing.get_mut(at) {
        let Some(client) = clients.get_mut(it.client) else {
            core.finishing.swap_remove(at);
            continue;
        };
        if client.pending.are_parked(it.sequence.wrapping_add(1), it.end) {
            let it = core.finishing.swap_remove(at);
            clients.answer_owned(it.client, it.sequence, it.head, now_us);
        } else {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_apart_in_either_protocol() {
        assert_eq!(places(b"", 0).as_deref(), Some(&[0][..]));
        assert_eq!(places(b"+OK\r\n$3\r\nabc\r\n", 2).as_deref(), Some(&[0, 5, 14][..]));
        let nested = b"*2\r\n:1\r\n*1\r\n$-1\r\n%1\r\n+k\r\n_\r\n-ERR x\r\n";
        assert_eq!(places(nested, 3).as_deref(), Some(&[0, 17, 28, 36][..]));
        // What is no such row of elements is nothing a server sends.
        assert_eq!(places(b"+OK\r\n", 2), None);
        assert_eq!(places(b"+OK\r\n+more\r\n", 1), None);
        assert_eq!(places(b"$3\r\nab", 1), None);
    }
}
